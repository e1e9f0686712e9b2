"""Checks of configuration fields: each error names the field, the value and what was expected."""

import math
from dataclasses import fields
from functools import partial
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from transformers import PreTrainedConfig


def check_positive(config: PreTrainedConfig, *names: str, least: int = 1) -> None:
    """Raise ValueError unless these fields are integers, or lists of integers, of at least `least`."""
    for name in names:
        value = getattr(config, name)
        items = value if isinstance(value, list) else [value]
        if not items or any(isinstance(item, bool) or not isinstance(item, int) or item < least for item in items):
            raise ValueError(f"{name}: got {value!r}; expected integers of at least {least}.")


def check_number(config: PreTrainedConfig, *names: str, zero: bool = False) -> None:
    """Raise ValueError unless these fields are finite numbers above 0, or from 0 with `zero`."""
    for name in names:
        value = getattr(config, name)
        number = not isinstance(value, bool) and isinstance(value, (int, float)) and 0 <= value < math.inf
        if not number or (value == 0 and not zero):
            raise ValueError(f"{name}: got {value!r}; expected a number {'of at least' if zero else 'above'} 0.")


def check_factors(config: PreTrainedConfig, *names: str) -> None:
    """Raise ValueError unless these fields are lists of numbers from 0.5 to 2; they may be empty."""
    for name in names:
        value = getattr(config, name)
        numbers = [item for item in value if isinstance(item, (int, float)) and not isinstance(item, bool)]
        if len(numbers) != len(value) or not all(0.5 <= number <= 2 for number in numbers):
            raise ValueError(
                f"{name}: got {value!r}; expected a list of numbers from 0.5 to 2, such as [0.9, 1.0, 1.1]."
            )


def check_probability(config: PreTrainedConfig, *names: str) -> None:
    """Raise ValueError unless these fields are probabilities below 1."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise ValueError(f"{name}: got {value!r}; expected a probability of at least 0 and below 1.")


def check_choice(config: PreTrainedConfig, name: str, choices: tuple[Any, ...]) -> None:
    """Raise ValueError unless this field is one of the choices."""
    value = getattr(config, name)
    if isinstance(value, bool) or value not in choices:
        raise ValueError(f"{name}: got {value!r}; expected one of {', '.join(map(str, choices))}.")


# Field types: the type in a declaration such as `n_mels: Positive = 80` selects the check of `check_fields`.
Positive = Annotated[int, check_positive]
Count = Annotated[int, partial(check_positive, least=0)]
Sizes = Annotated[list[int] | tuple[int, ...], check_positive]
Factors = Annotated[list[float] | tuple[float, ...], check_factors]
PositiveNumber = Annotated[float, check_number]
NumberFromZero = Annotated[float, partial(check_number, zero=True)]
Probability = Annotated[float, check_probability]


def check_fields(config: PreTrainedConfig) -> None:
    """Check every field whose type is one of the above or a Literal; None is valid if the type allows it.

    Raises:
        ValueError: an invalid field; the message names it, the value and what was expected.
    """
    for field in fields(config):
        kind = field.type
        if NoneType in get_args(kind):
            if getattr(config, field.name) is None:
                continue
            kind = get_args(kind)[0]
        if get_origin(kind) is Literal:
            check_choice(config, field.name, get_args(kind))
        for check in getattr(kind, "__metadata__", ()):
            check(config, field.name)


def check_loaded(info: dict[str, Any]) -> None:
    """Raise ValueError if from_pretrained (with output_loading_info) did not find every tensor in its shape."""
    absent = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if absent:
        more = f" and {len(absent) - 8} more" if len(absent) > 8 else ""
        shown = ", ".join(absent[:8])
        raise ValueError(f"The checkpoint lacks tensors or has them in another shape: {shown}{more}.")
