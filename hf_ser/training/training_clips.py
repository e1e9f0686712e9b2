"""The training clips in memory, changed in every epoch as the arguments ask for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hf_ser.audio import SAMPLING_RATE, Preprocessing
from hf_ser.data.splits import SplitData
from hf_ser.training.augmentation import AugmentedDataset, make_transforms
from hf_ser.training.copy_paste import CopyPaste
from hf_ser.training.training_arguments import SerTrainingArguments


def in_memory(data: SplitData, args: SerTrainingArguments, config: Any, speakers: Sequence[int]) -> Any:
    """The training dataset of a Trainer without streaming: decoded clips, which nothing changes by default.

    Args:
        data: splits with audio.
        args: of the training.
        config: of the model; its duration and `trim_db`, if any, apply to joined clips.
        speakers: number of each clip's speaker, to be added to the items; empty for none.
    """
    if not (args.augmentation or args.speed_factors or args.copy_paste or speakers):
        return data.decoded("train")
    seed = args.seed if args.data_seed is None else args.data_seed
    steps = data.args.steps
    return AugmentedDataset(
        data.with_steps(replace(steps, duration_s=None)).decoded("train"),
        make_transforms(args.augmentation or []),
        seed,
        speed_factors=args.speed_factors or (),
        paste=_paste(data, args, config, seed) if args.copy_paste else None,
        length=Preprocessing(duration_s=steps.duration_s),
        speakers=speakers,
    )


def _paste(data: SplitData, args: SerTrainingArguments, config: Any, seed: int) -> CopyPaste:
    train = data.splits["train"]
    fixed = [round(duration * SAMPLING_RATE) for duration in [data.args.steps.duration_s] if duration is not None]
    used = [*fixed, *([config.num_samples] if hasattr(config, "num_samples") else [])]
    return CopyPaste(
        train["label"][:],
        train["corpus"][:],
        args.copy_paste,
        seed,
        trim_db=getattr(config, "trim_db", None),
        num_samples=min(used, default=None),
    )
