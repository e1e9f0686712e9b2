"""What an answer was made by: the model and the options that change it. It is written into every row of a file."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ser.batch.escaped_names import escaped_name

_DESCRIPTIONS = ("config.json", "preprocessor_config.json", "results.json")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_SAMPLES, _SAMPLE_BYTES = 64, 4096  # of the weights: reading all of a large model would take longer than an answer


@dataclass(frozen=True)
class RunStamp:
    """Two runs with equal stamps give equal answers."""

    model: str  # name and digest, as in runs/quickstart#1f2e3d4c5b6a
    options: str  # as on the command line; empty for the defaults

    def differences(self, model: str, options: str) -> str:
        """Say how a row of a file differs from this run; empty where it does not."""
        if model.rpartition("#")[2] != self.model.rpartition("#")[2]:
            return f"answers of the model {model}, now {self.model}"
        if options != self.options:
            shown = [options, self.options]
            if _precision(options) != _precision(self.options):  # of which float32 is not written
                shown = [words if _precision(words) else f"{words} --precision fp32".strip() for words in shown]
            return f"answers with {shown[0] or 'default options'}, now {shown[1] or 'default options'}"
        return ""


def _precision(options: str) -> str:
    return options.partition("--precision ")[2].partition(" ")[0]


def stamp(name: str, revision: str, options: dict[str, Any]) -> RunStamp | None:
    """Stamp a run without loading the model; None where there is no model of this name.

    Args:
        name: model folder or Hub id.
        revision: on the Hub.
        options: by name; None and False are defaults.
    """
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
    words = [
        f"--{option}" if value is True else f"--{option} {value}"
        for option, value in options.items()
        if value is not None and value is not False
    ]
    return RunStamp(f"{escaped_name(name)}#{digest.hexdigest()[:12]}", " ".join(words))


def _file_beside(name: str, file: str, revision: str) -> Path | None:
    if os.path.isdir(name):
        path = Path(name) / file
        return path if path.is_file() else None
    from hf_ser.remote_code.preprocessing import file_beside  # imports transformers, for models on the Hub

    try:
        return file_beside(name, file, revision)
    except OSError:  # no such model, which loading it will say
        return None


def _sample(path: Path) -> bytes:
    """The size of a file and pieces of it, evenly spaced: other weights differ in all of them."""
    size = path.stat().st_size
    with path.open("rb") as opened:
        pieces = [str(size).encode()]
        for number in range(_SAMPLES):
            opened.seek(max(0, size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
            pieces.append(opened.read(_SAMPLE_BYTES))
    return b"".join(pieces)
