"""Predicted dimensions against annotated ones."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hf_ser.arguments import ConfigError
from hf_ser.data.clip_dimensions import values_of_split
from hf_ser.data.splits import DataArguments, SplitData
from hf_ser.evaluation.clip_sources import clip_columns
from hf_ser.evaluation.evaluate_arguments import EvaluateArguments
from hf_ser.scoring.dimension_scores import DimensionPredictions, score_dimensions


def score_dimension_splits(
    data: SplitData,
    names: tuple[str, ...],
    true: Callable[[str], np.ndarray],
    predicted: Callable[[str], np.ndarray],
    precision: str | None,
) -> tuple[dict[str, Any], dict[str, list[DimensionPredictions]]]:
    """Score validation and test, if they have clips.

    Args:
        data: the splits.
        names: of the dimensions.
        true: split -> annotated values (clips, dimensions).
        predicted: split -> predicted values (clips, dimensions).
        precision: of the computation: bf16, fp16 or fp32; None if unknown.

    Returns:
        The field `dimensions` of results.json, and split -> a list with its predictions.
    """
    scores: dict[str, Any] = {}
    predictions: dict[str, list[DimensionPredictions]] = {}
    for split in ("validation", "test"):
        clips = data.splits[split]
        if len(clips) == 0:
            continue
        table = DimensionPredictions(clip_columns(clips), names, true(split), predicted(split))
        scores[split] = score_dimensions(table, files=[f"predictions_{split}.parquet"], precision=precision)
        predictions[split] = [table]
    return scores, predictions


def check_dimension_source(args: EvaluateArguments, data_args: DataArguments, names: Sequence[str]) -> None:
    """Reject options and sources that do not work with a model of dimensions without a map to classes.

    Raises:
        ConfigError: names the option.
    """
    for_classes = ("calibrate", "embeddings", "label_mapping", "transductive_speaker_normalization", "thresholds")
    given = [name for name in for_classes if getattr(args, name)]
    if given or data_args.dataset is None:
        problem = f"got {given[0]}" if given else "got clips of no dataset"
        raise ConfigError(
            f"{args.model} predicts {', '.join(names)}, and {problem}. Leave it out and pass a dataset that was "
            "prepared with columns of these dimensions, or pass --dimension_map to score classes."
        )


def compare_with_values(part: Any, outputs: Sequence[str], predicted: np.ndarray) -> tuple[DimensionPredictions, int]:
    """Join predicted values to those of the clips.

    Args:
        part: the split of a prepared dataset.
        outputs: names of the model's outputs.
        predicted: (clips, outputs).

    Returns:
        The clips that have values of every dimension that the dataset has, and the number of the others.

    Raises:
        ConfigError: the split has no values of the model's dimensions.
    """
    folded = [name.casefold() for name in outputs]
    names = tuple(name for name in folded if name in part.column_names)
    true = values_of_split(part, names)
    kept = np.flatnonzero(np.isfinite(true).all(axis=1)) if names else np.zeros(0, int)
    if len(kept) == 0:
        raise ConfigError(
            f"the model predicts {', '.join(outputs)}, and the dataset has no clips with values of these. Pass "
            "--dimension_map fit to score classes, or prepare the dataset from a CSV file with such columns."
        )
    clips = clip_columns(part)
    columns = {name: [values[row] for row in kept] for name, values in clips.items()}
    chosen = predicted[kept][:, [folded.index(name) for name in names]]
    return DimensionPredictions(columns, names, true[kept], chosen), len(part) - len(kept)
