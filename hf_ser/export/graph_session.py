"""An ONNX graph that is not a file yet, ready to run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hf_ser.extras import needs_extra
from hf_ser.runtime.onnx_pipeline import padded_batch


def open_session(graph: bytes, threads: int) -> Any:
    """Open the content of an ONNX file as an `onnxruntime.InferenceSession` on the CPU."""
    with needs_extra("export"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class GraphSession:
    """Run a graph of this package on the CPU.

    Args:
        graph: its content.
        metadata: see `describe_graph`.
        threads: for one operator.
    """

    def __init__(self, graph: bytes, metadata: Mapping[str, Any], threads: int = 1) -> None:
        self.metadata = metadata
        self._session = open_session(graph, threads)

    def feed(self, waveforms: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Pad waveforms (samples,) to the graph's inputs."""
        return padded_batch(waveforms, self.metadata["min_samples"], self.metadata["needs_mask"])

    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities (clips, classes) of waveforms (samples,) at 16 kHz."""
        return self._session.run(None, self.feed(waveforms))[0]
