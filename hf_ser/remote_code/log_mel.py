"""Log-mel spectrogram frontend."""

import torch
import torchaudio
from torch import nn

from .precision import float32_on_cpu
from .spectra import apply_filters, filter_groups, in_portions, power_spectra


class LogMel(nn.Module):
    """Waveform (batch, samples) -> log-mel spectrogram in decibels (batch, n_mels, frames).

    Slaney's mel scale and area normalisation, as by default in librosa; frames are centred on multiples of the hop.

    Args:
        sampling_rate: Hz.
        n_mels: number of mel bands between 0 Hz and half the sampling rate.
        n_fft: length of the Hann window and size of the Fourier transform, in samples.
        hop_length: samples between frames.
        floor: minimum power before the logarithm.

    >>> import torch
    >>> from hf_ser.models import LogMel
    >>> LogMel()(torch.zeros(2, 16_000)).shape
    torch.Size([2, 80, 101])
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
        with float32_on_cpu():
            self.mel = torchaudio.transforms.MelSpectrogram(
                sample_rate=sampling_rate,
                n_fft=n_fft,
                hop_length=hop_length,
                n_mels=n_mels,
                norm="slaney",
                mel_scale="slaney",
            )
        self.groups = filter_groups(self.mel.mel_scale.fb)

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """Return (batch, n_mels, 1 + samples // hop_length)."""
        return in_portions(self._decibels, input_values)

    def _decibels(self, waveforms: torch.Tensor) -> torch.Tensor:
        # Equal to self.mel(waveforms), in half the time.
        power = power_spectra(waveforms, self.mel.spectrogram.window, self.mel.hop_length, pad_mode="reflect")
        bands = apply_filters(power, self.mel.mel_scale.fb, self.groups)
        return (10 * torch.log10(bands.clamp(min=self.floor))).transpose(1, 2)
