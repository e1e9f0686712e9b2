"""Explanations: contributions of base models and features to the scores, and disagreements between base models."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser import markdown
from hf_ser.hybrids.meta_learners import Fitted
from hf_ser.reporting import Explanation
from hf_ser.results_file import number

_LISTED, _LISTED_BY_CLASS = 10, 3  # features in the tables
_MEANINGS = {
    "gain": "reduction of the loss on the fitting clips by splits on the feature",
    "importance": "reduction of the impurity of the fitting clips by splits on the feature, mean over the trees",
}


@dataclass(frozen=True)
class Explained:
    """Clips whose predictions are explained.

    Args:
        split: split of the clips.
        features: (clips, base models * classes), grouped by base model.
        labels: class ids (clips,).
        base_models: names of the base models.
        classes: names of the classes.
        names: names of the features.
    """

    split: str
    features: np.ndarray
    labels: np.ndarray
    base_models: Sequence[str]
    classes: Sequence[str]
    names: Sequence[str]


def explain(explained: Explained, fitted: Fitted) -> tuple[Explanation, list[dict[str, Any]]]:
    """Explain a stack.

    Returns:
        The section of report.md, and the rows of importances.csv: for each feature its gain and its mean absolute
        contribution to the score of every class. Without a fitted model there are no rows and no figure.
    """
    predicted = fitted.predict(explained.features).argmax(axis=1)
    parts = ["## Contributions of the base models", f"On the {len(explained.labels)} clips of {explained.split}."]
    rows: list[dict[str, Any]] = []
    shares: np.ndarray | None = None
    if fitted.contributions is not None:
        values = fitted.contributions(explained.features)
        rows = _importances(explained, fitted, values)
        shares = _shares(explained, values, predicted)
        parts += _shares_section(explained, fitted, shares, predicted)

    def draw(folder: Path, title: str) -> dict[str, str]:
        if shares is None:
            return {}
        from hf_ser.reporting.plots import plot_shares  # here, since it imports matplotlib and scikit-learn

        plot_shares(shares, explained.base_models, explained.classes, folder / "shares_of_bases", title)
        return {"shares_of_bases": f"Share of each base model in the score of the predicted class, {explained.split}"}

    return Explanation("\n\n".join(parts + _disagreements(explained, predicted)), draw), rows


def explain_features(
    names: Sequence[str], importance: np.ndarray, kind: str, per_class: np.ndarray | None, labels: Sequence[str]
) -> tuple[Explanation, list[dict[str, Any]]]:
    """Explain a model by features, such as functionals or embeddings.

    Args:
        names: names of the features.
        importance: nonnegative importance (features,).
        kind: kind of importance, such as gain.
        per_class: mean absolute SHAP values (classes, features), or None.
        labels: names of the classes.

    Returns:
        The section of report.md, and the rows of importances.csv, sorted by decreasing importance.
    """
    importance = np.asarray(importance, dtype=np.float64)
    rows = []
    for index, (name, value) in enumerate(zip(names, importance, strict=True)):
        row: dict[str, Any] = {"column": name, kind: f"{value:.6g}"}
        if per_class is not None:
            row["contribution"] = f"{per_class[:, index].mean():.6g}"
            contributions = zip(labels, per_class[:, index], strict=True)
            row |= {f"contribution_to_{label}": f"{part:.6g}" for label, part in contributions}
        rows.append(row)
    order = np.argsort(-importance, kind="stable")
    shares = _of_whole(importance)
    top = [(names[index], f"{100 * shares[index]:.1f} %") for index in order[:_LISTED] if importance[index] > 0]
    parts = ["## Feature importance"]
    if top:
        meaning = f": {_MEANINGS[kind]}" if kind in _MEANINGS else ""
        parts += [
            f"The {len(top)} of {len(names)} features with the highest {kind}{meaning}. "
            f"{(importance > 0).sum()} features have a nonzero {kind}.",
            markdown.table(("feature", f"share of total {kind}"), top),
        ]
    else:
        parts.append(f"All features have zero {kind}, because the trees have no splits.")
    if per_class is not None:
        parts += _features_by_class(names, np.asarray(per_class, dtype=np.float64), labels)

    def draw(folder: Path, title: str) -> dict[str, str]:
        from hf_ser.reporting.plots import plot_importances

        unit = f"{kind} (% of total)"
        plot_importances(100 * np.nan_to_num(shares), names, folder / "importances", title, unit)
        return {"importances": f"Features with the highest {kind}"}

    return Explanation("\n\n".join(parts), draw), [rows[index] for index in order]


def _features_by_class(names: Sequence[str], per_class: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Table of the features with the largest contributions to each class's score."""
    table = []
    for label, values in zip(labels, per_class, strict=True):
        shares = _of_whole(values)
        order = np.argsort(-values, kind="stable")[:_LISTED_BY_CLASS]
        cells = [f"{names[index]} ({100 * shares[index]:.1f} %)" if values[index] > 0 else "-" for index in order]
        table.append((label, *cells))
    ranks = ("first", "second", "third")[: min(_LISTED_BY_CLASS, len(names))]
    return [
        "### By class",
        "The features with the largest mean absolute SHAP value for each class, and their share of the sum over all "
        "features.",
        markdown.table(("class", *ranks), table),
    ]


def _importances(explained: Explained, fitted: Fitted, values: np.ndarray) -> list[dict[str, Any]]:
    mean = np.abs(values).mean(axis=0)  # (classes, features)
    rows = []
    for index, name in enumerate(explained.names):
        base_model, class_id = divmod(index, len(explained.classes))
        row: dict[str, Any] = {"column": name, "base": explained.base_models[base_model]}
        row["probability_of"] = explained.classes[class_id]
        if fitted.gain is not None:
            row["gain"] = f"{fitted.gain[index]:.6g}"
        row["contribution"] = f"{mean[:, index].mean():.6g}"
        row |= {f"contribution_to_{label}": f"{mean[k, index]:.6g}" for k, label in enumerate(explained.classes)}
        rows.append(row)
    return rows


def _shares(explained: Explained, values: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Share of each base model in the score of the predicted class (classes + 1, base models).

    The last row is over all predictions; classes that were never predicted have NaN.
    """
    by_base_model = values.reshape(*values.shape[:2], len(explained.base_models), -1).sum(axis=3)
    scores = np.abs(by_base_model[np.arange(len(predicted)), predicted])
    rows = [scores[predicted == k].sum(axis=0) for k in range(len(explained.classes))]
    return np.stack([_of_whole(row) for row in (*rows, scores.sum(axis=0))])


def _shares_section(explained: Explained, fitted: Fitted, shares: np.ndarray, predicted: np.ndarray) -> list[str]:
    """Table of the shares, and of the gain for boosters."""
    clips = (*np.bincount(predicted, minlength=len(explained.classes)), len(predicted))
    answers = (*explained.classes, "all")
    table = [(label, count, *_percent(row)) for label, count, row in zip(answers, clips, shares, strict=True)]
    kind = "SHAP values of its trees" if fitted.gain is not None else "weight times standardized log-probability"
    parts = [
        "### Share of each base model in the predicted class's score",
        f"Contributions of a base model's features ({kind}), summed per clip; their absolute values are averaged over "
        "the clips with this prediction.",
        markdown.table(("prediction", "clips", *explained.base_models), table),
    ]
    if fitted.gain is not None:
        gain = _of_whole(np.asarray(fitted.gain)).reshape(len(explained.base_models), -1)
        by_class = [(label, *_percent(row)) for label, row in zip(explained.classes, gain.T, strict=True)]
        parts += [
            "Share of each base model in the gain of all splits, by the class whose probability the split uses:",
            markdown.table(
                ("probability of", *explained.base_models), [*by_class, ("all", *_percent(gain.sum(axis=1)))]
            ),
        ]
    return parts


def _disagreements(explained: Explained, predicted: np.ndarray) -> list[str]:
    """Agreement with the stack and accuracy of each base model, on clips for which the base models disagree."""
    shape = len(explained.features), len(explained.base_models), -1
    answers = explained.features.reshape(shape).argmax(axis=2)
    differ = (answers != answers[:, :1]).any(axis=1)
    parts = ["### Disagreements between base models"]
    if not differ.any():
        return [*parts, "All base models predict the same class for every clip."]
    labels, answers, predicted = explained.labels[differ], answers[differ], predicted[differ]
    table = [
        (name, number(float((answer == predicted).mean())), number(float((answer == labels).mean())))
        for name, answer in zip(explained.base_models, answers.T, strict=True)
    ]
    table.append(("stack", "-", number(float((predicted == labels).mean()))))
    return [
        *parts,
        f"The base models predict different classes for {int(differ.sum())} of {len(differ)} clips. On these clips:",
        markdown.table(("model", "agreement with the stack", "accuracy"), table),
    ]


def _of_whole(values: np.ndarray) -> np.ndarray:
    """Shares of the sum; NaN if the sum is 0."""
    total = values.sum()
    return values / total if total > 0 else np.full(values.shape, np.nan)


def _percent(shares: np.ndarray) -> list[str]:
    return ["-" if np.isnan(share) else f"{100 * share:.0f} %" for share in shares]
