"""The folder that a fitted hybrid leaves: what the evaluation stage makes of any run, and what tells of the fit."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.data.splits import SPLITS_FILE, DataArguments, SplitData, write_assignment
from hf_ser.evaluation import write_run
from hf_ser.training.run import describe, score_trained


def write_hybrid(
    data: SplitData,
    data_args: DataArguments,
    folder: Path,
    name: str,
    model: tuple[str, int | None, dict[str, Any]],
    predict: Callable[[str], np.ndarray],
    *,
    notes: Sequence[str] = (),
    taught: Iterable[str] = (),
    write_more: Callable[[Path], None],
) -> dict[str, Any]:
    """Score validation and test and write the folder; results.json, last, marks it as finished.

    Args:
        data: the splits.
        data_args: how they were made.
        folder: where to.
        name: in reports.
        model: its type, number of parameters (None where it is not known) and the training block of results.json.
        predict: split -> probabilities (clips, classes).
        notes: what a reader must know, beside what the protocol tells.
        taught: clips that were fitted on though they stand in another split than train; they are put down as train.
        write_more: writes the other files.

    Returns:
        What stands in results.json.
    """
    model_type, parameters, training = model
    results = describe(data, data_args, name, model_type, parameters or 0, training) | {"parameters": parameters}
    results["protocol"]["notes"] += notes
    results["splits"], predictions, _ = score_trained(data, predict, calibrate=False)
    folder.mkdir(parents=True, exist_ok=True)
    its = data.assignment
    write_assignment(folder / SPLITS_FILE, replace(its, splits=its.splits | dict.fromkeys(taught, "train")))
    write_more(folder)
    write_run(folder, results, predictions)
    return results
