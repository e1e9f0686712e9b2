"""What stacks probabilities: a LightGBM booster, a logistic regression, or their mean.

Each is fitted on the columns of all bases; how much is fitted (trees, C) is what the inner folds' held-out clips like
best on average, and then it is fitted anew on all fitting clips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
from sklearn.utils.class_weight import compute_sample_weight
from tqdm import tqdm

from hf_ser.hybrids.arguments import HybridArguments, threads
from hf_ser.hybrids.folds import Fold
from hf_ser.training.baseline import class_probabilities, regression

_TINY = 1e-6  # what a probability of 0 counts as under a logarithm


@dataclass(frozen=True)
class Fitted:
    """A fitted stack.

    Args:
        predict: columns (clips, columns) -> probabilities (clips, classes).
        held_out: probabilities of the fitting clips, each by a model that was not fitted on it (clips, classes).
        parameters: how many numbers were fitted.
        training: what was chosen, for results.json.
        contributions: columns -> each column's part in every class's score (clips, classes, columns).
        gain: of each column, summed over the splits that use it.
        booster: LightGBM's own.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    held_out: np.ndarray
    parameters: int
    training: dict[str, Any] = field(default_factory=dict)
    contributions: Callable[[np.ndarray], np.ndarray] | None = None
    gain: np.ndarray | None = None
    booster: lightgbm.Booster | None = None


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative logarithm of the true classes' probabilities (clips, classes)."""
    return -float(np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-15)).mean())


def fit_mean(features: np.ndarray, num_classes: int) -> Fitted:
    """Take the mean of the bases' probabilities; nothing is fitted."""

    def predict(columns: np.ndarray) -> np.ndarray:
        return columns.reshape(len(columns), -1, num_classes).mean(axis=1)

    return Fitted(predict, predict(features), 0)


def fit_logistic(
    features: np.ndarray, truth: np.ndarray, num_classes: int, folds: Sequence[Fold], args: HybridArguments
) -> Fitted:
    """Fit a logistic regression on log-probabilities (clips, columns) with the C that the inner folds like best."""
    columns = np.log(np.maximum(features, _TINY))
    losses, held_out = [], []
    for penalty in tqdm(args.penalties, desc="Inner folds, C"):
        rows = np.zeros((len(truth), num_classes))
        for fold in folds:
            model = regression(columns[fold.fitted], truth[fold.fitted], penalty, args.class_weights)
            rows[fold.held_out] = class_probabilities(model, columns[fold.held_out], num_classes)
        losses.append(_mean_loss(rows, truth, folds))
        held_out.append(rows)
    best = int(np.argmin(losses))
    model = regression(columns, truth, args.penalties[best], args.class_weights)

    def standardized(values: np.ndarray) -> np.ndarray:
        return model[0].transform(np.log(np.maximum(values, _TINY)))

    weights = model[-1].coef_
    if len(weights) == 1:  # of two classes, scikit-learn keeps the second's against the first's
        weights = np.concatenate([-weights / 2, weights / 2])
    return Fitted(
        lambda values: class_probabilities(model, np.log(np.maximum(values, _TINY)), num_classes),
        held_out[best],
        int(model[-1].coef_.size + model[-1].intercept_.size),
        {"C": args.penalties[best], "inner_log_loss": losses[best]},
        lambda values: standardized(values)[:, None, :] * weights[None],
    )


def _mean_loss(probabilities: np.ndarray, truth: np.ndarray, folds: Sequence[Fold]) -> float:
    return float(np.mean([log_loss(probabilities[fold.held_out], truth[fold.held_out]) for fold in folds]))


def fit_lightgbm(
    features: np.ndarray,
    truth: np.ndarray,
    num_classes: int,
    names: Sequence[str],
    folds: Sequence[Fold],
    args: HybridArguments,
) -> Fitted:
    """Grow a booster with as many trees as are best on average over the inner folds' held-out clips.

    All folds grow together until the mean loss has not fallen for `early_stopping_rounds`. Each sees its own clips
    only: columns are binned and classes weighed within the fold.
    """
    growing = [_booster(features, truth, num_classes, names, args, fold) for fold in folds]
    losses: list[float] = []
    for _ in (bar := tqdm(range(args.max_trees), desc="Inner folds, trees")):
        for booster in growing:
            booster.update()
        losses.append(float(np.mean([booster.eval_valid()[0][2] for booster in growing])))
        if len(losses) - int(np.argmin(losses)) > args.early_stopping_rounds:
            break
    bar.close()
    trees = int(np.argmin(losses)) + 1
    held_out = np.zeros((len(truth), num_classes))
    for booster, fold in zip(growing, folds, strict=True):
        held_out[fold.held_out] = booster.predict(features[fold.held_out], num_iteration=trees)
    final = _booster(features, truth, num_classes, names, args)
    for _ in range(trees):
        final.update()
    return Fitted(
        lambda values: np.asarray(final.predict(values)),
        held_out,
        sum(tree["num_leaves"] for tree in final.dump_model()["tree_info"]),
        {"trees_per_class": trees, "inner_log_loss": losses[trees - 1]},
        lambda values: contributions(final, values, num_classes),
        final.feature_importance("gain"),
        final,
    )


def contributions(booster: lightgbm.Booster, values: np.ndarray, num_classes: int) -> np.ndarray:
    """SHAP values (Lundberg et al. 2018, "Consistent Individualized Feature Attribution for Tree Ensembles").

    Returns:
        (clips, classes, columns); what no column explains is left out.
    """
    rows = np.asarray(booster.predict(values, pred_contrib=True))
    return rows.reshape(len(values), num_classes, -1)[:, :, :-1]


def _booster(
    features: np.ndarray,
    truth: np.ndarray,
    num_classes: int,
    names: Sequence[str],
    args: HybridArguments,
    fold: Fold | None = None,
) -> lightgbm.Booster:
    """A booster without trees that grows on a fold's clips and is scored on those held out, or grows on all clips."""
    settings = {
        "objective": "multiclass",
        "metric": "multi_logloss",
        "num_class": num_classes,
        "learning_rate": args.learning_rate,
        "num_leaves": args.num_leaves,
        "min_child_samples": args.min_child_samples,
        "subsample": args.subsample,
        "subsample_freq": int(args.subsample < 1),
        "colsample_bytree": args.colsample_bytree,
        "reg_lambda": args.reg_lambda,
        "seed": args.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads(),
        "verbosity": -1,
    }
    rows = slice(None) if fold is None else fold.fitted
    weights = compute_sample_weight("balanced", truth[rows]) if args.class_weights else None
    data = lightgbm.Dataset(features[rows], truth[rows], weight=weights, feature_name=list(names), params=settings)
    booster = lightgbm.Booster(settings, data)
    if fold is not None:
        booster.add_valid(data.create_valid(features[fold.held_out], truth[fold.held_out]), "held out")
    return booster
