"""Meta-learners: a LightGBM booster, a logistic regression, a logarithmic pool or the mean.

The number of trees, or C, with the smallest mean loss on the held-out clips of the inner folds is selected; if these
are of several corpora, the one with the best mean UAR over corpora. Then the meta-learner is fitted on all fitting
clips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ser.console import progress_bar
from hf_ser.hybrids.folds import Fold
from hf_ser.hybrids.held_out_clips import HeldOutClips, log_loss, mean_loss
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.remote_code.hybrid import TINY
from hf_ser.remote_code.reading_ahead import computing_threads
from hf_ser.scoring import softmax
from hf_ser.scoring.corpus_mean import UAR_BY_CORPUS

if TYPE_CHECKING:
    import lightgbm
    from sklearn.pipeline import Pipeline

HELD_OUT = (
    "validation scores are from the inner folds: every clip is scored by a model that was not fitted on it; the "
    "number of trees or the penalty was selected on these clips"
)


@dataclass(frozen=True)
class Fitted:
    """A fitted meta-learner.

    Args:
        predict: features (clips, features) -> probabilities (clips, classes).
        held_out: probabilities of the fitting clips (clips, classes), each by a model that was not fitted on the clip.
        parameters: number of fitted parameters.
        training: selected settings, for results.json.
        contributions: features -> contribution of each feature to every class's score (clips, classes, features).
        gain: gain of each feature, summed over the splits that use it.
        booster: LightGBM booster.
        linear: weights (classes, features) and biases (classes,) for log-probabilities.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    held_out: np.ndarray
    parameters: int
    training: dict[str, Any] = field(default_factory=dict)
    contributions: Callable[[np.ndarray], np.ndarray] | None = None
    gain: np.ndarray | None = None
    booster: "lightgbm.Booster | None" = None
    linear: tuple[np.ndarray, np.ndarray] | None = None


def fit_mean(features: np.ndarray, num_classes: int) -> Fitted:
    """Average the base models' probabilities; nothing is fitted."""

    def predict(values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1, num_classes).mean(axis=1)

    return Fitted(predict, predict(features), 0)


def fit_pool(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    folds: Sequence[Fold],
    final: np.ndarray | None = None,
) -> Fitted:
    """Fit a logarithmic opinion pool (Genest and Zidek 1986, "Combining Probability Distributions").

    A class's score is the sum over base models of weight times log-probability. There is one nonnegative weight per
    base model, fitted by maximum likelihood. So few parameters can be fitted on the clips of a few speakers.

    Args:
        features: probabilities (clips, base models * classes), grouped by base model.
        labels: class ids (clips,).
        num_classes: number of classes of each base model.
        folds: inner folds of the clips.
        final: rows that the weights are fitted on; default: all.
    """
    fitted = slice(None) if final is None else final  # a copy of all rows may give other last digits
    logs = np.log(np.maximum(features, TINY)).reshape(len(features), -1, num_classes)
    held_out = np.zeros((len(labels), num_classes))
    for fold in folds:
        weights = _pool_weights(logs[fold.fitted], labels[fold.fitted])
        held_out[fold.held_out] = _pooled(logs[fold.held_out], weights)
    weights = _pool_weights(logs[fitted], labels[fitted])
    matrix = np.concatenate([weight * np.eye(num_classes) for weight in weights], axis=1)
    return Fitted(
        lambda values: _pooled(np.log(np.maximum(values, TINY)).reshape(len(values), -1, num_classes), weights),
        held_out,
        len(weights),
        {"weights": weights.tolist(), "inner_log_loss": mean_loss(held_out, labels, folds)},
        lambda values: np.log(np.maximum(values, TINY))[:, None, :] * matrix[None],
        linear=(matrix, np.zeros(num_classes)),
    )


def _pooled(logs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log-probabilities (clips, base models, classes) -> probabilities (clips, classes)."""
    return softmax(np.einsum("nbk,b->nk", logs, weights))


def _pool_weights(logs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Maximum-likelihood weights (base models,); the log-likelihood is concave in them."""
    from scipy.optimize import minimize

    number = logs.shape[1]
    start, bounds = np.full(number, 1 / number), [(0, None)] * number
    return minimize(lambda weights: log_loss(_pooled(logs, weights), labels), start, bounds=bounds).x


def regression(features: np.ndarray, labels: np.ndarray, penalty: float, balanced: bool = True) -> "Pipeline":
    """Fit a logistic regression on standardized features.

    Args:
        features: (clips, features).
        labels: class ids (clips,).
        penalty: C, the inverse regularisation strength.
        balanced: whether all classes have the same weight.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    weights = "balanced" if balanced else None
    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=5000, class_weight=weights))
    return model.fit(features, labels)


def class_probabilities(model: Any, features: np.ndarray, num_classes: int) -> np.ndarray:
    """Probabilities (clips, classes) of a scikit-learn classifier; 0 for classes that it was not fitted on."""
    return spread(model.predict_proba(features), model.classes_, num_classes)


def spread(values: np.ndarray, classes: Sequence[int], num_labels: int) -> np.ndarray:
    """Probabilities of some classes (clips, classes) -> of all labels (clips, labels)."""
    whole = np.zeros((len(values), num_labels))
    whole[:, list(classes)] = values
    return whole


def fit_logistic(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    folds: Sequence[Fold],
    args: HybridArguments,
    final: np.ndarray | None = None,
    corpora: Sequence[str] = (),
) -> Fitted:
    """Fit a logistic regression on log-probabilities, with the C that `HeldOutClips` selects on the inner folds.

    Args:
        features: probabilities (clips, features).
        labels: class ids (clips,).
        num_classes: number of classes, all of which are in `labels`.
        folds: inner folds of the clips.
        args: penalties and class_weights.
        final: rows that the regression is fitted on with the selected C; default: all.
        corpora: corpus of each clip; default: the clips are of one.
    """
    deciding = HeldOutClips(labels, corpora, folds)
    fitted = slice(None) if final is None else final  # a copy of all rows may give other last digits
    logs = np.log(np.maximum(features, TINY))
    costs, held_out = [], []
    for penalty in progress_bar(args.penalties, desc="Fitting inner folds", unit="values of C"):
        rows = np.zeros((len(labels), num_classes))
        for fold in folds:
            model = regression(logs[fold.fitted], labels[fold.fitted], penalty, args.class_weights)
            rows[fold.held_out] = class_probabilities(model, logs[fold.held_out], num_classes)
        costs.append(deciding.cost(rows))
        held_out.append(rows)
    best = int(np.argmin(costs))
    model = regression(logs[fitted], labels[fitted], args.penalties[best], args.class_weights)
    scaler, last = model[0], model[-1]
    weights, biases = last.coef_, last.intercept_
    if len(weights) == 1:  # for two classes, scikit-learn stores the difference of their weights
        weights, biases = np.concatenate([-weights / 2, weights / 2]), np.concatenate([-biases / 2, biases / 2])
    return Fitted(
        lambda values: class_probabilities(model, np.log(np.maximum(values, TINY)), num_classes),
        held_out[best],
        int(last.coef_.size + last.intercept_.size),
        {
            "C": args.penalties[best],
            "inner_log_loss": mean_loss(held_out[best], labels, folds),
            **deciding.described(costs[best]),
        },
        lambda values: scaler.transform(np.log(np.maximum(values, TINY)))[:, None, :] * weights[None],
        linear=(weights / scaler.scale_, biases - weights @ (scaler.mean_ / scaler.scale_)),
    )


def fit_lightgbm(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    names: Sequence[str],
    folds: Sequence[Fold],
    args: HybridArguments,
    corpora: Sequence[str] = (),
) -> Fitted:
    """Fit a booster with the number of trees that `HeldOutClips` selects on the inner folds.

    Boosters of all folds grow in parallel until the score has not improved for `early_stopping_rounds`. Features are
    binned and classes are weighted within each fold.

    Args:
        features: (clips, features).
        labels: class ids (clips,).
        num_classes: number of classes, all of which are in `labels`.
        names: names of the features.
        folds: inner folds of the clips.
        args: LightGBM settings.
        corpora: corpus of each clip; default: the clips are of one.
    """
    deciding = HeldOutClips(labels, corpora, folds)
    growing = [_grower(features, labels, num_classes, names, args, fold) for fold in folds]
    costs: list[float] = []
    for _ in (bar := progress_bar(range(args.max_trees), desc="Fitting inner folds (maximum)", unit="trees")):
        for booster in growing:
            booster.update()
        if deciding.are_merged:
            costs.append(deciding.cost(_held_out_now(growing, folds, (len(labels), num_classes))))
        else:
            costs.append(float(np.mean([booster.eval_valid()[0][2] for booster in growing])))
        if len(costs) - int(np.argmin(costs)) > args.early_stopping_rounds:
            break
    bar.close()
    trees = int(np.argmin(costs)) + 1
    held_out = np.zeros((len(labels), num_classes))
    for booster, fold in zip(growing, folds, strict=True):
        held_out[fold.held_out] = booster.predict(features[fold.held_out], num_iteration=trees)
    model = _classifier(args, num_classes, trees).fit(features, labels, feature_name=list(names))
    loss = mean_loss(held_out, labels, folds) if deciding.are_merged else costs[trees - 1]
    return _fitted(model, held_out, num_classes, {"inner_log_loss": loss, **deciding.described(costs[trees - 1])})


def _held_out_now(growing: Sequence["lightgbm.Booster"], folds: Sequence[Fold], shape: tuple[int, int]) -> np.ndarray:
    """Probabilities (clips, classes) of the held-out clips by the trees so far; LightGBM adds up the new ones only."""
    rows = np.zeros(shape)
    for booster, fold in zip(growing, folds, strict=True):

        def keep(predicted: np.ndarray, _: Any, held_out: np.ndarray = fold.held_out) -> tuple[str, float, bool]:
            rows[held_out] = predicted
            return "kept", 0.0, True

        booster.eval_valid(keep)
    return rows


def fit_early_stopped(
    fitting: tuple[np.ndarray, np.ndarray],
    deciding: tuple[np.ndarray, np.ndarray],
    num_classes: int,
    names: Sequence[str],
    args: HybridArguments,
    corpora: Sequence[str] = (),
) -> Fitted:
    """Fit a booster until the score of `HeldOutClips` on validation has not improved for `early_stopping_rounds`.

    Args:
        fitting: features (clips, features) and class ids (clips,).
        deciding: features and class ids of the validation clips.
        num_classes: number of classes, all of which are in `fitting`.
        names: names of the features.
        args: LightGBM settings.
        corpora: corpus of each validation clip; default: they are of one.
    """
    import lightgbm

    every = np.arange(len(deciding[1]))
    clips = HeldOutClips(deciding[1], corpora, [Fold(every, every)])
    model = _classifier(args, num_classes, args.max_trees)
    score = None
    if clips.are_merged:
        model.set_params(metric="None")  # else early stopping would follow the loss as well

        def score(_: Any, predicted: np.ndarray) -> tuple[str, float, bool]:
            return UAR_BY_CORPUS, -clips.cost(predicted), True

    with progress_bar(total=args.max_trees, desc="Fitting (maximum)", unit="trees") as bar:
        model.fit(
            *fitting,
            eval_X=deciding[0],
            eval_y=deciding[1],
            eval_metric=score,
            feature_name=list(names),
            callbacks=[
                lightgbm.early_stopping(args.early_stopping_rounds, verbose=False),
                lambda _: bar.update(),
            ],
        )
    predict = model.booster_.predict  # uses the best iteration
    held_out = np.asarray(predict(deciding[0]))
    found = {"validation_log_loss": log_loss(held_out, deciding[1]), **clips.described(clips.cost(held_out))}
    return _fitted(model, held_out, num_classes, found)


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
        (clips, classes, features), without the expected score.
    """
    rows = np.asarray(booster.predict(values, pred_contrib=True))
    return rows.reshape(len(values), num_classes, -1)[:, :, :-1]


def _lightgbm_settings(args: HybridArguments, num_classes: int) -> dict[str, Any]:
    """LightGBM parameters for boosters and for the estimator."""
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
        "n_jobs": computing_threads(),
        "verbosity": -1,
    }


def _classifier(args: HybridArguments, num_classes: int, trees: int) -> "lightgbm.LGBMClassifier":
    import lightgbm

    weights = "balanced" if args.class_weights else None
    return lightgbm.LGBMClassifier(n_estimators=trees, class_weight=weights, **_lightgbm_settings(args, num_classes))


def _grower(
    features: np.ndarray, labels: np.ndarray, num_classes: int, names: Sequence[str], args: HybridArguments, fold: Fold
) -> "lightgbm.Booster":
    """Make an empty booster for a fold's fitting clips, with the held-out clips as validation data."""
    import lightgbm
    from sklearn.utils.class_weight import compute_sample_weight

    settings, rows = _lightgbm_settings(args, num_classes), fold.fitted
    weights = compute_sample_weight("balanced", labels[rows]) if args.class_weights else None
    data = lightgbm.Dataset(features[rows], labels[rows], weight=weights, feature_name=list(names), params=settings)
    booster = lightgbm.Booster(settings, data)
    booster.add_valid(data.create_valid(features[fold.held_out], labels[fold.held_out]), "held out")
    return booster


def scored_probabilities(
    fitted: Fitted, features: dict[str, np.ndarray], fit_on: str, classes: Sequence[int], num_labels: int
) -> dict[str, np.ndarray]:
    """Probabilities of the validation and test clips; fitting clips are scored by the inner folds.

    Args:
        fitted: the meta-learner.
        features: split -> (clips, features).
        fit_on: split that the meta-learner was fitted on.
        classes: ids of the classes that the meta-learner predicts.
        num_labels: number of labels of the dataset.

    Returns:
        Split -> (clips, labels), for splits with features.
    """
    return {
        split: spread(fitted.held_out if split == fit_on else fitted.predict(features[split]), classes, num_labels)
        for split in ("validation", "test")
        if split in features
    }
