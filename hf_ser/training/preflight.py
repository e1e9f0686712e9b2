"""Invalid settings are rejected before training starts."""

import importlib.util
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from hf_ser.arguments import ConfigError, did_you_mean
from hf_ser.data.dataset_error import DatasetError
from hf_ser.data.seen import Record, find_seen, marks_of_split, some
from hf_ser.data.splits import SplitData
from hf_ser.data.splits_file import PRETRAINING, SPLITS_FILE
from hf_ser.local_or_hub import refuse_missing
from hf_ser.remote_code.dimensions import DIMENSIONS
from hf_ser.remote_code.preprocessing import file_beside
from hf_ser.scoring import score
from hf_ser.scoring.corpus_mean import UAR_BY_CORPUS
from hf_ser.system_errors import free_bytes
from hf_ser.training.checkpoints import ModelError
from hf_ser.training.dimension_targets import TARGET, score_names
from hf_ser.training.training_arguments import ModelArguments, SerTrainingArguments
from hf_ser.training.vote_targets import choose_targets

logger = logging.getLogger(__name__)

_TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")  # also the names of their packages
_BYTES = 4  # of a weight
_MOMENTS = 2  # of Adam, for each weight that trains


def check_arguments(args: SerTrainingArguments, scores: Sequence[str] | None = None) -> None:
    """Reject unknown scores and trackers that are not installed; log the precision.

    Args:
        args: of the training.
        scores: names for `metric_for_best_model`, beside loss; default: those of a classifier.

    Raises:
        ConfigError: naming the flag and the remedy.

    >>> check_arguments(SerTrainingArguments("runs/new", metric_for_best_model="uar"))
    >>> check_arguments(SerTrainingArguments("runs/new", metric_for_best_model="f1_weihgted"))
    Traceback (most recent call last):
    hf_ser.errors.ConfigError: metric_for_best_model is 'f1_weihgted' (did you mean f1_weighted...
    """
    if args.target == TARGET:
        scores = score_names(args.dimensions or DIMENSIONS)
    own = score(np.arange(2), np.eye(2), ["a", "b"])
    known = scores or ["auto", UAR_BY_CORPUS, *(name for name, value in own.items() if isinstance(value, float))]
    metric = str(args.metric_for_best_model).removeprefix("eval_")
    evaluates = args.eval_strategy != IntervalStrategy.NO
    if metric not in (*known, "loss") and (args.load_best_model_at_end or evaluates):
        raise ConfigError(
            f"metric_for_best_model is {args.metric_for_best_model!r}{did_you_mean(metric, known)}; expected one of "
            f"loss, {', '.join(sorted(known))}."
        )
    if args.should_log:
        args.precision_choice.log(logger)
    for tracker in args.report_to or ():
        if tracker in _TRACKERS and importlib.util.find_spec(tracker) is None:
            raise ConfigError(f"report_to {tracker} needs its package. Run pip install {tracker}, or leave it out.")


def check_pretraining(model_args: ModelArguments, data: SplitData) -> SplitData:
    """Reject validation and test clips on which the checkpoint was pretrained (recipes/pretrain.py).

    Args:
        model_args: the checkpoint; its splits.csv lists the clips of its pretraining.
        data: the splits of the run.

    Returns:
        The splits with the record of the pretraining, which the run writes into its own splits.csv, so that later
        evaluations find these clips too.

    Raises:
        DatasetError: naming the clips and the remedy.
        ModelError: there is no such checkpoint.

    >>> from hf_ser.data import DataArguments, load_splits
    >>> data = load_splits(DataArguments("data/emotions", "ravdess"))
    >>> dict(check_pretraining(ModelArguments("runs/audio_cnn"), data).pretraining)  # it was not pretrained
    {}
    """
    name = model_args.model_name_or_path
    if name is None:
        return data
    refuse_missing(name, "--model_name_or_path", ModelError, "the folder of a checkpoint")
    path = file_beside(name, SPLITS_FILE, model_args.revision)
    if path is None:
        return data
    whole = Record.read(path)
    ids = [clip for clip, split in whole.splits.items() if split == PRETRAINING]
    if not ids:
        return data
    record = Record(dict.fromkeys(ids, PRETRAINING), whole.hashes)
    for split in ("validation", "test"):
        seen = find_seen(record, marks_of_split(data.splits[split])) if split in data.splits else []
        if seen:
            raise DatasetError(
                f"{name} was pretrained on {len(seen)} of the {len(data.splits[split])} clips in {split} "
                f"({some(seen)}); expected none. Pretrain on the training split of the same "
                "configuration and protocol."
            )
    return replace(data, pretraining={clip: record.hashes.get(clip, "") for clip in ids})


def check_clips(data: SplitData, args: SerTrainingArguments) -> None:
    """Reject empty clips, a target without votes, and more processes or data loader workers than clips.

    Raises:
        DatasetError: a clip has no length.
        ConfigError: no clip has the votes of the target, or a process or worker would have no training or validation
            clips.

    >>> from hf_ser.data import DataArguments, load_splits
    >>> data = load_splits(DataArguments("data/emotions", "ravdess"))
    >>> check_clips(data, SerTrainingArguments("runs/new"))
    >>> check_clips(data, SerTrainingArguments("runs/new", dataloader_num_workers=1000))
    Traceback (most recent call last):
    hf_ser.errors.ConfigError: dataloader_num_workers is 1000, and train has 128 clips; use at most 128.
    """
    for split, clips in data.splits.items():
        empty = [clip for clip, seconds in zip(clips["id"], clips["duration"], strict=True) if not seconds > 0]
        if empty:
            raise DatasetError(
                f"{split} has {len(empty)} clips of zero length ({', '.join(empty[:3])}, ...); prepare the dataset "
                "with recipes/prepare.py, which leaves them out."
            )
    data = choose_targets(data, args).data
    check_shares({split: len(data.splits[split]) for split in ("train", "validation")}, args)


def check_shares(sizes: Mapping[str, int], args: SerTrainingArguments, what: str = "clips") -> None:
    """Reject more processes or data loader workers than clips.

    Args:
        sizes: split -> number of clips.
        args: of the training.
        what: what is counted, for the message.

    Raises:
        ConfigError: a process or worker would have no clips.
    """
    for split, size in sizes.items():
        if size < args.world_size:
            raise ConfigError(
                f"got {args.world_size} processes for {size} {what} in {split}; set --num_processes to at most that "
                "number."
            )
        most = size // args.world_size
        if args.dataloader_num_workers > most:
            each = "" if args.world_size == 1 else f" for each of {args.world_size} processes"
            raise ConfigError(
                f"dataloader_num_workers is {args.dataloader_num_workers}, and {split} has {most} {what}{each}; use "
                f"at most {most}."
            )


def check_disk(model: Any, args: SerTrainingArguments) -> None:
    """Reject an output folder on a disk without room for the checkpoints.

    Raises:
        ConfigError: naming the free and the required space.

    >>> from hf_ser.training import ModelArguments, build_model
    >>> model, _ = build_model(ModelArguments(model_config={"model_type": "ser-audio-cnn"}), ("calm", "sad"))
    >>> check_disk(model, SerTrainingArguments("runs/new"))
    """
    whole = sum(weights.numel() for weights in model.parameters())
    trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    saved = trained if hasattr(model, "peft_config") else whole
    checkpoint = _BYTES * (saved + (0 if args.save_only_model else _MOMENTS * trained))
    if (args.ema_decay, args.swa_start) != (None, None) and not args.save_only_model:
        checkpoint += _BYTES * trained  # before averaging
    kept = min(args.save_total_limit or 1, math.ceil(args.num_train_epochs))
    copies = (
        0 if args.save_strategy == SaveStrategy.NO else kept + 1
    )  # the next is written before the oldest is removed
    needed = copies * checkpoint + _BYTES * whole
    free = free_bytes(Path(str(args.output_dir)))
    if free < needed:
        raise ConfigError(
            f"--output_dir {args.output_dir}: {free / 2**20:,.0f} MiB are free on its disk, and {copies} checkpoints "
            f"and the model need {needed / 2**20:,.0f}. Free some space, choose another folder, or pass "
            "--save_total_limit 1 or --save_only_model true."
        )
