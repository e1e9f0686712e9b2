"""The model that comes with the package: where it is, and the notice about what it is.

`recipes/make_pretrained.py` makes its folder. Its scores come from its results.json.
"""

import json
import logging
from pathlib import Path
from typing import Any

from hf_ser.errors import SerError

FOLDER = Path(__file__).parent / "pretrained"
NAME = "hf_ser/pretrained"  # of the model, on pages and in messages
LICENCE = "CC BY-NC-SA 4.0"
TERMS = f"non-commercial use ({LICENCE})"
_LOGGER = logging.getLogger(__name__)
_announced = False


class NoDefaultModelError(SerError):
    """No model was given, and the package has none or an incomplete one."""


def default_model(option: str = "--model") -> str:
    """Return the folder of the model that comes with the package.

    Args:
        option: how another model is chosen, for the message.

    Raises:
        NoDefaultModelError: the folder is missing or incomplete.

    >>> Path(default_model()).name
    'pretrained'
    """
    missing = [name for name in ("config.json", "model.safetensors", "results.json") if not (FOLDER / name).is_file()]
    if missing:
        raise NoDefaultModelError(
            f"got no model, and this installation of hf_ser has no {missing[0]} in {NAME}. "
            f"Pass a model folder or Hub id with {option}, or install hf_ser again."
        )
    return str(FOLDER)


def is_default(name: str | Path) -> bool:
    """Whether a model is the one that comes with the package.

    >>> is_default(default_model()), is_default("runs/audio_cnn")
    (True, False)
    """
    return Path(name).resolve() == FOLDER.resolve()


def notice(option: str = "--model") -> str:
    """What the model is and how to choose another, in one line.

    Args:
        option: how another model is chosen.

    >>> notice().partition(":")[0]
    'Using the model that comes with hf_ser'
    """
    return f"Using the model that comes with hf_ser: {description()}. Choose another with {option}."


def description() -> str:
    """Training data, classes, score and terms of the model, such as for the page of the demo.

    >>> description().endswith("non-commercial use (CC BY-NC-SA 4.0)")
    True
    """
    test: dict[str, Any] = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))["splits"]["test"]
    score = f"UAR {test['scores']['uar']:.2f} on unseen speakers"
    return f"acted English speech, {len(test['labels'])} emotions, {score}, {TERMS}"


def announce(option: str = "--model") -> None:
    """Log the notice as a warning, once per process.

    Without a logging configuration, Python prints the line on stderr.
    """
    global _announced
    if not _announced:
        _announced = True
        _LOGGER.warning(notice(option))


def chosen_model(given: str | None, revision: str = "main") -> str:
    """Return the model of `--model`; without one, that of the package, whose notice is logged.

    Raises:
        NoDefaultModelError: no model is given and the package has none, or a revision is given without a model.

    >>> chosen_model("runs/audio_cnn")
    'runs/audio_cnn'
    """
    if given is not None:
        return given
    if revision != "main":
        raise NoDefaultModelError(f"got --revision {revision} without a model on the Hub. Pass --model, or remove it.")
    folder = default_model()
    announce()
    return folder
