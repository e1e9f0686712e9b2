"""Cutting the silent ends of clips in batches, on any device."""

import torch
from torch import nn

_HOP = 512
_BLOCKS = 4  # hops in a frame
_FLOOR = 1e-10  # mean square of silence


def loud_part(waveforms: torch.Tensor, trim_db: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Find what lies between the ends whose framewise RMS is more than `trim_db` dB below its maximum.

    Frames of 2048 samples every 512, as librosa.effects.trim. Zeros at the end change nothing, so that clips may be
    padded; a silent clip counts as loud.

    Args:
        waveforms: (batch, samples), zeros after each clip's end.
        trim_db: decibels.

    Returns:
        First sample, and the one after the last, which may lie in the padding (batch, 1).
    """
    padded = nn.functional.pad(waveforms, (0, -waveforms.shape[1] % _HOP))
    squares = torch.linalg.vector_norm(padded.unflatten(1, (-1, _HOP)), dim=-1) ** 2
    half = _BLOCKS // 2
    # Frame i is centred on the start of block i, and lies between two blocks before and two after it.
    frames = nn.functional.pad(squares, (half, half)).unfold(1, _BLOCKS, 1).sum(dim=-1) / (_BLOCKS * _HOP)
    frames = frames.clamp(min=_FLOOR)
    loud = frames > frames.amax(dim=1, keepdim=True) * 10 ** (-trim_db / 10)
    numbers = torch.arange(frames.shape[1], device=frames.device)
    start = numbers.where(loud, frames.shape[1]).amin(dim=1, keepdim=True) * _HOP
    end = (numbers.where(loud, 0).amax(dim=1, keepdim=True) + 1) * _HOP
    return start, end.clamp(max=waveforms.shape[1])


def cut_silent_ends(waveforms: torch.Tensor, trim_db: float, num_samples: int) -> torch.Tensor:
    """Keep the first samples of the loud part, see `loud_part`.

    Args:
        waveforms: (batch, samples), zeros after each clip's end.
        trim_db: decibels.
        num_samples: of what is left, filled with zeros.

    Returns:
        (batch, num_samples).
    """
    start, end = loud_part(waveforms, trim_db)
    places = start + torch.arange(num_samples, device=waveforms.device)
    return waveforms.gather(1, places.clamp(max=waveforms.shape[1] - 1)).where(places < end, 0.0)
