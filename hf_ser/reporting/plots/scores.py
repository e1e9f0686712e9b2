"""Scores of several models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.patches import Patch

from hf_ser.reporting.plots.style import NONE, bar, legend, look, new_figure, save, styled, wrapped


class ScoreRow(NamedTuple):
    """One model's scores from 0 to 1: value, low and high end of its interval (None where there is none)."""

    name: str
    scores: Mapping[str, tuple[float, float | None, float | None]]


@styled()
def plot_scores(rows: Sequence[ScoreRow], path: Path, title: str) -> None:
    """Draw one group of bars per model, one bar per score, the first model at the top.

    Args:
        rows: models in the order of the figure; a missing score is shown as a dash.
        path: file to write, without suffix.
        title: of the figure: protocol and dataset.
    """
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.scores))
    height = 0.8 / max(1, len(metrics))
    figure = new_figure(8.5, 1.4 + len(rows) * max(0.45, 0.24 * len(metrics)), title)
    axes = figure.subplots()
    for position, row in enumerate(rows):
        for index, metric in enumerate(metrics):
            y = position + (index - (len(metrics) - 1) / 2) * height
            if metric not in row.scores:
                axes.text(0.005, y, NONE, va="center")
                continue
            value, low, high = row.scores[metric]
            axes.barh(y, value, height * 0.92, **bar(index))
            if low is not None and high is not None:
                whiskers = [[max(0.0, value - low)], [max(0.0, high - value)]]
                # A wide line in the colour of the page below, so that the whisker shows on any bar.
                for width, colour in ((3.5, look().paper), (1.2, look().text)):
                    axes.errorbar(value, y, xerr=whiskers, color=colour, linewidth=width, capsize=2.5)
            axes.text(max(value, high or 0.0) + 0.01, y, f"{value:.3f}", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [wrapped(row.name, 32) for row in rows])
    axes.set(xlabel="score", xlim=(0, 1.08), ylim=(len(rows) - 0.5, -0.5), xticks=[tick / 5 for tick in range(6)])
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    handles = [Patch(**bar(index)) for index in range(len(metrics))]
    legend(figure, handles, metrics, loc="outside lower center", ncols=min(4, max(1, len(metrics))), handleheight=1.2)
    save(figure, path)
