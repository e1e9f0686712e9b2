"""Losses that do not depend on the batch layout (gradient accumulation, several processes), and mixup."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError

LOSSES = ("cross_entropy", "focal")
Loss = Callable[..., torch.Tensor]


def make_loss(
    name: str = "cross_entropy",
    *,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> Loss:
    """Make a loss for the Trainer's `compute_loss_func`: `(outputs, labels, num_items_in_batch) -> scalar`.

    The Trainer assumes that `compute_loss_func` already divides by the clips of the whole accumulated batch. With a
    mean over the micro-batch, batch 2 x accumulation 4 would have four times the loss of batch 8, so the sum over
    clips is divided by the Trainer's count.

    Args:
        name: cross_entropy, or focal (Lin et al. 2017: lower weights for clips that are classified well).
        gamma: of the focal loss; with 0, it is cross entropy.
        label_smoothing: share of the target distributed evenly over the classes.
        class_weights: weight of each class, see `balanced_weights`; alpha of the focal loss.
    """
    if name not in LOSSES:
        raise ConfigError(f"loss is {name!r}; expected one of {', '.join(LOSSES)}.")
    if gamma < 0 or not 0 <= label_smoothing < 1:
        raise ConfigError(
            f"focal_gamma is {gamma}, label_smoothing {label_smoothing}; expected 0 or more, and from 0 to below 1."
        )

    def loss(
        outputs: SequenceClassifierOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        assert outputs.logits is not None  # typed as optional; classifiers always return them
        logits = outputs.logits.float()
        each = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
        if name == "focal":
            right = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
            each = (1 - right) ** gamma * each
        if class_weights is not None:
            each = each * torch.as_tensor(class_weights, dtype=each.dtype, device=each.device)[labels]
        return each.sum() / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    return loss


def balanced_weights(labels: Sequence[int], names: Sequence[str]) -> list[float]:
    """Class weights in inverse proportion to the number of clips, with a mean of 1 over the training clips.

    Raises:
        ConfigError: naming the classes without training clips, whose weight would be infinite.
    """
    counts = torch.bincount(torch.as_tensor(list(labels)), minlength=len(names))
    absent = [name for name, count in zip(names, counts.tolist(), strict=True) if count == 0]
    if absent:
        raise ConfigError(f"class_weights: no training clips of {', '.join(absent)}; expected some of every class.")
    return (len(labels) / (len(names) * counts.double())).tolist()


@dataclass(frozen=True)
class Mix:
    """Mixup of one batch: `share` of each clip, plus 1 - `share` of its partner in `order`.

    Mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) trains on sums of two clips and of their losses.
    """

    share: float
    order: torch.Tensor

    @classmethod
    def draw(cls, batch_size: int, alpha: float) -> "Mix":
        """Draw one share from Beta(alpha, alpha), and the clips' partners.

        The draws use torch's global generator, whose state is in the Trainer's checkpoints.
        """
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        return cls(share, torch.randperm(batch_size))

    def inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Mix input_values (batch, samples); attention_mask, if any, covers the longer of the two clips.

        Raises:
            ConfigError: the model does not take input_values.
        """
        if "input_values" not in inputs:
            raise ConfigError(
                f"mixup_alpha: the model takes {', '.join(inputs)}; expected input_values. Leave it out."
            )
        values = inputs["input_values"]
        order = self.order.to(values.device)
        mixed = {**inputs, "input_values": self.share * values + (1 - self.share) * values[order]}
        mask = inputs.get("attention_mask")
        if mask is not None:
            mixed["attention_mask"] = torch.maximum(mask, mask[order])
        return mixed

    def loss(self, loss: Loss) -> Loss:
        """The weighted sum of a loss (see `make_loss`) for the labels of the clips and of their partners."""

        def mixed(
            outputs: SequenceClassifierOutput,
            labels: torch.Tensor,
            num_items_in_batch: torch.Tensor | int | None = None,
        ) -> torch.Tensor:
            partners = labels[self.order.to(labels.device)]
            own, other = (loss(outputs, each, num_items_in_batch=num_items_in_batch) for each in (labels, partners))
            return self.share * own + (1 - self.share) * other

        return mixed
