"""`Trainer` with batches of similar length, mixup, the one-cycle learning rate, and an end where training diverges."""

import math
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import IterableDatasetShard
from torch.utils.data import Sampler, SequentialSampler
from transformers import EvalPrediction, PrinterCallback, Trainer, trainer
from transformers.trainer_utils import get_last_checkpoint

from hf_ser.arguments import ConfigError
from hf_ser.errors import SerError
from hf_ser.training.epoch_lines import EpochLines
from hf_ser.training.layerwise import parameter_depths, rates, split_groups, unfreeze_gradually
from hf_ser.training.mixup import Mix
from hf_ser.training.schedules import one_cycle
from hf_ser.training.training_arguments import SerTrainingArguments

_LET_GO_S = 0.2
_WINDOW = 50  # batches whose clips are sorted together


class DivergedError(SerError):
    """A training whose loss, outputs or weights are no longer finite; `what` says so without the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        super().__init__(f"{what}. {remedy}")


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

    The stock Trainer would read a column of the dataset for each comparison, which here decodes audio. Training
    batches are mixed where `mixup_alpha` is not 0; the learning rate makes one cycle where `one_cycle` is true.

    Training ends with `DivergedError` at the first step whose loss is not finite, before its optimizer step, at a
    validation pass with outputs that are not, and before weights that are not would be saved.

    Args:
        lengths: samples of each training clip; needed for group_by_length only.
        kwargs: the Trainer's.
    """

    args: SerTrainingArguments

    def __init__(self, *, lengths: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for printing in (PrinterCallback, trainer.DEFAULT_PROGRESS_CALLBACK):
            self.remove_callback(printing)
        self.add_callback(EpochLines())
        self._lengths = lengths
        model: Any = self.model
        self.trainable_parameters = sum(its.numel() for its in model.parameters() if its.requires_grad)
        self._step_loss: torch.Tensor | float = 0.0

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The Trainer's step; the loss of a whole optimizer step is looked at once, by all processes together.

        Raises:
            DivergedError: it is not finite.
        """
        loss = super().training_step(*args, **kwargs)
        self._step_loss = self._step_loss + loss  # of all its batches, so that one that is not finite shows
        if self.accelerator.sync_gradients:
            total, self._step_loss = self._step_loss, 0.0
            # Only one process may have met the bad clip; if it ended alone, the others would wait for it.
            value = float(self.accelerator.reduce(total) if self.args.world_size > 1 else total)
            if not math.isfinite(value):
                raise self._diverged(f"the training loss is {value}", self.state.global_step + 1)
        return loss

    def end(self) -> None:
        """The Trainer's end, after the last gathered tensors have been let go of.

        gloo's thread needs the interpreter for that. The process group waits for this thread when it is destroyed, and
        does not give the interpreter away meanwhile, so that a process would never end.
        """
        if self.args.world_size > 1:
            time.sleep(_LET_GO_S)
        super().end()

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's loop.

        Raises:
            DivergedError: logits or loss are not finite.
        """
        compute_metrics = self.compute_metrics

        def checked(prediction: EvalPrediction, **options: Any) -> dict[str, float]:
            outputs = prediction.predictions
            logits = outputs[0] if isinstance(outputs, tuple) else outputs
            if not np.isfinite(logits).all():
                raise self._diverged("the model's outputs in validation are not finite", self.state.global_step)
            assert compute_metrics is not None
            return compute_metrics(prediction, **options)

        self.compute_metrics = None if compute_metrics is None else checked
        try:
            output = super().evaluation_loop(*args, **kwargs)
        finally:
            self.compute_metrics = compute_metrics
        losses = [value for name, value in (output.metrics or {}).items() if name.endswith("_loss")]
        for loss in losses:
            if not math.isfinite(loss):
                raise self._diverged(f"the validation loss is {loss}", self.state.global_step)
        return output

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, alone or within a checkpoint.

        Raises:
            DivergedError: weights are not finite; nothing is written.
        """
        model: Any = self.model
        weights = [its.detach() for its in model.parameters() if its.is_floating_point()]
        if not all(torch.stack([its.isfinite().all() for its in weights]).tolist()):
            raise self._diverged("weights are not finite", self.state.global_step)
        super().save_model(output_dir, _internal_call)

    def _diverged(self, what: str, step: int) -> DivergedError:
        args = self.args
        rate = args.learning_rate if self.lr_scheduler is None else self._get_learning_rate()
        remedy = f"Lower --learning_rate (its peak is {args.learning_rate:g})"
        if args.fp16:
            remedy += ", or replace --fp16 by --bf16, whose numbers reach further"
        output = str(args.output_dir)
        last = get_last_checkpoint(output) if Path(output).is_dir() else None
        kept = "no checkpoint was saved before" if last is None else f"the last checkpoint, {last}, is from before"
        place = f"step {step} (epoch {self.state.epoch or 0:.2f}, learning rate {rate:g})"
        return DivergedError(
            f"the training diverged: {what} at {place}", f"{remedy}, and start again with --overwrite true; {kept}."
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        args = self.args
        if args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return LengthGroupedSampler(self._lengths, batch_size, args.seed if args.data_seed is None else args.data_seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return SequentialSampler(eval_dataset)

    def num_examples(self, dataloader: Any) -> int:
        """Clips over all processes, from which the Trainer computes its speed."""
        shard = dataloader.dataset  # of a stream in several processes; its own length is that of one of them
        return len(shard.dataset) if isinstance(shard, IterableDatasetShard) else super().num_examples(dataloader)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The Trainer's loss, of mixed clips while the model trains: one pass through the model either way."""
        plain = self.compute_loss_func
        if not (model.training and self.args.mixup_alpha > 0 and plain is not None):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        mix = Mix.draw(len(inputs["labels"]), self.args.mixup_alpha)
        # The Trainer goes on to count clips and to average over processes, which for the mixed loss are the same.
        self.compute_loss_func = mix.loss(plain)
        try:
            return super().compute_loss(model, mix.inputs(inputs), return_outputs, num_items_in_batch)
        finally:
            self.compute_loss_func = plain

    @cached_property
    def _depths(self) -> tuple[dict[torch.nn.Parameter, int], int]:
        model: Any = self.model
        model = model.get_base_model() if hasattr(model, "get_base_model") else model  # beneath peft's
        depths, layers = parameter_depths(model)
        if not layers and (self.args.layer_decay < 1 or self.args.unfreeze_every is not None):
            raise ConfigError(
                f"layer_decay and unfreeze_every need an encoder of layers, which {model.config.model_type} has not; "
                "leave them out."
            )
        return depths, layers

    @property
    def _steps_per_epoch(self) -> int:
        clips: Any = self.train_dataset
        batches = math.ceil(len(clips) / (self.args.train_batch_size * self.args.world_size))
        return math.ceil(batches / self.args.gradient_accumulation_steps)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """The Trainer's optimizer, with a learning rate for each depth where they are not all the same."""
        args, fresh = self.args, self.optimizer is None
        optimizer = super().create_optimizer(model)
        if fresh and (args.layer_decay < 1 or args.head_learning_rate is not None or args.unfreeze_every is not None):
            depths, layers = self._depths
            rate_of_depth = rates(args.learning_rate, args.head_learning_rate, args.layer_decay, layers)
            optimizer.param_groups = split_groups(optimizer.param_groups, depths, rate_of_depth)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """The schedule of `lr_scheduler_type`, or one cycle up to `learning_rate` and down."""
        args, fresh = self.args, self.lr_scheduler is None
        if args.one_cycle and fresh:
            warmup = args.get_warmup_steps(num_training_steps)
            options: Any = args.lr_scheduler_kwargs or {}
            own: Any = self.optimizer if optimizer is None else optimizer
            schedule: Any = one_cycle(own, num_training_steps, warmup, options)
            self.lr_scheduler = schedule
            self._created_lr_scheduler = True  # as the Trainer does, so that another train() makes another
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if args.unfreeze_every is not None and fresh:
            unfreeze_gradually(scheduler, self._depths[1], args.unfreeze_every * self._steps_per_epoch)
        return scheduler
