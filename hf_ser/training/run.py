"""A training run: Trainer, best checkpoint, and the model folder that it leaves."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from transformers import EarlyStoppingCallback, EvalPrediction, PreTrainedModel, TrainerCallback, set_seed
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from hf_ser.audio import Preprocessing
from hf_ser.data.splits import SPLITS_FILE, DataArguments, SplitData, decoded, lengths, load_splits, write_assignment
from hf_ser.evaluation import predict_logits
from hf_ser.evaluation.split_scores import score_splits
from hf_ser.inference import load_classifier
from hf_ser.memory import keep_freed_memory
from hf_ser.models import min_samples
from hf_ser.models.preprocessing import MERGED_CALM
from hf_ser.reporting import write_run
from hf_ser.scoring import (
    score,
    softmax,
    store_temperature,
    write_json,
)
from hf_ser.scoring.results import describe_training
from hf_ser.training.augmentation import AugmentedDataset, EpochSetter, make_transforms
from hf_ser.training.clip_stream import streamed
from hf_ser.training.collator import AudioCollator
from hf_ser.training.lora import merge_lora
from hf_ser.training.losses import Loss, balanced_weights, make_loss
from hf_ser.training.modeling import build_model
from hf_ser.training.output_dir import SETTINGS, check_settings, claim_output_dir, settings, write_settings
from hf_ser.training.preflight import check_arguments, check_clips, check_disk
from hf_ser.training.trainer import SerTrainer
from hf_ser.training.training_arguments import ModelArguments, SerTrainingArguments

logger = logging.getLogger(__name__)


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Scores of a validation pass, under the names that `metric_for_best_model` takes."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    probabilities = softmax(np.asarray(logits))
    scores = score(np.asarray(prediction.label_ids), probabilities, [str(i) for i in range(probabilities.shape[1])])
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def make_trainer(
    model: PreTrainedModel, extractor: Any, data: SplitData, args: SerTrainingArguments, data_args: DataArguments
) -> SerTrainer:
    """Make the Trainer: clips decoded on access, dynamic padding, a loss that no batch layout changes.

    Training clips come from the stream where `data` has one. They are augmented where `augmentation` says so;
    validation clips never are.
    """
    _tell_steps(model, extractor, data_args)
    callbacks: list[TrainerCallback] = []
    if args.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
    collator: Any = AudioCollator(extractor, min_samples(model.config))
    train_dataset: Any
    if data.stream is not None:
        train_dataset, collator = streamed(data, args, data_args, collator)
    else:
        train_dataset = decoded(data.splits["train"], data_args.steps)
        if args.augmentation:
            seed = args.seed if args.data_seed is None else args.data_seed
            train_dataset = AugmentedDataset(train_dataset, make_transforms(args.augmentation), seed)
    if hasattr(train_dataset, "set_epoch"):
        callbacks.append(EpochSetter(train_dataset))
    validation = data.splits["validation"]
    by_length = np.argsort(lengths(validation, data_args.steps), kind="stable")[::-1]
    grouped = args.train_sampling_strategy == "group_by_length"
    return SerTrainer(
        model=model,
        args=args,
        # Of the clips as they are before augmentation, which hardly changes them. Where silence is cut, they cost a
        # pass over the clips.
        lengths=lengths(data.splits["train"], data_args.steps) if grouped else [],
        train_dataset=train_dataset,
        # Similar lengths together: less padding to compute, and to be averaged into the answers of maskless models.
        eval_dataset=decoded(validation.select(by_length), data_args.steps),
        processing_class=extractor,
        data_collator=collator,
        compute_loss_func=_loss(args, data),
        callbacks=callbacks,
        compute_metrics=compute_metrics,
    )


def train(
    model_args: ModelArguments, data_args: DataArguments, args: SerTrainingArguments
) -> tuple[SerTrainer, dict[str, Any]]:
    """Train a model, from its arguments to its folder, on as many processes as were launched.

    Returns:
        The Trainer, and what stands in results.json.
    """
    check_arguments(args)
    wanted = settings(model_args, data_args, args)
    checkpoint = claim_output_dir(args)
    if checkpoint is not None:
        args.earlier_precisions = check_settings(str(args.output_dir), wanted)
    set_seed(args.seed)
    if args.device.type == "cpu":
        keep_freed_memory()
    with args.main_process_first(desc="loading the dataset"):
        data = load_splits(data_args)
    check_clips(data, args)
    model, extractor = build_model(model_args, data.labels)
    data_args = with_model_steps(data_args, extractor)
    check_disk(model, args)
    trainer = make_trainer(model, extractor, data, args, data_args)
    if trainer.is_world_process_zero():
        write_settings(str(args.output_dir), wanted)
    trainer.train(resume_from_checkpoint=checkpoint)  # ends with the best checkpoint loaded
    adapter = model_args.save_adapter and trainer.is_world_process_zero()
    trainer.model = merge_lora(trainer.model, Path(str(args.output_dir)) if adapter else None)
    return trainer, finish(trainer, data, args, data_args, Path(str(args.output_dir)).name)


def with_model_steps(data_args: DataArguments, extractor: Any) -> DataArguments:
    """What is done to clips: as a checkpoint's folder says, unless the arguments say otherwise."""
    own = Preprocessing.of(extractor)
    steps = replace(own, **data_args.steps.steps)
    if own.steps:
        logger.info("Recordings are preprocessed as the checkpoint says: %s", steps.steps)
    return data_args.with_steps(steps)


def _tell_steps(model: PreTrainedModel, extractor: Any, data_args: DataArguments) -> None:
    """Put what is done to clips and classes into the model's parts, whose folder tells it to whatever loads it."""
    data_args.steps.store(extractor)
    if data_args.merge_calm:
        model.config.merged_labels = MERGED_CALM


def _loss(args: SerTrainingArguments, data: SplitData) -> Loss:
    weights = balanced_weights(data.splits["train"]["label"], data.labels) if args.class_weights else None
    return make_loss(args.loss, gamma=args.focal_gamma, label_smoothing=args.label_smoothing, class_weights=weights)


def finish(
    trainer: SerTrainer, data: SplitData, args: SerTrainingArguments, data_args: DataArguments, name: str
) -> dict[str, Any]:
    """Write the model folder: weights, extractor, predictions, results, report, history and figures.

    What is scored is the folder itself, loaded anew: validation gives the temperature, which goes into the weights.
    All processes take part in predicting; only the first writes.

    Returns:
        What stands in results.json.
    """
    folder = Path(str(args.output_dir))
    trainer.save_model(str(folder))
    trainer.accelerator.wait_for_everyone()
    model, extractor = load_classifier(str(folder))
    results = describe_run(trainer, data, data_args, name)

    def probabilities(split: str) -> np.ndarray:
        return softmax(_predict(trainer, model, extractor, data, split))

    results["splits"], predictions, temperature = score_splits(
        data, probabilities, args.calibrate, args.precision_choice.precision
    )
    if trainer.is_world_process_zero():
        if temperature is not None:
            store_temperature(model, temperature)
            model.cpu().save_pretrained(folder)
        # The Trainer pickles its arguments; the folder stays free of pickles, and results.json holds them.
        for left_behind in ("training_args.bin", SETTINGS):
            (folder / left_behind).unlink(missing_ok=True)
        write_json(folder / "training_history.json", trainer.state.log_history)
        write_assignment(folder / SPLITS_FILE, data.assignment, data.hashes)
        write_run(folder, results, predictions, history=trainer.state.log_history, figures=args.figures)
    return results


def _predict(trainer: SerTrainer, model: PreTrainedModel, extractor: Any, data: SplitData, split: str) -> np.ndarray:
    """Logits of a split's clips (clips, classes), each process computing its share."""
    clips = data.splits[split]
    items = decoded(clips)
    rows, logits = predict_logits(
        model,
        extractor,
        clips["duration"],
        lambda numbers: items[numbers]["waveform"],
        batch_size=trainer.args.per_device_eval_batch_size,
        device=trainer.args.device,
        precision=trainer.args.precision_choice.precision,
        share=(trainer.args.process_index, trainer.args.world_size),
        progress=not trainer.args.disable_tqdm and trainer.is_world_process_zero(),
        desc=f"Scoring {split}",
    )
    parts = gather_object([(rows, logits)])
    together = np.concatenate([part[1] for part in parts])
    return together[np.argsort(np.concatenate([part[0] for part in parts]))]


def describe_run(trainer: SerTrainer, data: SplitData, data_args: DataArguments, name: str) -> dict[str, Any]:
    """What a reader needs to judge and repeat the run, before any score."""
    args, state, model = trainer.args, trainer.state, trainer.model
    assert model is not None
    training = {
        "seed": args.seed,
        "epochs": state.epoch,
        "steps": state.global_step,
        "learning_rate": args.learning_rate,
        "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        "trainable_parameters": trainer.trainable_parameters,
        "optimizer": OptimizerNames(args.optim).value,
        "weight_decay": args.weight_decay,
        "schedule": "one_cycle" if args.one_cycle else SchedulerType(args.lr_scheduler_type).value,
        "precision": args.precision_choice.precision,
        "loss": args.loss,
        "label_smoothing": args.label_smoothing,
        "class_weights": args.class_weights,
        "mixup_alpha": args.mixup_alpha,
        "best_metric": args.metric_for_best_model,
        "best_value": state.best_metric,
        "best_step": state.best_global_step,
        "seconds": round(sum(entry.get("train_runtime", 0.0) for entry in state.log_history), 1),
    }
    if args.earlier_precisions:
        training["earlier_precisions"] = args.earlier_precisions
    if args.augmentation:
        training["augmentation"] = args.augmentation
    base = str(getattr(model.config, "_name_or_path", "") or "")  # empty for a model trained from scratch
    if base:
        training["base_model"] = Path(base).name if Path(base).exists() else base
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return describe_training(data, data_args, name, str(model.config.model_type), parameters, training)  # type: ignore[union-attr]
