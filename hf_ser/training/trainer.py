"""`Trainer` whose batches hold clips of similar length."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler, SequentialSampler
from transformers import Trainer

_WINDOW = 50  # batches whose clips are sorted together


class LengthGroupedSampler(Sampler[int]):
    """Shuffled batches of clips of similar length: little padding, and another order in every epoch.

    A model without attention mask averages padding into its answer: taught on much padding, it is wrong on a clip that
    comes alone. The order depends on seed and epoch only, so that all processes and a resumed run agree on it.

    Args:
        lengths: samples of each clip.
        batch_size: clips of a batch, over all processes and accumulation steps.
        seed: of the order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = np.asarray(lengths), batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The Trainer calls this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        window = _WINDOW * self.batch_size
        parts = [order[start : start + window] for start in range(0, len(order), window)]
        order = np.concatenate([part[np.argsort(-self.lengths[part], kind="stable")] for part in parts])
        full = len(order) // self.batch_size * self.batch_size  # the last batch, which may be smaller, stays last
        batches = order[:full].reshape(-1, self.batch_size)
        return iter([*rng.permutation(batches).ravel().tolist(), *order[full:].tolist()])


class SerTrainer(Trainer):
    """Group training clips by length where `train_sampling_strategy` is group_by_length; evaluate in the given order.

    The stock Trainer would read a column of the dataset for each comparison, which here decodes audio.

    Args:
        lengths: samples of each training clip; needed for group_by_length only.
        kwargs: the Trainer's.
    """

    def __init__(self, *, lengths: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._lengths = lengths

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        args = self.args
        if args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return LengthGroupedSampler(self._lengths, batch_size, args.seed if args.data_seed is None else args.data_seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return SequentialSampler(eval_dataset)
