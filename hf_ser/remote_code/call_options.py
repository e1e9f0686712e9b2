"""Parameters of a call that classifies recordings: checks, and whether the input is one recording or several."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from .windows import check_seconds

PARAMETERS = ("top_k", "window_s", "stride_s", "return_timeline", "on_error", "abstain")


def check_options(given: Mapping[str, Any], parameters: Sequence[str], threshold: float | None) -> dict[str, Any]:
    """Check the parameters of a pipeline or of one call.

    Args:
        given: parameters by name. `on_error=None` means the default and is left out; for the other parameters, None
            is a value.
        parameters: names of the parameters that exist.
        threshold: abstention threshold of the model; None if it has none.

    Returns:
        The parameters.

    Raises:
        ValueError: a parameter does not exist, or its value is invalid.

    >>> check_options({"top_k": 3, "on_error": None}, PARAMETERS, threshold=None)
    {'top_k': 3}
    """
    options = {name: value for name, value in given.items() if value is not None or name != "on_error"}
    unknown = sorted(set(options) - set(parameters))
    if unknown:
        raise ValueError(f"{unknown[0]} is not a parameter; expected one of {', '.join(parameters)}.")
    for name in ("window_s", "stride_s"):
        check_seconds(name, options.get(name))
    top_k = options.get("top_k")
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise ValueError(f"top_k: got {top_k!r}; expected an integer of at least 1, or None for all labels.")
    if options.get("on_error", "raise") not in ("raise", "report"):
        raise ValueError(f"on_error: got {options['on_error']!r}; expected raise or report.")
    chosen_threshold(options.get("abstain"), threshold)
    return options


def chosen_threshold(abstain: Any, stored: float | None) -> float | None:
    """The threshold for a value of the parameter `abstain`; None for no abstention.

    Args:
        abstain: None or False for none, True for the threshold of the model, or a threshold from 0 to 1.
        stored: threshold of the model; None if it has none.

    Raises:
        ValueError: another value, or True for a model without a threshold.
    """
    if abstain is None or abstain is False:
        return None
    if abstain is True:
        if stored is None:
            raise ValueError(
                "abstain: got True, but the model has no abstention threshold; expected a number from 0 to 1."
            )
        return float(stored)
    if not isinstance(abstain, (int, float)) or not 0 <= abstain <= 1:
        raise ValueError(f"abstain: got {abstain!r}; expected True, False or a number from 0 to 1.")
    return float(abstain)


def is_one(inputs: Any) -> bool:
    """Whether the input is one recording, not several."""
    if isinstance(inputs, (str, bytes, bytearray, memoryview, PathLike, Mapping, np.ndarray)):
        return True
    return (
        hasattr(inputs, "read")
        or hasattr(inputs, "get_all_samples")
        or hasattr(inputs, "detach")  # a torch tensor; this module does not import torch
        or not hasattr(inputs, "__getitem__")
        and (not hasattr(inputs, "__iter__"))
    )
