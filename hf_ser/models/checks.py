"""Checks of configurations: what was got, and what was expected."""

import math
from typing import Any

from transformers import PreTrainedConfig


def check_positive(config: PreTrainedConfig, *names: str, least: int = 1) -> None:
    """Raise ValueError unless these fields are integers, or lists of integers, of at least `least`."""
    for name in names:
        value = getattr(config, name)
        items = value if isinstance(value, list) else [value]
        if not items or any(isinstance(item, bool) or not isinstance(item, int) or item < least for item in items):
            raise ValueError(f"{name}: got {value!r}; expected integers of at least {least}.")


def check_number(config: PreTrainedConfig, *names: str, zero: bool = False) -> None:
    """Raise ValueError unless these fields are finite numbers above 0, or 0 where that is allowed."""
    for name in names:
        value = getattr(config, name)
        number = not isinstance(value, bool) and isinstance(value, (int, float)) and 0 <= value < math.inf
        if not number or (value == 0 and not zero):
            raise ValueError(f"{name}: got {value!r}; expected a number {'from 0' if zero else 'above 0'}.")


def check_probability(config: PreTrainedConfig, *names: str) -> None:
    """Raise ValueError unless these fields are probabilities below 1."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise ValueError(f"{name}: got {value!r}; expected a probability from 0 to below 1.")


def check_choice(config: PreTrainedConfig, name: str, choices: tuple[Any, ...]) -> None:
    """Raise ValueError unless this field is one of the choices."""
    value = getattr(config, name)
    if isinstance(value, bool) or value not in choices:
        raise ValueError(f"{name}: got {value!r}; expected one of {', '.join(map(str, choices))}.")


def check_stack(config: Any) -> None:
    """Raise ValueError unless the fields of `ConvStack` fit each other and leave something of the features.

    Args:
        config: a `CompanionConfig` that has them.
    """
    check_positive(config, "channels", "kernel_sizes", "pool_size")
    check_probability(config, "dropout")
    blocks = len(config.channels)
    if len(config.kernel_sizes) != blocks or any(size % 2 == 0 for size in config.kernel_sizes):
        raise ValueError(
            f"kernel_sizes: got {config.kernel_sizes}; expected {blocks} odd numbers, one per entry of channels."
        )
    config.pooled_shape(blocks, config.pool_size)


def check_loaded(info: dict[str, Any]) -> None:
    """Raise ValueError where from_pretrained (with output_loading_info) did not find every tensor in its shape."""
    absent = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if absent:
        more = f" and {len(absent) - 8} more" if len(absent) > 8 else ""
        shown = ", ".join(absent[:8])
        raise ValueError(f"tensors absent or of another shape: got none for {shown}{more}; expected all.")
