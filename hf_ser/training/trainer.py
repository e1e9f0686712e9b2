"""`Trainer` with batches of similar length, mixup, a one-cycle learning rate, and a stop when training diverges."""

import math
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import IterableDatasetShard
from torch.utils.data import SequentialSampler
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    TrainerCallback,
    trainer,
)
from transformers.trainer_utils import get_last_checkpoint

from hf_ser.arguments import ConfigError
from hf_ser.data.splits import SplitData
from hf_ser.errors import SerError
from hf_ser.memory import keep_freed_memory
from hf_ser.models import min_samples
from hf_ser.training.augmentation import EpochSetter
from hf_ser.training.auxiliary_heads import attach_heads, heads_of, load_heads, save_heads, speaker_numbers
from hf_ser.training.averaged_weights import AveragingTrainer
from hf_ser.training.batches import AudioCollator, LengthGroupedSampler
from hf_ser.training.clip_stream import streamed
from hf_ser.training.corpora_in_training import (
    CorpusBalancedSampler,
    corpus_loss,
    corpus_numbers,
    refuse_stream,
)
from hf_ser.training.dimension_targets import DimensionTask
from hf_ser.training.distillation import distillation
from hf_ser.training.epoch_lines import EpochLines
from hf_ser.training.layerwise import parameter_depths, rates, split_groups, unfreeze_gradually
from hf_ser.training.losses import Loss, Mix, balanced_weights, make_loss
from hf_ser.training.numbered_clips import NumberedClips, NumberedLoss, join_to_labels
from hf_ser.training.schedules import one_cycle
from hf_ser.training.training_arguments import SerTrainingArguments
from hf_ser.training.training_clips import in_memory
from hf_ser.training.training_clock import SECONDS, TrainingClock
from hf_ser.training.validation_scores import ValidationScores, resolve_best_metric
from hf_ser.training.vote_targets import VOTES, Targets, choose_targets, vote_loss

_LET_GO_S = 0.2


class DivergedError(SerError):
    """A training whose loss, outputs or weights are no longer finite; `what` is the message without the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        super().__init__(f"{what}. {remedy}")


class SerTrainer(AveragingTrainer):
    """A `Trainer` that groups clips of similar length, evaluates in the given order, and stops when it diverges.

    Clips are grouped if `train_sampling_strategy` is group_by_length; the stock Trainer would decode audio for each
    comparison. Training batches are mixed if `mixup_alpha` is not 0. The learning rate follows one cycle if
    `one_cycle` is true.

    Training ends with `DivergedError` at the first non-finite loss (before the optimizer step), at a validation with
    non-finite outputs, and before non-finite weights are saved.

    Args:
        lengths: samples of each training clip; needed for group_by_length only.
        corpora: corpus of each training clip; needed for balance_corpora only.
        numbered_loss: loss of training clips with numbers beside their labels, for corpus_classes, teachers and votes.
        targets: what the clips teach, for the evaluation and results.json; default: their labels.
        kwargs: of the Trainer.
    """

    args: SerTrainingArguments

    def __init__(
        self,
        *,
        lengths: Sequence[int],
        corpora: Sequence[str] = (),
        numbered_loss: NumberedLoss | None = None,
        targets: Targets | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for printing in (PrinterCallback, trainer.DEFAULT_PROGRESS_CALLBACK):
            self.remove_callback(printing)
        self._clock = TrainingClock()
        self.add_callback(EpochLines())
        self.add_callback(self._clock)
        self._lengths, self._corpora, self._numbered_loss = lengths, corpora, numbered_loss
        self.targets = targets
        model: Any = self.model
        self.trainable_parameters = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
        self._step_loss: torch.Tensor | float = 0.0

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """The Trainer's log; its summary gets the seconds before interruptions too.

        A resumed training that had no step left gets no summary, whose loss would be 0.
        """
        if "train_runtime" in logs:
            if self.state.global_step <= self._clock.first_step:
                return
            logs = {**logs, SECONDS: self._clock.seconds()}
        super().log(logs, *args, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """The Trainer's batches of a step; none if the resumed training has no step left, where it would take one."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return [], None
        return super().get_batch_samples(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The Trainer's step, with one check of the loss per optimizer step over all processes.

        Raises:
            DivergedError: the loss is not finite.
        """
        loss = super().training_step(*args, **kwargs)
        self._step_loss = self._step_loss + loss  # one non-finite loss makes the sum non-finite
        if self.accelerator.sync_gradients:
            total, self._step_loss = self._step_loss, 0.0
            # The bad clip may be in one process only; if that one stopped alone, the others would wait for it.
            value = float(self.accelerator.reduce(total) if self.args.world_size > 1 else total)
            if not math.isfinite(value):
                raise self._diverged(f"the training loss is {value}", self.state.global_step + 1)
        return loss

    def end(self) -> None:
        """The Trainer's end, after a pause in which the last gathered tensors are released.

        gloo's thread needs the interpreter to release them. When the process group is destroyed, it waits for this
        thread while it holds the interpreter, so that a process would never end.
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
        finite = [weights.isfinite().all() for weights in model.parameters() if weights.is_floating_point()]
        if not all(torch.stack(finite).tolist()):
            raise self._diverged("weights are not finite", self.state.global_step)
        super().save_model(output_dir, _internal_call)
        if _internal_call and output_dir is not None and self.args.should_save:  # within a checkpoint
            save_heads(model, output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_heads(self.model, resume_from_checkpoint)

    def _diverged(self, what: str, step: int) -> DivergedError:
        args = self.args
        rate = args.learning_rate if self.lr_scheduler is None else self._get_learning_rate()
        remedy = f"Lower --learning_rate (its peak is {args.learning_rate:g})"
        if args.fp16:
            remedy += ", or replace --fp16 with --bf16, which has a larger range"
        output = str(args.output_dir)
        last = get_last_checkpoint(output) if Path(output).is_dir() else None
        kept = "no checkpoint was saved" if last is None else f"the last checkpoint before that is {last}"
        place = f"step {step} (epoch {self.state.epoch or 0:.2f}, learning rate {rate:g})"
        return DivergedError(
            f"the training diverged: {what} at {place}", f"{remedy}, and start again with --overwrite true; {kept}."
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        args = self.args
        seed = args.seed if args.data_seed is None else args.data_seed
        if args.balance_corpora:
            return CorpusBalancedSampler(self._corpora, seed)
        if args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return LengthGroupedSampler(self._lengths, batch_size, seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return SequentialSampler(eval_dataset)

    def num_examples(self, dataloader: Any) -> int:
        """The number of clips over all processes, from which the Trainer computes its speed."""
        shard = dataloader.dataset  # of a stream in several processes: its length is that of one process
        return len(shard.dataset) if isinstance(shard, IterableDatasetShard) else super().num_examples(dataloader)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The Trainer's loss; in training, with mixup, classes by corpus, teachers and auxiliary heads, in one pass.

        Args:
            model: the model to train.
            inputs: a batch, with input_values (batch, samples), labels (batch,) and possibly speakers (batch,).
            return_outputs: whether to return the outputs of the model too.
            num_items_in_batch: clips in the whole accumulated batch, by which the loss is divided.

        Returns:
            The loss, or loss and outputs.
        """
        plain = loss = self.compute_loss_func
        heads, speakers = heads_of(self.model), inputs.pop("speakers", None)
        if self._numbered_loss is not None and self._numbered_loss.numbers in inputs:
            inputs, loss = join_to_labels(inputs, self._numbered_loss.numbers), self._numbered_loss
        if model.training and loss is not None:
            alpha = self.args.mixup_alpha
            mix = Mix.draw(len(inputs["labels"]), alpha) if alpha > 0 else None
            if mix is not None:
                inputs, loss = mix.inputs(inputs), mix.loss(loss)
            if heads is not None:
                heads.reversal = self.args.speaker_adversary * self.state.global_step / max(self.state.max_steps, 1)
                loss = heads.added_to(loss, speakers, mix)
        # The Trainer still counts clips and averages over processes, which is the same for these losses.
        self.compute_loss_func = loss
        try:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        finally:
            self.compute_loss_func = plain

    @cached_property
    def _depths(self) -> tuple[dict[torch.nn.Parameter, int], int]:
        model: Any = self.model
        model = model.get_base_model() if hasattr(model, "get_base_model") else model  # without peft's wrapper
        depths, layers = parameter_depths(model)
        if not layers and (self.args.layer_decay < 1 or self.args.unfreeze_every is not None):
            raise ConfigError(
                f"layer_decay and unfreeze_every need an encoder with layers, but {model.config.model_type} has none. "
                "Leave them out."
            )
        return depths, layers

    @property
    def _steps_per_epoch(self) -> int:
        clips: Any = self.train_dataset
        batches = math.ceil(len(clips) / (self.args.train_batch_size * self.args.world_size))
        return math.ceil(batches / self.args.gradient_accumulation_steps)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """The Trainer's optimizer, with a learning rate for each depth if they differ."""
        args, fresh = self.args, self.optimizer is None
        optimizer = super().create_optimizer(model)
        if fresh and (args.layer_decay < 1 or args.head_learning_rate is not None or args.unfreeze_every is not None):
            depths, layers = self._depths
            rate_of_depth = rates(args.learning_rate, args.head_learning_rate, args.layer_decay, layers)
            optimizer.param_groups = split_groups(optimizer.param_groups, depths, rate_of_depth)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """The schedule of `lr_scheduler_type`, or one cycle with `learning_rate` as its maximum."""
        args, fresh = self.args, self.lr_scheduler is None
        if args.one_cycle and fresh:
            warmup = args.get_warmup_steps(num_training_steps)
            options: Any = args.lr_scheduler_kwargs or {}
            own: Any = self.optimizer if optimizer is None else optimizer
            schedule: Any = one_cycle(own, num_training_steps, warmup, options)
            self.lr_scheduler = schedule
            self._created_lr_scheduler = True  # as in the Trainer, so that another train() creates a new one
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if args.unfreeze_every is not None and fresh:
            unfreeze_gradually(scheduler, self._depths[1], args.unfreeze_every * self._steps_per_epoch)
        return scheduler


def make_trainer(model: PreTrainedModel, extractor: Any, data: SplitData, args: SerTrainingArguments) -> SerTrainer:
    """Make the Trainer: clips decoded on access, dynamic padding, and a loss independent of the batch layout.

    Training clips come from the stream if `data` has one. They are augmented if `augmentation` is given; validation
    clips are not. With another `target` than acted, labels are replaced as `choose_targets` describes. Preprocessing
    and merged classes are stored in the extractor and the model, so that the saved folder applies them everywhere.

    Args:
        model: returned by `build_model`.
        extractor: its feature extractor.
        data: splits train and validation.
        args: of the training.

    Returns:
        A Trainer; `train()` ends with the best checkpoint loaded.

    Raises:
        ConfigError: arguments that do not work with a stream or with the training clips, or clips without votes.

    >>> from hf_ser.data import DataArguments, load_splits
    >>> from hf_ser.training import ModelArguments, build_model
    >>> data = load_splits(DataArguments("data/emotions", "ravdess"))
    >>> model, extractor = build_model(ModelArguments("runs/audio_cnn"), data.labels)
    >>> args = SerTrainingArguments("runs/more", per_device_train_batch_size=32, disable_tqdm=True)
    >>> trainer = make_trainer(model, extractor, data, args)
    >>> len(trainer.get_train_dataloader())
    4
    """
    resolve_best_metric(args, data)
    data.args.steps.store(extractor)
    data.store_labels(model.config)
    if args.device.type == "cpu":
        keep_freed_memory()
    targets = choose_targets(data, args)
    data = targets.data
    callbacks: list[TrainerCallback] = []
    train_dataset: Any
    if args.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
    speakers = speaker_numbers(data, args)
    collator: Any = AudioCollator(extractor, min_samples(model.config))
    if data.stream is not None:
        refuse_stream(args)
        train_dataset, collator = streamed(data, args, collator, speakers)
    else:
        train_dataset = _with_numbers(in_memory(data, args, model.config, speakers), data, args)
    if hasattr(train_dataset, "set_epoch"):
        callbacks.append(EpochSetter(train_dataset))
    task = DimensionTask.of(data, args)
    if task is not None:
        train_dataset, collator = task.training_clips(train_dataset), task.collator(collator)
    loss: Loss = _loss(args, data) if task is None else task.loss
    validation = np.argsort(data.lengths("validation"), kind="stable")[::-1]
    grouped = args.train_sampling_strategy == "group_by_length"
    trainer = SerTrainer(
        model=model,
        args=args,
        # Lengths before augmentation, which hardly changes them. With trim_db, they take a pass over the clips.
        lengths=data.lengths("train") if grouped else [],
        corpora=data.splits["train"]["corpus"][:] if args.balance_corpora else [],
        numbered_loss=None
        if task is not None
        else corpus_loss(args, data) or distillation(args, data, loss) or vote_loss(args, targets),
        train_dataset=train_dataset,
        # Similar lengths together, for less padding, which models without mask average into their output.
        eval_dataset=_validation(data, validation, task),
        processing_class=extractor,
        data_collator=collator,
        compute_loss_func=loss,
        callbacks=callbacks,
        compute_metrics=ValidationScores(np.asarray(data.splits["validation"]["corpus"])[validation].tolist())
        if task is None
        else task.metrics,
        targets=targets,
    )
    attach_heads(model, speakers, args)
    return trainer


def _validation(data: SplitData, rows: np.ndarray, task: DimensionTask | None) -> Any:
    clips = data.decoded("validation").select(rows)
    return clips if task is None else task.labelled(clips, "validation", rows)


def _with_numbers(clips: Any, data: SplitData, args: SerTrainingArguments) -> Any:
    if args.corpus_classes:
        return NumberedClips(clips, "corpus", corpus_numbers(data))
    return NumberedClips(clips, "clip", range(len(clips))) if args.teachers or args.target == VOTES else clips


def _loss(args: SerTrainingArguments, data: SplitData) -> Loss:
    weights = balanced_weights(data.splits["train"]["label"], data.labels) if args.class_weights else None
    return make_loss(args.loss, gamma=args.focal_gamma, label_smoothing=args.label_smoothing, class_weights=weights)
