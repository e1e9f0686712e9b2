"""Training on several corpora: batches that draw them equally often, and a softmax over the classes of each."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError
from hf_ser.data.splits import SplitData
from hf_ser.training.losses import Loss, balanced_weights, make_loss
from hf_ser.training.numbered_clips import NumberedLoss
from hf_ser.training.training_arguments import SerTrainingArguments


class CorpusBalancedSampler(Sampler[int]):
    """Shuffled clips, the same number from each corpus, as many in an epoch as there are clips.

    A corpus with fewer clips is repeated, in whole passes and part of another one. Of a larger corpus, every epoch
    draws other clips. The order depends only on seed and epoch, so that all processes and a resumed run use the same.

    Args:
        corpora: corpus of each clip.
        seed: of the draws.
    """

    def __init__(self, corpora: Sequence[str], seed: int) -> None:
        self.corpora, self.seed = np.asarray(corpora), seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; called by the Trainer before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.corpora)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        names = rng.permutation(np.unique(self.corpora))  # the first ones give a clip more if the number is uneven
        drawn = []
        for position, name in enumerate(names):
            clips = np.flatnonzero(self.corpora == name)
            wanted = len(self) // len(names) + (position < len(self) % len(names))
            passes = -(-wanted // len(clips))
            drawn.append(np.concatenate([rng.permutation(clips) for _ in range(passes)])[:wanted])
        return iter(rng.permutation(np.concatenate(drawn)).tolist())


class CorpusLoss(NumberedLoss):
    """A loss whose softmax for a clip covers only the classes that its corpus has in the training clips.

    A class that a corpus lacks, such as calm in CREMA-D, then gets no gradient and no label smoothing from its clips.
    This gives each label set a classification head of its own with shared weights (cf. EmoNet, Gerczuk et al. 2021,
    https://arxiv.org/abs/2103.08310).

    Args:
        classes: ids of the classes of each corpus, sorted.
        losses: the loss of each corpus, over its classes.
    """

    numbers = "corpora"  # the input of a batch with the numbers of its corpora

    def __init__(self, classes: Sequence[Sequence[int]], losses: Sequence[Loss]) -> None:
        self.classes, self.losses = [torch.tensor(list(each)) for each in classes], losses

    def _loss(
        self, logits: torch.Tensor, labels: torch.Tensor, numbers: torch.Tensor, count: torch.Tensor | int
    ) -> torch.Tensor:
        """The sum of the losses of the corpora."""
        parts = []
        for number, (classes, loss) in enumerate(zip(self.classes, self.losses, strict=True)):
            rows = torch.nonzero(numbers == number)[:, 0]
            if len(rows):
                known = classes.to(labels.device)
                own = SequenceClassifierOutput(logits=logits[rows][:, known])
                parts.append(loss(own, torch.searchsorted(known, labels[rows]), num_items_in_batch=count))
        return torch.stack(parts).sum()


def corpus_numbers(data: SplitData) -> list[int]:
    """The number of the corpus of each training clip, in the order of their names."""
    corpora = data.splits["train"]["corpus"]
    numbers = {name: number for number, name in enumerate(sorted(set(corpora)))}
    return [numbers[name] for name in corpora]


def corpus_loss(args: SerTrainingArguments, data: SplitData) -> CorpusLoss | None:
    """Make the loss of `corpus_classes` with the settings of the plain loss; None if it is off."""
    if not args.corpus_classes:
        return None
    labels = list(data.splits["train"]["label"])
    found: dict[int, set[int]] = {}
    for number, label in zip(corpus_numbers(data), labels, strict=True):
        found.setdefault(number, set()).add(label)
    classes = [sorted(found[number]) for number in sorted(found)]
    weights = balanced_weights(labels, data.labels) if args.class_weights else None
    options: dict[str, Any] = {"gamma": args.focal_gamma, "label_smoothing": args.label_smoothing}
    losses = [
        make_loss(args.loss, **options, class_weights=None if weights is None else [weights[label] for label in known])
        for known in classes
    ]
    return CorpusLoss(classes, losses)


def refuse_stream(args: SerTrainingArguments) -> None:
    """Raise `ConfigError` for options of this module, which a stream does not support."""
    given = [name for name in ("balance_corpora", "corpus_classes") if getattr(args, name)]
    if given:
        raise ConfigError(f"{given[0]} is true and streaming is true; streaming does not support it. Remove one.")
