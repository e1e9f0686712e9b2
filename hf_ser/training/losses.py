"""Losses that do not change with the batch layout (gradient accumulation, several processes), and mixup."""

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
    """Make a loss as `Trainer`'s `compute_loss_func` needs it: `(outputs, labels, num_items_in_batch) -> scalar`.

    The Trainer takes any `compute_loss_func` for one that is already divided by the clips of the whole accumulated
    batch. A plain mean over the micro-batch would make batch 2 x accumulation 4 weigh four times batch 8, so the sum
    over clips is divided by the Trainer's count.

    Args:
        name: cross_entropy, or focal (Lin et al. 2017: clips that are right already weigh less).
        gamma: of the focal loss; 0 makes it cross entropy.
        label_smoothing: share of the target that is spread evenly over the classes.
        class_weights: weight of each class's clips, see `balanced_weights`; with the focal loss, its alpha.
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
        assert outputs.logits is not None  # typed as optional; every classifier gives them
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
    """Weights in inverse proportion to the classes' clips, whose mean over the training clips is 1.

    Raises:
        ConfigError: a class without clips, which would weigh infinitely much; it is named.
    """
    counts = torch.bincount(torch.as_tensor(list(labels)), minlength=len(names))
    absent = [name for name, count in zip(names, counts.tolist(), strict=True) if count == 0]
    if absent:
        raise ConfigError(f"class_weights: no training clip of {', '.join(absent)}; expected some of every class.")
    return (len(labels) / (len(names) * counts.double())).tolist()


@dataclass(frozen=True)
class Mix:
    """How the clips of one batch are mixed: `share` of each, and the rest of the clip that `order` puts beside it.

    Mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) trains on sums of two clips and of their losses.
    """

    share: float
    order: torch.Tensor

    @classmethod
    def draw(cls, batch_size: int, alpha: float) -> "Mix":
        """Draw one share from Beta(alpha, alpha), and the clips' partners.

        torch's global generator is drawn from, whose state the Trainer stores with its checkpoints.
        """
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        return cls(share, torch.randperm(batch_size))

    def inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Mix input_values (batch, samples); attention_mask, where there is one, spans the longer of the two clips.

        Raises:
            ConfigError: the model takes no input_values.
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
        """Weigh a loss (see `make_loss`) against the clips' own labels and against those of their partners."""

        def mixed(
            outputs: SequenceClassifierOutput,
            labels: torch.Tensor,
            num_items_in_batch: torch.Tensor | int | None = None,
        ) -> torch.Tensor:
            partners = labels[self.order.to(labels.device)]
            own, other = (loss(outputs, each, num_items_in_batch=num_items_in_batch) for each in (labels, partners))
            return self.share * own + (1 - self.share) * other

        return mixed
