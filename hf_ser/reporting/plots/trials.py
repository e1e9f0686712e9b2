"""The trials of a hyperparameter search: their values in order, and against each parameter."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hf_ser.reporting.plots.style import legend, line, new_figure, note, point, save, style, whole_numbers, wrapped

_STATES = {"complete": point(0), "pruned": {**point(1), "markerfacecolor": "white", "markeredgecolor": "#CC6677"}}
_COLUMNS = 3


@style()
def plot_trials(
    trials: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Sequence[Any]],
    path: Path,
    *,
    logarithmic: Collection[str] = (),
    score: str,
    greater_is_better: bool = True,
) -> None:
    """Draw the value of every trial with the best so far, and below it one panel for each parameter.

    Args:
        trials: number, state (complete or pruned; others are not drawn), value, and params (name -> value).
        parameters: name -> the choices that there were, in the order of the axis; none for a range of numbers.
        path: file to write, without suffix.
        logarithmic: parameters that have a logarithmic axis.
        score: name of the value.
        greater_is_better: whether a larger value is better.
    """
    drawn = [trial for trial in trials if trial["state"] in _STATES and trial["value"] is not None]
    rows = math.ceil(len(parameters) / _COLUMNS)
    figure = new_figure(10, 3.2 + 2.6 * rows)
    grid = figure.add_gridspec(1 + rows, _COLUMNS, height_ratios=[1.2, *[1.0] * rows])
    _over_trials(figure.add_subplot(grid[0, :]), drawn, score, greater_is_better)
    for number, (name, choices) in enumerate(parameters.items()):
        axes = figure.add_subplot(grid[1 + number // _COLUMNS, number % _COLUMNS])
        _against(axes, drawn, name, choices, name in logarithmic)
        if number % _COLUMNS == 0:
            axes.set_ylabel(score)
    save(figure, path)


def _over_trials(axes: Axes, trials: Sequence[Mapping[str, Any]], score: str, greater_is_better: bool) -> None:
    axes.set(title="Validation score of each trial", xlabel="trial", ylabel=score)
    whole_numbers(axes.xaxis)
    if not trials:
        axes.set(xticks=[], yticks=[])
        note(axes, "no trial has a value")
        return
    handles: dict[str, Line2D] = {}
    complete = [trial for trial in trials if trial["state"] == "complete"]
    if complete:
        best = np.maximum if greater_is_better else np.minimum
        numbers = [trial["number"] for trial in complete]
        values = best.accumulate([trial["value"] for trial in complete])
        look = line(3) | {"marker": "", "linestyle": "--"}
        (handles["best so far"],) = axes.step(
            [*numbers, trials[-1]["number"]], [*values, values[-1]], where="post", **look
        )
    for state, look in _STATES.items():
        own = [trial for trial in trials if trial["state"] == state]
        if own:
            xs, ys = [trial["number"] for trial in own], [trial["value"] for trial in own]
            (handles[state],) = axes.plot(xs, ys, linestyle="", **look)
    axes.grid(alpha=0.3)
    axes.margins(x=0.02, y=0.1)
    legend(axes, list(handles.values()), list(handles), loc="best")


def _against(axes: Axes, trials: Sequence[Mapping[str, Any]], name: str, choices: Sequence[Any], log: bool) -> None:
    axes.set_title(wrapped(name, 36))
    known = [trial for trial in trials if name in trial["params"]]
    if not known:
        axes.set(xticks=[], yticks=[])
        note(axes, "no trial has a value")
        return
    for state, look in _STATES.items():
        own = [trial for trial in known if trial["state"] == state]
        values = [trial["params"][name] for trial in own]
        places = [choices.index(value) for value in values] if choices else values
        axes.plot(places, [trial["value"] for trial in own], linestyle="", **look)
    if choices:
        axes.set_xticks(range(len(choices)), [wrapped(str(choice), 14) for choice in choices])
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if _is_narrow(known, name) else (1,), numticks=6))
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif all(isinstance(trial["params"][name], int) for trial in known):
        whole_numbers(axes.xaxis)
    axes.grid(alpha=0.3)
    axes.margins(x=0.08, y=0.1)


def _is_narrow(trials: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether the values span too little for ticks at powers of ten alone."""
    values = [trial["params"][name] for trial in trials]
    return max(values) < 30 * min(values)


def _plain(value: float, _: int) -> str:
    """A tick's label; matplotlib's own for logarithmic axes are mathtext, which figures here leave unparsed."""
    return f"{value:.0e}".replace("e-0", "e-") if value < 1e-3 else f"{value:g}"
