"""The folder of a pretrained encoder: model, scores, record of the clips, list of unusable files, and card."""

import shutil
from pathlib import Path
from typing import Any

from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from hf_ser.data.protocols import Assignment
from hf_ser.data.report import write_quarantine
from hf_ser.data.splits_file import SPLITS_FILE, write_assignment
from hf_ser.model_draft import draft_of, new_draft, publish
from hf_ser.results_file import PRETRAINING_RESULTS
from hf_ser.scoring import write_json
from hf_ser.scoring.results import versions, write_text
from hf_ser.training.output_dir import SETTINGS
from hf_ser.training.pretraining.pretraining_card import encoder_card
from hf_ser.training.pretraining.pretraining_model import restore_masking
from hf_ser.training.pretraining.pretraining_trainer import PretrainingTrainer
from hf_ser.training.pretraining.unlabelled_recordings import PACKS, UNUSABLE, Speech
from hf_ser.training.pretraining_arguments import PretrainingModelArguments
from hf_ser.training.training_clock import elapsed


def save_encoder(trainer: PretrainingTrainer, model_args: PretrainingModelArguments) -> Path:
    """Save the encoder with the heads of its pretraining, in the layout of facebook/wav2vec2-base, as a draft.

    All processes must call it; the first one writes.

    Returns:
        The run's folder, which is the trainer's output_dir.

    Raises:
        DivergedError: weights are not finite; no files are written.
    """
    folder = Path(str(trainer.args.output_dir))
    draft = new_draft(folder) if trainer.args.should_save else draft_of(folder)
    model: Any = trainer.model
    restore_masking(model.config, model_args)
    trainer.save_model(str(draft))
    trainer.accelerator.wait_for_everyone()
    return folder


def write_pretraining(
    trainer: PretrainingTrainer, speech: Speech, model_args: PretrainingModelArguments, scores: dict[str, float]
) -> dict[str, Any]:
    """Write history, splits.csv, unusable files, pretraining.json and card, and move the model into the folder.

    Args:
        trainer: after `save_encoder`; only the first process calls this.
        speech: the segments of the run.
        model_args: base model and masks.
        scores: of the saved model on held-out segments, named `eval_...`.

    Returns:
        The contents of pretraining.json.
    """
    folder = Path(str(trainer.args.output_dir))
    # The Trainer pickles its arguments; recipe.yaml has them, and the folder holds no pickles.
    for left_behind in (draft_of(folder) / "training_args.bin", folder / SETTINGS):
        left_behind.unlink(missing_ok=True)
    write_json(folder / "training_history.json", trainer.state.log_history)
    write_assignment(folder / SPLITS_FILE, Assignment("", None, 0, (0, 0, 0), speech.record), speech.hashes)
    if speech.quarantined.quarantined:
        write_quarantine(speech.quarantined, folder / UNUSABLE)
    content = _describe(trainer, speech, model_args, scores)
    write_json(folder / PRETRAINING_RESULTS, content)
    write_text(folder / "README.md", encoder_card(content))
    publish(folder)
    shutil.rmtree(folder / PACKS, ignore_errors=True)
    return content


def _describe(
    trainer: PretrainingTrainer, speech: Speech, model_args: PretrainingModelArguments, scores: dict[str, float]
) -> dict[str, Any]:
    args, state = trainer.args, trainer.state
    model: Any = trainer.model
    base = model_args.model_name_or_path
    training = {
        "seed": args.seed,
        "epochs": state.epoch,
        "steps": state.global_step,
        "learning_rate": args.learning_rate,
        "schedule": "one_cycle" if args.one_cycle else SchedulerType(args.lr_scheduler_type).value,
        "optimizer": OptimizerNames(args.optim).value,
        "weight_decay": args.weight_decay,
        "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        "processes": args.world_size,
        "precision": args.precision_choice.precision,
        "mask_time_prob": model_args.mask_time_prob,
        "mask_time_length": model_args.mask_time_length,
        "best_metric": args.metric_for_best_model,
        "best_step": state.best_global_step,
        "seconds": round(elapsed(state), 1),
    }
    return {
        "kind": "pretraining",
        "name": Path(str(args.output_dir)).name,
        "model_type": model.config.model_type,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "base_model": None if base is None else Path(base).name if Path(base).exists() else base,
        "source": speech.source,
        "synthetic": list(speech.synthetic),
        "groups": speech.groups,
        "clips": {split: sum(value == name for value in speech.record.values()) for split, name in _NAMES.items()},
        "segments": {split: len(segments) for split, segments in speech.segments.items()},
        "hours": {split: round(speech.hours(split), 4) for split in speech.segments},
        "unusable_files": len(speech.quarantined.quarantined),
        "training": training,
        "scores": {name.removeprefix("eval_"): scores[name] for name in scores if _is_score(name)},
        "versions": versions(),
    }


_NAMES = {"train": "pretraining", "validation": "validation"}


def _is_score(name: str) -> bool:
    return name.startswith("eval_") and not name.endswith(("runtime", "per_second"))
