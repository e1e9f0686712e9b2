"""The folder of a run: checked for other runs, and for the checkpoint from which an unfinished run continues."""

import json
import logging
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hf_ser.arguments import ConfigError
from hf_ser.model_draft import remove_model
from hf_ser.recipe_file import RECIPE
from hf_ser.results_file import PRETRAINING_RESULTS, RESULTS
from hf_ser.run_folder import begin_run, has_results, hold, is_finished, is_marked, join, release
from hf_ser.scoring import write_json
from hf_ser.scoring.results import write_text
from hf_ser.training.recipe_settings import AnyData, AnyModel, training_recipe
from hf_ser.training.training_arguments import SerTrainingArguments

logger = logging.getLogger(__name__)
SETTINGS = "settings.json"  # while a run is unfinished; later, results.json and recipe.yaml describe it
_STATE = "trainer_state.json"
_COMPUTED_IN = "computed in"  # the precision that was used; auto may choose another on another machine
_EARLIER = "earlier precisions"
# Settings that decide the model, except the length of the training: a run may be resumed for more epochs.
_FIELDS = (
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "one_cycle", "head_learning_rate"),
    *(
        "layer_decay",
        "unfreeze_every",
        "optim",
        "weight_decay",
        "max_grad_norm",
        "seed",
        "data_seed",
        "train_sampling_strategy",
    ),
    *("ema_decay", "swa_start", "balance_corpora", "corpus_classes"),
    *("loss", "focal_gamma", "label_smoothing", "class_weights", "augmentation", "mixup_alpha"),
    *("speed_factors", "copy_paste", "speaker_adversary", "supervised_contrastive"),
    "metric_for_best_model",
)


def claim_output_dir(model_args: AnyModel, data_args: AnyData, args: SerTrainingArguments) -> str | None:
    """Lock the folder, reject one that holds another run, and find the checkpoint to resume from.

    No earlier run is removed yet. The lock ends with `finish_run` or with the process.

    Returns:
        The folder of the checkpoint, or None to start from the beginning.

    Raises:
        ConfigError: the folder holds a finished run or checkpoints and neither `overwrite` nor
            `resume_from_checkpoint` is given, there is no complete checkpoint to resume from, or the settings differ
            from those of the run.

    >>> from hf_ser.data import DataArguments
    >>> from hf_ser.training import ModelArguments
    >>> model_args, data_args = ModelArguments("facebook/wav2vec2-base"), DataArguments("data/emotions")
    >>> claim_output_dir(model_args, data_args, SerTrainingArguments("runs/new"))
    >>> claim_output_dir(model_args, data_args, SerTrainingArguments("runs/audio_cnn"))
    Traceback (most recent call last):
    hf_ser.errors.ConfigError: --output_dir runs/audio_cnn holds a finished run; choose another folder, or ...
    """
    (hold if args.process_index == 0 else join)(str(args.output_dir))
    try:
        checkpoint = _find_checkpoint(args)
        if checkpoint is not None:
            args.earlier_precisions = check_settings(args, settings(model_args, data_args, args))
    except ConfigError:
        release(str(args.output_dir))
        raise
    return checkpoint


def _find_checkpoint(args: SerTrainingArguments) -> str | None:
    output = Path(str(args.output_dir))
    found = _checkpoints(output)
    resume = args.resume_from_checkpoint
    if _resumes(args):
        asked = found if str(resume).lower() == "true" else [Path(str(resume))]
        whole = [path for path in asked if _is_whole(path, args)]
        if not whole and is_marked(output) and str(resume).lower() == "true":
            logger.warning("%s holds no whole checkpoint; training starts from the beginning", output)
            return None
        if not whole:
            state = "only incomplete checkpoints" if found else "no checkpoint"
            raise ConfigError(
                f"--resume_from_checkpoint {resume}: {output} holds {state}; pass --overwrite true to start again."
            )
        return str(whole[-1])
    if not args.overwrite and (found or has_results(output)):
        state = "a finished run" if is_finished(output) else "an unfinished run"
        raise ConfigError(
            f"--output_dir {output} holds {state}; choose another folder, or pass --resume_from_checkpoint true to "
            "continue from its last checkpoint, or --overwrite true to replace it."
        )
    return None


def _resumes(args: SerTrainingArguments) -> bool:
    return bool(args.resume_from_checkpoint) and str(args.resume_from_checkpoint).lower() != "false"


def settings(model_args: AnyModel, data_args: AnyData, args: SerTrainingArguments) -> dict[str, Any]:
    """The settings that a resumed run must share with the unfinished run."""
    batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    fields = {name: getattr(args, name) for name in _FIELDS} | {"metric_for_best_model": args.asked_metric}
    precisions = {"precision": args.asked_precision, _COMPUTED_IN: args.precision_choice.precision}
    content = {**asdict(model_args), **asdict(data_args), **fields, **precisions, "total batch size": batch_size}
    return json.loads(json.dumps(content, default=str))


def check_settings(args: SerTrainingArguments, wanted: dict[str, Any]) -> list[str]:
    """Reject settings that differ from those of the run to resume.

    If auto chooses another precision on this machine, it logs a warning.

    Returns:
        The other precisions in which the run was computed so far.

    Raises:
        ConfigError: naming the settings that differ.
    """
    output_dir = str(args.output_dir)
    path = Path(output_dir) / SETTINGS
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else wanted
    other = [
        name
        for name in wanted
        if name in stored and stored[name] != wanted[name] and name not in (_COMPUTED_IN, _EARLIER)
    ]
    if other:
        shown = "; ".join(f"{name} was {stored[name]!r} and is {wanted[name]!r}" for name in other)
        raise ConfigError(
            f"--resume_from_checkpoint: {output_dir} holds a run with other settings: {shown}. Use the same settings, "
            "or choose another --output_dir."
        )
    before, now = stored.get(_COMPUTED_IN, wanted[_COMPUTED_IN]), wanted[_COMPUTED_IN]
    if before != now:
        logger.warning(
            "%s was trained in %s so far and continues in %s, which precision auto chooses on this machine; for a "
            "reproducible run, start again with --precision %s",
            *(output_dir, before, now, now),
        )
    return sorted({*stored.get(_EARLIER, ()), before} - {now})


def write_settings(model_args: AnyModel, data_args: AnyData, args: SerTrainingArguments) -> None:
    """Write the settings into the output folder: recipe.yaml, which repeats the run, and those that a resume compares.

    With `overwrite`, model, results and checkpoints of an earlier run are removed first. It is called after all
    checks, so that they are removed only if the new run can start.

    >>> from hf_ser.data import DataArguments
    >>> from hf_ser.training import ModelArguments
    >>> args = SerTrainingArguments("runs/audio_cnn", learning_rate=1e-4, seed=7)
    >>> write_settings(ModelArguments("facebook/wav2vec2-base"), DataArguments("data/emotions"), args)
    >>> stored = json.loads(Path("runs/audio_cnn/settings.json").read_text())
    >>> stored["learning_rate"], stored["seed"]
    (0.0001, 7)
    """
    if args.process_index == 0:
        begin_run(str(args.output_dir))
    if args.overwrite and args.should_save and not _resumes(args):
        _remove_run(Path(str(args.output_dir)))
    if args.process_index == 0:
        content = settings(model_args, data_args, args) | {_EARLIER: args.earlier_precisions}
        write_json(Path(str(args.output_dir)) / SETTINGS, content)
        write_text(Path(str(args.output_dir)) / RECIPE, training_recipe(model_args, data_args, args))


def _remove_run(output: Path) -> None:
    remove_model(output)
    for name in (RESULTS, PRETRAINING_RESULTS):
        (output / name).unlink(missing_ok=True)
    for path in _checkpoints(output):
        shutil.rmtree(path)


def _checkpoints(output: Path) -> list[Path]:
    """Checkpoints in the order of their steps."""
    steps = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in output.glob("checkpoint-*")}
    numbered = [(int(match.group(1)), path) for path, match in steps.items() if match]
    return [path for _, path in sorted(numbered)]


def _is_whole(checkpoint: Path, args: SerTrainingArguments) -> bool:
    """Whether it is complete: the Trainer writes the state last, after the random states of each process."""
    try:
        json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    of_ranks = [checkpoint / f"rng_state_{rank}.pth" for rank in range(args.world_size)]
    return args.save_only_model or (checkpoint / "rng_state.pth").is_file() or all(path.is_file() for path in of_ranks)
