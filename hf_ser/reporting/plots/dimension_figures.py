"""Runs that predict dimensions: predicted against annotated values, and the curves of their training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from hf_ser.reporting.plots.style import legend, line, look, new_figure, save, styled
from hf_ser.reporting.plots.training_curves import finish_epochs

_MOST_POINTS = 600  # above, points hide each other, and cells show how many clips there are
_CELLS = 30  # along an axis
_MARGIN = 0.04  # of the range of the values


@styled()
def plot_concordance(
    true: np.ndarray, predicted: np.ndarray, coefficients: Mapping[str, float], path: Path, title: str
) -> None:
    """Draw predicted against annotated values, a panel per dimension, with the diagonal of equal values.

    Few clips are points, many are counted in hexagonal cells.

    Args:
        true: annotated values (clips, dimensions).
        predicted: (clips, dimensions).
        coefficients: dimension -> its concordance, in the order of the columns.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
    """
    cells = len(true) > _MOST_POINTS
    width = 3.9 * len(coefficients) + (1.2 if cells or len(coefficients) == 1 else 0.3)
    figure = new_figure(width, 4.8, title, layout="compressed")
    panels = figure.subplots(1, len(coefficients), squeeze=False)[0]
    low = min(0.0, float(true.min()), float(predicted.min()))  # the range of annotations, at least
    high = max(1.0, float(true.max()), float(predicted.max()))
    ends = (low - _MARGIN * (high - low), high + _MARGIN * (high - low))
    draw = _draw_cells if cells else _draw_points
    drawn = []
    for index, (axes, (name, coefficient)) in enumerate(zip(panels, coefficients.items(), strict=True)):
        axes.plot(ends, ends, color=look().text, linestyle="--", linewidth=1.2, zorder=3)
        drawn.append(draw(axes, true[:, index], predicted[:, index], ends))
        axes.set(title=f"{name}, CCC {coefficient:.3f}", xlabel="annotated", xlim=ends, ylim=ends, aspect="equal")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("predicted")
    if cells:
        _count(figure, panels, drawn)
    legend(figure, [panels[0].lines[0]], ["predicted as annotated"], loc="outside lower left")
    save(figure, path)


def _draw_points(axes: Axes, true: np.ndarray, predicted: np.ndarray, ends: tuple[float, float]) -> Any:
    return axes.scatter(true, predicted, s=16, color=look().series[0], alpha=0.55, edgecolors="none", zorder=2)


def _draw_cells(axes: Axes, true: np.ndarray, predicted: np.ndarray, ends: tuple[float, float]) -> Any:
    return axes.hexbin(
        true, predicted, gridsize=_CELLS, extent=(*ends, *ends), mincnt=1, linewidths=0.1, cmap=look().sequential
    )


def _count(figure: Figure, panels: Sequence[Axes], drawn: Sequence[Any]) -> None:
    """One scale of colours for the cells of all panels, and its bar."""
    scale = LogNorm(1, max(2.0, *(float(cells.get_array().max()) for cells in drawn)))
    for cells in drawn:
        cells.set_norm(scale)
    bar = figure.colorbar(drawn[0], ax=list(panels), label="clips per cell", aspect=30, format="{x:.0f}")
    bar.ax.minorticks_off()


@styled()
def plot_dimension_curves(history: Sequence[Mapping[str, Any]], path: Path, title: str, loss_name: str) -> None:
    """Draw training and validation loss, and the concordance on validation, over epochs.

    Args:
        history: the Trainer's log history, with the keys epoch, loss, eval_loss, eval_ccc and eval_ccc_DIMENSION.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
        loss_name: ccc or mse.
    """
    figure = new_figure(8.6, 4, title)
    loss, scores = figure.subplots(1, 2)
    names = list(dict.fromkeys(key for entry in history for key in entry if key.startswith("eval_ccc")))
    series = {"training loss": (loss, "loss"), "validation loss": (loss, "eval_loss")}
    series |= {_name(key): (scores, key) for key in names}
    handles = {}
    for index, (name, (axes, key)) in enumerate(series.items()):
        points = [(entry["epoch"], entry[key]) for entry in history if entry.get(key) is not None]
        if points:
            style = line(index) | ({"marker": ""} if key == "loss" else {})  # logged often
            handles[name] = axes.plot(*zip(*points, strict=True), **style)[0]
    if handles:
        legend(figure, list(handles.values()), list(handles), loc="outside lower center", ncols=3, handlelength=4)
    loss.set(title="Loss", ylabel="1 - CCC of the batch" if loss_name == "ccc" else "mean square error")
    scores.set(title="Validation CCC", ylabel="CCC")
    drawn = [value for entry in history for key, value in entry.items() if key in names]
    scores.set_ylim(min([0.0, *drawn]) - 0.02, 1)
    for axes in (loss, scores):
        finish_epochs(axes)
    save(figure, path)


def _name(key: str) -> str:
    dimension = key.removeprefix("eval_ccc").strip("_")
    return f"CCC of {dimension}" if dimension else "mean CCC"
