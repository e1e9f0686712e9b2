"""The results of a training run: the saved model, its scores, and the files in its folder."""

from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from transformers import PreTrainedModel
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from hf_ser.data.splits import SplitData, decoded
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.evaluation import predict_logits
from hf_ser.evaluation.dimension_predictions import score_dimension_splits
from hf_ser.evaluation.split_scores import score_splits
from hf_ser.inference import load_classifier
from hf_ser.model_draft import draft_of, new_draft
from hf_ser.reporting import write_run
from hf_ser.reporting.dimension_report import write_dimension_run
from hf_ser.scoring import softmax, store_temperature, store_threshold, write_json
from hf_ser.scoring.results import describe_training
from hf_ser.training.auxiliary_heads import detach_heads
from hf_ser.training.dimension_targets import TARGET, DimensionTask
from hf_ser.training.modeling import merge_lora
from hf_ser.training.output_dir import SETTINGS
from hf_ser.training.trainer import SerTrainer
from hf_ser.training.training_clock import elapsed


def save_model(trainer: SerTrainer, *, keep_adapter: bool = False) -> Path:
    """Save the trained model, with LoRA matrices merged and without auxiliary heads, and its extractor, as a draft.

    No program loads the run's folder until `write_reports` has moved the model there. All processes must call it; the
    first one writes.

    Args:
        trainer: after training.
        keep_adapter: also save the LoRA matrices separately, in `adapter/`.

    Returns:
        The run's folder, which is the trainer's output_dir.

    Raises:
        DivergedError: weights are not finite; no files are written.

    >>> from hf_ser.data import DataArguments, load_splits
    >>> from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer
    >>> data = load_splits(DataArguments("data/emotions", "ravdess"))
    >>> model, extractor = build_model(ModelArguments("runs/audio_cnn"), data.labels)
    >>> trainer = make_trainer(model, extractor, data, SerTrainingArguments("runs/more"))
    >>> save_model(trainer).name
    'more'
    """
    folder = Path(str(trainer.args.output_dir))
    draft = new_draft(folder) if trainer.args.should_save else draft_of(folder)
    detach_heads(trainer.model)
    trainer.model = merge_lora(trainer.model, draft if keep_adapter and trainer.is_world_process_zero() else None)
    trainer.save_model(str(draft))
    trainer.accelerator.wait_for_everyone()
    return folder


def evaluate_saved(trainer: SerTrainer, data: SplitData) -> tuple[dict[str, Any], dict[str, Any]]:
    """Score the saved model, loaded from its draft, on validation and test.

    The temperature and abstention threshold that `calibrate` fits on validation are stored in the saved model. All
    processes must call it; each computes its share.

    Args:
        trainer: after `save_model`.
        data: the splits of the run.

    Returns:
        The contents of results.json, and split -> predictions: a list with a table of probabilities or of dimensions.

    >>> from hf_ser.data import DataArguments, load_splits
    >>> from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer
    >>> data = load_splits(DataArguments("data/emotions", "ravdess"))
    >>> model, extractor = build_model(ModelArguments("runs/audio_cnn"), data.labels)
    >>> trainer = make_trainer(model, extractor, data, SerTrainingArguments("runs/more", disable_tqdm=True))
    >>> folder = save_model(trainer)
    >>> results, predictions = evaluate_saved(trainer, data)
    >>> results["splits"]["test"]["clips"]
    32
    """
    args = trainer.args
    draft = str(draft_of(str(args.output_dir)))
    model, extractor = load_classifier(draft, dimensions=True)
    results = _describe(trainer, data)
    task = DimensionTask.of(data, args)
    if task is not None:
        precision = args.precision_choice.precision
        results["dimensions"], tables = score_dimension_splits(
            data, task.names, task.values, lambda split: _predict(trainer, model, extractor, data, split), precision
        )
        return results, tables
    probabilities = {
        split: softmax(_predict(trainer, model, extractor, data, split))
        for split in ("validation", "test")
        if len(data.splits[split])
    }
    rule = args.abstention_rule if args.calibrate else None
    results["splits"], predictions, fitted = score_splits(
        data,
        probabilities.__getitem__,
        rule,
        args.precision_choice.precision,
        trainer.targets.calibration if trainer.targets else None,
    )
    if fitted is not None and trainer.is_world_process_zero():
        store_temperature(model, fitted.temperature)
        store_threshold(model, fitted.threshold)
        model.cpu().save_pretrained(draft)
    return results, predictions


def write_reports(trainer: SerTrainer, data: SplitData, results: dict[str, Any], predictions: dict[str, Any]) -> None:
    """Write history, splits, predictions, figures, report and results, and move the model into the run's folder.

    Args:
        trainer: after training; only the first process calls this.
        data: the splits of the run.
        results: of `evaluate_saved`.
        predictions: of `evaluate_saved`.

    >>> from hf_ser.data import DataArguments, load_splits
    >>> from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer
    >>> data = load_splits(DataArguments("data/emotions", "ravdess"))
    >>> model, extractor = build_model(ModelArguments("runs/audio_cnn"), data.labels)
    >>> trainer = make_trainer(model, extractor, data, SerTrainingArguments("runs/more", figures=False))
    >>> folder = save_model(trainer)
    >>> write_reports(trainer, data, *evaluate_saved(trainer, data))
    >>> (folder / "results.json").is_file(), (folder / "report.md").is_file()
    (True, True)
    """
    folder = Path(str(trainer.args.output_dir))
    # The Trainer pickles its arguments; recipe.yaml has them, and the folder holds no pickles.
    for left_behind in (draft_of(folder) / "training_args.bin", folder / SETTINGS):
        left_behind.unlink(missing_ok=True)
    history = trainer.state.log_history
    write_json(folder / "training_history.json", history)
    data.write_record(folder / SPLITS_FILE)
    if results.get("dimensions"):
        write_dimension_run(folder, results, predictions, history=history, figures=trainer.args.figures)
    else:
        write_run(folder, results, predictions, history=history, figures=trainer.args.figures)


def _predict(trainer: SerTrainer, model: PreTrainedModel, extractor: Any, data: SplitData, split: str) -> np.ndarray:
    """Logits of a split's clips (clips, classes), each process computing its share."""
    clips = data.splits[split]
    items = decoded(clips)  # without preprocessing, which the model's folder defines
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


def _describe(trainer: SerTrainer, data: SplitData) -> dict[str, Any]:
    """The description of the run in results.json, before any score."""
    args, state = trainer.args, trainer.state
    model: Any = trainer.model
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
        "loss": args.dimension_loss if args.target == TARGET else args.loss,
        "label_smoothing": args.label_smoothing,
        "class_weights": args.class_weights,
        "mixup_alpha": args.mixup_alpha,
        "best_metric": args.metric_for_best_model,
        "best_value": state.best_metric,
        "best_step": state.best_global_step,
        "seconds": round(elapsed(state), 1),
    }
    training |= {name: getattr(args, name) for name in ("ema_decay", "swa_start") if getattr(args, name) is not None}
    if args.swa_start is not None and trainer.weight_average is not None:
        training["swa_first_step"] = trainer.weight_average.first
    training |= {name: True for name in ("balance_corpora", "corpus_classes") if getattr(args, name)}
    training |= trainer.targets.summary if trainer.targets else {}
    if args.world_size > 1:
        training["processes"] = args.world_size
    if args.earlier_precisions:
        training["earlier_precisions"] = args.earlier_precisions
    if args.augmentation:
        training["augmentation"] = args.augmentation
    for name in ("speed_factors", "copy_paste", "speaker_adversary", "supervised_contrastive"):
        if getattr(args, name):
            training[name] = getattr(args, name)
    if args.target == TARGET:
        training["target"] = args.target
    base = str(getattr(model.config, "_name_or_path", "") or "")  # empty if trained from scratch
    if base:
        training["base_model"] = Path(base).name if Path(base).exists() else base
    parameters = sum(weights.numel() for weights in model.parameters())
    name = Path(str(args.output_dir)).name
    return describe_training(data, name, str(model.config.model_type), parameters, training)
