"""Configuration that the companion models share: signal processing, and the stack of convolutional blocks.

Each field is declared once, beside its documentation: transformers makes a dataclass of every configuration.
"""

from typing import Any, Literal

from transformers import PreTrainedConfig

from .checks import Count, NumberFromZero, Positive, PositiveNumber, Probability, Sizes, check_fields
from .mfcc import DELTA_WIDTH
from .speech_emotion_pipeline import CUSTOM_PIPELINES


class CompanionConfig(PreTrainedConfig):
    """Signal processing of a companion model; keywords only, those of PreTrainedConfig such as num_labels included.

    Raises:
        ValueError: an invalid field; the message names it, the value and what was expected.

    >>> from hf_ser.models import AudioCNNConfig
    >>> config = AudioCNNConfig(duration_s=4.0, trim_db=30.0, num_labels=8)
    >>> config.num_samples, config.num_frames, config.num_rows
    (64000, 401, 80)
    """

    sampling_rate: Positive = 16_000  # Hz
    duration_s: PositiveNumber = 3.0  # seconds from the start of a clip that the model uses; shorter clips are padded
    trim_db: PositiveNumber | None = None  # first cut silent ends, so many decibels below the clip's loudest part
    features: Literal["log_mel", "mfcc"] = "log_mel"
    n_mels: Positive = 80  # mel bands
    n_fft: Positive = 400  # samples of a window and of its Fourier transform
    hop_length: Positive = 160  # samples between frames
    n_mfcc: Positive = 80  # coefficients, with features "mfcc"
    deltas: Literal[0, 1, 2] = 0  # derivatives of the coefficients: none, the first, or the first and the second
    top_db: PositiveNumber | None = 80.0  # floor of the spectrogram, in decibels below its loudest point
    # none: decibels unchanged; ref_max: decibels below the clip's loudest point; clip: mean 0 and variance 1 of each
    # row over the clip's true frames, 0 elsewhere; global: (decibels - global_mean) / global_std.
    normalize: Literal["none", "ref_max", "clip", "global"] = "ref_max"
    global_mean: float = -60.0  # decibels
    global_std: PositiveNumber = 20.0  # decibels
    # Augmentation, in training only (see `SpecAugment`).
    spec_augment_time_masks: Count = 0  # masked runs of frames
    spec_augment_time_frames: Positive = 40  # largest width of a run
    spec_augment_frequency_masks: Count = 0  # masked runs of rows
    spec_augment_frequency_rows: Positive = 12  # largest width of a run
    spec_augment_stretch: Probability = 0.0  # largest share by which a clip becomes longer or shorter
    spec_augment_row_shift: NumberFromZero = 0.0  # largest number of rows by which features move up or down

    def __post_init__(self, **kwargs: Any) -> None:
        self.custom_pipelines = CUSTOM_PIPELINES
        super().__post_init__(**kwargs)
        check_fields(self)
        if self.num_samples <= self.n_fft // 2:
            raise ValueError(
                f"duration_s: got {self.duration_s}, which is {self.num_samples} samples; expected more than half a "
                f"window of n_fft {self.n_fft}."
            )
        if self.features == "mfcc" and self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc: got {self.n_mfcc}; expected 1 to n_mels, which is {self.n_mels}.")
        if self.features == "mfcc" and self.deltas and self.num_frames < DELTA_WIDTH:
            raise ValueError(f"deltas: got {self.deltas} on {self.num_frames} frames; expected {DELTA_WIDTH} or more.")

    @property
    def num_samples(self) -> int:
        """Samples of a clip that the model uses."""
        return round(self.duration_s * self.sampling_rate)

    @property
    def num_frames(self) -> int:
        """Frames of the features."""
        return 1 + self.num_samples // self.hop_length

    @property
    def num_rows(self) -> int:
        """Rows of the features: mel bands, or coefficients and their derivatives."""
        return self.n_mels if self.features == "log_mel" else self.n_mfcc * (1 + self.deltas)


class ConvStackConfig(CompanionConfig):
    """A companion that begins with convolutional blocks (see `ConvStack`)."""

    channels: Sizes = (32, 64, 128)  # of each block
    kernel_sizes: Sizes = (3, 3, 3)  # odd, one per block
    pool_size: Positive = 2  # factor by which each block shrinks height and frames, rounded down
    dropout: Probability = 0.3  # after each block
    residual: bool = False  # see `ConvBlock`
    squeeze_excitation: bool = False  # see `ConvBlock`

    def __post_init__(self, **kwargs: Any) -> None:
        self.channels, self.kernel_sizes = list(self.channels), list(self.kernel_sizes)  # as JSON gives them back
        super().__post_init__(**kwargs)
        blocks = len(self.channels)
        if len(self.kernel_sizes) != blocks or any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(
                f"kernel_sizes: got {self.kernel_sizes}; expected {blocks} odd numbers, one per entry of channels."
            )
        height, frames = self.pooled_shape
        if height < 1 or frames < 1:
            raise ValueError(
                f"channels: got {blocks} blocks that each pool by {self.pool_size}, and {self.num_rows} rows x "
                f"{self.num_frames} frames, which leaves {height} x {frames}; expected 1 x 1 at least. "
                "Use fewer blocks, a smaller pool_size, more rows or a larger duration_s."
            )

    @property
    def pooled_shape(self) -> tuple[int, int]:
        """Height and frames of the feature maps after all blocks."""
        factor = self.pool_size ** len(self.channels)
        return self.num_rows // factor, self.num_frames // factor
