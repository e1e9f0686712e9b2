"""What the companion models have in common: one waveform input, a frontend and a linear classifier."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .checks import check_choice, check_number, check_positive, check_probability
from .classifier_output import classifier_output
from .frontend import FEATURES, NORMALIZE, Frontend, check_waveforms
from .layers import SpecAugment
from .log_mel import LogMel
from .mfcc import DELTA_WIDTH
from .spectra import in_portions
from .speech_emotion_pipeline import CUSTOM_PIPELINES


class CompanionConfig(PreTrainedConfig):
    """Signal processing of a companion model.

    Args:
        sampling_rate: Hz.
        duration_s: seconds from the start of a clip that the model sees; shorter clips are filled with silence.
        trim_db: cut the clip's silent ends before that, where they are so many decibels below its loudest part, such
            as 30; None for not.
        features: log_mel, or mfcc.
        n_mels: mel bands.
        n_fft: samples of a window and of its Fourier transform.
        hop_length: samples between frames.
        n_mfcc: coefficients, where features are mfcc.
        deltas: of the coefficients: 0 for none, 1 for the first derivative, 2 for the first and the second.
        top_db: decibels below the clip's loudest point at which the spectrogram ends; None for no such floor.
        normalize: none, ref_max, clip or global (see `Frontend`).
        global_mean: decibels, for normalize "global".
        global_std: decibels, for normalize "global".
        spec_augment_time_masks: runs of frames that are blanked out in training; 0 for none.
        spec_augment_time_frames: largest width of one.
        spec_augment_frequency_masks: runs of rows that are blanked out in training; 0 for none.
        spec_augment_frequency_rows: largest width of one.
        spec_augment_stretch: largest share by which a clip becomes longer or shorter in training, below 1; 0 for none.
        spec_augment_row_shift: largest number of rows by which features move up or down in training; 0 for none.
        **kwargs: those of PreTrainedConfig, such as num_labels.

    Raises:
        ValueError: a field that cannot be; the message names it, what it got and what was expected.
    """

    def __init__(
        self,
        sampling_rate: int = 16_000,
        duration_s: float = 3.0,
        trim_db: float | None = None,
        features: str = "log_mel",
        n_mels: int = 80,
        n_fft: int = 400,
        hop_length: int = 160,
        n_mfcc: int = 80,
        deltas: int = 0,
        top_db: float | None = 80.0,
        normalize: str = "ref_max",
        global_mean: float = -60.0,
        global_std: float = 20.0,
        spec_augment_time_masks: int = 0,
        spec_augment_time_frames: int = 40,
        spec_augment_frequency_masks: int = 0,
        spec_augment_frequency_rows: int = 12,
        spec_augment_stretch: float = 0.0,
        spec_augment_row_shift: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.sampling_rate, self.duration_s, self.trim_db = sampling_rate, duration_s, trim_db
        self.features, self.n_mels, self.n_fft, self.hop_length = features, n_mels, n_fft, hop_length
        self.n_mfcc, self.deltas = n_mfcc, deltas
        self.top_db, self.normalize = top_db, normalize
        self.global_mean, self.global_std = global_mean, global_std
        self.spec_augment_time_masks, self.spec_augment_time_frames = spec_augment_time_masks, spec_augment_time_frames
        self.spec_augment_frequency_masks = spec_augment_frequency_masks
        self.spec_augment_frequency_rows = spec_augment_frequency_rows
        self.spec_augment_stretch, self.spec_augment_row_shift = spec_augment_stretch, spec_augment_row_shift
        self.custom_pipelines = CUSTOM_PIPELINES
        super().__init__(**kwargs)
        self._check_signal()

    @property
    def num_samples(self) -> int:
        """Samples that the model sees."""
        return round(self.duration_s * self.sampling_rate)

    @property
    def num_frames(self) -> int:
        """Frames of the features."""
        return 1 + self.num_samples // self.hop_length

    @property
    def num_rows(self) -> int:
        """Rows of the features: mel bands, or coefficients and their derivatives."""
        return self.n_mels if self.features == "log_mel" else self.n_mfcc * (1 + self.deltas)

    def pooled_shape(self, blocks: int, pool_size: int) -> tuple[int, int]:
        """Height and frames after so many blocks that each shrink both by `pool_size`, rounded down.

        Raises:
            ValueError: nothing is left.
        """
        height, frames = self.num_rows // pool_size**blocks, self.num_frames // pool_size**blocks
        if height < 1 or frames < 1:
            raise ValueError(
                f"channels: got {blocks} blocks that each pool by {pool_size}, and {self.num_rows} rows x "
                f"{self.num_frames} frames, which leaves {height} x {frames}; expected 1 x 1 at least. "
                "Use fewer blocks, a smaller pool_size, more rows or a larger duration_s."
            )
        return height, frames

    def _check_signal(self) -> None:
        check_positive(self, "sampling_rate", "n_mels", "n_fft", "hop_length", "n_mfcc")
        check_positive(self, "spec_augment_time_frames", "spec_augment_frequency_rows")
        check_positive(self, "spec_augment_time_masks", "spec_augment_frequency_masks", least=0)
        check_probability(self, "spec_augment_stretch")
        check_number(self, "spec_augment_row_shift", zero=True)
        check_choice(self, "features", FEATURES)
        check_choice(self, "normalize", NORMALIZE)
        check_choice(self, "deltas", (0, 1, 2))
        check_number(self, "duration_s", "global_std")
        check_number(self, *(name for name in ("top_db", "trim_db") if getattr(self, name) is not None))
        if self.num_samples <= self.n_fft // 2:
            raise ValueError(
                f"duration_s: got {self.duration_s}, which is {self.num_samples} samples; expected more than half a "
                f"window of n_fft {self.n_fft}."
            )
        if self.features == "mfcc" and self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc: got {self.n_mfcc}; expected 1 to n_mels, which is {self.n_mels}.")
        if self.features == "mfcc" and self.deltas and self.num_frames < DELTA_WIDTH:
            raise ValueError(f"deltas: got {self.deltas} on {self.num_frames} frames; expected {DELTA_WIDTH} or more.")


class CompanionModel(PreTrainedModel):
    """A frontend, a body that gives one vector per clip, and a linear classifier.

    A child sets `classifier` and defines `_encode`; `post_init()` comes last in its constructor.
    """

    config_class: type[PreTrainedConfig] = CompanionConfig
    base_model_prefix = ""
    main_input_name = "input_values"
    _keep_in_fp32_modules_strict = {"frontend"}
    classifier: nn.Linear
    num_labels: int

    def __init__(self, config: CompanionConfig) -> None:
        super().__init__(config)
        assert config.num_labels is not None
        self.num_labels = config.num_labels
        self.frontend = Frontend(
            features=config.features,
            num_samples=config.num_samples,
            trim_db=config.trim_db,
            normalize=config.normalize,
            top_db=config.top_db,
            global_mean=config.global_mean,
            global_std=config.global_std,
            n_mfcc=config.n_mfcc,
            deltas=config.deltas,
            augment=SpecAugment(
                config.spec_augment_time_masks,
                config.spec_augment_time_frames,
                config.spec_augment_frequency_masks,
                config.spec_augment_frequency_rows,
                config.spec_augment_stretch,
                config.spec_augment_row_shift,
            ),
            log_mel=LogMel(config.sampling_rate, config.n_mels, config.n_fft, config.hop_length),
        )

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initialisation, which the published systems had, instead of that of transformers."""
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.LSTM, nn.GRU)):
            module.reset_parameters()

    def _encode(self, features: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Features (batch, rows, frames), of which `num_frames` (batch,) are true -> vectors (batch, size)."""
        raise NotImplementedError

    def embeddings(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """What enters the classifier.

        Args:
            input_values: waveforms (batch, samples), float32 at 16 kHz.
            attention_mask: 1 for true samples, 0 for padding (batch, samples).

        Returns:
            Vectors (batch, size).
        """
        if self.training or torch.is_grad_enabled():
            return self._embed(input_values, attention_mask)
        check_waveforms(input_values, attention_mask)
        return in_portions(self._embed, input_values, attention_mask, self.config.num_samples)

    def _embed(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        features, num_frames = self.frontend(input_values, attention_mask)
        return self._encode(features.to(self.classifier.weight.dtype), num_frames)

    # No **kwargs: the Trainer would take the loss for one that is divided by the items of a whole accumulated batch.
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[torch.Tensor, ...]:
        """Classify clips.

        Args:
            input_values: waveforms (batch, samples), float32 at 16 kHz.
            attention_mask: 1 for true samples, 0 for padding (batch, samples).
            labels: class ids (batch,); the loss is their mean cross entropy.
            return_dict: False for a tuple.

        Returns:
            Logits (batch, num_labels), and the loss where labels are given.

        Raises:
            ValueError: inputs that are not waveforms.
        """
        logits = self.classifier(self.embeddings(input_values, attention_mask))
        return classifier_output(self.config, logits, labels, return_dict)
