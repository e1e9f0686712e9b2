"""Training batches: clips of similar length together, padded."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from hf_ser.models import model_inputs

_NUMBERS = {"label": "labels", "speaker": "speakers", "corpus": "corpora", "clip": "clips"}  # of an item, of a batch
_WINDOW = 50  # batches whose clips are sorted together


class LengthGroupedSampler(Sampler[int]):
    """Shuffled batches of clips of similar length, with little padding and another order in every epoch.

    A model without attention mask averages padding into its output; trained with much padding, it is less accurate on
    single clips. The order depends only on seed and epoch, so that all processes and a resumed run use the same one.

    Args:
        lengths: samples of each clip.
        batch_size: clips per batch, over all processes and accumulation steps.
        seed: of the order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = np.asarray(lengths), batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; called by the Trainer before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        window = _WINDOW * self.batch_size
        parts = [order[start : start + window] for start in range(0, len(order), window)]
        order = np.concatenate([part[np.argsort(-self.lengths[part], kind="stable")] for part in parts])
        full = len(order) // self.batch_size * self.batch_size  # a smaller last batch stays last
        batches = order[:full].reshape(-1, self.batch_size)
        return iter([*rng.permutation(batches).ravel().tolist(), *order[full:].tolist()])


class AudioCollator:
    """Waveforms -> padded batch with labels.

    Batches always have an attention mask: clips are normalised over their samples and pooled over their frames without
    padding (see `pool_true_frames`).

    Args:
        feature_extractor: of the model; it is copied.
        min_samples: shorter clips are padded with zeros to this length (see `models.min_samples`).
    """

    def __init__(self, feature_extractor: Any, min_samples: int) -> None:
        self.feature_extractor, self.min_samples = copy(feature_extractor), min_samples
        self.feature_extractor.return_attention_mask = True

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_values and attention_mask (batch, samples), and labels (batch,).

        Numbers of speakers, corpora and clips (batch,) are added if the clips have them.
        """
        waveforms = [example["waveform"] for example in examples]
        numbers = {
            plural: torch.tensor([example[name] for example in examples], dtype=torch.long)
            for name, plural in _NUMBERS.items()
            if name in examples[0]
        }
        return {**model_inputs(self.feature_extractor, waveforms, self.min_samples), **numbers}
