"""Masked segments of speech: spans of frames to predict, and other masked frames as negatives.

Masks and negatives come from transformers' functions, as in its example run_wav2vec2_pretraining_no_trainer.py. They
depend only on seed, epoch and segment, so that workers, processes and a resumed run draw the same ones.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

from hf_ser.arguments import ConfigError
from hf_ser.audio import SAMPLING_RATE
from hf_ser.models import model_inputs, takes_attention_mask
from hf_ser.training.augmentation import seeded
from hf_ser.training.preflight import check_shares
from hf_ser.training.pretraining.unlabelled_recordings import Speech
from hf_ser.training.pretraining_arguments import PretrainingArguments, PretrainingModelArguments

_NOT_MASKED = -100  # the label that the Trainer does not count


def frames_of(config: Any, samples: int) -> int:
    """Number of frames that a wav2vec2 encoder makes of a waveform.

    >>> from transformers import Wav2Vec2Config
    >>> frames_of(Wav2Vec2Config(), 16_000)
    49
    """
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return max(0, samples)


def check_segments(
    config: Any, model_args: PretrainingModelArguments, speech: Speech, args: PretrainingArguments
) -> None:
    """Reject segments too short for one masked span, and more processes or data loader workers than segments.

    Args:
        config: of the encoder.
        model_args: length of the masks.
        speech: the segments.
        args: processes and workers.

    Raises:
        ConfigError: naming the remedy.

    >>> from transformers import Wav2Vec2Config
    >>> from hf_ser.training.pretraining import PretrainingDataArguments, load_speech
    >>> args = PretrainingArguments("runs/encoder", use_cpu=True)
    >>> speech = load_speech(PretrainingDataArguments("data/emotions", "ravdess"), args)
    >>> model_args = PretrainingModelArguments(model_config={"model_type": "wav2vec2"}, mask_time_length=100)
    >>> check_segments(Wav2Vec2Config(), model_args, speech, args)
    Traceback (most recent call last):
    hf_ser.errors.ConfigError: the shortest segment has 0.5... s, which are 2... frames of this encoder; ...
    """
    check_shares({split: len(speech.segments[split]) for split in speech.segments}, args, "segments")
    shortest = min(min(speech.lengths(split)) for split in speech.segments)
    frames = frames_of(config, shortest)
    if frames < model_args.mask_time_length:
        raise ConfigError(
            f"the shortest segment has {shortest / SAMPLING_RATE:.3f} s, which are {frames} frames of this encoder; "
            f"expected at least mask_time_length ({model_args.mask_time_length}). Raise --min_duration_s, or lower "
            "--mask_time_length."
        )


class MaskedSegments(Dataset[dict[str, Any]]):
    """Segments with their masks, drawn anew in every epoch.

    Items are `{"waveform": (samples,) float32, "mask": (frames,) bool, "negatives": (frames, num_negatives) int}`;
    negatives are numbers of other masked frames of the segment, and 0 at frames that are not masked.

    Args:
        speech: the segments.
        split: train or validation.
        config: of the encoder.
        model_args: share and length of the masks.
        seed: of the draws.
    """

    def __init__(
        self, speech: Speech, split: str, config: Any, model_args: PretrainingModelArguments, seed: int
    ) -> None:
        order: Sequence[int] = range(len(speech.segments[split]))
        if split == "validation":  # similar lengths together, for less padding
            order = sorted(order, key=lambda number: -speech.segments[split][number].samples)
        self.segments = [speech.segments[split][number] for number in order]
        self.read, self.config, self.seed = speech.read, config, seed
        self.share, self.span = model_args.mask_time_prob, model_args.mask_time_length
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent workers read it too

    def set_epoch(self, epoch: int) -> None:
        """Draw the masks of this epoch from the next item on."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = range(len(self))[index]
        waveform = self.read(self.segments[number])
        shape = (1, frames_of(self.config, len(waveform)))
        with seeded(self.seed, int(self._epoch), number):
            mask = _compute_mask_indices(shape, self.share, self.span, min_masks=1)
            negatives = _sample_negative_indices(shape, self.config.num_negatives, mask)
        return {"waveform": waveform, "mask": mask[0], "negatives": negatives[0]}


class MaskedCollator:
    """Masked segments -> padded batch.

    Padding is never masked and never a negative. Encoders that were trained without attention masks (wav2vec2-base)
    get none here either.

    Args:
        feature_extractor: of the model; it is copied.
        config: of the encoder.
    """

    def __init__(self, feature_extractor: Any, config: Any) -> None:
        self.feature_extractor, self.config = copy(feature_extractor), config
        self.feature_extractor.return_attention_mask = True  # to normalise over the samples without padding

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad a batch.

        Returns:
            input_values (batch, samples), attention_mask of the same shape if the encoder takes one,
            mask_time_indices (batch, frames), sampled_negative_indices (batch, frames, num_negatives) into the
            flattened frames of the batch, and labels (batch, frames), 0 for masked frames and -100 for others: the
            Trainer counts the masked frames of a step, by which the loss is divided.
        """
        inputs = model_inputs(self.feature_extractor, [example["waveform"] for example in examples], 1)
        if not takes_attention_mask(self.config):
            inputs.pop("attention_mask", None)
        frames = frames_of(self.config, inputs["input_values"].shape[1])
        mask = np.zeros((len(examples), frames), dtype=bool)
        negatives = np.zeros((len(examples), frames, self.config.num_negatives), dtype=np.int64)
        for row, example in enumerate(examples):
            own = len(example["mask"])
            mask[row, :own] = example["mask"]
            negatives[row, :own] = example["negatives"]
            negatives[row] += row * frames
        masked = torch.from_numpy(mask)
        return {
            **inputs,
            "mask_time_indices": masked,
            "sampled_negative_indices": torch.from_numpy(negatives),
            "labels": torch.where(masked, 0, _NOT_MASKED),
        }
