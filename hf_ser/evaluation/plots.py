"""Figures of a run, readable in greyscale."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen first
from matplotlib.ticker import MaxNLocator  # noqa: E402


def plot_training_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw training and validation loss, and validation scores, over epochs.

    Args:
        history: the Trainer's log history.
        path: PNG file to write.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    _line(left, history, "loss", "training", "-")
    _line(left, history, "eval_loss", "validation", "--", marker="o")
    left.set(xlabel="epoch", ylabel="cross entropy", title="Loss")
    _line(right, history, "eval_f1_weighted", "weighted F1", "-", marker="o")
    _line(right, history, "eval_uar", "unweighted average recall", "--", marker="s")
    right.set(xlabel="epoch", ylabel="score", title="Validation", ylim=(0, 1))
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _line(axes: Any, history: Sequence[Mapping[str, Any]], key: str, label: str, style: str, marker: str = "") -> None:
    points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
    if points:
        axes.plot(*zip(*points, strict=True), style, marker=marker, label=label)


def plot_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], title: str, path: Path) -> None:
    """Draw counts, shaded by their share of the row (recall on the diagonal)."""
    figure, axes = plt.subplots(figsize=(7.5, 6.5), layout="constrained")
    totals = [max(1, sum(row)) for row in confusion]
    shares = [[count / total for count in row] for row, total in zip(confusion, totals, strict=True)]
    image = axes.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    for row, counts in enumerate(confusion):
        for column, number in enumerate(counts):
            shade = "white" if shares[row][column] > 0.5 else "black"
            axes.text(column, row, str(number), ha="center", va="center", color=shade)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    figure.savefig(path, dpi=150)
    plt.close(figure)
