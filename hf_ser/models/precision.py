"""Windows and filters have their own precision, whatever the model around them is loaded or cast to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import nn


class KeepsPrecision(nn.Module):
    """A module whose tensors move with the model, but are not cast with it."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        def move(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)


@contextmanager
def float32_on_cpu() -> Iterator[None]:
    """Compute here as if no model were being loaded: from_pretrained builds on "meta", and in the dtype asked for."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)
