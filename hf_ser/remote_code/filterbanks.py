"""Frequency weights for pitch classes and perceived loudness, computed once in float64 on the CPU."""

import torch


def frequencies_hz(sampling_rate: int, n_fft: int) -> torch.Tensor:
    """Frequencies of the bins of a Fourier transform in Hz (1 + n_fft // 2,), float64."""
    return torch.arange(1 + n_fft // 2, dtype=torch.float64, device="cpu") * sampling_rate / n_fft


def chroma_filters(sampling_rate: int, n_fft: int, n_chroma: int = 12) -> torch.Tensor:
    """Filters for the pitch classes, starting with C (Ellis 2007, "Chroma Feature Analysis").

    Equal to librosa.filters.chroma for the tuning A4 = 440 Hz.

    Returns:
        Weights (n_chroma, 1 + n_fft // 2), float64.
    """
    hz = torch.arange(1, n_fft, dtype=torch.float64, device="cpu") * sampling_rate / n_fft
    octaves = torch.log2(hz / (440 / 16))
    # The bin at 0 Hz has no pitch; it is placed 1.5 octaves below the next bin.
    steps = n_chroma * torch.cat([octaves[:1] - 1.5, octaves])
    widths = torch.cat([(steps[1:] - steps[:-1]).clamp(min=1.0), torch.ones(1, dtype=torch.float64)])
    half = round(n_chroma / 2)
    classes = torch.arange(n_chroma, dtype=torch.float64, device="cpu")[:, None]
    distance = torch.remainder(steps - classes + half + 10 * n_chroma, n_chroma) - half
    weights = torch.exp(-0.5 * (2 * distance / widths) ** 2)
    weights = weights / weights.norm(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    weights = weights * torch.exp(-0.5 * ((steps / n_chroma - 5) / 2) ** 2)
    return torch.roll(weights, -3 * (n_chroma // 12), dims=0)[:, : 1 + n_fft // 2]


def a_weights(sampling_rate: int, n_fft: int) -> torch.Tensor:
    """A-weighting (IEC 61672): perceived loudness by frequency, at least -80 dB.

    Returns:
        Power factors (1 + n_fft // 2,), float64.
    """
    square = frequencies_hz(sampling_rate, n_fft) ** 2
    low, second, third, high = (corner**2 for corner in (20.598997, 107.65265, 737.86223, 12194.217))
    gain = high * square**2 / ((square + low) * ((square + second) * (square + third)).sqrt() * (square + high))
    return 10 ** ((2.0 + 20 * torch.log10(gain)).clamp(min=-80) / 10)
