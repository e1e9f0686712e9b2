"""Export of trained models to ONNX, `torch.export` and OpenVINO."""

from hf_ser.export.export_command import ExportArguments, describe_export, export
from hf_ser.export.export_error import ExportError

__all__ = ["ExportArguments", "ExportError", "describe_export", "export"]
