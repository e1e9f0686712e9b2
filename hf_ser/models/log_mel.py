"""Log-mel spectrogram frontend."""

import torch
import torchaudio
from torch import nn


class LogMel(nn.Module):
    """Waveform (batch, samples) -> log-mel spectrogram in decibels (batch, n_mels, frames).

    Slaney's mel scale and area normalisation, as librosa's defaults; frames are centred on multiples of the hop.

    Args:
        sampling_rate: Hz.
        n_mels: mel bands between 0 Hz and half the sampling rate.
        n_fft: samples of a window (Hann) and of its Fourier transform.
        hop_length: samples between frames.
        floor: smallest power; its logarithm is that of silence.
    """

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_mels: int = 80,
        n_fft: int = 400,
        hop_length: int = 160,
        floor: float = 1e-10,
    ) -> None:
        super().__init__()
        self.floor = floor
        # transformers builds models on the meta device, where torchaudio cannot compute its windows and filters.
        with torch.device("cpu"):
            self.mel = torchaudio.transforms.MelSpectrogram(
                sample_rate=sampling_rate,
                n_fft=n_fft,
                hop_length=hop_length,
                n_mels=n_mels,
                norm="slaney",
                mel_scale="slaney",
            )

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """Return (batch, n_mels, 1 + samples // hop_length)."""
        return 10 * torch.log10(self.mel(input_values).clamp(min=self.floor))
