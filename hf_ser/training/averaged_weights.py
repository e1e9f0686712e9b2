"""Averages of the weights over optimizer steps, validated and saved in place of the weights in training.

An exponential moving average (EMA), or the uniform average of the last steps (stochastic weight averaging, SWA).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState

from hf_ser.arguments import ConfigError

PLAIN_WEIGHTS = "training_weights.safetensors"  # in a checkpoint, beside the averaged weights of the model


def check_average(decay: float | None, start: float | None, sharded: bool) -> None:
    """Check `ema_decay` and `swa_start`.

    Args:
        decay: ema_decay.
        start: swa_start.
        sharded: whether the weights are divided among processes (FSDP, DeepSpeed).

    Raises:
        ConfigError: both are given, one is out of range, or the weights are divided.
    """
    if decay is not None and start is not None:
        raise ConfigError("ema_decay and swa_start are both given; expected only one of them.")
    if decay is not None and not 0 < decay < 1:
        raise ConfigError(f"ema_decay is {decay}; expected a number between 0 and 1, such as 0.995.")
    if start is not None and not 0 <= start < 1:
        raise ConfigError(f"swa_start is {start}; expected a number from 0 to below 1, such as 0.75.")
    name = "ema_decay" if start is None else "swa_start"
    if sharded and (decay, start) != (None, None):
        raise ConfigError(f"{name} does not support FSDP and DeepSpeed. Leave {name} out.")


class WeightAverage(TrainerCallback):
    """The average of a model's weights over optimizer steps.

    After step n, the average is `d * average + (1 - d) * weights`. It starts with the weights before training. Buffers
    of floating point, such as the statistics of batch normalisation, are averaged too; others are copied.

    EMA: `d = min(decay, (1 + n) / (10 + n))`, so that the first weights are soon forgotten.

    SWA (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization"): the average of k
    steps has `d = 1 - 1 / k`; before its first step, `d = 0`. The paper averages once per epoch, here it is once per
    step: the average then depends only on the number of the step, also in a resumed run and with max_steps.

    Args:
        decay: of EMA, its largest d; None for SWA.
        start: of SWA, the fraction of the training before its first step.
    """

    def __init__(self, decay: float | None = None, start: float = 0.0) -> None:
        self.decay, self.start = decay, start
        self.first = 1  # first step of SWA
        self.average: AveragedModel | None = None  # outside training
        self.resumed: Path | None = None  # a checkpoint whose averaged weights the model has

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start with the weights of the model, or go on with the average and the weights of a checkpoint."""
        model = kwargs["model"]
        self.first = max(1, math.ceil(self.start * state.max_steps))
        self.average = AveragedModel(model, multi_avg_fn=self._update, use_buffers=True)
        self.average.n_averaged.fill_(state.global_step + 1)  # the weights before training are the first
        if self.resumed is not None and (self.resumed / PLAIN_WEIGHTS).is_file():
            _copy(load_file(self.resumed / PLAIN_WEIGHTS), _tensors(model))
        self.resumed = None

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add the weights of an optimizer step."""
        if self.average is not None:
            self.average.update_parameters(kwargs["model"])

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Leave the averaged weights in the model, unless those of the best checkpoint are loaded."""
        is_best = args.load_best_model_at_end and state.best_model_checkpoint is not None
        if self.average is not None and not is_best:
            _copy(_tensors(self.average.module), _tensors(kwargs["model"]))
        self.average = None

    @torch.no_grad()
    def _update(self, averaged: Any, current: Any, num_averaged: torch.Tensor | int) -> None:
        """Update tensors of one type; `num_averaged` is the number of this optimizer step, from 1."""
        step = int(num_averaged)
        if self.decay is None:
            share = 1 / max(1, step - self.first + 1)
        else:
            share = 1 - min(self.decay, (1 + step) / (10 + step))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, share)
        else:
            torch._foreach_copy_(averaged, current)

    @contextmanager
    def swapped(self, model: torch.nn.Module) -> Iterator[dict[str, torch.Tensor]]:
        """Give the model the averaged weights for a while; outside training, it keeps its own.

        Yields:
            Name -> plain weights and buffers, which the model gets back; empty outside training.
        """
        if self.average is None:
            yield {}
            return
        averaged = _tensors(self.average.module)
        if torch.distributed.is_initialized():
            # Each process updates its buffers with its own clips; those of the first process are saved.
            for buffer in self.average.module.buffers():
                torch.distributed.broadcast(buffer, src=0)
        plain = {name: tensor.detach().clone() for name, tensor in _tensors(model).items()}
        _copy(averaged, _tensors(model))
        try:
            yield plain
        finally:
            _copy(plain, _tensors(model))


class AveragingTrainer(Trainer):
    """A `Trainer` that validates and saves averaged weights if `ema_decay` or `swa_start` is given.

    A checkpoint has the averaged weights as its model, and the plain ones in `training_weights.safetensors`, from
    which a resumed run continues. At the end of training, the model has averaged weights.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        decay, start = getattr(self.args, "ema_decay", None), getattr(self.args, "swa_start", None)
        self.weight_average: WeightAverage | None = None
        if (decay, start) != (None, None):
            self.weight_average = WeightAverage(decay, start or 0.0)
            self.add_callback(self.weight_average)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's loop, with averaged weights."""
        if self.weight_average is None:
            return super().evaluation_loop(*args, **kwargs)
        with self.weight_average.swapped(self._own_model):
            return super().evaluation_loop(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the averaged weights; in a checkpoint, the plain ones too."""
        if self.weight_average is None:
            return super().save_model(output_dir, _internal_call)
        with self.weight_average.swapped(self._own_model) as plain:
            super().save_model(output_dir, _internal_call)
        if plain and self.args.should_save and _internal_call and not self.args.save_only_model:
            trained = {name: plain[name] for name, tensor in _tensors(self._own_model).items() if _changes(tensor)}
            save_file(trained, Path(str(output_dir)) / PLAIN_WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.weight_average is not None:
            self.weight_average.resumed = Path(resume_from_checkpoint)

    @property
    def _own_model(self) -> torch.nn.Module:
        model: Any = self.model
        return model


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, each once."""
    return dict(chain(model.named_parameters(), model.named_buffers()))


@torch.no_grad()
def _copy(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)


def _changes(tensor: torch.Tensor) -> bool:
    """Whether training changes it: buffers and weights that are not frozen."""
    return tensor.requires_grad or not isinstance(tensor, torch.nn.Parameter)
