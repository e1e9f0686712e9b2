"""Curves over the levels of conditions, a panel per condition, and counts of flips per clip."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from hf_ser.reporting.plots.style import (
    bar,
    legend,
    line,
    look,
    new_figure,
    point,
    save,
    styled,
    whole_numbers,
    wrapped,
)

_COLUMNS = 4
Values = Sequence[float | None]


@dataclass(frozen=True)
class LevelCurve:
    """A line of a panel.

    Args:
        values: by place on the x axis; None where there is none.
        low: lower ends of the intervals, or None.
        high: upper ends of the intervals, or None.
    """

    values: Values
    low: Values
    high: Values


@dataclass(frozen=True)
class LevelPanel:
    """A condition.

    Args:
        title: above the panel.
        levels: on the x axis.
        curves: by series.
        ordered: whether the levels have an order, so that a line joins them; else bars show the intervals.
    """

    title: str
    levels: Sequence[str]
    curves: Mapping[str, LevelCurve]
    ordered: bool = True


@styled()
def plot_levels(
    panels: Sequence[LevelPanel], path: Path, title: str, score: str, reference: tuple[str, float] | None = None
) -> None:
    """Draw a panel per condition, with a curve and its intervals per series.

    Args:
        panels: in the order of the figure; series with the same name look the same in all panels.
        path: file to write, without suffix.
        title: of the figure.
        score: label of the y axis.
        reference: name and value of a horizontal line, such as chance.
    """
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(max(5.0, 2.7 * columns), 1.3 + 2.15 * rows, title)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    for number, (axes, panel) in enumerate(zip(grid.flat, panels, strict=False)):
        _draw_panel(axes, panel, names)
        if reference is not None:
            axes.axhline(reference[1], color=look().faint, linewidth=0.9, linestyle=(0, (2, 2)))
        if number % columns == 0:
            axes.set_ylabel(score)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles = [grid[0, 0].plot([], [], **line(index))[0] for index in range(len(names))]
    if reference is not None:
        handles += grid[0, 0].plot([], [], color=look().faint, linewidth=0.9, linestyle=(0, (2, 2)))
        names = [*names, reference[0]]
    legend(figure, handles, names, loc="outside lower center", ncols=min(4, len(names)))
    save(figure, path)


def _draw_panel(axes: Axes, panel: LevelPanel, names: Sequence[str]) -> None:
    for name, curve in panel.curves.items():
        index = names.index(name)
        places = [place for place, value in enumerate(curve.values) if value is not None]
        look_of_line = line(index) if panel.ordered else {**line(index), "linestyle": "none"}
        axes.plot(places, np.array([curve.values[place] for place in places], dtype=float), **look_of_line)
        bounded = [place for place in places if curve.low[place] is not None and curve.high[place] is not None]
        low, high = ([float(ends[place] or 0) for place in bounded] for ends in (curve.low, curve.high))
        colour = point(index)["color"]
        if panel.ordered:
            axes.fill_between(bounded, low, high, color=colour, alpha=0.2, linewidth=0)
        else:
            axes.vlines(bounded, low, high, color=colour, alpha=0.55, linewidth=2.4)
    axes.set_title(wrapped(panel.title, 30), fontsize=9)
    axes.set_xticks(range(len(panel.levels)), panel.levels, fontsize=8)
    axes.set(xlim=(-0.3, max(1, len(panel.levels) - 1) + 0.3), ylim=(0, 1.02), yticks=[tick / 5 for tick in range(6)])
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


@styled()
def plot_flips(counts: Mapping[str, Sequence[int]], path: Path, title: str) -> None:
    """Draw how many clips change their predicted class in how many conditions.

    Args:
        counts: group of clips -> number of clips by number of flips, from 0.
        path: file to write, without suffix.
        title: of the figure.
    """
    figure = new_figure(7.5, 3.9, title)
    axes = figure.subplots()
    starts = np.zeros(max(len(clips) for clips in counts.values()))
    handles = []
    for index, clips in enumerate(counts.values()):
        handles.append(axes.bar(range(len(clips)), clips, bottom=starts[: len(clips)], width=0.9, **bar(index)))
        starts[: len(clips)] += clips
    axes.set(xlabel="conditions (with their levels) that change the predicted class", ylabel="clips")
    whole_numbers(axes.yaxis)
    whole_numbers(axes.xaxis)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    legend(figure, handles, list(counts), loc="outside lower center", ncols=len(counts), handleheight=1.4)
    save(figure, path)
