"""Which base decides when: how much each adds to a stack's scores, and whom the stack follows where bases differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_ser.evaluation.report import markdown, number
from hf_ser.hybrids.metas import Fitted


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


def explain(its: Explained, fitted: Fitted) -> tuple[str, list[dict[str, Any]]]:
    """Explain a stack.

    Returns:
        The Markdown of explanations.md, and the rows of importances.csv: per column its gain and its mean absolute
        contribution to every class's score; no rows where nothing was fitted.
    """
    guess = fitted.predict(its.features).argmax(axis=1)
    parts = ["# Which base decides when", f"On the {len(its.truth)} clips of {its.split}."]
    rows: list[dict[str, Any]] = []
    if fitted.contributions is not None:
        values = fitted.contributions(its.features)
        rows = _importances(its, fitted, values)
        parts += _shares(its, fitted, values, guess)
    return "\n\n".join(parts + _disagreements(its, guess)) + "\n", rows


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


def _shares(its: Explained, fitted: Fitted, values: np.ndarray, guess: np.ndarray) -> list[str]:
    """Each base's share of the score of the class that was answered."""
    by_base = values.reshape(*values.shape[:2], len(its.bases), -1).sum(axis=3)  # (clips, classes, bases)
    answered = np.abs(by_base[np.arange(len(guess)), guess])
    table = []
    for k, label in enumerate(its.classes):
        chosen = answered[guess == k]
        table.append((label, len(chosen), *_percent(chosen.sum(axis=0))))
    table.append(("all", len(guess), *_percent(answered.sum(axis=0))))
    kind = "SHAP values of its trees" if fitted.gain is not None else "weight times standardized log-probability"
    parts = [
        "## Share of each base in the answer",
        "How much of the answered class's score comes from which base: the contributions of its columns "
        f"({kind}) summed per clip, absolute values averaged over the clips that were given this answer.",
        markdown(("answer", "clips", *its.bases), table),
    ]
    if fitted.gain is not None:
        gain = _percent(np.asarray(fitted.gain).reshape(len(its.bases), -1).sum(axis=1))
        parts += ["Of the gain of all splits while fitting:", markdown(its.bases, [gain])]
    return parts


def _disagreements(its: Explained, guess: np.ndarray) -> list[str]:
    """Whom the stack follows, and who is right, where not all bases give the same answer."""
    answers = its.features.reshape(len(its.features), len(its.bases), -1).argmax(axis=2)
    differ = (answers != answers[:, :1]).any(axis=1)
    parts = ["## Where the bases differ"]
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


def _percent(values: np.ndarray) -> list[str]:
    total = values.sum()
    return [f"{100 * value / total:.0f} %" if total else "-" for value in values]
