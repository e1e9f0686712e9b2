"""Vocal tract length perturbation: warp the frequency axis of mel bands."""

import math

import torch

_LINEAR_HZ = 1000.0  # Slaney's mel scale is linear up to here, and logarithmic above
_HZ_PER_MEL = 200 / 3
_STEP = math.log(6.4) / 27  # logarithm of the frequency ratio of one mel, in the logarithmic part
_BOUNDARY = 0.6  # of half the sampling rate: 4.8 kHz at 16 kHz


def warped_rows(rows: torch.Tensor, factors: torch.Tensor, n_mels: int, sampling_rate: int) -> torch.Tensor:
    """Positions in a mel spectrogram from which its rows are taken to warp the frequency axis.

    A position at f Hz becomes that of G(f) = factor * f, so that factors above 1 move formants down. Above a boundary
    of 4.8 kHz (at a sampling rate of 16 kHz), G is the line to half the sampling rate, which stays in place (Jaitly
    and Hinton 2013, "Vocal Tract Length Perturbation (VTLP) improves speech recognition").

    Args:
        rows: positions, in rows (batch, n).
        factors: of each clip, above 0 and below 5/3 (batch, 1).
        n_mels: number of mel bands, as in `LogMel`.
        sampling_rate: in Hz.

    Returns:
        Positions (batch, n), from -1 (0 Hz) to n_mels (half the sampling rate).
    """
    half = sampling_rate / 2
    spacing = hz_to_mel(torch.tensor(half)).item() / (n_mels + 1)  # the centre of row 0 is one spacing above 0 Hz
    hz = mel_to_hz((rows + 1) * spacing).clamp(0, half)
    highest = _BOUNDARY * half * factors.clamp(max=1.0)  # G at the boundary
    boundary = highest / factors
    upper = half - (half - highest) / (half - boundary) * (half - hz)
    return hz_to_mel(torch.where(hz <= boundary, factors * hz, upper)) / spacing - 1


def hz_to_mel(hz: torch.Tensor) -> torch.Tensor:
    """Frequencies in Hz -> Slaney's mel scale (Auditory Toolbox, 1998), as in `LogMel`."""
    logarithmic = _LINEAR_HZ / _HZ_PER_MEL + torch.log(hz.clamp(min=_LINEAR_HZ) / _LINEAR_HZ) / _STEP
    return torch.where(hz < _LINEAR_HZ, hz / _HZ_PER_MEL, logarithmic)


def mel_to_hz(mel: torch.Tensor) -> torch.Tensor:
    """Inverse of `hz_to_mel`."""
    above = mel - _LINEAR_HZ / _HZ_PER_MEL
    return torch.where(above < 0, mel * _HZ_PER_MEL, _LINEAR_HZ * torch.exp(above * _STEP))
