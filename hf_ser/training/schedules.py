"""Learning-rate schedules beside those of transformers."""

from typing import Any

import torch
from torch.optim.lr_scheduler import OneCycleLR

from hf_ser.arguments import ConfigError


def one_cycle(
    optimizer: torch.optim.Optimizer, num_steps: int, num_warmup_steps: int, options: dict[str, Any]
) -> OneCycleLR:
    """One-cycle schedule: from peak / 25 up to the peak, then down to nearly zero at the last step.

    Smith and Topin 2018, https://arxiv.org/abs/1708.07120. Momentum (Adam's first beta) moves in the opposite
    direction, between 0.95 and 0.85, as in torch.

    Args:
        optimizer: its learning rates are the peaks.
        num_steps: optimizer steps of the training.
        num_warmup_steps: steps up to the peak; 0 for torch's default of 30 %.
        options: other arguments of `torch.optim.lr_scheduler.OneCycleLR`.

    Returns:
        The schedule, at step 0.

    Raises:
        ConfigError: a warmup of one step or of the whole training, or an option that OneCycleLR does not accept.
    """
    if num_warmup_steps == 1 or num_warmup_steps >= num_steps > 1:
        raise ConfigError(
            f"one_cycle: warmup_steps gives {num_warmup_steps} of {num_steps} steps; expected from 2 to "
            f"{num_steps - 1}, or 0 for 30 % of them."
        )
    share = {"pct_start": num_warmup_steps / num_steps} if num_warmup_steps else {}
    try:
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, max_lr=peaks, total_steps=num_steps, **{**share, **options})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"one_cycle: lr_scheduler_kwargs are {options}: {error}") from error
