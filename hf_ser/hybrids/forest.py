"""Random forests on functionals of the clips (handcrafted statistics, no network), or on embeddings of a model."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ser.console import progress_bar
from hf_ser.data.splits import DataArguments, SplitData
from hf_ser.hybrids.baseline import class_probabilities
from hf_ser.hybrids.bases import Base, describe_bases
from hf_ser.hybrids.columns import check_columns, open_source
from hf_ser.hybrids.deep_features import columns_by_split, count_parameters, open_embeddings
from hf_ser.hybrids.explanations import explain_columns
from hf_ser.hybrids.hybrid_arguments import HybridArguments, threads
from hf_ser.hybrids.model import assemble
from hf_ser.hybrids.output import Fit, write_hybrid
from hf_ser.scoring import score

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

logger = logging.getLogger(__name__)
_CHOSEN = "the forest's settings were chosen on validation, so that validation scores flatter it a little"


def fit_forest(data: SplitData, data_args: DataArguments, args: HybridArguments, name: str) -> dict[str, Any]:
    """Fit on train, choose settings by weighted F1 on validation, score both other splits, write the folder.

    Returns:
        What stands in results.json.

    Raises:
        StackError: a base that was trained on validation or test clips, or that has no embeddings.
    """
    bases: list[Base] = []
    notes: list[str] = []
    if args.bases:
        bases, sources, notes = open_embeddings(data, data_args, args, "train")
    else:
        sources = [open_source(None, "functionals", data.labels, range(len(data.labels)), data_args, args)]
    precision = args.computed_in if bases else "fp32"
    model_type = f"random forest on {'embeddings' if bases else 'functionals'}"
    names = [column for source in sources for column in source.column_names]
    features = columns_by_split(sources, data, args, ("train", "validation", "test"))
    check_columns(features["train"], names)
    logger.info("Fitting a %s on %d clips, %d columns", model_type, *features["train"].shape)
    forest, chosen, best = _choose(data, features, args)
    training = {
        "seed": args.seed,
        "kind": args.kind,
        "fit_on": "train",
        "fit_clips": len(data.splits["train"]),
        "bases": describe_bases(bases),
        "layer": args.layer,
        "precision": precision,
        "columns": len(names),
        "trees": args.n_estimators,
        "max_features": chosen[0],
        "min_samples_leaf": chosen[1],
        "class_weights": args.class_weights,
        "best_metric": "f1_weighted",
        "best_value": best,
    }
    leaves = sum(int(tree.tree_.n_leaves) for tree in forest.estimators_)
    explanation, importances = explain_columns(names, forest.feature_importances_, "importance", None, data.labels)
    fit = Fit(
        model_type,
        count_parameters(sources) + leaves,
        training,
        lambda split: class_probabilities(forest, features[split], len(data.labels)),
        lambda temperature: assemble(sources, forest, data.labels, range(len(data.labels)), temperature),
        [*notes, _CHOSEN],
        (),
        explanation,
        importances,
        bases=bases,
        precision=precision,
    )
    return write_hybrid(data, data_args, args, name, fit)


def _choose(
    data: SplitData, features: dict[str, np.ndarray], args: HybridArguments
) -> tuple["RandomForestClassifier", tuple[float, int], float]:
    """The forest that validation likes best, its settings, and its weighted F1 there."""
    truth = {split: np.asarray(data.splits[split]["label"]) for split in ("train", "validation")}
    settings = [(share, clips) for share in args.max_features for clips in args.min_samples_leaf]
    best, forest, chosen = -1.0, None, settings[0]
    for setting in progress_bar(settings, desc="Fitting forests", unit="settings"):
        candidate = _fit(features["train"], truth["train"], setting, args)
        answers = class_probabilities(candidate, features["validation"], len(data.labels))
        value = score(truth["validation"], answers, data.labels)["f1_weighted"]
        if value > best:  # of equals the first
            best, forest, chosen = value, candidate, setting
    assert forest is not None
    return forest, chosen, best


def _fit(
    features: np.ndarray, truth: np.ndarray, setting: tuple[float, int], args: HybridArguments
) -> "RandomForestClassifier":
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        args.n_estimators,
        max_features=setting[0],
        min_samples_leaf=setting[1],
        class_weight="balanced" if args.class_weights else None,
        random_state=args.seed,
        n_jobs=threads(),
    )
    return forest.fit(features, truth)
