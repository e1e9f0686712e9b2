"""Mel-frequency cepstral coefficients."""

import torch
import torchaudio
from torch import nn

from .log_mel import LogMel
from .precision import float32_on_cpu
from .spectra import in_portions

DELTA_WIDTH = 9  # frames that a derivative is fitted over, as librosa's default


class Cepstrum(nn.Module):
    """Log-mel spectrogram (batch, n_mels, frames) -> MFCC, with their derivatives in time below them.

    An orthonormal DCT-II (Davis and Mermelstein 1980). Derivatives are those of librosa.feature.delta: a line is
    fitted over 9 frames for the first, a parabola for the second, and the first and last fit holds to the edge.

    Args:
        n_mels: bands of the input.
        n_mfcc: coefficients, n_mels at most.
        deltas: 0 for none, 1 for the first derivative, 2 for the first and the second.

    Raises:
        ValueError: more coefficients than bands, or another number of deltas.
    """

    dct: torch.Tensor
    slopes: torch.Tensor

    def __init__(self, n_mels: int = 80, n_mfcc: int = 80, deltas: int = 0) -> None:
        super().__init__()
        if not 1 <= n_mfcc <= n_mels:
            raise ValueError(f"n_mfcc: got {n_mfcc}; expected 1 to n_mels, which is {n_mels}.")
        if deltas not in (0, 1, 2):
            raise ValueError(f"deltas: got {deltas}; expected 0, 1 (delta) or 2 (delta and delta-delta).")
        self.deltas = deltas
        with float32_on_cpu():
            self.register_buffer("dct", torchaudio.functional.create_dct(n_mfcc, n_mels, norm="ortho").T.contiguous())
            self.register_buffer("slopes", _derivative_filters()[:deltas].clone())

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Return (batch, n_mfcc * (1 + deltas), frames)."""
        coefficients = (log_mel.transpose(1, 2) @ self.dct.T).transpose(1, 2)
        if not self.deltas:
            return coefficients
        if coefficients.shape[-1] < DELTA_WIDTH:
            raise ValueError(
                f"log_mel: got {coefficients.shape[-1]} frames; expected at least {DELTA_WIDTH} for deltas."
            )
        fitted = [self._derivative(coefficients, number) for number in range(self.deltas)]
        return torch.cat([coefficients, *fitted], dim=1)

    def _derivative(self, coefficients: torch.Tensor, number: int) -> torch.Tensor:
        """Weigh the frames around each; the frames at the ends repeat the first and the last that can be had."""
        half = DELTA_WIDTH // 2
        width = coefficients.shape[-1] - 2 * half
        weights, sign = self.slopes[number], -1 if number == 0 else 1
        fitted = coefficients[..., half : half + width] * weights[half]
        # The weights are symmetric, or antisymmetric: a sum of slices takes a third of a convolution's time.
        for step in range(1, half + 1):
            after = coefficients[..., half + step : half + step + width]
            before = coefficients[..., half - step : half - step + width]
            fitted = torch.addcmul(fitted, torch.add(after, before, alpha=sign), weights[half + step])
        return nn.functional.pad(fitted, (half, half), mode="replicate")


class Mfcc(nn.Module):
    """Waveform (batch, samples) -> MFCC (batch, n_mfcc * (1 + deltas), frames).

    Args:
        n_mfcc: coefficients.
        deltas: see `Cepstrum`.
        top_db: decibels below the clip's loudest point at which the log-mel spectrogram ends; None for no such floor.
            librosa.feature.mfcc has 80.
        **log_mel: parameters of `LogMel`.
    """

    def __init__(self, n_mfcc: int = 80, deltas: int = 0, top_db: float | None = None, **log_mel: float) -> None:
        super().__init__()
        self.top_db = top_db
        self.log_mel = LogMel(**log_mel)  # type: ignore[arg-type]
        self.cepstrum = Cepstrum(self.log_mel.mel.n_mels, n_mfcc, deltas)

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """Return (batch, n_mfcc * (1 + deltas), 1 + samples // hop_length)."""
        return in_portions(
            lambda waveforms: self.cepstrum(limit_range(self.log_mel(waveforms), self.top_db)), input_values
        )


def limit_range(log_mel: torch.Tensor, top_db: float | None) -> torch.Tensor:
    """Raise what is more than `top_db` below each clip's maximum (batch, bands, frames); None leaves all as it is."""
    if top_db is None:
        return log_mel
    return torch.maximum(log_mel, log_mel.amax(dim=(1, 2), keepdim=True) - top_db)


def _derivative_filters() -> torch.Tensor:
    """Weights (2, DELTA_WIDTH) of the first and the second derivative by least squares (Savitzky and Golay 1964)."""
    place = torch.arange(DELTA_WIDTH, dtype=torch.float64) - DELTA_WIDTH // 2
    line = torch.linalg.pinv(torch.stack([place**0, place], dim=1))[1]
    parabola = 2 * torch.linalg.pinv(torch.stack([place**0, place, place**2], dim=1))[2]
    return torch.stack([line, parabola]).float()
