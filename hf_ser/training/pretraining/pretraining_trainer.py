"""The Trainer of a pretraining: contrastive and diversity loss per masked frame, and scores of held-out segments."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, EvalPrediction, TrainerCallback, Wav2Vec2ForPreTraining

from hf_ser.memory import keep_freed_memory
from hf_ser.training.augmentation import EpochSetter
from hf_ser.training.pretraining.masked_segments import MaskedCollator, MaskedSegments
from hf_ser.training.pretraining.unlabelled_recordings import Speech
from hf_ser.training.pretraining_arguments import SCORES, PretrainingArguments, PretrainingModelArguments
from hf_ser.training.trainer import SerTrainer


def make_pretraining_trainer(
    model: Wav2Vec2ForPreTraining,
    extractor: Any,
    speech: Speech,
    model_args: PretrainingModelArguments,
    args: PretrainingArguments,
) -> "PretrainingTrainer":
    """Make the Trainer; `train()` ends with the best checkpoint loaded.

    Args:
        model: returned by `build_encoder`.
        extractor: its feature extractor.
        speech: returned by `load_speech`.
        model_args: masks and Gumbel temperature.
        args: of the training.
    """
    if args.device.type == "cpu":
        keep_freed_memory()
    seed = args.seed if args.data_seed is None else args.data_seed
    train = MaskedSegments(speech, "train", model.config, model_args, seed)
    callbacks: list[TrainerCallback] = [EpochSetter(train), GumbelTemperature(model_args)]
    if args.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
    return PretrainingTrainer(
        model=model,
        args=args,
        lengths=speech.lengths("train"),
        train_dataset=train,
        eval_dataset=MaskedSegments(speech, "validation", model.config, model_args, seed),
        processing_class=extractor,
        data_collator=MaskedCollator(extractor, model.config),
        compute_loss_func=loss_per_masked_frame,
        callbacks=callbacks,
        compute_metrics=_Metrics(model.config),
    )


def loss_per_masked_frame(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """The loss of wav2vec 2.0, which transformers sums over masked frames, per masked frame of the whole step.

    Args:
        outputs: of Wav2Vec2ForPreTraining.
        labels: (batch, frames), not negative for masked frames.
        num_items_in_batch: masked frames of the step, over its accumulated batches and processes; default: of
            `labels`.
    """
    return outputs["loss"] / ((labels >= 0).sum() if num_items_in_batch is None else num_items_in_batch)


class GumbelTemperature(TrainerCallback):
    """Lower the Gumbel temperature of the quantizer after every step, as in transformers' example of pretraining."""

    def __init__(self, args: PretrainingModelArguments) -> None:
        self.args = args

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The temperature depends on the step only, so that a resumed run continues with the same one."""
        decayed = self.args.max_gumbel_temperature * self.args.gumbel_temperature_decay**state.global_step
        kwargs["model"].set_gumbel_temperature(max(decayed, self.args.min_gumbel_temperature))


class PretrainingTrainer(SerTrainer):
    """A `SerTrainer` that logs the parts of the loss, and scores held-out segments by the true frame among negatives.

    The masks of validation segments are the same in every evaluation.
    """

    args: PretrainingArguments

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._parts: torch.Tensor | None = None  # sums since the last log: contrastive, diversity, perplexity, frames

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The Trainer's loss; its parts are kept for the log.

        Args:
            model: the model to train.
            inputs: a batch of `MaskedCollator`.
            return_outputs: whether to return the outputs of the model too.
            num_items_in_batch: masked frames of the step, by which the loss is divided.

        Returns:
            The loss, or loss and outputs.
        """
        frames = inputs["mask_time_indices"].sum()
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        values = outputs["contrastive_loss"], outputs["diversity_loss"], outputs["codevector_perplexity"] * frames
        parts = torch.stack([*(value.detach().float() for value in values), frames.float()])
        self._parts = parts if self._parts is None else self._parts + parts
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """The Trainer's log, with the parts of the training loss per masked frame. All processes call it."""
        if "loss" in logs and self._parts is not None:
            total = self.accelerator.reduce(self._parts) if self.args.world_size > 1 else self._parts
            *sums, frames = total.tolist()
            logs = {**logs, **{name: value / frames for name, value in zip(SCORES, sums, strict=False)}}
            self._parts = None
        super().log(logs, *args, **kwargs)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Score a batch of held-out segments.

        Args:
            model: the model.
            inputs: a batch of `MaskedCollator`.
            prediction_loss_only: not used.
            ignore_keys: not used.

        Returns:
            None, statistics (batch, 3 + codevectors) (see `segment_statistics`), and the number of masked frames
            (batch,) in the place of labels.
        """
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        own: Any = self.model
        with torch.no_grad(), _outputs_of(own.quantizer.weight_proj) as logits:
            outputs = model(**inputs)
        statistics = segment_statistics(outputs, inputs, logits[0], own.config)
        return None, statistics, (labels >= 0).sum(dim=1)


@contextmanager
def _outputs_of(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect the outputs of a module."""
    kept: list[torch.Tensor] = []
    hook = module.register_forward_hook(lambda module, args, output: kept.append(output))
    try:
        yield kept
    finally:
        hook.remove()


def segment_statistics(
    outputs: Any, inputs: dict[str, torch.Tensor], codevector_logits: torch.Tensor, config: Any
) -> torch.Tensor:
    """Sums over the masked frames of each segment.

    Args:
        outputs: of Wav2Vec2ForPreTraining, with projected states and quantized states (batch, frames, dim).
        inputs: mask_time_indices (batch, frames) and sampled_negative_indices (batch, frames, negatives).
        codevector_logits: (batch, frames, groups * codevectors).
        config: of the model.

    Returns:
        (batch, 3 + groups * codevectors): masked frames, contrastive loss, frames whose true target is the most
        similar one, and how often each codevector is chosen. Negatives with the codevectors of the true target tie
        with it: a frame with n of them counts 1 / (1 + n), so that a collapsed codebook scores at chance.
    """
    targets = outputs["projected_quantized_states"].float()
    flat = targets.reshape(-1, targets.shape[-1])
    rows = []
    for row, mask in enumerate(inputs["mask_time_indices"].bool()):
        true = targets[row][mask]
        negatives = flat[inputs["sampled_negative_indices"][row][mask]]  # (masked, negatives, dim)
        logits = Wav2Vec2ForPreTraining.compute_contrastive_logits(
            true[None],
            negatives.transpose(0, 1),
            outputs["projected_states"][row][mask].float(),
            config.contrastive_logits_temperature,
        )  # (1 + negatives, masked)
        same = (negatives == true[:, None]).all(-1).T
        others = logits[1:].masked_fill(same, -torch.inf)
        loss = torch.logsumexp(torch.cat([logits[:1], others]), dim=0) - logits[0]
        correct = (logits[0] > others.max(dim=0).values) / (1 + same.sum(dim=0))
        chosen = codevector_logits[row][mask].unflatten(-1, (config.num_codevector_groups, -1)).argmax(-1)
        counts = nn.functional.one_hot(chosen, config.num_codevectors_per_group).sum(dim=0).flatten()
        sums = torch.stack([mask.sum().float(), loss.sum(), correct.sum()])
        rows.append(torch.cat([sums, counts.float()]))
    return torch.stack(rows)


class _Metrics:
    """Validation scores from the statistics of all segments."""

    def __init__(self, config: Any) -> None:
        self.groups, self.weight = config.num_codevector_groups, config.diversity_loss_weight

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Per masked frame: loss and its parts, accuracy; and the perplexity of all chosen codevectors."""
        statistics: Any = prediction.predictions
        frames, contrastive, correct, *counts = np.asarray(statistics, dtype=np.float64).sum(axis=0)
        shares = np.asarray(counts).reshape(self.groups, -1) / frames
        logarithms = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
        perplexity = float(np.exp(-(shares * logarithms).sum(axis=1)).sum())
        diversity = (len(counts) - perplexity) / len(counts)
        values = (contrastive / frames, diversity, perplexity, correct / frames)
        scores = dict(zip(SCORES, map(float, values), strict=True))
        return {"loss": float(contrastive / frames + self.weight * diversity), **scores}
