"""Tables of numbers as shaded cells: confusion matrices and scores across corpora."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from hf_ser.reporting.plots.style import BOX, NONE, SEQUENTIAL, ink, new_figure, save, style, wrapped


@style()
def plot_confusions(
    confusions: Mapping[str, Sequence[Sequence[int]]], labels: Sequence[str], path: Path, normalised: bool
) -> None:
    """Draw confusion matrices side by side, shaded by their share of the row (recall on the diagonal).

    Args:
        confusions: counts (true classes, predicted classes) by title.
        labels: class names in the order of rows and columns.
        path: file to write, without suffix.
        normalised: write per cent of the row instead of counts. A row without clips has neither: it is hatched.
    """
    number = len(confusions)
    columns = number if number < 4 else 2 if number == 4 else 3
    rows = math.ceil(number / columns)
    width, height = (6.0, 6.0) if columns == 1 else (3.6, 4.4)
    figure = new_figure(columns * width + 1.8, rows * height, layout="compressed")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    unit = "per cent of the row" if normalised else "clips"
    for index, (axes, (title, confusion)) in enumerate(zip(grid.flat, confusions.items(), strict=False)):
        counts = np.asarray(confusion, dtype=np.int64).reshape(len(labels), len(labels))
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)
        cells = [[f"{100 * share:.0f}" for share in row] for row in shares] if normalised else counts.tolist()
        image = draw_cells(axes, shares, cells, labels, labels, rotation=45)
        axes.set_aspect("equal")
        axes.set_title(wrapped(title, 55 if columns == 1 else 40))
        axes.set_ylabel("true" if index % columns == 0 else "")
        absent = "" if totals.all() else f"\n{NONE} true class without clips"
        if index + columns >= number:  # no panel below
            axes.tick_params(labelbottom=True)
            absent = f"predicted (cells: {unit}){absent}"
        axes.set_xlabel(absent.strip())
    for axes in grid.flat[number:]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=grid, label="share of the true class", aspect=30)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    save(figure, path)


@style()
def plot_matrix(
    values: Sequence[Sequence[float | None]], rows: Sequence[str], columns: Sequence[str], path: Path, title: str
) -> None:
    """Draw unweighted average recall by training corpus (rows) and test corpus (columns).

    Args:
        values: UAR from 0 to 1 (rows, columns); None where nothing was measured.
        rows: training corpora.
        columns: test corpora.
        path: file to write, without suffix.
        title: of the figure.
    """
    table = np.array([[np.nan if value is None else value for value in row] for row in values], dtype=float)
    table = table.reshape(len(rows), len(columns))
    figure = new_figure(3.2 + 1.1 * len(columns), 1.8 + 0.7 * len(rows))
    axes = figure.subplots()
    cells = [[f"{value:.3f}" for value in row] for row in table]
    image = draw_cells(axes, table, cells, rows, columns)
    axes.set(xlabel="tested on", ylabel="trained on")
    axes.set_title(wrapped(title, 25 + 10 * len(columns)))
    figure.colorbar(image, label="UAR")
    save(figure, path)


def draw_cells(
    axes: Axes,
    shades: np.ndarray,
    cells: Sequence[Sequence[object]],
    rows: Sequence[str],
    columns: Sequence[str],
    rotation: float = 0,
) -> AxesImage:
    """Draw a table of texts on shaded cells.

    Args:
        axes: to draw on.
        shades: (rows, columns) from 0 to 1; NaN is hatched and shown as a dash.
        cells: texts (rows, columns).
        rows: their names.
        columns: their names.
        rotation: of the columns' names, in degrees.
    """
    # Masked cells are not painted, so that they show the hatches behind.
    axes.patch.set(hatch="////", facecolor="white", edgecolor="0.75")
    image = axes.imshow(np.ma.masked_invalid(shades), cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    size = 9 if len(columns) <= 8 else 7
    for (row, column), shade in np.ndenumerate(shades):
        if np.isnan(shade):
            axes.text(column, row, NONE, ha="center", va="center", fontsize=size, bbox=BOX)
        else:
            colour = ink(image.cmap(image.norm(shade)))
            axes.text(column, row, str(cells[row][column]), ha="center", va="center", fontsize=size, color=colour)
    names = [wrapped(name, 20 if rotation else 12) for name in columns]
    placed = "right" if rotation else "center"
    axes.set_xticks(range(len(columns)), names, rotation=rotation, ha=placed, rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), [wrapped(name, 24) for name in rows])
    axes.spines[:].set_visible(True)
    return image
