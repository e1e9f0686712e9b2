"""Mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412): training on sums of two clips and of their losses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError
from hf_ser.training.losses import Loss


@dataclass(frozen=True)
class Mix:
    """How the clips of one batch are mixed: `share` of each, and the rest of the clip that `order` puts beside it."""

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
