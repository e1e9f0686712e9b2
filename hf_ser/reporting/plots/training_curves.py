"""Loss and scores over the epochs of one or several trainings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hf_ser.reporting.plots.style import legend, line, new_figure, note, save, style, whole_numbers, wrapped

History = Sequence[Mapping[str, Any]]


@style()
def plot_training_curves(histories: Mapping[str, History], path: Path) -> None:
    """Draw training and validation loss, and validation scores, over epochs.

    One model has three panels: loss, accuracy, and weighted F1 with UAR. Several have four, so that each panel shows
    one score of all of them.

    Args:
        histories: the Trainer's log histories by model name (keys epoch, loss, eval_loss, eval_accuracy,
            eval_f1_weighted, eval_uar); the name of a single model may be empty.
        path: file to write, without suffix.
    """
    draw = _draw_one if len(histories) == 1 else _draw_several
    figure, loss, panels = draw(histories)
    loss.set(title="Loss", ylabel="cross entropy")
    for title, axes in panels.items():
        axes.set(title=f"Validation {title}", ylim=(0, 1), ylabel="score")
    for axes in figure.axes:
        _finish(axes)
    save(figure, path)


def _draw_one(histories: Mapping[str, History]) -> tuple[Figure, Axes, dict[str, Axes]]:
    ((name, history),) = histories.items()
    figure = new_figure(10, 3.6)
    loss, accuracy, scores = figure.subplots(1, 3)
    _one(loss, history, {"loss": "training", "eval_loss": "validation"})
    _one(accuracy, history, {"eval_accuracy": "accuracy"})
    _one(scores, history, {"eval_f1_weighted": "weighted F1", "eval_uar": "UAR"})
    if name:
        figure.suptitle(wrapped(name, 90))
    return figure, loss, {"accuracy": accuracy, "F1 and UAR": scores}


def _draw_several(histories: Mapping[str, History]) -> tuple[Figure, Axes, dict[str, Axes]]:
    figure = new_figure(10, 7.5)
    loss, accuracy, f1, uar = figure.subplots(2, 2).flat
    keys = {"eval_loss": loss, "eval_accuracy": accuracy, "eval_f1_weighted": f1, "eval_uar": uar}
    for key, axes in keys.items():
        _several(axes, histories, key)
    _add_training_loss(loss, histories)
    handles = [Line2D([], [], **line(index)) for index in range(len(histories))]
    names = [wrapped(name, 40) for name in histories]
    legend(figure, handles, names, loc="outside lower center", ncols=min(3, max(1, len(names))), handlelength=4)
    return figure, loss, {"accuracy": accuracy, "weighted F1": f1, "UAR": uar}


def _one(axes: Axes, history: History, series: Mapping[str, str]) -> None:
    handles = {}
    for index, (key, name) in enumerate(series.items()):
        epochs, values = _values(history, key)
        if values:
            look = line(index) | ({"marker": ""} if key == "loss" else {})  # logged far too often for markers
            (handles[name],) = axes.plot(epochs, values, **look)
    if handles and len(series) > 1:  # else the title says it all
        legend(axes, list(handles.values()), list(handles), handlelength=3)


def _several(axes: Axes, histories: Mapping[str, History], key: str) -> None:
    for index, history in enumerate(histories.values()):
        epochs, values = _values(history, key)
        if values:
            axes.plot(epochs, values, **line(index))


def _add_training_loss(axes: Axes, histories: Mapping[str, History]) -> None:
    """The same colours and line styles, but thin, pale and without markers."""
    looks: list[dict[str, Any]] = [{"marker": "", "linewidth": 0.9, "alpha": 0.8}, {}]
    for index, history in enumerate(histories.values()):
        epochs, values = _values(history, "loss")
        if values:
            axes.plot(epochs, values, **line(index) | looks[0])
    handles = [Line2D([], [], **{"color": "0.2", "marker": "o"} | look) for look in looks]
    legend(axes, handles, ["training", "validation"])


def _values(history: History, key: str) -> tuple[list[float], list[float]]:
    points = [(entry["epoch"], entry[key]) for entry in history if entry.get(key) is not None]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _finish(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    if axes.lines:
        axes.grid(alpha=0.3)
        axes.set_xlim(left=0)
        whole_numbers(axes.xaxis)
    else:
        axes.set(xticks=[], yticks=[])
        note(axes, "not recorded")
