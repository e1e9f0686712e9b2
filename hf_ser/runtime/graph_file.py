"""Open the file of an exported graph with onnxruntime, and check it before the first clip."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_ser.extras import needs_extra
from hf_ser.remote_code.audio_sources import printable
from hf_ser.remote_code.decoder import LFS_POINTER
from hf_ser.remote_code.reading_ahead import computing_threads
from hf_ser.runtime.graph_contract import KEY, GraphError, GraphMetadata

CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 4  # of onnxruntime's log levels: it also raises its errors
_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}


def is_graph(name: str) -> bool:
    """Whether the name of a model is that of an ONNX file.

    >>> is_graph("exports/model.onnx"), is_graph("runs/audio_cnn")
    (True, False)
    """
    return name.lower().endswith(".onnx") and not os.path.isdir(name)


def open_graph(
    path: str | os.PathLike[str], num_threads: int | None = None, providers: Sequence[str] = (CPU,)
) -> tuple[Any, GraphMetadata]:
    """Open an exported graph.

    Args:
        path: path of the file.
        num_threads: threads that compute one batch; None for OMP_NUM_THREADS, or else the CPUs available to this
            process.
        providers: execution providers of onnxruntime, in the order of preference.

    Returns:
        The `onnxruntime.InferenceSession` and the metadata of the graph.

    Raises:
        GraphError: the file is not a complete graph that hf_ser exported.
        ValueError: invalid number of threads, or a provider that this onnxruntime does not have.
        MissingExtraError: onnxruntime is not installed.
    """
    if num_threads is not None and (type(num_threads) is not int or num_threads < 1):
        raise ValueError(f"num_threads: got {num_threads!r}; expected an integer of at least 1, or None.")
    with needs_extra("onnx"):
        import onnxruntime
    available = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if isinstance(providers, str) or not providers or missing:
        got = repr(missing[0]) if missing and not isinstance(providers, str) else repr(providers)
        raise ValueError(f"providers: got {got}; expected a list of some of {', '.join(available)}.")
    name = printable(os.fspath(path))
    _check_file(Path(path), name)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = num_threads or computing_threads()  # onnxruntime ignores OMP_NUM_THREADS
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's errors have no common base
        raise GraphError(f"{name}: {_reason(error, Path(path), onnxruntime.__version__)}") from error
    unused = [provider for provider in providers if provider not in session.get_providers()]
    if unused:  # onnxruntime only logs that
        raise ValueError(f"providers: onnxruntime cannot start {unused[0]}. Install what it needs, or remove it.")
    metadata = GraphMetadata.parse(session.get_modelmeta().custom_metadata_map.get(KEY), name)
    _check_tensors(session, metadata, name)
    return session, metadata


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_file(path: Path, name: str) -> None:
    if path.is_dir():
        raise GraphError(f"{name}: got a folder; expected an ONNX file. Pass the path of the file in it.")
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
    except (OSError, ValueError) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or error
        raise GraphError(f"{name}: got {got}; expected an ONNX file. Check the path.") from error
    if head == LFS_POINTER:
        raise GraphError(f"{name}: got a Git LFS pointer; expected an ONNX file. Run `git lfs pull`.")


def _reason(error: Exception, path: Path, version: str) -> str:
    """Say why onnxruntime does not load a file, and what to do."""
    said = " ".join(str(error).split())
    if "xternal" in said:
        got = "the weights are in another file, which is missing or cannot be read"
        return f"{got}; expected one file that contains them. Copy that file too, or export the model again."
    if "IR version" in said or "opset" in said.lower():
        return f"the graph is newer than onnxruntime {version} supports. Update onnxruntime."
    if type(error).__name__ == "InvalidProtobuf" or "No graph was found" in said:
        got = f"got {path.stat().st_size:,} bytes that are not a complete ONNX file"
        return f"{got}; expected an exported graph. Copy or export it again."
    cause = re.sub(r"^.*?failed:", "", said)[:200].rstrip(" .")
    return f"onnxruntime cannot load the graph ({cause}). Export the model again."


def _check_tensors(session: Any, metadata: GraphMetadata, name: str) -> None:
    """Compare the inputs and outputs of a graph with its metadata."""
    expected = {"input_values": "float32"} | ({"attention_mask": "int64"} if metadata.needs_mask else {})
    wanted = {each: f"{kind} (batch, samples)" for each, kind in expected.items()}
    inputs = {each.name: _described(each, ("batch", "samples")) for each in session.get_inputs()}
    if inputs != wanted:
        _refuse(name, "inputs", inputs, wanted)
    outputs = {each.name: _described(each, ("batch", len(metadata.labels))) for each in session.get_outputs()}
    wanted = {metadata.output: f"float32 (batch, {len(metadata.labels)})"}
    if outputs != wanted:
        _refuse(name, "outputs", outputs, wanted)


def _described(tensor: Any, names: Sequence[str | int]) -> str:
    """Type and shape of an input or output; sizes that may vary have the names given for them."""
    shape = list(tensor.shape)
    if len(shape) == len(names):
        shape = [size if isinstance(size, int) else names[place] for place, size in enumerate(shape)]
    return f"{_TYPES.get(tensor.type, tensor.type)} ({', '.join(map(str, shape))})"


def _refuse(name: str, what: str, got: dict[str, str], wanted: dict[str, str]) -> None:
    found, expected = (", ".join(f"{each} {kind}" for each, kind in which.items()) for which in (got, wanted))
    raise GraphError(f"{name}: got the {what} {found or 'none'}; expected {expected}. Export the model again.")
