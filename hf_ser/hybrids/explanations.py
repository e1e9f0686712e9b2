"""Which bases or columns decide when: how much each adds to scores, and whom a stack follows where bases differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.hybrids.metas import Fitted
from hf_ser.reporting import Explanation
from hf_ser.reporting.run_report import markdown
from hf_ser.results_file import number

_LISTED, _LISTED_BY_CLASS = 10, 3  # columns in the tables
_MEANINGS = {
    "gain": "how much the splits on a column lowered the loss on the fitting clips",
    "importance": "how much the splits on a column lowered the impurity of the fitting clips, mean over the trees",
}


@dataclass(frozen=True)
class Explained:
    """Clips whose answers are explained.

    Args:
        split: where they come from.
        features: (clips, bases * classes), base after base.
        truth: true class ids (clips,).
        bases: names.
        classes: names.
        columns: names of the features.
    """

    split: str
    features: np.ndarray
    truth: np.ndarray
    bases: Sequence[str]
    classes: Sequence[str]
    columns: Sequence[str]


def explain(its: Explained, fitted: Fitted) -> tuple[Explanation, list[dict[str, Any]]]:
    """Explain a stack.

    Returns:
        What report.md tells, and the rows of importances.csv: per column its gain and its mean absolute contribution
        to every class's score; no rows and no figure where nothing was fitted.
    """
    guess = fitted.predict(its.features).argmax(axis=1)
    parts = ["## Which base decides when", f"On the {len(its.truth)} clips of {its.split}."]
    rows: list[dict[str, Any]] = []
    shares: np.ndarray | None = None
    if fitted.contributions is not None:
        values = fitted.contributions(its.features)
        rows = _importances(its, fitted, values)
        shares = _shares(its, values, guess)
        parts += _shares_section(its, fitted, shares, guess)

    def draw(folder: Path) -> dict[str, str]:
        if shares is None:
            return {}
        from hf_ser.reporting.plots import plot_shares  # here: it brings matplotlib and scikit-learn

        plot_shares(shares, its.bases, its.classes, folder / "shares_of_bases")
        return {"shares_of_bases": f"Share of each base in the score of the answer, on {its.split}"}

    return Explanation("\n\n".join(parts + _disagreements(its, guess)), draw), rows


def explain_columns(
    names: Sequence[str], importance: np.ndarray, kind: str, per_class: np.ndarray | None, labels: Sequence[str]
) -> tuple[Explanation, list[dict[str, Any]]]:
    """Explain a model over columns that belong to no base and no class: functionals, embeddings.

    Args:
        names: of the columns.
        importance: of the columns (columns,), none below 0.
        kind: what the importance is, such as gain.
        per_class: mean absolute SHAP values (classes, columns), where they are known.
        labels: names of the classes.

    Returns:
        What report.md tells, and the rows of importances.csv, the greatest importance first.
    """
    importance = np.asarray(importance, dtype=np.float64)
    rows = []
    for column, (name, value) in enumerate(zip(names, importance, strict=True)):
        row: dict[str, Any] = {"column": name, kind: f"{value:.6g}"}
        if per_class is not None:
            row["contribution"] = f"{per_class[:, column].mean():.6g}"
            parts_of_it = zip(labels, per_class[:, column], strict=True)
            row |= {f"contribution_to_{label}": f"{part:.6g}" for label, part in parts_of_it}
        rows.append(row)
    order = np.argsort(-importance, kind="stable")
    shares = _of_whole(importance)
    top = [(names[index], f"{100 * shares[index]:.1f} %") for index in order[:_LISTED] if importance[index] > 0]
    parts = ["## Which columns decide"]
    if top:
        meaning = f": {_MEANINGS[kind]}" if kind in _MEANINGS else ""
        parts += [
            f"The greatest of {len(names)} columns by {kind}{meaning}. {(importance > 0).sum()} have any.",
            markdown(("column", f"share of all {kind}"), top),
        ]
    else:
        parts.append(f"No column has any {kind}: nothing was split on.")
    if per_class is not None:
        parts += _columns_by_class(names, np.asarray(per_class, dtype=np.float64), labels)

    def draw(folder: Path) -> dict[str, str]:
        from hf_ser.reporting.plots import plot_importances

        unit = f"{kind} (per cent of the whole)"
        plot_importances(100 * np.nan_to_num(shares), names, folder / "importances", "Which columns decide", unit)
        return {"importances": f"Columns of the greatest {kind}"}

    return Explanation("\n\n".join(parts), draw), [rows[index] for index in order]


def _columns_by_class(names: Sequence[str], per_class: np.ndarray, labels: Sequence[str]) -> list[str]:
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
        markdown(("class", *ranks), table),
    ]


def _importances(its: Explained, fitted: Fitted, values: np.ndarray) -> list[dict[str, Any]]:
    mean = np.abs(values).mean(axis=0)  # (classes, columns)
    rows = []
    for column, name in enumerate(its.columns):
        base, class_ = divmod(column, len(its.classes))
        row: dict[str, Any] = {"column": name, "base": its.bases[base], "probability_of": its.classes[class_]}
        if fitted.gain is not None:
            row["gain"] = f"{fitted.gain[column]:.6g}"
        row["contribution"] = f"{mean[:, column].mean():.6g}"
        row |= {f"contribution_to_{label}": f"{mean[k, column]:.6g}" for k, label in enumerate(its.classes)}
        rows.append(row)
    return rows


def _shares(its: Explained, values: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Each base's share of the answered class's score (classes + 1, bases), all answers last; NaN where none is."""
    by_base = values.reshape(*values.shape[:2], len(its.bases), -1).sum(axis=3)  # (clips, classes, bases)
    answered = np.abs(by_base[np.arange(len(guess)), guess])
    rows = [answered[guess == k].sum(axis=0) for k in range(len(its.classes))]
    return np.stack([_of_whole(row) for row in (*rows, answered.sum(axis=0))])


def _shares_section(its: Explained, fitted: Fitted, shares: np.ndarray, guess: np.ndarray) -> list[str]:
    """The shares as a table, and the gain where there is one."""
    clips = (*np.bincount(guess, minlength=len(its.classes)), len(guess))
    answers = (*its.classes, "all")
    table = [(label, count, *_percent(row)) for label, count, row in zip(answers, clips, shares, strict=True)]
    kind = "SHAP values of its trees" if fitted.gain is not None else "weight times standardized log-probability"
    parts = [
        "### Share of each base in the answer",
        "How much of the answered class's score comes from which base: the contributions of its columns "
        f"({kind}) summed per clip, absolute values averaged over the clips that were given this answer.",
        markdown(("answer", "clips", *its.bases), table),
    ]
    if fitted.gain is not None:
        gain = _of_whole(np.asarray(fitted.gain)).reshape(len(its.bases), -1)
        by_class = [(label, *_percent(row)) for label, row in zip(its.classes, gain.T, strict=True)]
        parts += [
            "Of the gain of all splits while fitting, by the class whose probability the split asks the base for:",
            markdown(("probability of", *its.bases), [*by_class, ("all", *_percent(gain.sum(axis=1)))]),
        ]
    return parts


def _disagreements(its: Explained, guess: np.ndarray) -> list[str]:
    """Whom the stack follows, and who is right, where not all bases give the same answer."""
    answers = its.features.reshape(len(its.features), len(its.bases), -1).argmax(axis=2)
    differ = (answers != answers[:, :1]).any(axis=1)
    parts = ["### Where the bases differ"]
    if not differ.any():
        return [*parts, "They never do: all give the same answer to every clip."]
    truth, answers, guess = its.truth[differ], answers[differ], guess[differ]
    table = [
        (name, number(float((answers[:, base] == guess).mean())), number(float((answers[:, base] == truth).mean())))
        for base, name in enumerate(its.bases)
    ]
    table.append(("the stack", "-", number(float((guess == truth).mean()))))
    return [
        *parts,
        f"The bases give different answers to {int(differ.sum())} of {len(differ)} clips. Of these:",
        markdown(("base", "share in which the stack answers as it does", "share in which it is right"), table),
    ]


def _of_whole(values: np.ndarray) -> np.ndarray:
    """Shares of the sum; NaN where that is 0."""
    total = values.sum()
    return values / total if total > 0 else np.full(values.shape, np.nan)


def _percent(shares: np.ndarray) -> list[str]:
    return ["-" if np.isnan(share) else f"{100 * share:.0f} %" for share in shares]
