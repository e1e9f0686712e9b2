"""An ONNX graph, ready to run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hf_ser.extras import needs_extra


class GraphSession:
    """Run a graph of this package on the CPU.

    Args:
        graph: path or bytes of the graph.
        metadata: see `describe_graph`.
        threads: for one operator.
    """

    def __init__(self, graph: str | bytes, metadata: Mapping[str, Any], threads: int = 1) -> None:
        with needs_extra("export"):
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.metadata = metadata
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def feed(self, waveforms: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Pad waveforms (samples,) to the graph's inputs."""
        lengths = np.array([max(len(waveform), self.metadata["min_samples"]) for waveform in waveforms])
        values = np.zeros((len(waveforms), lengths.max()), np.float32)
        for row, waveform in zip(values, waveforms, strict=True):
            row[: len(waveform)] = waveform
        if not self.metadata["needs_mask"]:
            return {"input_values": values}
        return {
            "input_values": values,
            "attention_mask": (np.arange(values.shape[1]) < lengths[:, None]).astype(np.int64),
        }

    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities (clips, classes) of waveforms (samples,) at 16 kHz."""
        return self._session.run(None, self.feed(waveforms))[0]
