"""Random forests on functionals of the clips (statistics of acoustic features), or on embeddings of a model."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ser.console import progress_bar
from hf_ser.data.splits import SplitData
from hf_ser.hybrids.base_models import describe_base_models
from hf_ser.hybrids.explanations import explain_features
from hf_ser.hybrids.features import (
    check_varying,
    count_parameters,
    features_by_split,
    open_sources,
)
from hf_ser.hybrids.hybrid_arguments import HybridArguments, reported_sets
from hf_ser.hybrids.meta_learners import class_probabilities
from hf_ser.hybrids.writer import Fit, assemble, write_hybrid
from hf_ser.remote_code.reading_ahead import computing_threads
from hf_ser.scoring.selection import selection_score, selection_value

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

logger = logging.getLogger(__name__)
_CHOSEN = "the forest's settings were selected on validation, so validation scores are slightly optimistic"


def fit_random_forest(data: SplitData, args: HybridArguments, name: str) -> dict[str, Any]:
    """Fit on train, select settings on validation (see `selection_score`), score the splits, and write the folder.

    Returns:
        The contents of results.json.

    Raises:
        StackError: a base model was trained on validation or test clips, or has no embeddings.
    """
    base_models, sources, notes = open_sources(data, args, "train")
    precision = args.computed_in if base_models else "fp32"
    kind = "random forest" if args.forest == "random" else "extremely randomised trees"
    model_type = f"{kind} on {'embeddings' if base_models else 'functionals'}"
    names = [feature for source in sources for feature in source.feature_names]
    features = features_by_split(sources, data, ("train", "validation", "test"), args)
    check_varying(features["train"], names)
    logger.info("Fitting %s on %d clips, %d features", model_type, *features["train"].shape)
    forest, chosen = _choose(data, features, args)
    leaves = sum(int(tree.tree_.n_leaves) for tree in forest.estimators_)
    explanation, importances = explain_features(names, forest.feature_importances_, "importance", None, data.labels)
    fit = Fit(
        model_type=model_type,
        parameters=count_parameters(sources) + leaves,
        training={
            "seed": args.seed,
            "kind": args.kind,
            "fit_on": "train",
            "fit_clips": len(data.splits["train"]),
            "bases": describe_base_models(base_models),
            "layer": args.layer,
            "precision": precision,
            "columns": len(names),
            "trees": args.n_estimators,
            "class_weights": args.class_weights,
            **({} if args.forest == "random" else {"forest": args.forest}),
            **reported_sets(args),
            **chosen,
        },
        probabilities={
            split: class_probabilities(forest, features[split], len(data.labels))
            for split in ("validation", "test")
            if split in features
        },
        model=assemble(sources, forest, data.labels, range(len(data.labels))),
        notes=[*notes, _CHOSEN],
        fitted_on=(),
        explanation=explanation,
        importances=importances,
        base_models=base_models,
        precision=precision,
    )
    return write_hybrid(data, args, name, fit)


def _choose(
    data: SplitData, features: dict[str, np.ndarray], args: HybridArguments
) -> tuple["RandomForestClassifier", dict[str, Any]]:
    """Return the forest with the best score on validation; its settings and the score, for results.json."""
    labels = {split: np.asarray(data.splits[split]["label"]) for split in ("train", "validation")}
    corpora = data.splits["validation"]["corpus"]
    grid = [(share, clips) for share in args.max_features for clips in args.min_samples_leaf]
    best, forest, chosen = -1.0, None, grid[0]
    for setting in progress_bar(grid, desc="Fitting forests", unit="settings"):
        candidate = _fit(features["train"], labels["train"], setting, args)
        predicted = class_probabilities(candidate, features["validation"], len(data.labels))
        value = selection_value(labels["validation"], predicted, corpora)
        if value > best:  # the first one if several are equal
            best, forest, chosen = value, candidate, setting
    assert forest is not None
    settings = {"max_features": chosen[0], "min_samples_leaf": chosen[1]}
    return forest, {**settings, "best_metric": selection_score(corpora), "best_value": best}


def _fit(
    features: np.ndarray, labels: np.ndarray, setting: tuple[float, int], args: HybridArguments
) -> "RandomForestClassifier":
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    kind = RandomForestClassifier if args.forest == "random" else ExtraTreesClassifier
    forest = kind(
        args.n_estimators,
        max_features=setting[0],
        min_samples_leaf=setting[1],
        class_weight="balanced" if args.class_weights else None,
        random_state=args.seed,
        n_jobs=computing_threads(),
    )
    return forest.fit(features, labels)
