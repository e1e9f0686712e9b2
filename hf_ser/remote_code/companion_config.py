"""Shared configuration of the companion models: signal processing, and the stack of convolutional blocks.

transformers turns every configuration into a dataclass, so each field is declared once, next to its documentation.
"""

from typing import Any, Literal

from transformers import PreTrainedConfig

from .checks import Count, Factors, NumberFromZero, Positive, PositiveNumber, Probability, Sizes, check_fields
from .deltas import DELTA_WIDTH
from .speech_emotion_pipeline import CUSTOM_PIPELINES


class CompanionConfig(PreTrainedConfig):
    """Signal processing of a companion model. Keywords only, including those of PreTrainedConfig.

    Raises:
        ValueError: a field is invalid; the message names it, its value and what was expected.

    >>> from hf_ser.models import AudioCNNConfig
    >>> config = AudioCNNConfig(duration_s=4.0, trim_db=30.0, num_labels=8)
    >>> config.num_samples, config.num_frames, config.num_rows
    (64000, 401, 80)
    """

    sampling_rate: Positive = 16_000  # Hz
    duration_s: PositiveNumber = 3.0  # seconds used from the start of a clip; shorter clips are padded
    trim_db: PositiveNumber | None = None  # cut silent ends this many dB below the clip's maximum; None to keep them
    features: Literal["log_mel", "mfcc"] = "log_mel"  # log-mel spectrogram or cepstral coefficients
    n_mels: Positive = 80  # number of mel bands
    n_fft: Positive = 400  # window length and size of the Fourier transform, in samples
    hop_length: Positive = 160  # samples between frames
    n_mfcc: Positive = 80  # number of coefficients, for features "mfcc"
    # Time derivatives of the features: none, first, or first and second. They are further rows of "mfcc", and further
    # channels of "log_mel".
    deltas: Literal[0, 1, 2] = 0
    top_db: PositiveNumber | None = 80.0  # dynamic range of the spectrogram in dB below its maximum; None for no limit
    # none: decibels; ref_max: decibels below the clip's maximum; clip: mean 0 and variance 1 of each row over the
    # frames of the clip, 0 in padding; global: (decibels - global_mean) / global_std; pcen: per-channel energy
    # normalisation instead of decibels (see `per_channel_energy`), after top_db.
    normalize: Literal["none", "ref_max", "clip", "global", "pcen"] = "ref_max"
    global_mean: float = -60.0  # dB, for normalize "global"
    global_std: PositiveNumber = 20.0  # dB, for normalize "global"
    pooling_heads: Positive = 1  # number of heads of `pooling` attention and statistics (see `AttentivePooling`)
    inference_speeds: Factors = ()  # average over these speeds of a clip, in inference only; empty for no change
    # Augmentation, in training only (see `SpecAugment`).
    spec_augment_time_masks: Count = 0  # number of time masks per clip
    spec_augment_time_frames: Positive = 40  # maximum width of a time mask, in frames
    spec_augment_frequency_masks: Count = 0  # number of frequency masks per clip
    spec_augment_frequency_rows: Positive = 12  # maximum width of a frequency mask, in rows
    spec_augment_stretch: Probability = 0.0  # maximum relative change of a clip's duration
    spec_augment_row_shift: NumberFromZero = 0.0  # maximum shift along the frequency axis, in rows
    spec_augment_warp: NumberFromZero = 0.0  # maximum relative change of frequencies; only for features "log_mel"

    def __post_init__(self, **kwargs: Any) -> None:
        self.custom_pipelines = CUSTOM_PIPELINES
        self.inference_speeds = list(self.inference_speeds)  # a list, as loaded from JSON
        super().__post_init__(**kwargs)
        check_fields(self)
        if self.num_samples <= self.n_fft // 2:
            raise ValueError(
                f"duration_s: got {self.duration_s}, which is {self.num_samples} samples; expected more than half of "
                f"n_fft, {self.n_fft // 2} samples."
            )
        if self.spec_augment_warp and self.features == "mfcc":
            raise ValueError(
                f"spec_augment_warp: got {self.spec_augment_warp} with features 'mfcc'; expected 0, because cepstral "
                "coefficients have no frequency axis. Use features log_mel."
            )
        if self.spec_augment_warp > 0.5:
            raise ValueError(
                f"spec_augment_warp: got {self.spec_augment_warp}; expected a number from 0 to 0.5, such as 0.1."
            )
        if self.features == "mfcc" and self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc: got {self.n_mfcc}; expected 1 to n_mels, which is {self.n_mels}.")
        if self.deltas and self.num_frames < DELTA_WIDTH:
            raise ValueError(
                f"deltas: got {self.deltas} with {self.num_frames} frames; expected at least {DELTA_WIDTH} frames. "
                "Use a larger duration_s or a smaller hop_length."
            )

        if self.pooling_heads > 1:
            self._check_heads()

    def _check_heads(self) -> None:
        pooling = getattr(self, "pooling", None)  # a field of each model
        if pooling not in ("attention", "statistics"):
            raise ValueError(
                f"pooling_heads: got {self.pooling_heads} with pooling {pooling!r}; expected 1. "
                "Use pooling attention or statistics."
            )
        if self.pooled_size % self.pooling_heads:
            raise ValueError(
                f"pooling_heads: got {self.pooling_heads}; expected a divisor of {self.pooled_size}, the size of a "
                "frame before pooling."
            )

    @property
    def num_samples(self) -> int:
        """Number of samples that the model uses."""
        return round(self.duration_s * self.sampling_rate)

    @property
    def num_frames(self) -> int:
        """Number of frames of the features."""
        return 1 + self.num_samples // self.hop_length

    @property
    def num_channels(self) -> int:
        """Number of channels of the features: the log-mel spectrogram and its derivatives, or 1 for "mfcc"."""
        return 1 + self.deltas if self.features == "log_mel" else 1

    @property
    def num_rows(self) -> int:
        """Number of rows of each channel: mel bands, or coefficients and their derivatives."""
        return self.n_mels if self.features == "log_mel" else self.n_mfcc * (1 + self.deltas)

    @property
    def pooled_size(self) -> int:
        """Size of a frame before `pooling`."""
        raise NotImplementedError


class ConvStackConfig(CompanionConfig):
    """Configuration of companion models that start with convolutional blocks (see `ConvStack`)."""

    channels: Sizes = (32, 64, 128)  # number of channels of each block
    kernel_sizes: Sizes = (3, 3, 3)  # kernel size of each block; odd numbers
    pool_size: Positive = 2  # factor by which each block reduces rows and frames
    dropout: Probability = 0.3  # dropout after each block
    residual: bool = False  # a second convolution and a shortcut in each block (see `ConvBlock`)
    squeeze_excitation: bool = False  # channel attention in each block (see `ConvBlock`)

    def __post_init__(self, **kwargs: Any) -> None:
        self.channels, self.kernel_sizes = list(self.channels), list(self.kernel_sizes)  # lists, as loaded from JSON
        super().__post_init__(**kwargs)
        blocks = len(self.channels)
        if len(self.kernel_sizes) != blocks or any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(
                f"kernel_sizes: got {self.kernel_sizes}; expected {blocks} odd numbers, one per entry of channels."
            )
        height, frames = self.pooled_shape
        if height < 1 or frames < 1:
            raise ValueError(
                f"channels: got {blocks} blocks with pool_size {self.pool_size}, which reduce {self.num_rows} rows x "
                f"{self.num_frames} frames to {height} x {frames}; expected at least 1 x 1. "
                "Use fewer blocks, a smaller pool_size, more rows or a larger duration_s."
            )

    @property
    def pooled_shape(self) -> tuple[int, int]:
        """Number of rows and frames of the feature maps after all blocks."""
        factor = self.pool_size ** len(self.channels)
        return self.num_rows // factor, self.num_frames // factor
