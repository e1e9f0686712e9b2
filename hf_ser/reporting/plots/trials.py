"""Trials of a hyperparameter search: their values in order, and against each parameter."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from hf_ser.reporting.plots.style import (
    legend,
    line,
    look,
    new_figure,
    note,
    point,
    save,
    styled,
    whole_numbers,
    wrapped,
)

_COLUMNS = 3


def _states() -> dict[str, dict[str, Any]]:
    pruned = point(1)
    return {
        "complete": point(0),
        "pruned": pruned | {"markerfacecolor": look().paper, "markeredgecolor": pruned["color"]},
    }


@styled()
def plot_trials(
    trials: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Sequence[Any]],
    path: Path,
    title: str,
    *,
    logarithmic: Collection[str] = (),
    score: str,
    greater_is_better: bool = True,
) -> None:
    """Draw the value of every trial with the best so far, and below it one panel for each parameter.

    Args:
        trials: number, state (complete or pruned; others are not drawn), value, and params (name -> value).
        parameters: name -> the choices, in the order of the axis; empty for a range of numbers.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
        logarithmic: parameters with a logarithmic axis.
        score: name of the value.
        greater_is_better: whether a larger value is better.
    """
    drawn = [trial for trial in trials if trial["state"] in _states() and trial["value"] is not None]
    rows = math.ceil(len(parameters) / _COLUMNS)
    figure = new_figure(10, 3.8 + 2.6 * rows, title)
    grid = figure.add_gridspec(1 + rows, _COLUMNS, height_ratios=[1.2, *[1.0] * rows])
    handles = _over_trials(figure.add_subplot(grid[0, :]), drawn, score, greater_is_better)
    if handles:
        legend(figure, list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))
    for number, (name, choices) in enumerate(parameters.items()):
        axes = figure.add_subplot(grid[1 + number // _COLUMNS, number % _COLUMNS])
        _against(axes, drawn, name, choices, name in logarithmic)
        if number % _COLUMNS == 0:
            axes.set_ylabel(score)
    save(figure, path)


def _over_trials(
    axes: Axes, trials: Sequence[Mapping[str, Any]], score: str, greater_is_better: bool
) -> dict[str, Line2D]:
    axes.set(title="Validation score of each trial", xlabel="trial", ylabel=score)
    whole_numbers(axes.xaxis)
    if not trials:
        axes.set(xticks=[], yticks=[])
        note(axes, "no trial has a value")
        return {}
    handles: dict[str, Line2D] = {}
    complete = [trial for trial in trials if trial["state"] == "complete"]
    if complete:
        best = np.maximum if greater_is_better else np.minimum
        numbers = [trial["number"] for trial in complete]
        values = best.accumulate([trial["value"] for trial in complete])
        dashed = line(3) | {"marker": "", "linestyle": "--"}
        (handles["best so far"],) = axes.step(
            [*numbers, trials[-1]["number"]], [*values, values[-1]], where="post", **dashed
        )
    for state, shown in _states().items():
        own = [trial for trial in trials if trial["state"] == state]
        if own:
            xs, ys = [trial["number"] for trial in own], [trial["value"] for trial in own]
            (handles[state],) = axes.plot(xs, ys, linestyle="", **shown)
    axes.grid(alpha=0.3)
    axes.margins(x=0.02, y=0.1)
    return handles


def _against(axes: Axes, trials: Sequence[Mapping[str, Any]], name: str, choices: Sequence[Any], log: bool) -> None:
    axes.set_title(wrapped(name, 36))
    known = [trial for trial in trials if name in trial["params"]]
    if not known:
        axes.set(xticks=[], yticks=[])
        note(axes, "no trial has a value")
        return
    for state, shown in _states().items():
        own = [trial for trial in known if trial["state"] == state]
        values = [trial["params"][name] for trial in own]
        places = [choices.index(value) for value in values] if choices else values
        axes.plot(places, [trial["value"] for trial in own], linestyle="", **shown)
    if choices:
        axes.set_xticks(range(len(choices)), [wrapped(str(choice), 14) for choice in choices])
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif log:
        _log_scale(axes, [trial["params"][name] for trial in known])
    elif all(isinstance(trial["params"][name], int) for trial in known):
        whole_numbers(axes.xaxis)
    axes.grid(alpha=0.3)
    axes.margins(x=0.08, y=0.1)


def _log_scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis with ticks at powers of ten, or at round numbers between them for a narrow range."""
    low, high = min(values), max(values)
    axes.set_xscale("log")
    if high >= 30 * low:
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
    elif high >= 3 * low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    else:
        axes.xaxis.set_major_locator(
            FixedLocator([tick for tick in MaxNLocator(4).tick_values(low, high) if tick > 0])
        )
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: int) -> str:
    """A tick's label; the default labels of logarithmic axes are mathtext, which is not parsed in these figures."""
    if value >= 1e-2:
        return f"{value:.3g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    return f"{value / 10**exponent:.3g}e{exponent}"
