"""Write the folder of a fitted hybrid: the model, checked against the fit, and the files that every run writes."""

import csv
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import nn

from hf_ser.audio import Preprocessing
from hf_ser.data.seen import TRAINED
from hf_ser.data.splits import SplitData, decoded
from hf_ser.data.splits_file import SPLITS_FILE, write_assignment
from hf_ser.errors import SerError
from hf_ser.evaluation import predict_probabilities
from hf_ser.evaluation.split_scores import score_splits
from hf_ser.hybrids.base_models import BaseModel
from hf_ser.hybrids.conversion import from_forest, from_lightgbm
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.hybrids.meta_learners import Fitted
from hf_ser.inference import choose_device, load_classifier
from hf_ser.model_draft import discard_draft, new_draft, remove_model
from hf_ser.models import HybridConfig, HybridForAudioClassification, TreeEnsemble, make_feature_extractor
from hf_ser.recipe_file import RECIPE, changed_fields, recipe_text
from hf_ser.remote_code.encoder_inputs import max_input_s
from hf_ser.remote_code.hybrid import LogLinear
from hf_ser.remote_code.hybrid_sources import Source
from hf_ser.remote_code.windows import WindowPlan
from hf_ser.reporting import Explanation, write_run
from hf_ser.results_file import RESULTS
from hf_ser.scoring import apply_temperature, store_threshold
from hf_ser.scoring.results import describe_training, write_text

if TYPE_CHECKING:
    import datasets
    import lightgbm
    from sklearn.ensemble import RandomForestClassifier

logger = logging.getLogger(__name__)
_CHECKED = 16  # maximum number of compared clips
# Limit for the mean over clips of the largest difference. Base models' outputs depend slightly on the batch (1e-6),
# which may move a feature across a threshold of a tree.
_TOLERANCE = 0.02


class HybridError(SerError):
    """The predictions of a saved hybrid differ from those of the fit."""


@dataclass(frozen=True)
class Fit:
    """A fitted hybrid to be scored and written.

    Args:
        model_type: name of the model type in reports.
        parameters: number of parameters of the hybrid and its base models; None if unknown for one of them.
        training: block `training` of results.json.
        probabilities: split -> (clips, classes), for validation and test if they have clips.
        model: the model without calibration; None if a base model cannot be part of a hybrid.
        notes: notes for the report, in addition to those of the protocol.
        fitted_on: ids of clips outside train that the hybrid was fitted on. splits.csv lists them as train, so that
            later evaluations and stacks do not treat them as held-out clips.
        explanation: explanation for the report.
        importances: rows of importances.csv.
        booster: LightGBM booster, for booster.txt.
        base_models: base models; their training clips count as training clips of the hybrid.
        precision: precision of the features; None if unknown or different between base models.
    """

    model_type: str
    parameters: int | None
    training: dict[str, Any]
    probabilities: Mapping[str, np.ndarray]
    model: HybridForAudioClassification | None
    notes: Sequence[str]
    fitted_on: Iterable[str]
    explanation: Explanation
    importances: Sequence[dict[str, Any]]
    booster: "lightgbm.Booster | None" = None
    base_models: Sequence[BaseModel] = ()
    precision: str | None = None


def assemble(
    sources: Sequence[Source], fitted: "Fitted | RandomForestClassifier", labels: Sequence[str], classes: Sequence[int]
) -> HybridForAudioClassification:
    """Make a model from sources and the classifier that was fitted on their features.

    Args:
        sources: sources in the order of the features.
        fitted: a meta-learner or a forest.
        labels: labels of the dataset.
        classes: ids of the classes that the classifier was fitted on.
    """
    names = [str(labels[index]) for index in classes]
    features = [name for source in sources for name in source.feature_names]
    head: nn.Module | None
    if not isinstance(fitted, Fitted):
        head = from_forest(fitted, names, features)
    elif fitted.booster is not None:
        head = from_lightgbm(fitted.booster, names, features)
    else:
        head = LogLinear.from_weights(*fitted.linear) if fitted.linear is not None else None
    kind: Literal["trees", "linear", "mean"] = "linear" if head is not None else "mean"
    trees = None
    if isinstance(head, TreeEnsemble):
        kind = "trees"
        trees = {name: getattr(head.config, name) for name in ("num_trees", "num_nodes", "aggregation")}
    config = HybridConfig(
        sources=[source.settings.to_dict() for source in sources],
        head=kind,
        classes=list(classes),
        trees=trees,
        id2label={index: str(label) for index, label in enumerate(labels)},
        label2id={str(label): index for index, label in enumerate(labels)},
    )
    return HybridForAudioClassification.from_parts(config, [source.model for source in sources], head)


def write_hybrid(data: SplitData, args: HybridArguments, name: str, fit: Fit) -> dict[str, Any]:
    """Score validation and test and write the folder. The model is moved there after results.json.

    Args:
        data: the dataset.
        args: output_dir, calibrate, device and precision.
        name: name in reports.
        fit: the fitted hybrid.

    Returns:
        The contents of results.json.

    Raises:
        HybridError: the predictions of the saved model differ from those of the fit.
    """
    folder = Path(args.output_dir)
    results = describe_training(data, name, fit.model_type, fit.parameters or 0, fit.training)
    results |= {"parameters": fit.parameters}
    results["protocol"]["notes"] += fit.notes
    rule = args.abstention_rule if args.calibrate else None
    results["splits"], predictions, fitted = score_splits(data, fit.probabilities.__getitem__, rule, fit.precision)
    _remove_earlier(folder)
    _write_splits(folder, data, fit)
    write_text(folder / RECIPE, recipe_text(changed_fields(data.args) | changed_fields(args), "fit_hybrid"))
    if fit.booster is not None:
        fit.booster.save_model(folder / "booster.txt")
    if fit.importances:
        with open(folder / "importances.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(fit.importances[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(fit.importances)
    if fit.model is not None:
        results["preprocessing"] |= asdict(Preprocessing())  # each source has its own
        config = fit.model.config
        config.calibration_temperature = fitted.temperature if fitted else None
        store_threshold(fit.model, fitted.threshold if fitted else None)
        data.store_labels(config)
        _save(fit, folder, data.splits["test"], args)
        sources = [{key: value for key, value in source.items() if key != "model"} for source in config.sources]
        results["training"]["sources"] = sources
    write_run(folder, results, predictions, explanation=fit.explanation, figures=args.figures)
    return results


def _remove_earlier(folder: Path) -> None:
    """Remove an earlier run's files, so that no old model remains next to the scores of a run without a model."""
    remove_model(folder)
    for name in (RESULTS, RECIPE, "booster.txt", "importances.csv", "README.md"):
        (folder / name).unlink(missing_ok=True)


def _write_splits(folder: Path, data: SplitData, fit: Fit) -> None:
    """Write splits.csv; clips that the hybrid was fitted on or base models were trained on are listed as train."""
    splits, hashes = dict(data.assignment.splits), data.hashes
    for base_model in fit.base_models:
        given = base_model.splits or {}
        elsewhere = [clip for clip, split in given.items() if split in TRAINED and clip not in splits]
        splits |= dict.fromkeys(elsewhere, "train")
        hashes |= {clip: base_model.hashes[clip] for clip in elsewhere if clip in base_model.hashes}
    splits |= dict.fromkeys(fit.fitted_on, "train")
    write_assignment(folder / SPLITS_FILE, replace(data.assignment, splits=splits), hashes)


def _save(fit: Fit, folder: Path, test: "datasets.Dataset", args: HybridArguments) -> None:
    """Save the model as a draft, load it, and compare its predictions with the fit.

    Raises:
        HybridError: the predictions differ.
    """
    assert fit.model is not None
    draft = new_draft(folder)
    try:
        fit.model.save_pretrained(draft)
        extractor = make_feature_extractor()
        Preprocessing().store(extractor)  # each source has its own
        extractor.save_pretrained(draft)
        if len(test):
            temperature = fit.model.config.calibration_temperature or 1.0
            expected = apply_temperature(fit.probabilities["test"], temperature)
            _check(draft, test, expected, choose_device(args.device), fit.precision or args.computed_in)
    except BaseException:  # it may have filled the disk
        discard_draft(folder)
        raise


def _check(folder: Path, test: "datasets.Dataset", expected: np.ndarray, device: str, precision: str) -> None:
    model, extractor = load_classifier(str(folder))
    # Longer clips were fitted whole, but inference splits them into windows.
    longest = WindowPlan.for_model(max_input_s(model, Preprocessing())).whole_s
    whole = np.flatnonzero(np.asarray(test["duration"]) <= longest)
    if len(whole) == 0:
        return
    rows = whole[np.linspace(0, len(whole) - 1, min(_CHECKED, len(whole))).astype(int)]
    some = test.select(rows)
    clips = decoded(some)
    again = predict_probabilities(
        model,
        extractor,
        some["duration"],
        lambda numbers: clips[numbers]["waveform"],
        device=device,
        precision=precision,
        progress=False,
    )
    differ = float(np.abs(again - expected[rows]).max(axis=1).mean())
    logger.info("The probabilities of the saved model differ by %.1e from those of the fit", differ)
    if differ > _TOLERANCE:
        raise HybridError(
            f"{folder.parent}: the probabilities of the saved model differ by {differ:.3f} from those of the fit; "
            f"expected at most {_TOLERANCE}. The base models' stored predictions may be from other weights or audio. "
            "Evaluate the base models again."
        )
