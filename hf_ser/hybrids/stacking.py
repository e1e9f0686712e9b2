"""Stacking without leaks: a small model on the probabilities of others, fitted on clips that taught none of them."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hf_ser.data.seen import marks_of_split
from hf_ser.data.splits import DataArguments, SplitData
from hf_ser.hybrids.bases import (
    Base,
    StackError,
    check_leaks,
    checked_by_name,
    describe_bases,
    one_of,
    open_bases,
    probabilities,
    untold,
)
from hf_ser.hybrids.columns import SourceError, check_columns, fitted_precision, open_source
from hf_ser.hybrids.explanations import Explained, explain
from hf_ser.hybrids.folds import inner_folds
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.hybrids.metas import Fitted, fit_lightgbm, fit_logistic, fit_mean, fit_pool
from hf_ser.hybrids.model import assemble
from hf_ser.hybrids.output import Fit, write_hybrid
from hf_ser.models import HybridForAudioClassification
from hf_ser.reporting import Explanation

logger = logging.getLogger(__name__)
MODEL_TYPES = {
    "lightgbm": "LightGBM on stacked probabilities",
    "logistic": "logistic regression on stacked log-probabilities",
    "pool": "logarithmic pool of stacked probabilities",
    "mean": "mean of stacked probabilities",
}
LEAKY = (
    "LEAKY, not to be quoted: the stack was fitted on clips that its bases were trained on, which teaches it to trust "
    "answers that they know by heart"
)
HELD_OUT = (
    "validation scores are of the inner folds: every clip is scored by a stack that was not fitted on it; only how "
    "much is fitted was chosen on these same clips"
)


def fit_stack(data: SplitData, data_args: DataArguments, args: HybridArguments, name: str) -> dict[str, Any]:
    """Fit a stack on the validation clips, which no base was trained on, score it and write its folder.

    Returns:
        What stands in results.json.

    Raises:
        StackError: a leak, a base that does not fit the dataset, or too few clips to fit on.
    """
    fit_on = "train" if args.allow_leak else "validation"
    fitting = data.splits[fit_on]
    bases = open_bases(args, data_args)
    for base in bases:
        check_leaks(base, marks_of_split(fitting), marks_of_split(data.splits["test"]), args.allow_leak)
    classes = known_classes(data, fit_on, args.meta)
    names = [f"{base.name}.{data.labels[index]}" for base in bases for index in classes]
    splits = dict.fromkeys((fit_on, "validation", "test"))
    features = {
        split: _columns(bases, data.splits[split], data.labels, classes, data_args, args)
        for split in splits
        if len(data.splits[split])
    }
    check_columns(features[fit_on], names)
    fitted, num_folds = _fit(fitting, data, features[fit_on], classes, names, args)

    def predict(split: str) -> np.ndarray:
        values = fitted.held_out if split == fit_on else fitted.predict(features[split])
        return spread(values, classes, len(data.labels))

    precision = one_of({fitted_precision(base, "probabilities", args) for base in bases})
    explanation, importances = _explain(data, fitted, features, bases, names, classes)
    fit = Fit(
        MODEL_TYPES[args.meta],
        _parameters(bases, fitted),
        {
            "seed": args.seed,
            "kind": args.kind,
            "meta": args.meta,
            "fit_on": "train (leaky)" if args.allow_leak else fit_on,
            "fit_clips": len(fitting),
            "bases": describe_bases(bases),
            "precision": precision,
            "inner_folds": num_folds,
            "fitted_parameters": fitted.parameters,
            **fitted.training,
            **settings(args),
        },
        predict,
        _assembler(bases, fitted, data, classes, data_args, args),
        _notes(bases, data, args),
        # A model that is evaluated or stacked later must not take these for clips that this one has not heard.
        () if args.meta == "mean" else fitting["id"],
        explanation,
        importances,
        fitted.booster,
        bases,
        precision,
    )
    return write_hybrid(data, data_args, args, name, fit)


def spread(values: np.ndarray, classes: Sequence[int], num_labels: int) -> np.ndarray:
    """Probabilities of some classes (clips, classes) -> of all labels (clips, labels)."""
    whole = np.zeros((len(values), num_labels))
    whole[:, list(classes)] = values
    return whole


def _assembler(
    bases: list[Base], fitted: Fitted, data: SplitData, classes: list[int], data_args: DataArguments, args: Any
) -> Callable[[float | None], HybridForAudioClassification] | None:
    """What puts the model together; None for a leaky stack, and where a base cannot be a part of one."""
    if args.allow_leak:
        return None
    try:
        sources = [open_source(base, "probabilities", data.labels, classes, data_args, args) for base in bases]
    except SourceError as error:
        if not args.embed_bases:
            raise
        logger.warning("The folder gets no model, but what tells of the fit: %s", error)
        return None
    return lambda temperature: assemble(sources, fitted, data.labels, classes, temperature)


def known_classes(data: SplitData, fit_on: str, meta: str = "lightgbm") -> list[int]:
    """Ids of the classes that a hybrid knows: those that train or the fitting split has.

    Raises:
        StackError: fewer than two, or one of them is absent from what is fitted on.
    """
    taught, there = set(data.splits["train"]["label"]), set(data.splits[fit_on]["label"])
    missing = [data.labels[index] for index in sorted(taught - there)]
    if missing and meta != "mean":
        raise StackError(
            f"the {fit_on} split, which the hybrid is fitted on, has no clip of {', '.join(missing)}; expected every "
            "class that the bases were taught. Choose another protocol or seed, or --meta mean."
        )
    classes = sorted(taught | there)
    if len(classes) < 2:
        raise StackError(f"the clips are all {data.labels[classes[0]]}; expected at least two classes.")
    return classes


def _columns(
    bases: list[Base], split: Any, labels: tuple[str, ...], classes: list[int], data_args: DataArguments, args: Any
) -> np.ndarray:
    """(clips, bases * classes), base after base."""
    return np.concatenate([probabilities(base, split, labels, classes, data_args, args) for base in bases], axis=1)


def _fit(
    fitting: Any, data: SplitData, features: np.ndarray, classes: list[int], names: list[str], args: HybridArguments
) -> tuple[Fitted, int | None]:
    """Fit what `meta` names; returns it and the number of inner folds, None where nothing is fitted."""
    if args.meta == "mean":
        return fit_mean(features, len(classes)), None
    folds = inner_folds(fitting, data, args.inner_folds, args.seed)
    truth = np.searchsorted(classes, np.asarray(fitting["label"]))
    logger.info("Fitting %s on %d clips, %d inner folds", MODEL_TYPES[args.meta], len(truth), len(folds))
    if args.meta == "logistic":
        return fit_logistic(features, truth, len(classes), folds, args), len(folds)
    if args.meta == "pool":
        return fit_pool(features, truth, len(classes), folds), len(folds)
    return fit_lightgbm(features, truth, len(classes), names, folds, args), len(folds)


def settings(args: HybridArguments) -> dict[str, Any]:
    """The settings that a repetition needs, beside what was chosen."""
    names: tuple[str, ...] = ()
    if args.meta == "lightgbm":
        names = ("learning_rate", "num_leaves", "min_child_samples", "subsample", "colsample_bytree")
        names += ("reg_alpha", "reg_lambda", "max_trees", "early_stopping_rounds")
    if args.meta == "logistic":
        names = ("penalties",)
    return {name: getattr(args, name) for name in (*names, *(("class_weights",) if names else ()))}


def _parameters(bases: list[Base], fitted: Fitted) -> int | None:
    """Of all that it takes to answer, the bases too; None where one of them does not tell."""
    known = [base.parameters for base in bases if base.parameters is not None]
    return sum(known) + fitted.parameters if len(known) == len(bases) else None


def _notes(bases: list[Base], data: SplitData, args: HybridArguments) -> list[str]:
    notes = [LEAKY] if args.allow_leak else [HELD_OUT] if args.meta != "mean" else []
    return notes + untold(bases, "stack") + checked_by_name(bases, data)


def _explain(
    data: SplitData,
    fitted: Fitted,
    features: dict[str, np.ndarray],
    bases: list[Base],
    names: list[str],
    classes: list[int],
) -> tuple[Explanation, list[dict[str, Any]]]:
    split = "test" if "test" in features else "validation"
    truth = np.asarray(data.splits[split]["label"])
    known = np.isin(truth, classes)  # across corpora, others are tested too
    its = Explained(
        split,
        features[split][known],
        np.searchsorted(classes, truth[known]),
        [base.name for base in bases],
        [data.labels[index] for index in classes],
        names,
    )
    return explain(its, fitted)
