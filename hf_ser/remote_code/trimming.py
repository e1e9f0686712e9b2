"""Cut the silent ends of clips in batches, on any device."""

import torch
from torch import nn

_HOP = 512
_BLOCKS = 4  # hops per frame
_FLOOR = 1e-10  # mean square of silence


def cut_silent_ends(waveforms: torch.Tensor, trim_db: float, num_samples: int) -> torch.Tensor:
    """Cut both ends where the framewise RMS is `trim_db` dB or more below its maximum, and keep the first samples.

    Frames have 2048 samples every 512, as in librosa.effects.trim. Clips may be padded with zeros at the end. Silent
    clips are not trimmed.

    Args:
        waveforms: (batch, samples), with zeros after the end of each clip.
        trim_db: decibels.
        num_samples: number of samples to keep; shorter clips are padded with zeros.

    Returns:
        (batch, num_samples).
    """
    blocks = _blocks(waveforms)  # the last block is zero
    first, end = _loud_blocks(blocks, trim_db)
    places = first + torch.arange(-(-num_samples // _HOP), device=waveforms.device)
    places = places.where(places < end, blocks.shape[1] - 1)
    rows = torch.arange(blocks.shape[0], device=waveforms.device)[:, None] * blocks.shape[1]
    kept = blocks.flatten(0, 1).index_select(0, (rows + places).flatten())
    return kept.unflatten(0, (-1, places.shape[1])).flatten(1)[:, :num_samples]


def loud_part(waveforms: torch.Tensor, trim_db: float) -> tuple[torch.Tensor, torch.Tensor]:
    """First sample and sample after the last (batch, 1) of the part that `cut_silent_ends` keeps.

    The end may lie after the end of the clip.
    """
    first, end = _loud_blocks(_blocks(waveforms), trim_db)
    return first * _HOP, end * _HOP


def _blocks(waveforms: torch.Tensor) -> torch.Tensor:
    """Waveforms (batch, samples) -> (batch, blocks, _HOP), padded with zeros, with a block of zeros at the end."""
    return nn.functional.pad(waveforms, (0, -waveforms.shape[1] % _HOP + _HOP)).unflatten(1, (-1, _HOP))


def _loud_blocks(blocks: torch.Tensor, trim_db: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of the first loud block, and of the block after the last one (batch, 1)."""
    squares = torch.linalg.vector_norm(blocks[:, :-1], dim=-1) ** 2
    half = _BLOCKS // 2
    # Frame i is centred on the start of block i, and covers two blocks before and two after it.
    frames = nn.functional.pad(squares, (half, half)).unfold(1, _BLOCKS, 1).sum(dim=-1) / (_BLOCKS * _HOP)
    frames = frames.clamp(min=_FLOOR)
    loud = frames > frames.amax(dim=1, keepdim=True) * 10 ** (-trim_db / 10)
    numbers = torch.arange(frames.shape[1], device=frames.device)
    first = numbers.where(loud, frames.shape[1]).amin(dim=1, keepdim=True)
    end = (numbers.where(loud, 0).amax(dim=1, keepdim=True) + 1).clamp(max=blocks.shape[1] - 1)
    return first, end
