"""Convert waveforms of any length to the fixed-duration features of the companion models."""

import torch
from torch import nn

from .companion_config import CompanionConfig
from .deltas import DELTA_WIDTH, Deltas
from .layers import SpecAugment
from .log_mel import LogMel
from .mfcc import Cepstrum, limit_range
from .pcen import per_channel_energy
from .precision import KeepsPrecision
from .trimming import cut_silent_ends


class Frontend(KeepsPrecision):
    """Waveforms (batch, samples) -> features (batch, channels * rows, frames) of the first `num_samples` samples.

    Shorter waveforms are padded with zeros, so that padding does not change the result. Trailing zeros count as
    padding, with or without a mask. The frontend computes in float32 regardless of the model's precision.

    Args:
        config: parameters of the signal processing.
    """

    def __init__(self, config: CompanionConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.sampling_rate, config.n_mels, config.n_fft, config.hop_length)
        self.cepstrum = Cepstrum(config.n_mels, config.n_mfcc, config.deltas) if config.features == "mfcc" else None
        self.deltas: Deltas | None = None  # those of cepstra are part of Cepstrum
        if config.features == "log_mel" and config.deltas:
            # Per half a window, derivatives have about the same range as the spectrogram; per frame, a tenth.
            self.deltas = Deltas(config.deltas, unit=DELTA_WIDTH // 2)
        self.augment = SpecAugment(config)

    def forward(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute features.

        Args:
            input_values: waveforms (batch, samples), floating point.
            attention_mask: 1 for samples, 0 for padding (batch, samples).

        Returns:
            Features (batch, num_channels * num_rows, frames), and the number of unpadded frames of each clip (batch,).

        Raises:
            ValueError: the shape is wrong, the waveforms are integers, or samples are not finite.
        """
        waveforms = self._fit(input_values, attention_mask)
        num_frames = self._true_frames(waveforms)
        with torch.autocast(waveforms.device.type, enabled=False):
            features = self._normalized(limit_range(self.log_mel(waveforms), self.config.top_db))
            for layer in (self.cepstrum, self.deltas):
                features = features if layer is None else layer(features)
            if self.config.normalize == "clip":
                features = normalize_rows(features, num_frames)
            return self.augment(features, num_frames)

    def _normalized(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Normalize spectrograms in decibels (batch, n_mels, frames); "clip" follows after the derivatives."""
        config = self.config
        if config.normalize == "ref_max":
            return log_mel - log_mel.amax(dim=(1, 2), keepdim=True)
        if config.normalize == "global":
            return (log_mel - config.global_mean) / config.global_std
        if config.normalize == "pcen":
            return per_channel_energy(log_mel, config.sampling_rate, config.hop_length)
        return log_mel

    def _fit(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Set padding to zero, cut silent ends if trim_db is set, and cut or pad to (batch, num_samples)."""
        check_waveforms(input_values, attention_mask)
        num_samples, trim_db = self.config.num_samples, self.config.trim_db
        used = num_samples if trim_db is None and not torch.compiler.is_exporting() else input_values.shape[1]
        waveforms = input_values[:, :used].float()
        if attention_mask is not None:
            waveforms = waveforms.where(attention_mask[:, :used].bool(), 0.0)
        if trim_db is not None:
            check_finite(torch.stack(torch.aminmax(waveforms)))
            return cut_silent_ends(waveforms, trim_db, num_samples)
        if torch.compiler.is_exporting():  # a graph must not depend on which of the two is longer
            return nn.functional.pad(waveforms, (0, num_samples))[:, :num_samples]
        return nn.functional.pad(waveforms, (0, num_samples - waveforms.shape[1]))

    def _true_frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Number of frames up to the last nonzero sample, at least 1 (batch,)."""
        hop_length, frames = self.config.hop_length, self.config.num_frames
        # A clip of n samples has 1 + n // hop_length frames. Shifted by one, its last
        # sample is in block n // hop_length.
        shifted = nn.functional.pad(waveforms, (1, frames * hop_length - self.config.num_samples - 1))
        peaks = shifted.unflatten(1, (frames, hop_length)).abs().amax(dim=-1)
        check_finite(peaks)
        return 1 + (torch.arange(frames, device=peaks.device) * (peaks > 0)).amax(dim=1)


def check_waveforms(input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> None:
    """Check a batch of waveforms.

    Raises:
        ValueError: the shape is not (batch, samples), there are no samples, the dtype is an integer type, or the mask
            has another shape.
    """
    shape = tuple(input_values.shape)
    if len(shape) != 2 or shape[1] == 0:
        raise ValueError(f"input_values: got shape {shape}; expected mono waveforms (batch, samples).")
    if not input_values.is_floating_point():
        raise ValueError(
            f"input_values: got {input_values.dtype}; expected floating point between -1 and 1. "
            "Divide 16-bit integers by 32768."
        )
    if attention_mask is not None and attention_mask.shape != input_values.shape:
        raise ValueError(
            f"attention_mask: got shape {tuple(attention_mask.shape)}; expected the shape of input_values, {shape}."
        )


def check_finite(peaks: torch.Tensor) -> None:
    """Check waveforms for NaN and infinite samples by their peaks.

    Raises:
        ValueError: a peak is not finite.
    """
    if not torch.compiler.is_compiling() and not torch.isfinite(peaks).all():
        raise ValueError("input_values: got NaN or infinite samples; expected finite samples. Repair the clip.")


def normalize_rows(features: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
    """Normalize each row to mean 0 and variance 1 over the unpadded frames; set padding to 0.

    Args:
        features: (batch, rows, frames).
        num_frames: number of unpadded frames of each clip (batch,).
    """
    true = (torch.arange(features.shape[-1], device=features.device) < num_frames[:, None])[:, None, :]
    count = num_frames[:, None, None]
    centred = (features - (features * true).sum(dim=-1, keepdim=True) / count) * true
    deviation = ((centred**2).sum(dim=-1, keepdim=True) / count).sqrt()
    return centred / deviation.clamp(min=1e-5)
