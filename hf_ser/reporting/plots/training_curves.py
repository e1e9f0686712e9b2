"""Loss and scores over the epochs of one or several trainings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hf_ser.reporting.plots.style import legend, line, look, new_figure, note, save, styled, whole_numbers, wrapped

History = Sequence[Mapping[str, Any]]
_TRAINING: dict[str, Any] = {"marker": ""}  # logged far too often for markers


@styled()
def plot_training_curves(histories: Mapping[str, History], path: Path, title: str) -> None:
    """Draw training and validation loss, and validation scores, over epochs.

    One model has three panels: loss, accuracy, and weighted F1 with UAR. Several have four, so that each panel shows
    one score of all of them.

    Args:
        histories: the Trainer's log histories by model name (keys epoch, loss, eval_loss, eval_accuracy,
            eval_f1_weighted, eval_uar); the name of a single model is not shown.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
    """
    draw = _draw_one if len(histories) == 1 else _draw_several
    figure, loss, panels = draw(histories, title)
    loss.set(title="Loss", ylabel="cross entropy")
    for name, axes in panels.items():
        axes.set(title=f"Validation {name}", ylim=(0, 1), ylabel="score")
    for axes in figure.axes:
        finish_epochs(axes)
    save(figure, path)


def _draw_one(histories: Mapping[str, History], title: str) -> tuple[Figure, Axes, dict[str, Axes]]:
    (history,) = histories.values()
    figure = new_figure(10, 4, title)
    loss, accuracy, scores = figure.subplots(1, 3)
    series = {
        "training loss": (loss, "loss", line(0) | _TRAINING),
        "validation loss": (loss, "eval_loss", line(1)),
        "accuracy": (accuracy, "eval_accuracy", line(2)),
        "weighted F1": (scores, "eval_f1_weighted", line(3)),
        "UAR": (scores, "eval_uar", line(5)),
    }
    drawn = {name: _plot(axes, history, key, style) for name, (axes, key, style) in series.items()}
    handles = {name: handle for name, handle in drawn.items() if handle}
    if handles:
        legend(figure, list(handles.values()), list(handles), loc="outside lower center", ncols=5, handlelength=4)
    return figure, loss, {"accuracy": accuracy, "F1 and UAR": scores}


def _draw_several(histories: Mapping[str, History], title: str) -> tuple[Figure, Axes, dict[str, Axes]]:
    figure = new_figure(10, 7.8, title)
    loss, accuracy, f1, uar = figure.subplots(2, 2).flat
    pale: dict[str, Any] = _TRAINING | {
        "linewidth": 0.9,
        "alpha": 0.8,
    }  # the colours of validation, but thin and without markers
    for index, history in enumerate(histories.values()):
        for key, axes in {
            "eval_loss": loss,
            "eval_accuracy": accuracy,
            "eval_f1_weighted": f1,
            "eval_uar": uar,
        }.items():
            _plot(axes, history, key, line(index))
        _plot(loss, history, "loss", line(index) | pale)
    names = [wrapped(name, 40) for name in histories]
    handles = [Line2D([], [], **line(index)) for index in range(len(names))]
    if any("loss" in entry for history in histories.values() for entry in history):
        handles.append(Line2D([], [], color=look().text, **pale))
        names.append("thin: training loss")
    legend(figure, handles, names, loc="outside lower center", ncols=min(3, max(1, len(names))), handlelength=4)
    return figure, loss, {"accuracy": accuracy, "weighted F1": f1, "UAR": uar}


def _plot(axes: Axes, history: History, key: str, style: Mapping[str, Any]) -> Line2D | None:
    points = [(entry["epoch"], entry[key]) for entry in history if entry.get(key) is not None]
    return axes.plot(*zip(*points, strict=True), **style)[0] if points else None


def finish_epochs(axes: Axes) -> None:
    """Finish a panel with epochs on its horizontal axis; an empty one says why."""
    axes.set_xlabel("epoch")
    if axes.lines:
        axes.grid(alpha=0.3)
        axes.set_xlim(left=0)
        whole_numbers(axes.xaxis)
    else:
        axes.set(xticks=[], yticks=[])
        note(axes, "not recorded")
