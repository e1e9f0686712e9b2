"""Layers with a fixed precision: windows and filters, and recurrent layers on CPUs without bfloat16."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

import torch
from torch import nn


class KeepsPrecision(nn.Module):
    """A module whose tensors are moved with the model, but not cast with it."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        def move(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)


@contextmanager
def float32_on_cpu() -> Iterator[None]:
    """Compute in float32 on the CPU; from_pretrained builds models on the "meta" device in the requested dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


@cache
def has_recurrence(mode: str, dtype: torch.dtype) -> bool:
    """Whether this CPU can train LSTM or GRU layers in `dtype`; on many CPUs, oneDNN has no primitive for it."""
    # Under autocast, because without it torch works around some missing primitives, slowly.
    with float32_on_cpu(), torch.autocast("cpu", dtype), torch.inference_mode(False), torch.enable_grad():
        layer = {"LSTM": nn.LSTM, "GRU": nn.GRU}[mode](2, 2, batch_first=True, bidirectional=True)
        try:
            layer(torch.ones(1, 2, 2))[0].sum().backward()
        except (RuntimeError, NotImplementedError):
            return False
    return True


def bidirectional(
    kind: type[nn.LSTM] | type[nn.GRU], input_size: int, hidden_size: int, num_layers: int, dropout: float
) -> nn.LSTM | nn.GRU:
    """Make bidirectional recurrent layers for `recur`.

    Args:
        kind: LSTM or GRU.
        input_size: size of a frame.
        hidden_size: units per direction.
        num_layers: number of stacked layers.
        dropout: dropout probability between layers; ignored for one layer, for which torch would warn.
    """
    between = dropout if num_layers > 1 else 0.0
    return kind(input_size, hidden_size, num_layers, batch_first=True, bidirectional=True, dropout=between)


def recur(layer: nn.LSTM | nn.GRU, sequence: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """Run a recurrent layer, in float32 on CPUs that do not support it in the precision of the model or autocast.

    Args:
        layer: recurrent layer with batch_first=True.
        sequence: (batch, frames, size).

    Returns:
        Outputs (batch, frames, directions * hidden_size), and the final states.
    """
    dtype = sequence.dtype
    if sequence.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    if sequence.device.type != "cpu" or dtype == torch.float32 or has_recurrence(layer.mode, dtype):
        return layer(sequence)
    with torch.autocast("cpu", enabled=False):
        weights = {name: weight.float() for name, weight in layer.named_parameters()}
        output, states = torch.func.functional_call(layer, weights, (sequence.float(),))
    states = tuple(state.to(sequence.dtype) for state in states) if isinstance(states, tuple) else states
    return output.to(sequence.dtype), states if isinstance(states, tuple) else states.to(sequence.dtype)
