"""Export of trained models to ONNX, `torch.export`, OpenVINO and a page for the browser."""

from hf_ser.export.export_command import ExportArguments, export, export_graph
from hf_ser.export.export_error import ExportError

__all__ = ["ExportArguments", "ExportError", "export", "export_graph"]
