"""Smaller graphs: int8 where validation clips allow it, and weights in half precision."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from hf_ser.data.splits import SplitData
from hf_ser.evaluation.clip_sources import clips_of_split
from hf_ser.export.classifier_graph import ClassifierGraph
from hf_ser.export.export_error import ExportError
from hf_ser.export.graph_session import GraphSession
from hf_ser.export.quiet import quiet
from hf_ser.extras import needs_extra
from hf_ser.models import CompanionModel
from hf_ser.scoring.bootstrap import compare, point_scores

MAX_LOSS = 0.01  # of UAR on validation
_CALIBRATION_CLIPS = 128
_LAYERS = ["Conv", "Gemm"]  # of networks on spectra; frontends are matrix products, and stay in float32
_SMALLEST = 1024  # numbers in a weight that is stored in half precision


@dataclass(frozen=True)
class Loss:
    """UAR of a quantized graph on validation clips, beside that of the graph in float32.

    Args:
        clips: number of validation clips.
        speakers: their number.
        uar_float32: of the graph in float32.
        uar: of the quantized graph.
        interval: 95 % of the difference, by a paired bootstrap over speakers; None with one speaker.
    """

    clips: int
    speakers: int
    uar_float32: float
    uar: float
    interval: list[float] | None

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def to_int8(graph: ClassifierGraph, proto: Any, metadata: Mapping[str, Any], clips: Sequence[np.ndarray] = ()) -> Any:
    """Quantize with onnxruntime's quantizer.

    Transformers get int8 weights in matrix products, with activations quantized at runtime. Companion models and
    hybrids get int8 convolutions and linear layers, with ranges of activations from clips; their first and last
    layers stay in float32.

    Args:
        graph: the model.
        proto: its graph in float32.
        metadata: see `describe_graph`.
        clips: waveforms (samples,) at 16 kHz, such as `training_clips`; only needed if `is_static`.

    Returns:
        The quantized `onnx.ModelProto`.

    Raises:
        ExportError: the graph has no layers to quantize.
    """
    with needs_extra("export"):
        import onnx_ir
        from onnxruntime.quantization import QuantFormat, QuantType
        from transformers.exporters import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer, OnnxRuntimeStaticConfig
        from transformers.exporters.configs import ExportFormat
    model = onnx_ir.serde.deserialize_model(proto)
    if is_static(graph):
        excluded = _first_and_last(proto, len(metadata["labels"]))
        if not any(node.op_type in _LAYERS and node.name not in excluded for node in proto.graph.node):
            raise ExportError(
                f"--int8: got {graph.model.config.model_type} without layers to quantize; expected convolutions or "
                "linear layers besides the first and the last. Pass --float16."
            )
        session = GraphSession(proto.SerializeToString(), metadata)
        feeds = [
            {name: torch.from_numpy(values) for name, values in session.feed([waveform]).items()} for waveform in clips
        ]
        settings: Any = OnnxRuntimeStaticConfig(
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_LAYERS,
            nodes_to_exclude=excluded,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # without VNNI, 8-bit sums of 8-bit products overflow
        )
        quantizer = OnnxRuntimeQuantizer(settings, calibration_dataset=feeds)
        sample = feeds[0]
    else:
        quantizer = OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig(op_types_to_quantize=["MatMul"], per_channel=True))
        sample = {}
    with quiet():
        return onnx_ir.serde.serialize_model(quantizer.quantize(model, sample, ExportFormat.ONNX))


def _first_and_last(proto: Any, classes: int) -> list[str]:
    """Names of the first convolution and of the classifier of each network, which lose most by quantization."""
    shapes = {weight.name: list(weight.dims) for weight in proto.graph.initializer}
    names = []
    for node in proto.graph.node:
        shape = shapes.get(node.input[1], []) if node.op_type in _LAYERS else []
        if shape and (node.op_type == "Conv" and shape[1] == 1 or node.op_type == "Gemm" and classes in shape):
            names.append(node.name)
    return names


def is_static(graph: ClassifierGraph) -> bool:
    """Whether the ranges of activations are measured before, which needs training clips."""
    return isinstance(graph.model, CompanionModel) or graph.model.config.model_type == "ser-hybrid"


def training_clips(data: SplitData) -> list[np.ndarray]:
    """Training clips, decoded, on which the ranges of activations are measured."""
    train = data.splits["train"]
    numbers = np.random.default_rng(0).permutation(len(train))[:_CALIBRATION_CLIPS]
    clips = clips_of_split(train)
    return clips.decode(sorted(int(number) for number in numbers))


def check_loss(before: GraphSession, after: GraphSession, data: SplitData) -> Loss:
    """Compare a quantized graph with the one in float32 on validation clips.

    Raises:
        ExportError: UAR is lower by `MAX_LOSS` or more.
    """
    validation = data.splits["validation"]
    clips, labels = clips_of_split(validation), np.asarray(validation["label"])
    speakers = list(validation["speaker"])
    predicted = [np.array([], dtype=int)] * 2
    for number in range(len(validation)):
        (waveform,) = clips.decode([number])
        for side, session in enumerate((before, after)):
            answer = session.probabilities([waveform])[0].argmax()
            predicted[side] = np.append(predicted[side], answer)
    uar_before, uar = (point_scores(labels, each, len(data.labels))["uar"] for each in predicted)
    several = len(set(speakers)) > 1
    tested = compare(labels, predicted[1], predicted[0], speakers, len(data.labels))["uar"] if several else None
    loss = Loss(
        clips=len(labels),
        speakers=len(set(speakers)),
        uar_float32=float(uar_before),
        uar=float(uar),
        interval=None if tested is None else tested["interval"],
    )
    if uar_before - uar >= MAX_LOSS:
        raise ExportError(
            f"--int8: UAR on {loss.clips} validation clips falls from {uar_before:.3f} to {uar:.3f}; expected less "
            f"than {MAX_LOSS} below. Export without --int8, or with --float16."
        )
    return loss


def to_float16(proto: Any) -> Any:
    """Store large weights in half precision; they are converted to float32 when the graph is loaded."""
    with needs_extra("export"):
        import onnx
        from onnx import helper, numpy_helper
    small = onnx.ModelProto()
    small.CopyFrom(proto)
    casts = []
    for weight in small.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < _SMALLEST:
            continue
        values, name = numpy_helper.to_array(weight).astype(np.float16), weight.name
        if not np.isfinite(values).all():
            raise ExportError(f"--float16: {name} has weights beyond the range of float16; export without it.")
        weight.CopyFrom(numpy_helper.from_array(values, f"{name}_float16"))
        casts.append(helper.make_node("Cast", [weight.name], [name], f"{name}_cast", to=onnx.TensorProto.FLOAT))
    for place, cast in enumerate(casts):
        small.graph.node.insert(place, cast)
    return small
