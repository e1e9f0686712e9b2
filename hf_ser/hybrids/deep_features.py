"""LightGBM on functionals, or on deep features: the input of a model's classifier, or states of an encoder layer."""

import logging
from typing import Any

import numpy as np

from hf_ser.data.splits import SplitData
from hf_ser.hybrids.base_models import describe_base_models
from hf_ser.hybrids.explanations import explain_features
from hf_ser.hybrids.features import (
    check_varying,
    count_parameters,
    features_by_split,
    open_sources,
)
from hf_ser.hybrids.folds import inner_folds, known_classes
from hf_ser.hybrids.hybrid_arguments import HybridArguments, reported_sets, reported_settings
from hf_ser.hybrids.meta_learners import (
    HELD_OUT,
    Fitted,
    fit_early_stopped,
    fit_lightgbm,
    scored_probabilities,
)
from hf_ser.hybrids.writer import Fit, assemble, write_hybrid

logger = logging.getLogger(__name__)
_MODEL_TYPES = {"deep_features": "LightGBM on deep features", "functionals": "LightGBM on functionals"}
_STOPPED = "the number of trees was selected on validation, so validation scores are slightly optimistic"


def fit_deep_features(data: SplitData, args: HybridArguments, name: str) -> dict[str, Any]:
    """Fit on train or on validation, score validation and test, and write the folder.

    Returns:
        The contents of results.json.

    Raises:
        StackError: a base model was trained on validation or test clips, or has no embeddings.
    """
    base_models, sources, notes = open_sources(data, args, args.fitted_split)
    precision = args.computed_in if base_models else "fp32"
    classes = known_classes(data, args.fitted_split)
    names = [feature for source in sources for feature in source.feature_names]
    features = features_by_split(sources, data, sorted({args.fitted_split, "validation", "test"}), args)
    check_varying(features[args.fitted_split], names)
    fitted, num_folds = _fit(data, features, classes, names, args)
    explained = features["test" if "test" in features else "validation"]
    assert fitted.contributions is not None and fitted.gain is not None  # LightGBM's
    per_class = np.abs(fitted.contributions(explained)).mean(axis=0)
    class_names = [data.labels[index] for index in classes]
    explanation, importances = explain_features(names, fitted.gain, "gain", per_class, class_names)
    fit = Fit(
        model_type=_MODEL_TYPES[args.kind],
        parameters=count_parameters(sources) + fitted.parameters,
        training={
            "seed": args.seed,
            "kind": args.kind,
            "fit_on": args.fitted_split,
            "fit_clips": len(data.splits[args.fitted_split]),
            "bases": describe_base_models(base_models),
            "layer": args.layer,
            "precision": precision,
            "columns": len(names),
            "inner_folds": num_folds,
            "fitted_parameters": fitted.parameters,
            **fitted.training,
            **reported_settings(args),
            **reported_sets(args),
        },
        probabilities=scored_probabilities(fitted, features, args.fitted_split, classes, len(data.labels)),
        model=assemble(sources, fitted, data.labels, classes),
        notes=[*notes, _STOPPED if args.fitted_split == "train" else HELD_OUT],
        fitted_on=data.splits["validation"]["id"] if args.fitted_split == "validation" else (),
        explanation=explanation,
        importances=importances,
        booster=fitted.booster,
        base_models=base_models,
        precision=precision,
    )
    return write_hybrid(data, args, name, fit)


def _fit(
    data: SplitData, features: dict[str, np.ndarray], classes: list[int], names: list[str], args: HybridArguments
) -> tuple[Fitted, int | None]:
    """Fit the booster; return it, and the number of inner folds if there are any."""
    labels = {split: np.asarray(data.splits[split]["label"]) for split in features}
    logger.info("Fitting %s on %d clips, %d features", _MODEL_TYPES[args.kind], *features[args.fitted_split].shape)
    if args.fitted_split == "validation":
        folds = inner_folds(data, "validation", args.inner_folds, args.seed)
        class_ids = np.searchsorted(classes, labels["validation"])
        corpora = data.splits["validation"]["corpus"]
        return fit_lightgbm(features["validation"], class_ids, len(classes), names, folds, args, corpora), len(folds)
    known = np.isin(labels["validation"], classes)
    fitting = features["train"], np.searchsorted(classes, labels["train"])
    deciding = features["validation"][known], np.searchsorted(classes, labels["validation"][known])
    corpora = [corpus for corpus, one in zip(data.splits["validation"]["corpus"], known, strict=True) if one]
    return fit_early_stopped(fitting, deciding, len(classes), names, args, corpora), None
