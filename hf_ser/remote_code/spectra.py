"""Power spectra and filterbanks, computed in the order and block sizes that are fastest on a CPU."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

_PORTION = 400_000  # number of samples whose spectra fit in a CPU's cache
_GROUPS = 5


def in_portions(
    function: Callable[..., torch.Tensor],
    waveforms: torch.Tensor,
    mask: torch.Tensor | None = None,
    num_samples: int | None = None,
) -> torch.Tensor:
    """Apply a function to a few waveforms at a time on a CPU, and to the whole batch on other devices.

    Args:
        function: function of waveforms, and of their mask if there is one.
        waveforms: (batch, samples).
        mask: (batch, samples).
        num_samples: number of samples of a clip that the function uses; None for all.
    """
    inputs = (waveforms,) if mask is None else (waveforms, mask)
    if torch.compiler.is_exporting() or waveforms.device.type != "cpu":
        return function(*inputs)
    clips = max(1, _PORTION // (num_samples or waveforms.shape[1]))
    if len(waveforms) <= clips:
        return function(*inputs)
    portions = zip(*(tensor.split(clips) for tensor in inputs), strict=True)
    return torch.cat([function(*portion) for portion in portions])


def power_spectra(waveforms: torch.Tensor, window: torch.Tensor, hop_length: int, pad_mode: str) -> torch.Tensor:
    """Power spectra of frames that are centred on multiples of the hop.

    Equal to those of torch.stft, whose layout (bins before frames) would have to be transposed for filterbanks.

    Args:
        waveforms: (batch, samples), float32.
        window: (n_fft,), with an even n_fft.
        hop_length: samples between frames.
        pad_mode: padding before and after the waveform: reflect or constant (zeros).

    Returns:
        (batch, 1 + samples // hop_length, 1 + n_fft // 2).
    """
    half = len(window) // 2
    if torch.compiler.is_exporting():
        padded = nn.functional.pad(waveforms, (half, half), mode=pad_mode)
        return _power_by_matrix(padded, window, hop_length)
    # torch's padding takes five times as long on a CPU, and raises for waveforms that are too short to reflect.
    if pad_mode == "reflect" and waveforms.shape[1] > half:
        before, after = waveforms[:, 1 : half + 1].flip(1), waveforms[:, -half - 1 : -1].flip(1)
        padded = torch.cat([before, waveforms, after], dim=1)
    else:
        padded = nn.functional.pad(waveforms, (half, half), mode=pad_mode)
    spectra = torch.view_as_real(torch.fft.rfft(padded.unfold(1, len(window), hop_length) * window))
    squares = spectra.square() if spectra.requires_grad else spectra.square_()
    return squares[..., 0] + squares[..., 1]


def _power_by_matrix(padded: torch.Tensor, window: torch.Tensor, hop_length: int) -> torch.Tensor:
    """The same by a matrix product, for exported graphs: their runtimes compute Fourier transforms slowly."""
    n_fft = len(window)
    size = math.gcd(n_fft, hop_length)
    frames = (padded.shape[1] - n_fft) // hop_length + 1
    # A frame is n_fft / size blocks; slices of the blocks, side by side, are all frames.
    blocks = padded[:, : padded.shape[1] // size * size].unflatten(1, (-1, size))
    step, last = hop_length // size, (frames - 1) * (hop_length // size) + 1
    parts = [blocks[:, part : part + last : step] for part in range(n_fft // size)]
    waves = torch.from_numpy(_waves(n_fft, n_fft // 2 + 1))
    real, imaginary = ((torch.cat(parts, dim=-1) * window) @ waves).chunk(2, dim=-1)
    return real.square() + imaginary.square()


def _waves(rows: int, columns: int, n_fft: int | None = None) -> np.ndarray:
    """Cosines and then sines (rows, 2 * columns) of row times column cycles per n_fft, which defaults to the rows."""
    angles = np.outer(np.arange(rows), np.arange(columns)) * (2 * math.pi / (n_fft or rows))
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def inverse_transform(power: torch.Tensor, lags: int) -> torch.Tensor:
    """Autocorrelations (..., lags) from power spectra (..., 1 + n_fft // 2)."""
    if not torch.compiler.is_exporting():
        return torch.fft.irfft(power)[..., :lags]
    n_fft = 2 * (power.shape[-1] - 1)
    bins = n_fft // 2 + 1
    counts = np.full((bins, 1), 2 / n_fft, np.float32)  # most bins stand for their mirror image too
    counts[[0, -1]] = 1 / n_fft
    return power @ torch.from_numpy(_waves(bins, lags, n_fft)[:, :lags] * counts)


def filter_groups(filters: torch.Tensor) -> tuple[tuple[int, int, int, int], ...]:
    """Split a filterbank (bins, filters), in order of frequency, into a few blocks that contain all nonzero weights.

    Returns:
        First filter, filter after the last, first bin and bin after the last of each block.
    """
    groups = []
    for number in range(_GROUPS):
        first, end = (filters.shape[1] * edge // _GROUPS for edge in (number, number + 1))
        bins = torch.nonzero(filters[:, first:end].sum(dim=1)).flatten().tolist()
        if end > first:
            groups.append((first, end, bins[0] if bins else 0, bins[-1] + 1 if bins else 1))
    return tuple(groups)


def apply_filters(
    power: torch.Tensor, filters: torch.Tensor, groups: tuple[tuple[int, int, int, int], ...]
) -> torch.Tensor:
    """Matrix product power (batch, frames, bins) @ filters (bins, filters), block by block (see `filter_groups`)."""
    return torch.cat([power[..., low:high] @ filters[low:high, first:end] for first, end, low, high in groups], dim=-1)
