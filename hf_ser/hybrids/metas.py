"""What stacks probabilities: a LightGBM booster, a logistic regression, or their mean.

Each is fitted on the columns of all bases; how much is fitted (trees, C) is what the inner folds' held-out clips like
best on average, and then it is fitted anew on all fitting clips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ser.console import progress_bar
from hf_ser.hybrids.baseline import class_probabilities, regression
from hf_ser.hybrids.folds import Fold
from hf_ser.hybrids.hybrid_arguments import HybridArguments, threads
from hf_ser.models.hybrid import TINY
from hf_ser.scoring import softmax

if TYPE_CHECKING:
    import lightgbm


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
        linear: weights (classes, columns) and biases (classes,) of log-probabilities.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    held_out: np.ndarray
    parameters: int
    training: dict[str, Any] = field(default_factory=dict)
    contributions: Callable[[np.ndarray], np.ndarray] | None = None
    gain: np.ndarray | None = None
    booster: "lightgbm.Booster | None" = None
    linear: tuple[np.ndarray, np.ndarray] | None = None


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative logarithm of the true classes' probabilities (clips, classes)."""
    return -float(np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-15)).mean())


def fit_mean(features: np.ndarray, num_classes: int) -> Fitted:
    """Take the mean of the bases' probabilities; nothing is fitted."""

    def predict(columns: np.ndarray) -> np.ndarray:
        return columns.reshape(len(columns), -1, num_classes).mean(axis=1)

    return Fitted(predict, predict(features), 0)


def fit_pool(features: np.ndarray, truth: np.ndarray, num_classes: int, folds: Sequence[Fold]) -> Fitted:
    """Weigh the bases in a logarithmic opinion pool (Genest and Zidek 1986, "Combining Probability Distributions").

    A class's score is the sum over bases of weight times log-probability; one weight from 0 per base, with the largest
    likelihood. So few numbers can be fitted on the clips of a few speakers.
    """
    logs = np.log(np.maximum(features, TINY)).reshape(len(features), -1, num_classes)
    held_out = np.zeros((len(truth), num_classes))
    for fold in folds:
        weights = _pool_weights(logs[fold.fitted], truth[fold.fitted])
        held_out[fold.held_out] = _pooled(logs[fold.held_out], weights)
    weights = _pool_weights(logs, truth)
    matrix = np.concatenate([weight * np.eye(num_classes) for weight in weights], axis=1)
    return Fitted(
        lambda values: _pooled(np.log(np.maximum(values, TINY)).reshape(len(values), -1, num_classes), weights),
        held_out,
        len(weights),
        {"weights": weights.tolist(), "inner_log_loss": _mean_loss(held_out, truth, folds)},
        lambda values: np.log(np.maximum(values, TINY))[:, None, :] * matrix[None],
        linear=(matrix, np.zeros(num_classes)),
    )


def _pooled(logs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log-probabilities (clips, bases, classes) -> probabilities (clips, classes)."""
    return softmax(np.einsum("nbk,b->nk", logs, weights))


def _pool_weights(logs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The weights (bases,) that give the clips the largest likelihood, which is concave in them."""
    from scipy.optimize import minimize

    bases = logs.shape[1]
    found = minimize(
        lambda weights: log_loss(_pooled(logs, weights), truth), np.full(bases, 1 / bases), bounds=[(0, None)] * bases
    )
    return found.x


def fit_logistic(
    features: np.ndarray, truth: np.ndarray, num_classes: int, folds: Sequence[Fold], args: HybridArguments
) -> Fitted:
    """Fit a logistic regression on log-probabilities (clips, columns) with the C that the inner folds like best."""
    columns = np.log(np.maximum(features, TINY))
    losses, held_out = [], []
    for penalty in progress_bar(args.penalties, desc="Fitting inner folds", unit="values of C"):
        rows = np.zeros((len(truth), num_classes))
        for fold in folds:
            model = regression(columns[fold.fitted], truth[fold.fitted], penalty, args.class_weights)
            rows[fold.held_out] = class_probabilities(model, columns[fold.held_out], num_classes)
        losses.append(_mean_loss(rows, truth, folds))
        held_out.append(rows)
    best = int(np.argmin(losses))
    model = regression(columns, truth, args.penalties[best], args.class_weights)
    scaler, last = model[0], model[-1]
    weights, biases = last.coef_, last.intercept_
    if len(weights) == 1:  # of two classes, scikit-learn keeps the second's against the first's
        weights, biases = np.concatenate([-weights / 2, weights / 2]), np.concatenate([-biases / 2, biases / 2])
    return Fitted(
        lambda values: class_probabilities(model, np.log(np.maximum(values, TINY)), num_classes),
        held_out[best],
        int(last.coef_.size + last.intercept_.size),
        {"C": args.penalties[best], "inner_log_loss": losses[best]},
        lambda values: scaler.transform(np.log(np.maximum(values, TINY)))[:, None, :] * weights[None],
        linear=(weights / scaler.scale_, biases - weights @ (scaler.mean_ / scaler.scale_)),
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
    growing = [_grower(features, truth, num_classes, names, args, fold) for fold in folds]
    losses: list[float] = []
    for _ in (bar := progress_bar(range(args.max_trees), desc="Growing inner folds, at most", unit="trees")):
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
    model = _classifier(args, num_classes, trees).fit(features, truth, feature_name=list(names))
    return _fitted(model, held_out, num_classes, {"inner_log_loss": losses[trees - 1]})


def fit_early_stopped(
    fitting: tuple[np.ndarray, np.ndarray],
    deciding: tuple[np.ndarray, np.ndarray],
    num_classes: int,
    names: Sequence[str],
    args: HybridArguments,
) -> Fitted:
    """Grow a booster on some clips until the loss on others has not fallen for `early_stopping_rounds`.

    Args:
        fitting: columns (clips, columns) and class ids (clips,).
        deciding: the same of the clips that decide how many trees are kept.
        num_classes: all in `fitting`.
        names: of the columns.
        args: settings of LightGBM.
    """
    import lightgbm

    model = _classifier(args, num_classes, args.max_trees)
    with progress_bar(total=args.max_trees, desc="Growing, at most", unit="trees") as bar:
        model.fit(
            *fitting,
            eval_X=deciding[0],
            eval_y=deciding[1],
            feature_name=list(names),
            callbacks=[
                lightgbm.early_stopping(args.early_stopping_rounds, verbose=False),
                lambda _: bar.update(),
            ],
        )
    predict = model.booster_.predict  # of the best iteration
    held_out = np.asarray(predict(deciding[0]))
    return _fitted(model, held_out, num_classes, {"validation_log_loss": log_loss(held_out, deciding[1])})


def _fitted(
    model: "lightgbm.LGBMClassifier", held_out: np.ndarray, num_classes: int, training: dict[str, Any]
) -> Fitted:
    booster = model.booster_
    trees = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
    dumped = booster.dump_model(num_iteration=trees)["tree_info"]
    return Fitted(
        lambda values: np.asarray(booster.predict(values)),
        held_out,
        sum(tree["num_leaves"] for tree in dumped),
        {"trees_per_class": trees, **training},
        lambda values: contributions(booster, values, num_classes),
        booster.feature_importance("gain", iteration=trees),
        booster,
    )


def contributions(booster: "lightgbm.Booster", values: np.ndarray, num_classes: int) -> np.ndarray:
    """SHAP values (Lundberg et al. 2018, "Consistent Individualized Feature Attribution for Tree Ensembles").

    Returns:
        (clips, classes, columns); what no column explains is left out.
    """
    rows = np.asarray(booster.predict(values, pred_contrib=True))
    return rows.reshape(len(values), num_classes, -1)[:, :, :-1]


def _settings(args: HybridArguments, num_classes: int) -> dict[str, Any]:
    """Those of LightGBM, for its boosters and its estimator alike."""
    return {
        "objective": "multiclass",
        "metric": "multi_logloss",
        "num_class": num_classes,
        "learning_rate": args.learning_rate,
        "num_leaves": args.num_leaves,
        "min_child_samples": args.min_child_samples,
        "subsample": args.subsample,
        "subsample_freq": int(args.subsample < 1),
        "colsample_bytree": args.colsample_bytree,
        "reg_alpha": args.reg_alpha,
        "reg_lambda": args.reg_lambda,
        "random_state": args.seed,
        "deterministic": True,
        "force_row_wise": True,
        "n_jobs": threads(),
        "verbosity": -1,
    }


def _classifier(args: HybridArguments, num_classes: int, trees: int) -> "lightgbm.LGBMClassifier":
    import lightgbm

    weights = "balanced" if args.class_weights else None
    return lightgbm.LGBMClassifier(n_estimators=trees, class_weight=weights, **_settings(args, num_classes))


def _grower(
    features: np.ndarray, truth: np.ndarray, num_classes: int, names: Sequence[str], args: HybridArguments, fold: Fold
) -> "lightgbm.Booster":
    """A booster without trees that grows on a fold's clips and is scored on those held out."""
    import lightgbm
    from sklearn.utils.class_weight import compute_sample_weight

    settings, rows = _settings(args, num_classes), fold.fitted
    weights = compute_sample_weight("balanced", truth[rows]) if args.class_weights else None
    data = lightgbm.Dataset(features[rows], truth[rows], weight=weights, feature_name=list(names), params=settings)
    booster = lightgbm.Booster(settings, data)
    booster.add_valid(data.create_valid(features[fold.held_out], truth[fold.held_out]), "held out")
    return booster
