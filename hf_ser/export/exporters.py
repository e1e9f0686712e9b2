"""Conversion of a `ClassifierGraph` to ONNX, `torch.export` and OpenVINO, with the exporters of transformers."""

import io
from pathlib import Path
from typing import Any

import torch

from hf_ser.audio import SAMPLING_RATE
from hf_ser.export.classifier_graph import ClassifierGraph
from hf_ser.export.export_error import ExportError
from hf_ser.export.quiet import quiet
from hf_ser.extras import needs_extra

MAX_ONNX_BYTES = 2 * 10**9  # protobuf's limit is 2 GiB, for weights and graph


def sample_inputs(graph: ClassifierGraph) -> dict[str, torch.Tensor]:
    """A batch of three clips of noise, from which the exporters trace the graph."""
    seconds = 2.5
    generator = torch.Generator().manual_seed(0)
    values = 0.1 * torch.randn(3, round(seconds * SAMPLING_RATE), generator=generator)
    if not graph.needs_mask:
        return {"input_values": values}
    lengths = torch.tensor([values.shape[1], values.shape[1] * 3 // 4, values.shape[1] // 2])
    mask = torch.arange(values.shape[1]) < lengths[:, None]
    return {"input_values": values * mask, "attention_mask": mask.long()}


def to_onnx(graph: ClassifierGraph) -> Any:
    """The graph as an `onnx.ModelProto`, with any batch size and length.

    Raises:
        ExportError: the model cannot be traced, has operators that ONNX lacks, which the message names, or has more
            weights than an ONNX file holds.
    """
    size = sum(values.nbytes for values in (*graph.parameters(), *graph.buffers()))
    if size > MAX_ONNX_BYTES:
        raise ExportError(
            f"{graph.model.config.model_type} has {size / 1e9:.1f} GB of weights; expected at most "
            f"{MAX_ONNX_BYTES / 1e9:.1f} GB, the limit of an ONNX file. Pass --format torch."
        )
    with needs_extra("export"):
        import onnx_ir
        from onnx_ir.passes.common import LiftConstantsToInitializersPass
        from onnxscript.optimizer import fold_constants
        from transformers.exporters import OnnxConfig, OnnxExporter
    exported = _export(graph, OnnxExporter, OnnxConfig)
    # The product of a convolution's weights and its batch normalisation becomes one weight, which can be quantized.
    fold_constants(exported.program, input_size_limit=size, output_size_limit=size, should_fold=_feeds_convolution)
    LiftConstantsToInitializersPass()(exported.program)  # so that all weights are in one place
    return onnx_ir.serde.serialize_model(exported.program)


def _feeds_convolution(node: Any) -> bool:
    return node.op_type == "Mul" and any(use.node.op_type == "Conv" for use in node.outputs[0].uses())


def to_torch(graph: ClassifierGraph, path: Path) -> None:
    """Write the graph as a program of `torch.export`, which `torch.export.load` reads.

    Raises:
        ExportError: see `to_onnx`.
    """
    from transformers.exporters import DynamoConfig, DynamoExporter

    torch.export.save(_export(graph, DynamoExporter, DynamoConfig).program, path)


def to_openvino(proto: Any, path: Path) -> None:
    """Write an ONNX graph in OpenVINO's format: a file `path` (.xml) and the weights beside it (.bin)."""
    with needs_extra("openvino"):
        import openvino
    model = openvino.convert_model(io.BytesIO(proto.SerializeToString()))
    openvino.save_model(model, path, compress_to_fp16=False)


def _export(graph: ClassifierGraph, exporter: Any, settings: Any) -> Any:
    inputs = sample_inputs(graph)
    free = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in inputs}
    try:
        with quiet(), torch.no_grad():
            return exporter().export(graph, inputs, config=settings(dynamic=True, dynamic_shapes=free))
    except Exception as error:  # torch and onnxscript raise many types
        cause = " ".join(str(error).split())
        raise ExportError(
            f"{graph.model.config.model_type} cannot be exported ({type(error).__name__}: {cause[:400]}); expected a "
            "companion model, a hybrid, or one of the wav2vec2 family."
        ) from error
