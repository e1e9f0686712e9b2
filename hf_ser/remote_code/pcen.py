"""Per-channel energy normalisation."""

import math

import torch

_GAIN, _BIAS, _POWER, _TIME_CONSTANT_S, _EPS = 0.98, 2.0, 0.5, 0.4, 1e-6  # as by default in librosa
_SCALE = 2.0**31  # full scale of the energies for which these values are meant


def per_channel_energy(log_mel: torch.Tensor, sampling_rate: int, hop_length: int) -> torch.Tensor:
    """Normalize each band of a spectrogram by its own running mean, then compress it.

    Wang et al. 2017, "Trainable Frontend for Robust and Far-Field Keyword Spotting", with fixed parameters. Equal to
    librosa.pcen(2**31 * power, sr=sampling_rate, hop_length=hop_length).

    Args:
        log_mel: log-mel spectrogram in decibels (batch, bands, frames), float32.
        sampling_rate: Hz.
        hop_length: samples between frames.

    Returns:
        Values of at least 0 (batch, bands, frames).
    """
    energy = _SCALE * torch.exp(log_mel * (math.log(10) / 10))
    smooth = torch.exp(-_GAIN * torch.log(_EPS + _running_mean(energy, sampling_rate, hop_length)))
    return math.sqrt(_BIAS) * torch.expm1(_POWER * torch.log1p(energy * smooth / _BIAS))


def _running_mean(energy: torch.Tensor, sampling_rate: int, hop_length: int) -> torch.Tensor:
    """First-order low-pass filter over the frames of (batch, bands, frames), which starts at 1 as in librosa.

    A product with the matrix of decaying weights instead of a recursion: it needs no loop over frames and exports. All
    terms are positive, so that nothing cancels.
    """
    time_constant = _TIME_CONSTANT_S * sampling_rate / hop_length  # frames
    rate = (math.sqrt(1 + 4 * time_constant**2) - 1) / (2 * time_constant**2)
    frame = torch.arange(energy.shape[2], device=energy.device, dtype=energy.dtype)
    lag = frame - frame[:, None]
    decay = torch.exp(lag.clamp(min=0) * math.log1p(-rate)) * (lag >= 0)  # (source frame, frame)
    return rate * (energy @ decay) + (1 - rate) * decay[0]
