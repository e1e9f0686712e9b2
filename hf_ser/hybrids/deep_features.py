"""LightGBM on deep features: what enters a finished model's classifier, or the states of an encoder's layer."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_ser.arguments import ConfigError
from hf_ser.data.seen import find_seen, marks_of_split
from hf_ser.data.splits import DataArguments, SplitData
from hf_ser.hybrids.bases import Base, check_leaks, checked_by_name, describe_bases, open_bases, untold
from hf_ser.hybrids.columns import check_columns, columns_of, open_source
from hf_ser.hybrids.explanations import explain_columns
from hf_ser.hybrids.folds import inner_folds
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.hybrids.metas import Fitted, fit_early_stopped, fit_lightgbm
from hf_ser.hybrids.model import assemble
from hf_ser.hybrids.output import Fit, write_hybrid
from hf_ser.hybrids.stacking import HELD_OUT, known_classes, settings, spread
from hf_ser.models.hybrid_sources import Source

logger = logging.getLogger(__name__)
MODEL_TYPE = "LightGBM on deep features"
SEEN = (
    "the hybrid was fitted on embeddings of clips that their models were trained on, as published ones were; these "
    "tell the classes apart better than embeddings of new clips do"
)
STOPPED = "validation decided how many trees were kept, so that validation scores flatter the model a little"


def open_embeddings(
    data: SplitData, data_args: DataArguments, args: HybridArguments, fit_on: str
) -> tuple[list[Base], list[Source], list[str]]:
    """Bases whose embeddings are the columns, as sources, and what a reader must know of them.

    Raises:
        ConfigError: no base.
        StackError: a base that was trained on what decides about the fit, or on test clips.
    """
    if not args.bases:
        raise ConfigError(f"got no base for kind {args.kind}; expected at least one in bases.")
    bases = open_bases(args, data_args)
    for base in bases:
        check_leaks(base, marks_of_split(data.splits["validation"]), marks_of_split(data.splits["test"]), False)
    every = range(len(data.labels))
    sources = [open_source(base, "embeddings", data.labels, every, data_args, args) for base in bases]
    fitted = marks_of_split(data.splits[fit_on])
    notes = [SEEN] if any(base.record and find_seen(base.record, fitted) for base in bases) else []
    return bases, sources, notes + untold(bases, "hybrid") + checked_by_name(bases, data)


def count_parameters(sources: Sequence[Source]) -> int:
    """Of all models that the columns come from."""
    return sum(parameter.numel() for source in sources for parameter in source.parameters())


def columns_by_split(
    sources: Sequence[Source], data: SplitData, args: HybridArguments, wanted: Sequence[str]
) -> dict[str, np.ndarray]:
    """Split -> columns of its clips (clips, columns), source after source."""
    return {
        split: np.concatenate([columns_of(source, data.splits[split], args, split) for source in sources], axis=1)
        for split in wanted
        if len(data.splits[split])
    }


def fit_deep_features(data: SplitData, data_args: DataArguments, args: HybridArguments, name: str) -> dict[str, Any]:
    """Fit on train or on validation, score validation and test, and write the folder.

    Returns:
        What stands in results.json.

    Raises:
        StackError: a base that was trained on what decides about the fit or is tested, or that has no embeddings.
    """
    bases, sources, notes = open_embeddings(data, data_args, args, args.fit_on)
    classes = known_classes(data, args.fit_on)
    names = [column for source in sources for column in source.column_names]
    wanted = sorted({args.fit_on, "validation", "test"})
    features = columns_by_split(sources, data, args, wanted)
    check_columns(features[args.fit_on], names)
    fitted, num_folds = _fit(data, features, classes, names, args)

    def predict(split: str) -> np.ndarray:
        values = fitted.held_out if split == args.fit_on else fitted.predict(features[split])
        return spread(values, classes, len(data.labels))

    asked = features["test" if "test" in features else "validation"]
    assert fitted.contributions is not None and fitted.gain is not None  # LightGBM's
    per_class = np.abs(fitted.contributions(asked)).mean(axis=0)
    labels = [data.labels[index] for index in classes]
    explanation, importances = explain_columns(names, fitted.gain, "gain", per_class, labels)
    fit = Fit(
        MODEL_TYPE,
        count_parameters(sources) + fitted.parameters,
        {
            "seed": args.seed,
            "kind": args.kind,
            "fit_on": args.fit_on,
            "fit_clips": len(data.splits[args.fit_on]),
            "bases": describe_bases(bases),
            "layer": args.layer,
            "precision": args.computed_in,
            "columns": len(names),
            "inner_folds": num_folds,
            "fitted_parameters": fitted.parameters,
            **fitted.training,
            **settings(args),
        },
        predict,
        lambda temperature: assemble(sources, fitted, data.labels, classes, temperature),
        [*notes, STOPPED if args.fit_on == "train" else HELD_OUT],
        data.splits["validation"]["id"] if args.fit_on == "validation" else (),
        explanation,
        importances,
        fitted.booster,
        bases,
        args.computed_in,
    )
    return write_hybrid(data, data_args, args, name, fit)


def _fit(
    data: SplitData, features: dict[str, np.ndarray], classes: list[int], names: list[str], args: HybridArguments
) -> tuple[Fitted, int | None]:
    """The booster, and the number of inner folds where there are some."""
    truth = {split: np.asarray(data.splits[split]["label"]) for split in features}
    logger.info("Fitting %s on %d clips, %d columns", MODEL_TYPE, *features[args.fit_on].shape)
    if args.fit_on == "validation":
        folds = inner_folds(data.splits["validation"], data, args.inner_folds, args.seed)
        its = np.searchsorted(classes, truth["validation"])
        return fit_lightgbm(features["validation"], its, len(classes), names, folds, args), len(folds)
    known = np.isin(truth["validation"], classes)
    fitting = features["train"], np.searchsorted(classes, truth["train"])
    deciding = features["validation"][known], np.searchsorted(classes, truth["validation"][known])
    return fit_early_stopped(fitting, deciding, len(classes), names, args), None
