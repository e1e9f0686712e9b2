"""The one-cycle learning rate (Smith and Topin 2018, https://arxiv.org/abs/1708.07120)."""

from typing import Any

import torch
from torch.optim.lr_scheduler import OneCycleLR

from hf_ser.arguments import ConfigError


def one_cycle(
    optimizer: torch.optim.Optimizer, num_steps: int, num_warmup_steps: int, options: dict[str, Any]
) -> OneCycleLR:
    """Raise the learning rate from peak / 25 to the peak, and let it fall to nearly zero at the last step.

    Momentum (Adam's first beta) moves the other way, between 0.95 and 0.85, as torch has it.

    Args:
        optimizer: whose learning rates are the peaks.
        num_steps: optimizer steps of the training.
        num_warmup_steps: steps of the rise; 0 for torch's default, three tenths of all.
        options: what else `torch.optim.lr_scheduler.OneCycleLR` takes.

    Raises:
        ConfigError: a warmup of one step or of the whole training, or an option that OneCycleLR does not take.
    """
    if num_warmup_steps == 1 or num_warmup_steps >= num_steps > 1:
        raise ConfigError(
            f"one_cycle: warmup_steps make {num_warmup_steps} of {num_steps} steps; expected from 2 to "
            f"{num_steps - 1}, or 0 for three tenths of them."
        )
    share = {"pct_start": num_warmup_steps / num_steps} if num_warmup_steps else {}
    try:
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, max_lr=peaks, total_steps=num_steps, **{**share, **options})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"one_cycle: lr_scheduler_kwargs are {options}: {error}") from error
