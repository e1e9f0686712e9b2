"""The files with which Inference Endpoints serve a model: handler.py, and the packages that it needs."""

import importlib.metadata
from collections.abc import Collection
from pathlib import Path

from packaging.requirements import Requirement

from hf_ser.hub.push_checks import Outgoing
from hf_ser.remote_code import handler

HANDLER, REQUIREMENTS = "handler.py", "requirements.txt"
# The packages that the code in the folder imports, and PyAV for M4A and WebM. torch and torchaudio must match.
_IMPORTED = ("av", "miniaudio", "numpy", "safetensors", "soundfile", "soxr", "torch", "torchaudio", "transformers")


def endpoint_files(names: Collection[str]) -> list[Outgoing]:
    """The files to add to a model with code of its own.

    Args:
        names: files of the folder; its own handler.py and requirements.txt are not replaced.

    >>> [file.path for file in endpoint_files(["config.json"])]
    ['handler.py', 'requirements.txt']
    """
    if HANDLER in names:
        return []
    files = [Outgoing(HANDLER, Path(handler.__file__).read_bytes()), Outgoing(REQUIREMENTS, _requirements().encode())]
    return [file for file in files if file.path not in names]


def _requirements() -> str:
    """The bounds of this package's own requirements."""
    bounds: dict[str, str] = {}
    for text in importlib.metadata.requires("hf-ser") or []:
        requirement = Requirement(text)
        bounds.setdefault(requirement.name, str(requirement.specifier))
    return "".join(f"{name}{bounds[name]}\n" for name in _IMPORTED)
