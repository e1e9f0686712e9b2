"""Mel-frequency cepstral coefficients."""

import torch
import torchaudio
from torch import nn

from .log_mel import LogMel
from .precision import float32_on_cpu
from .spectra import in_portions

DELTA_WIDTH = 9  # number of frames that a derivative is fitted over, as by default in librosa
_BLOCK = 32  # frames per matrix product for derivatives; faster than nine sums, although most factors are 0


class Cepstrum(nn.Module):
    """Log-mel spectrogram (batch, n_mels, frames) -> MFCC, followed by their time derivatives.

    An orthonormal DCT-II (Davis and Mermelstein 1980). Derivatives equal those of librosa.feature.delta: a line is
    fitted over 9 frames for the first, a parabola for the second. The first and the last fit extend to the edges.

    Args:
        n_mels: number of mel bands of the input.
        n_mfcc: number of coefficients, at most n_mels.
        deltas: 0 for none, 1 for the first derivative, 2 for the first and the second.

    Raises:
        ValueError: there are more coefficients than bands, or deltas is not 0, 1 or 2.
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
        coefficients = log_mel.transpose(1, 2) @ self.dct.T  # (batch, frames, n_mfcc)
        if not self.deltas:
            return coefficients.transpose(1, 2)
        if coefficients.shape[1] < DELTA_WIDTH:
            raise ValueError(
                f"log_mel: got {coefficients.shape[1]} frames; expected at least {DELTA_WIDTH} for deltas."
            )
        return torch.cat([coefficients, *self._derivatives(coefficients)], dim=2).transpose(1, 2)

    def _derivatives(self, coefficients: torch.Tensor) -> list[torch.Tensor]:
        """Fit lines and parabolas over the frames around each frame; the first and last fits extend to the edges."""
        frames, half = coefficients.shape[1], DELTA_WIDTH // 2
        fits = frames - 2 * half
        blocks = -(-fits // _BLOCK)
        padded = nn.functional.pad(coefficients, (0, 0, 0, blocks * _BLOCK - fits))
        around = padded.unfold(1, _BLOCK + 2 * half, _BLOCK).transpose(2, 3)  # (batch, blocks, frames, n_mfcc)
        fitted = (_band_matrix(self.slopes) @ around).unflatten(2, (self.deltas, _BLOCK))
        nearest = torch.arange(-half, frames - half, device=fitted.device).clamp(0, fits - 1)
        return [fitted[:, :, number].flatten(1, 2).index_select(1, nearest) for number in range(self.deltas)]


class MFCC(nn.Module):
    """Waveform (batch, samples) -> MFCC (batch, n_mfcc * (1 + deltas), frames).

    Args:
        n_mfcc: number of coefficients.
        deltas: see `Cepstrum`.
        top_db: dynamic range of the log-mel spectrogram in dB below the clip's maximum; None for no limit. 80 in
            librosa.feature.mfcc.
        **log_mel: parameters of `LogMel`.

    >>> import torch
    >>> from hf_ser.models import MFCC
    >>> MFCC(13, deltas=1, top_db=80.0)(torch.zeros(2, 16_000)).shape
    torch.Size([2, 26, 101])
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
    """Limit spectrograms (batch, bands, frames) to `top_db` dB below each clip's maximum; None for no limit."""
    if top_db is None:
        return log_mel
    return torch.maximum(log_mel, log_mel.amax(dim=(1, 2), keepdim=True) - top_db)


def _derivative_filters() -> torch.Tensor:
    """Least-squares weights (2, DELTA_WIDTH) of the first and the second derivative (Savitzky and Golay 1964)."""
    place = torch.arange(DELTA_WIDTH, dtype=torch.float64) - DELTA_WIDTH // 2
    line = torch.linalg.pinv(torch.stack([place**0, place], dim=1))[1]
    parabola = 2 * torch.linalg.pinv(torch.stack([place**0, place, place**2], dim=1))[2]
    return torch.stack([line, parabola]).float()


def _band_matrix(filters: torch.Tensor) -> torch.Tensor:
    """Filters (n, width) -> band matrix (n * _BLOCK, _BLOCK + width - 1); each row is the filter shifted by one."""
    shifted = nn.functional.pad(filters, (0, _BLOCK))[:, None].expand(-1, _BLOCK, -1).flatten(1)
    return shifted[:, :-_BLOCK].reshape(len(filters) * _BLOCK, -1)
