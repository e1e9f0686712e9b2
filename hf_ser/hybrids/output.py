"""The folder that a fitted hybrid leaves: the model, and the files that any run writes."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ser.audio import Preprocessing
from hf_ser.data.splits import SPLITS_FILE, DataArguments, SplitData, write_assignment
from hf_ser.evaluation.split_scores import score_splits
from hf_ser.hybrids.bases import Base
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.hybrids.model import remove, save
from hf_ser.inference import choose_device
from hf_ser.models import HybridForAudioClassification
from hf_ser.models.preprocessing import MERGED_CALM
from hf_ser.reporting import Explanation, write_run
from hf_ser.scoring import apply_temperature
from hf_ser.scoring.results import RESULTS, describe_training

if TYPE_CHECKING:
    import lightgbm


@dataclass(frozen=True)
class Fit:
    """What was fitted, ready to be scored and written.

    Args:
        model_type: in reports.
        parameters: of all that it takes to answer; None where a base does not tell.
        training: that block of results.json.
        predict: split -> probabilities (clips, classes).
        assemble: temperature (None without one) -> the model; None where its bases cannot be parts of one.
        notes: what a reader must know, beside what the protocol tells.
        taught: clips that were fitted on though they stand in another split than train; they are put down as train.
        explanation: for the report.
        importances: rows of importances.csv.
        booster: LightGBM's own, for booster.txt.
        bases: what it is made of; whatever they were trained on, it was trained on.
        precision: in which the columns were computed; None where nothing tells, or where bases differ.
    """

    model_type: str
    parameters: int | None
    training: dict[str, Any]
    predict: Callable[[str], np.ndarray]
    assemble: Callable[[float | None], HybridForAudioClassification] | None
    notes: Sequence[str]
    taught: Iterable[str]
    explanation: Explanation
    importances: Sequence[dict[str, Any]]
    booster: "lightgbm.Booster | None" = None
    bases: Sequence[Base] = ()
    precision: str | None = None


def write_hybrid(
    data: SplitData, data_args: DataArguments, args: HybridArguments, name: str, fit: Fit
) -> dict[str, Any]:
    """Score validation and test and write the folder; results.json, last, marks it as finished.

    Args:
        data: the splits.
        data_args: how they were made.
        args: output_dir and calibrate.
        name: in reports.
        fit: what was fitted.

    Returns:
        What stands in results.json.

    Raises:
        HybridError: the saved model does not answer as the fitted one.
    """
    folder = Path(args.output_dir)
    results = describe_training(replace(data, args=data_args), name, fit.model_type, fit.parameters or 0, fit.training)
    results |= {"parameters": fit.parameters}
    results["protocol"]["notes"] += fit.notes
    results["splits"], predictions, temperature = score_splits(data, fit.predict, args.calibrate, fit.precision)
    folder.mkdir(parents=True, exist_ok=True)
    for old in (RESULTS, "booster.txt", "importances.csv"):
        (folder / old).unlink(missing_ok=True)
    remove(folder)
    _write_splits(folder, data, fit)
    if fit.booster is not None:
        fit.booster.save_model(folder / "booster.txt")
    if fit.importances:
        with open(folder / "importances.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(fit.importances[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(fit.importances)
    if fit.assemble is not None:
        results["preprocessing"] |= asdict(Preprocessing())  # each source has its own
        test = data.splits["test"]
        expected = apply_temperature(fit.predict("test"), temperature or 1.0) if len(test) else np.zeros((0, 0))
        hybrid = fit.assemble(temperature)
        if data_args.merge_calm:
            hybrid.config.merged_labels = MERGED_CALM
        save(hybrid, folder, test, expected, choose_device(args.device), fit.precision or args.computed_in)
        told = [{key: its for key, its in source.items() if key != "model"} for source in hybrid.config.sources]
        results["training"]["sources"] = told
    write_run(folder, results, predictions, explanation=fit.explanation, figures=args.figures)
    return results


def _write_splits(folder: Path, data: SplitData, fit: Fit) -> None:
    """Put down as train what was fitted on, and what the bases were trained on elsewhere."""
    splits, hashes = dict(data.assignment.splits), data.hashes
    for base in fit.bases:
        elsewhere = [clip for clip, split in (base.splits or {}).items() if split == "train" and clip not in splits]
        splits |= dict.fromkeys(elsewhere, "train")
        hashes |= {clip: base.hashes[clip] for clip in elsewhere if clip in base.hashes}
    splits |= dict.fromkeys(fit.taught, "train")
    write_assignment(folder / SPLITS_FILE, replace(data.assignment, splits=splits), hashes)
