"""Training clips with numbers that a loss needs beside the label."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers.modeling_outputs import SequenceClassifierOutput


class NumberedClips(Dataset[dict[str, Any]]):
    """Training clips with one more number each.

    Args:
        clips: decoded, augmented or not.
        name: key of the number in the items: corpus or clip.
        numbers: one for each clip.
    """

    def __init__(self, clips: Any, name: str, numbers: Sequence[int]) -> None:
        self.clips, self.name, self.numbers = clips, name, numbers

    def set_epoch(self, epoch: int) -> None:
        """Use the augmentation of this epoch, if there is any."""
        if hasattr(self.clips, "set_epoch"):
            self.clips.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        items = self.clips.__getitems__(list(indices))
        return [{**item, self.name: self.numbers[index]} for item, index in zip(items, indices, strict=True)]


class NumberedLoss:
    """A loss for `compute_loss_func` (see `make_loss`) that also gets a number of each clip.

    A subclass sets `numbers`, the input of a batch with the numbers, and defines `_loss`.
    """

    numbers: str

    def __call__(
        self,
        outputs: SequenceClassifierOutput,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Compute the loss.

        Args:
            outputs: with logits (batch, classes).
            labels: class and number of each clip (batch, 2).
            num_items_in_batch: clips in the whole accumulated batch; default: those of `labels`.
        """
        assert outputs.logits is not None  # typed as optional; classifiers always return them
        count = len(labels) if num_items_in_batch is None else num_items_in_batch
        return self._loss(outputs.logits, labels[:, 0], labels[:, 1], count)

    def _loss(
        self, logits: torch.Tensor, labels: torch.Tensor, numbers: torch.Tensor, count: torch.Tensor | int
    ) -> torch.Tensor:
        """Logits (batch, classes), labels and numbers (batch,) -> the sum over clips, divided by `count`."""
        raise NotImplementedError


def join_to_labels(inputs: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Join labels (batch,) and the numbers (batch,) in the input `name` to labels (batch, 2).

    Mixup then permutes both together.
    """
    labels = torch.stack([inputs["labels"], inputs[name]], dim=1)
    return {key: value for key, value in inputs.items() if key != name} | {"labels": labels}
