"""Reading an exported graph for the page: its content, its metadata, and a check that it runs."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.remote_code.dimensions import are_dimensions
from hf_ser.runtime.graph_file import open_graph
from hf_ser.system_errors import system_trouble
from hf_ser.web.web_error import WebError

MAX_BYTES = 10**9  # WebAssembly has 4 GB of memory, and loading needs a multiple of the graph's size
_AGAIN = "Export the model again with this version of hf_ser."


def read_graph(path: str | Path) -> tuple[bytes, dict[str, Any]]:
    """Read a graph and run it on noise.

    Args:
        path: of the ONNX file.

    Returns:
        The file's content and its metadata.

    Raises:
        GraphError: it is no graph that hf_ser exported, or it is from a newer version.
        WebError: it is too large for a browser, or does not run.
        SystemTroubleError: the file cannot be read.
        MissingExtraError: onnxruntime is not installed.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise WebError(
                f"{path} has {size / 1e6:.0f} MB; expected at most {MAX_BYTES / 1e6:.0f} MB, since browsers cannot "
                "load more. Export a smaller model, or with int8 weights."
            )
        content = path.read_bytes()
    except OSError as error:
        raise system_trouble(error) or error from error
    session, metadata = open_graph(path, num_threads=1)
    if are_dimensions(metadata.labels):
        raise WebError(f"{path} predicts {', '.join(metadata.labels)}; expected a classifier of emotions.")
    fields = asdict(metadata)
    _check_run(path, session, fields)
    return content, fields


def _check_run(path: Path, session: Any, metadata: dict[str, Any]) -> None:
    """Run the graph on noise of the shortest length and of a second or more: a trace may have fixed the length."""
    labels, shortest = len(metadata["labels"]), metadata["min_samples"]
    for samples in (shortest, max(16_000, 2 * shortest)):
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, (1, samples)).astype(np.float32)
        inputs = {"input_values": noise}
        if metadata["needs_mask"]:
            inputs["attention_mask"] = np.ones((1, samples), np.int64)
        try:
            (probabilities,) = session.run(["probabilities"], inputs)
        except Exception as error:  # as above
            raise WebError(f"{path} cannot be run on {samples} samples ({_line(error)}). {_AGAIN}") from error
        if probabilities.shape != (1, labels):
            got = f"values of shape {probabilities.shape}; expected {(1, labels)}, one per label"
            raise WebError(f"{path} returns {got}. {_AGAIN}")
        if not (np.isfinite(probabilities).all() and abs(probabilities.sum() - 1) < 1e-3):
            got = f"{probabilities[0].tolist()}; expected probabilities that add up to 1"
            raise WebError(f"{path} returns {got}. {_AGAIN}")


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200]
