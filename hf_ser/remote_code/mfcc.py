"""Mel-frequency cepstral coefficients."""

import torch
import torchaudio
from torch import nn

from .deltas import Deltas
from .log_mel import LogMel
from .precision import float32_on_cpu
from .spectra import in_portions


class Cepstrum(Deltas):
    """Log-mel spectrogram (batch, n_mels, frames) -> MFCC, followed by their time derivatives.

    An orthonormal DCT-II (Davis and Mermelstein 1980).

    Args:
        n_mels: number of mel bands of the input.
        n_mfcc: number of coefficients, at most n_mels.
        deltas: see `Deltas`.

    Raises:
        ValueError: there are more coefficients than bands, or deltas is not 0, 1 or 2.
    """

    dct: torch.Tensor

    def __init__(self, n_mels: int = 80, n_mfcc: int = 80, deltas: int = 0) -> None:
        super().__init__(deltas)
        if not 1 <= n_mfcc <= n_mels:
            raise ValueError(f"n_mfcc: got {n_mfcc}; expected 1 to n_mels, which is {n_mels}.")
        with float32_on_cpu():
            self.register_buffer("dct", torchaudio.functional.create_dct(n_mfcc, n_mels, norm="ortho").T.contiguous())

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Return (batch, n_mfcc * (1 + deltas), frames)."""
        coefficients = log_mel.transpose(1, 2) @ self.dct.T  # (batch, frames, n_mfcc)
        return super().forward(coefficients.transpose(1, 2))


class MFCC(nn.Module):
    """Waveform (batch, samples) -> MFCC (batch, n_mfcc * (1 + deltas), frames).

    Args:
        n_mfcc: number of coefficients.
        deltas: see `Deltas`.
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
