"""Waveforms to padded batches."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch

from hf_ser.models import model_inputs


class AudioCollator:
    """Waveforms -> padded batch with labels.

    It has a mask whatever the model: clips are normalised over their own samples, and pooled over their own frames
    (see `pool_true_frames`).

    Args:
        feature_extractor: the model's own, which is left as it is.
        min_samples: shorter clips are padded with zeros to this length (see `models.min_samples`).
    """

    def __init__(self, feature_extractor: Any, min_samples: int) -> None:
        self.feature_extractor, self.min_samples = copy(feature_extractor), min_samples
        self.feature_extractor.return_attention_mask = True

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_values and attention_mask (batch, samples), and labels (batch,)."""
        waveforms = [example["waveform"] for example in examples]
        labels = torch.tensor([example["label"] for example in examples], dtype=torch.long)
        return {**model_inputs(self.feature_extractor, waveforms, self.min_samples), "labels": labels}
