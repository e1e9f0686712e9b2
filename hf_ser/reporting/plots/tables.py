"""Tables of numbers as coloured cells: confusion matrices and scores across corpora."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from hf_ser.reporting.plots.style import MOST_WITHOUT_CROWDING, NONE, box, ink, look, new_figure, save, styled, wrapped

_CELL_IN = 0.3  # inches of each further class


@styled()
def plot_confusions(
    confusions: Mapping[str, Sequence[Sequence[int]]],
    labels: Sequence[str],
    path: Path,
    normalised: bool,
    title: str,
) -> None:
    """Draw confusion matrices side by side, coloured by the share of the row (recall on the diagonal).

    Args:
        confusions: counts (true classes, predicted classes) by the name of the panel, which may be empty.
        labels: class names in the order of rows and columns; the rows' labels add the number of clips.
        path: file to write, without suffix.
        normalised: write per cent of the row instead of counts. A row without clips has neither: it is hatched.
        title: of the figure: model, dataset and protocol.
    """
    number = len(confusions)
    columns = number if number < 4 else 2 if number == 4 else 3
    rows = math.ceil(number / columns)
    size = len(labels)
    more = _CELL_IN * max(0, size - MOST_WITHOUT_CROWDING)
    width, height = (6.0 + more, 5.6 + more) if columns == 1 else (3.6 + more, 4.2 + more)
    tables = {name: np.asarray(counts, dtype=np.int64).reshape(size, size) for name, counts in confusions.items()}
    clips = np.array([counts.sum(axis=1) for counts in tables.values()])
    same_clips = bool((clips == clips[0]).all())  # else every panel needs row labels
    figure = new_figure(columns * width * (1 if same_clips else 1.3) + 2.2, rows * height + 0.7, title, "compressed")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=same_clips)
    unit = "per cent of the row" if normalised else "clips"
    for index, (axes, (name, counts)) in enumerate(zip(grid.flat, tables.items(), strict=False)):
        totals = clips[index][:, None]
        shares = np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)
        cells = [[f"{100 * share:.0f}" for share in row] for row in shares] if normalised else counts.tolist()
        row_names = [f"{label} (n={clips[index][row]})" for row, label in enumerate(labels)]
        image = draw_cells(axes, shares, cells, row_names, labels, 45 if size <= MOST_WITHOUT_CROWDING else 90)
        axes.set_aspect("equal")
        axes.set_title(wrapped(name, 55 if columns == 1 else 40))
        axes.set_ylabel("true class" if index % columns == 0 else "")
        absent = "" if totals.all() else f"\n{NONE} class without clips"
        if index + columns >= number:  # no panel below
            axes.tick_params(labelbottom=True)
            absent = f"predicted class (cells: {unit}){absent}"
        axes.set_xlabel(absent.strip())
    for axes in grid.flat[number:]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=grid, label="share of the row (diagonal: recall)", aspect=30)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    save(figure, path)


@styled()
def plot_matrix(
    values: Sequence[Sequence[float | None]], rows: Sequence[str], columns: Sequence[str], path: Path, title: str
) -> None:
    """Draw unweighted average recall by training corpus (rows) and test corpus (columns).

    Args:
        values: UAR from 0 to 1 (rows, columns); None if not measured.
        rows: training corpora.
        columns: test corpora.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
    """
    table = np.array([[np.nan if value is None else value for value in row] for row in values], dtype=float)
    table = table.reshape(len(rows), len(columns))
    figure = new_figure(3.2 + 1.1 * len(columns), 2.2 + 0.7 * len(rows), title)
    axes = figure.subplots()
    cells = [[f"{value:.3f}" for value in row] for row in table]
    image = draw_cells(axes, table, cells, rows, columns)
    axes.set(xlabel="tested on", ylabel="trained on")
    axes.set_title("UAR across corpora")
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
    """Draw a table of texts on coloured cells.

    Args:
        axes: to draw on.
        shades: (rows, columns) from 0 to 1; NaN is hatched and shown as a dash.
        cells: texts (rows, columns).
        rows: their names.
        columns: their names.
        rotation: of the columns' names, in degrees.
    """
    # Masked cells are not painted and show the hatches behind them.
    axes.patch.set(hatch="////", facecolor=look().paper, edgecolor=look().faint)
    image = axes.imshow(np.ma.masked_invalid(shades), cmap=look().sequential, vmin=0, vmax=1, aspect="auto")
    size = 9 if len(columns) <= 8 else 7
    for (row, column), shade in np.ndenumerate(shades):
        if np.isnan(shade):
            axes.text(column, row, NONE, ha="center", va="center", fontsize=size, bbox=box())
        else:
            colour = ink(image.cmap(image.norm(shade)))
            axes.text(column, row, str(cells[row][column]), ha="center", va="center", fontsize=size, color=colour)
    names = [wrapped(name, 20 if rotation else 12) for name in columns]
    placed = "right" if rotation else "center"
    axes.set_xticks(range(len(columns)), names, rotation=rotation, ha=placed, rotation_mode="anchor")
    if rotation == 90:
        for name in axes.get_xticklabels():
            name.set_verticalalignment("center")
    axes.set_yticks(range(len(rows)), [wrapped(name, 24) for name in rows])
    axes.spines[:].set_visible(True)
    return image
