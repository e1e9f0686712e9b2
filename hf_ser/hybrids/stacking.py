"""Stacking without leaks: a meta-learner on probabilities of clips that the base models were not trained on."""

import logging
from typing import Any

import numpy as np

from hf_ser.data.seen import marks_of_split
from hf_ser.data.splits import SplitData
from hf_ser.hybrids.base_models import (
    BaseModel,
    check_leaks,
    describe_base_models,
    open_base_models,
    probabilities,
    training_notes,
)
from hf_ser.hybrids.explanations import Explained, explain
from hf_ser.hybrids.features import SourceError, check_varying, fitted_precision, open_source
from hf_ser.hybrids.folds import Fold, inner_folds, known_classes
from hf_ser.hybrids.hybrid_arguments import OUT_OF_FOLD, HybridArguments, reported_settings
from hf_ser.hybrids.meta_learners import (
    HELD_OUT,
    Fitted,
    fit_early_stopped,
    fit_lightgbm,
    fit_logistic,
    fit_mean,
    fit_pool,
    scored_probabilities,
)
from hf_ser.hybrids.out_of_fold import out_of_fold as out_of_fold_probabilities
from hf_ser.hybrids.writer import Fit, assemble, write_hybrid
from hf_ser.models import HybridForAudioClassification
from hf_ser.reporting import Explanation
from hf_ser.scoring.results import only_one

logger = logging.getLogger(__name__)
_MODEL_TYPES = {
    "lightgbm": "LightGBM on stacked probabilities",
    "logistic": "logistic regression on stacked log-probabilities",
    "pool": "logarithmic pool of stacked probabilities",
    "mean": "mean of stacked probabilities",
}
_OUT_OF_FOLD = (
    "the stack was fitted on out-of-fold probabilities of the training clips: each base model was trained {} more "
    "times, every time without the clips that it then predicted. The number of trees or the penalty, and the base "
    "models' checkpoints, were selected on validation, so validation scores are slightly optimistic"
)
_LEAKY = (
    "LEAKY, do not report: the stack was fitted on clips that its base models were trained on, so it relies on "
    "memorised predictions"
)


def fit_stack(data: SplitData, args: HybridArguments, name: str) -> dict[str, Any]:
    """Fit a stack on clips that no base model was trained on, score it and write its folder.

    These are the validation clips, or with `fit_on` out_of_fold the training clips, each predicted by base models that
    were trained again without its speaker. The number of trees or the penalty is then selected on validation.

    Returns:
        The contents of results.json.

    Raises:
        StackError: there is a leak, a base model does not match the dataset, or there are too few clips to fit on.
    """
    out_of_fold = args.fitted_split == OUT_OF_FOLD
    fit_on = "train" if args.allow_leak or out_of_fold else "validation"
    base_models = open_checked(data, args)
    classes = known_classes(data, fit_on, args.meta)
    names = [f"{base.name}.{data.labels[index]}" for base in base_models for index in classes]
    features, described = {}, describe_base_models(base_models)
    if out_of_fold:
        parts = [out_of_fold_probabilities(base_model, data, classes, args) for base_model in base_models]
        features["train"] = np.concatenate([part.features for part in parts], axis=1)
        described = [base | {"out_of_fold_uar": part.uar} for base, part in zip(described, parts, strict=True)]
    features |= {
        split: _features(base_models, data, split, classes, args)
        for split in dict.fromkeys((fit_on, "validation", "test"))
        if len(data.splits[split]) and split not in features
    }
    check_varying(features[fit_on], names)
    fitted, num_folds = _fit(data, fit_on, features, classes, names, args)
    precision = only_one({fitted_precision(base, "probabilities", args) for base in base_models})
    explanation, importances = _explain(data, fitted, features, base_models, names, classes)
    fit = Fit(
        model_type=_MODEL_TYPES[args.meta],
        parameters=_parameters(base_models, fitted),
        training={
            "seed": args.seed,
            "kind": args.kind,
            "meta": args.meta,
            "fit_on": "train (leaky)" if args.allow_leak else args.fitted_split,
            "fit_clips": len(data.splits[fit_on]),
            "bases": described,
            "precision": precision,
            "inner_folds": num_folds,
            **({"nested_folds": data.args.nested_folds} if out_of_fold else {}),
            "fitted_parameters": fitted.parameters,
            **fitted.training,
            **reported_settings(args),
        },
        probabilities=scored_probabilities(fitted, features, fit_on, classes, len(data.labels)),
        model=_assemble(base_models, fitted, data, classes, args),
        notes=_notes(base_models, data, args),
        fitted_on=() if args.meta == "mean" or out_of_fold else data.splits[fit_on]["id"],
        explanation=explanation,
        importances=importances,
        booster=fitted.booster,
        base_models=base_models,
        precision=precision,
    )
    return write_hybrid(data, args, name, fit)


def open_checked(data: SplitData, args: HybridArguments) -> list[BaseModel]:
    """Open the base models of a stack.

    Raises:
        StackError: a base model was trained on clips that the stack is fitted, selected or tested on.
    """
    base_models = open_base_models(args, data.args)
    fitting, tested = (marks_of_split(data.splits[split]) for split in ("validation", "test"))
    if args.allow_leak:
        fitting = marks_of_split(data.splits["train"])
    for base_model in base_models:
        check_leaks(base_model, fitting, tested, args.allow_leak)
    return base_models


def _features(
    base_models: list[BaseModel], data: SplitData, split: str, classes: list[int], args: HybridArguments
) -> np.ndarray:
    """Features (clips, base models * classes), grouped by base model."""
    return np.concatenate([probabilities(base, data, split, classes, args) for base in base_models], axis=1)


def _fit(
    data: SplitData,
    fit_on: str,
    by_split: dict[str, np.ndarray],
    classes: list[int],
    names: list[str],
    args: HybridArguments,
) -> tuple[Fitted, int | None]:
    """Fit the meta-learner `args.meta`; return it, and the number of inner folds or None if there are none."""
    features = by_split[fit_on]
    if args.meta == "mean":
        return fit_mean(features, len(classes)), None
    if args.fitted_split == OUT_OF_FOLD:
        return _fit_out_of_fold(data, by_split, classes, names, args), None
    folds = inner_folds(data, fit_on, args.inner_folds, args.seed)
    labels, corpora = np.searchsorted(classes, np.asarray(data.splits[fit_on]["label"])), data.splits[fit_on]["corpus"]
    logger.info("Fitting %s on %d clips, %d inner folds", _MODEL_TYPES[args.meta], len(labels), len(folds))
    if args.meta == "logistic":
        return fit_logistic(features, labels, len(classes), folds, args, corpora=corpora), len(folds)
    if args.meta == "pool":
        return fit_pool(features, labels, len(classes), folds), len(folds)
    return fit_lightgbm(features, labels, len(classes), names, folds, args, corpora), len(folds)


def _fit_out_of_fold(
    data: SplitData, by_split: dict[str, np.ndarray], classes: list[int], names: list[str], args: HybridArguments
) -> Fitted:
    """Fit the meta-learner on the training clips, and select the number of trees or the penalty on validation."""
    labels = {split: np.asarray(data.splits[split]["label"]) for split in ("train", "validation")}
    known = np.isin(labels["validation"], classes)
    fitting = by_split["train"], np.searchsorted(classes, labels["train"])
    deciding = by_split["validation"][known], np.searchsorted(classes, labels["validation"][known])
    corpora = [corpus for corpus, one in zip(data.splits["validation"]["corpus"], known, strict=True) if one]
    logger.info("Fitting %s on %d out-of-fold clips", _MODEL_TYPES[args.meta], len(fitting[1]))
    if args.meta == "lightgbm":
        return fit_early_stopped(fitting, deciding, len(classes), names, args, corpora)
    # One fold, whose held-out clips are those of validation.
    features, class_ids = (np.concatenate(pair) for pair in zip(fitting, deciding, strict=True))
    fold = Fold(*np.split(np.arange(len(class_ids)), [len(fitting[1])]))
    if args.meta == "logistic":
        corpora = [*data.splits["train"]["corpus"], *corpora]
        return fit_logistic(features, class_ids, len(classes), [fold], args, fold.fitted, corpora)
    return fit_pool(features, class_ids, len(classes), [fold], fold.fitted)


def _assemble(
    base_models: list[BaseModel], fitted: Fitted, data: SplitData, classes: list[int], args: HybridArguments
) -> HybridForAudioClassification | None:
    """Make the model; None for a leaky stack, or if a base model cannot be part of a hybrid."""
    if args.allow_leak:
        return None
    try:
        sources = [open_source(base_model, "probabilities", data, classes, args) for base_model in base_models]
    except SourceError as error:
        if not args.embed_bases:
            raise
        logger.warning("Writing predictions, results and report, but no model: %s", error)
        return None
    return assemble(sources, fitted, data.labels, classes)


def _notes(base_models: list[BaseModel], data: SplitData, args: HybridArguments) -> list[str]:
    notes = [_LEAKY] if args.allow_leak else [HELD_OUT] if args.meta != "mean" else []
    if args.fitted_split == OUT_OF_FOLD:
        notes = [_OUT_OF_FOLD.format(data.args.nested_folds)]
    return notes + training_notes(base_models, data, "stack")


def _parameters(base_models: list[BaseModel], fitted: Fitted) -> int | None:
    """Number of parameters of the stack and its base models; None if it is unknown for a base model."""
    known = [base_model.parameters for base_model in base_models if base_model.parameters is not None]
    return sum(known) + fitted.parameters if len(known) == len(base_models) else None


def _explain(
    data: SplitData,
    fitted: Fitted,
    features: dict[str, np.ndarray],
    base_models: list[BaseModel],
    names: list[str],
    classes: list[int],
) -> tuple[Explanation, list[dict[str, Any]]]:
    split = "test" if "test" in features else "validation"
    labels = np.asarray(data.splits[split]["label"])
    known = np.isin(labels, classes)  # cross-corpus test splits may have clips of other classes
    explained = Explained(
        split,
        features[split][known],
        np.searchsorted(classes, labels[known]),
        [base_model.name for base_model in base_models],
        [data.labels[index] for index in classes],
        names,
    )
    return explain(explained, fitted)
