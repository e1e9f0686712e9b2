"""The stamp of an answer: the model and the options that affect it. Every row of a file has one."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ser.batch.escaped_names import escaped_name
from hf_ser.runtime.graph_file import file_sha256, is_graph

_DESCRIPTIONS = ("config.json", "preprocessor_config.json", "results.json")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_SAMPLES, _SAMPLE_BYTES = 64, 4096  # of the weights: reading a large model completely would take longer than an answer


@dataclass(frozen=True)
class RunStamp:
    """Two runs with equal stamps give equal answers."""

    model: str  # name and digest, as in runs/quickstart#1f2e3d4c5b6a
    options: str  # as on the command line; empty for the defaults

    def differences(self, model: str, options: str) -> str:
        """Describe how a row of a file differs from this run; empty if it does not differ."""
        if model.rpartition("#")[2] != self.model.rpartition("#")[2]:
            return f"answers of {model}; expected answers of {self.model}"
        if options != self.options:
            shown = [options, self.options]
            if _precision(options) != _precision(self.options):  # float32 is the default and not recorded
                shown = [words if _precision(words) else f"{words} --precision fp32".strip() for words in shown]
            return f"answers with {shown[0] or 'default options'}; expected {shown[1] or 'default options'}"
        return ""


def _precision(options: str) -> str:
    return options.partition("--precision ")[2].partition(" ")[0]


def stamp(name: str, revision: str, options: dict[str, Any]) -> RunStamp | None:
    """Stamp a run without loading the model; None if the model does not exist.

    Args:
        name: model folder, Hub id or path of a graph.
        revision: on the Hub.
        options: by name; None and False mean the default.
    """
    digest = _digest_of_graph(name) if is_graph(name) else _digest_of_folder(name, revision)
    if digest is None:
        return None
    words = [
        f"--{option}" if value is True else f"--{option} {value}"
        for option, value in options.items()
        if value is not None and value is not False
    ]
    return RunStamp(f"{escaped_name(name)}#{digest[:12]}", " ".join(words))


def _digest_of_graph(path: str) -> str | None:
    try:
        return file_sha256(path)
    except OSError:  # no such file; opening it raises the error
        return None


def _digest_of_folder(name: str, revision: str) -> str | None:
    digest = hashlib.sha256()
    for file in _DESCRIPTIONS:
        path = _file_beside(name, file, revision)
        if path is None and file == "config.json":
            return None
        if path is not None:
            digest.update(f"{file}\0".encode() + path.read_bytes() + b"\0")
    weights = next((path for file in _WEIGHTS if (path := _file_beside(name, file, revision)) is not None), None)
    if weights is not None:
        digest.update(_sample(weights))
    return digest.hexdigest()


def _file_beside(name: str, file: str, revision: str) -> Path | None:
    if os.path.isdir(name):
        path = Path(name) / file
        return path if path.is_file() else None
    from hf_ser.remote_code.preprocessing import file_beside  # imports transformers, for models on the Hub

    try:
        return file_beside(name, file, revision)
    except OSError:  # no such model; loading it raises the error
        return None


def _sample(path: Path) -> bytes:
    """Return the size of a file and evenly spaced pieces of it, which differ between models."""
    size = path.stat().st_size
    with path.open("rb") as opened:
        pieces = [str(size).encode()]
        for number in range(_SAMPLES):
            opened.seek(max(0, size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
            pieces.append(opened.read(_SAMPLE_BYTES))
    return b"".join(pieces)
