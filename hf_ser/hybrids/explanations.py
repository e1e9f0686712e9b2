"""Which base models or features decide: their part in the scores, and the stack's choice where base models differ."""

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
    "gain": "how much the splits on a column lowered the loss on the fitting clips",
    "importance": "how much the splits on a column lowered the impurity of the fitting clips, mean over the trees",
}


@dataclass(frozen=True)
class Explained:
    """Clips whose predictions are explained.

    Args:
        split: of the clips.
        features: (clips, base models * classes), base model after base model.
        labels: class ids (clips,).
        base_models: names.
        classes: names.
        names: of the features.
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
        The section of report.md, and the rows of importances.csv: per feature its gain and its mean absolute
        contribution to every class's score; no rows and no figure if nothing was fitted.
    """
    predicted = fitted.predict(explained.features).argmax(axis=1)
    parts = ["## Which base decides when", f"On the {len(explained.labels)} clips of {explained.split}."]
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
        return {"shares_of_bases": f"Share of each base in the score of the answer, on {explained.split}"}

    return Explanation("\n\n".join(parts + _disagreements(explained, predicted)), draw), rows


def explain_features(
    names: Sequence[str], importance: np.ndarray, kind: str, per_class: np.ndarray | None, labels: Sequence[str]
) -> tuple[Explanation, list[dict[str, Any]]]:
    """Explain a model over features that belong to no base model and no class: functionals, embeddings.

    Args:
        names: of the features.
        importance: (features,), none below 0.
        kind: what the importance is, such as gain.
        per_class: mean absolute SHAP values (classes, features), if they are known.
        labels: names of the classes.

    Returns:
        The section of report.md, and the rows of importances.csv, the greatest importance first.
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
    parts = ["## Which columns decide"]
    if top:
        meaning = f": {_MEANINGS[kind]}" if kind in _MEANINGS else ""
        parts += [
            f"The greatest of {len(names)} columns by {kind}{meaning}. {(importance > 0).sum()} have any.",
            markdown.table(("column", f"share of all {kind}"), top),
        ]
    else:
        parts.append(f"No column has any {kind}: nothing was split on.")
    if per_class is not None:
        parts += _features_by_class(names, np.asarray(per_class, dtype=np.float64), labels)

    def draw(folder: Path, title: str) -> dict[str, str]:
        from hf_ser.reporting.plots import plot_importances

        unit = f"{kind} (per cent of the whole)"
        plot_importances(100 * np.nan_to_num(shares), names, folder / "importances", title, unit)
        return {"importances": f"Columns of the greatest {kind}"}

    return Explanation("\n\n".join(parts), draw), [rows[index] for index in order]


def _features_by_class(names: Sequence[str], per_class: np.ndarray, labels: Sequence[str]) -> list[str]:
    """The columns that move each class's score most."""
    table = []
    for label, values in zip(labels, per_class, strict=True):
        shares = _of_whole(values)
        order = np.argsort(-values, kind="stable")[:_LISTED_BY_CLASS]
        cells = [f"{names[index]} ({100 * shares[index]:.1f} %)" if values[index] > 0 else "-" for index in order]
        table.append((label, *cells))
    ranks = ("first", "second", "third")[: min(_LISTED_BY_CLASS, len(names))]
    return [
        "### By class",
        "The columns that move each class's score most, up or down, by their mean absolute SHAP value, and its share "
        "of the sum over all columns.",
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
    """Each base model's share of the predicted class's score (classes + 1, base models).

    The last row is that of all predictions; a class that was never predicted has NaN.
    """
    by_base_model = values.reshape(*values.shape[:2], len(explained.base_models), -1).sum(axis=3)
    scores = np.abs(by_base_model[np.arange(len(predicted)), predicted])
    rows = [scores[predicted == k].sum(axis=0) for k in range(len(explained.classes))]
    return np.stack([_of_whole(row) for row in (*rows, scores.sum(axis=0))])


def _shares_section(explained: Explained, fitted: Fitted, shares: np.ndarray, predicted: np.ndarray) -> list[str]:
    """The shares as a table, and the gain if there is one."""
    clips = (*np.bincount(predicted, minlength=len(explained.classes)), len(predicted))
    answers = (*explained.classes, "all")
    table = [(label, count, *_percent(row)) for label, count, row in zip(answers, clips, shares, strict=True)]
    kind = "SHAP values of its trees" if fitted.gain is not None else "weight times standardized log-probability"
    parts = [
        "### Share of each base in the answer",
        "How much of the answered class's score comes from which base: the contributions of its columns "
        f"({kind}) summed per clip, absolute values averaged over the clips that were given this answer.",
        markdown.table(("answer", "clips", *explained.base_models), table),
    ]
    if fitted.gain is not None:
        gain = _of_whole(np.asarray(fitted.gain)).reshape(len(explained.base_models), -1)
        by_class = [(label, *_percent(row)) for label, row in zip(explained.classes, gain.T, strict=True)]
        parts += [
            "Of the gain of all splits while fitting, by the class whose probability the split asks the base for:",
            markdown.table(
                ("probability of", *explained.base_models), [*by_class, ("all", *_percent(gain.sum(axis=1)))]
            ),
        ]
    return parts


def _disagreements(explained: Explained, predicted: np.ndarray) -> list[str]:
    """How often each base model agrees with the stack and is right, on clips on which base models differ."""
    shape = len(explained.features), len(explained.base_models), -1
    answers = explained.features.reshape(shape).argmax(axis=2)
    differ = (answers != answers[:, :1]).any(axis=1)
    parts = ["### Where the bases differ"]
    if not differ.any():
        return [*parts, "They never do: all give the same answer to every clip."]
    labels, answers, predicted = explained.labels[differ], answers[differ], predicted[differ]
    table = [
        (name, number(float((answer == predicted).mean())), number(float((answer == labels).mean())))
        for name, answer in zip(explained.base_models, answers.T, strict=True)
    ]
    table.append(("the stack", "-", number(float((predicted == labels).mean()))))
    return [
        *parts,
        f"The bases give different answers to {int(differ.sum())} of {len(differ)} clips. Of these:",
        markdown.table(("base", "share in which the stack answers as it does", "share in which it is right"), table),
    ]


def _of_whole(values: np.ndarray) -> np.ndarray:
    """Shares of the sum; NaN if that is 0."""
    total = values.sum()
    return values / total if total > 0 else np.full(values.shape, np.nan)


def _percent(shares: np.ndarray) -> list[str]:
    return ["-" if np.isnan(share) else f"{100 * share:.0f} %" for share in shares]
