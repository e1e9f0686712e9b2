"""Checks of a model's files before it is built from them, and of its weights afterwards.

A configuration is data from elsewhere: one wrong number in it can ask for more memory than any machine has, or for
layers whose construction never ends. The weights' file says how large the model really is.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from hf_ser.remote_code.preprocessing import file_beside

_LARGEST = 64 << 20  # bytes of a JSON file
_DEEPEST = 60
_COUNTS = re.compile(r"layers|depth|blocks|stages", re.IGNORECASE)  # each is one module or more
_MOST_LABELS = 100_000  # transformers makes a dictionary of them
_ROOM = 4, 1 << 20  # a model may have this many times the stored weights, plus this many


class ModelFilesError(ValueError):
    """Files of a model that contradict each other or hold impossible values."""


def check_model_files(name: str, revision: str = "main") -> None:
    """Compare the sizes in config.json with the weights' file, before anything is built.

    A model without safetensors weights passes: `from_pretrained` rejects it.

    Args:
        name: folder or Hub id.
        revision: on the Hub.

    Raises:
        ModelFilesError: config.json asks for many more layers or weights than are stored, is nested too deeply, or has
            a calibration temperature that is not a positive number, or an abstention threshold outside of [0, 1).
    """
    path = file_beside(name, "config.json", revision)
    if path is None:
        return
    config = _read_json(path)
    _check_calibration(config)
    labels = config.get("num_labels")
    if isinstance(labels, int) and labels > _MOST_LABELS:
        raise ModelFilesError(f"num_labels is {labels}; expected at most {_MOST_LABELS:,}")
    weights = _weights_files(name, revision)
    if not weights:
        return
    tensors, elements = _stored(weights)
    for key, value in _numbers(config):
        if _COUNTS.search(key) and value > max(tensors, 1):
            raise ModelFilesError(
                f"{key} is {value}, but only {tensors} tensors are stored; expected as many or fewer"
            )
    if any(value * value > _ROOM[0] * elements for _, value in _numbers(config)):
        _check_size(name, revision, elements)


def check_finite(model: nn.Module) -> None:
    """Raise `ModelFilesError` for weights that are NaN or infinite: every score would be too."""
    for name, weights in model.state_dict().items():
        if weights.is_floating_point() and not bool(torch.isfinite(weights).all()):
            raise ModelFilesError(
                f"the weights {name} are not finite numbers; expected a model that was trained whole"
            )


def _read_json(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > _LARGEST:
        raise ModelFilesError(f"{path.name} has {size:,} bytes; expected at most {_LARGEST:,}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ModelFilesError(f"{path.name} is nested too deeply; expected at most {_DEEPEST} levels") from None
    if not isinstance(content, dict):
        raise ModelFilesError(f"{path.name} holds a {type(content).__name__}; expected a mapping")
    return content


def _check_calibration(config: dict[str, Any]) -> None:
    temperature, threshold = config.get("calibration_temperature"), config.get("abstention_threshold")
    if temperature is not None and not (_is_number(temperature) and temperature > 0):
        raise ModelFilesError(f"calibration_temperature is {temperature!r}; expected a positive number or null")
    if threshold is not None and not (_is_number(threshold) and 0 <= threshold < 1):
        raise ModelFilesError(f"abstention_threshold is {threshold!r}; expected a number from 0 to below 1 or null")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _weights_files(name: str, revision: str) -> list[Path]:
    single = file_beside(name, "model.safetensors", revision)
    if single is not None:
        return [single]
    index = file_beside(name, "model.safetensors.index.json", revision)
    parts = sorted(set(map(str, _read_json(index).get("weight_map", {}).values()))) if index else []
    found = [file_beside(name, part, revision) for part in parts]
    return [path for path in found if path is not None]


def _stored(files: list[Path]) -> tuple[int, int]:
    """The number of tensors and of their elements, from the files' headers."""
    tensors = elements = 0
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                for key in file.keys():  # noqa: SIM118 - it is no mapping
                    tensors += 1
                    elements += math.prod(file.get_slice(key).get_shape())
        except SafetensorError as error:
            raise ModelFilesError(f"{path.name} is no whole safetensors file ({error})") from error
    return tensors, elements


def _numbers(value: Any, key: str = "", level: int = 0) -> Iterator[tuple[str, int]]:
    """Whole numbers of a configuration with the key that they are under, and the length of each list."""
    if level > _DEEPEST:
        raise ModelFilesError(f"config.json is nested too deeply; expected at most {_DEEPEST} levels")
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        yield key, abs(value)
    elif isinstance(value, dict):
        for inner, item in value.items():
            yield from _numbers(item, str(inner), level + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key, level + 1)


def _check_size(name: str, revision: str, elements: int) -> None:
    """Build the model without memory for its weights, and compare its size with what is stored."""
    from transformers import AutoConfig, AutoModelForAudioClassification

    config = AutoConfig.from_pretrained(name, revision=revision)
    with torch.device("meta"):
        model = AutoModelForAudioClassification.from_config(config)
    built = sum(weights.numel() for weights in model.state_dict().values())
    most = _ROOM[0] * elements + _ROOM[1]
    if built > most:
        raise ModelFilesError(f"config.json describes {built:,} weights, but {elements:,} are stored")
