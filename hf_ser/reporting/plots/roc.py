"""Receiver operating characteristics, each class against all others."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from sklearn.metrics import auc, roc_curve

from hf_ser.reporting.palette import class_colour
from hf_ser.reporting.plots.style import legend, line, look, new_figure, note, save, styled, wrapped

Curve = tuple[np.ndarray, np.ndarray]  # false and true positive rates, from (0, 0) to (1, 1)


@styled()
def plot_roc(label_ids: np.ndarray, probabilities: np.ndarray, labels: Sequence[str], path: Path, title: str) -> None:
    """Draw the curve of each class against all others, and their micro average.

    A class without clips (or with all clips) has no curve; the legend shows why. The micro average counts every pair
    of clip and class, as `roc_auc_micro` does.

    Args:
        label_ids: true class ids (clips,).
        probabilities: (clips, classes).
        labels: class names.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
    """
    label_ids, probabilities = np.asarray(label_ids), np.asarray(probabilities)
    curves = class_curves(label_ids, probabilities)
    figure = new_figure(8.5, 5.4, title)
    axes = figure.subplots()
    handles, names = [], []
    for index, label in enumerate(labels):
        if index in curves:
            handles += axes.plot(
                *curves[index], **line(index, class_colour(label, labels)), markevery=(0.02 * index, 0.2)
            )
            names.append(f"{label} (AUC {auc(*curves[index]):.3f})")
        else:
            handles.append(Line2D([], [], linestyle=""))
            names.append(f"{label} ({'no clips' if not (label_ids == index).any() else 'no other class'})")
    if curves:
        hits = label_ids[:, None] == np.arange(len(labels))
        false, true, _ = roc_curve(hits.ravel(), probabilities.ravel(), drop_intermediate=False)
        handles[:0] = axes.plot(false, true, color=look().text, linewidth=3, alpha=0.8, zorder=3)
        names.insert(0, f"micro average (AUC {auc(false, true):.3f})")
    _finish(axes, bool(curves))
    axes.set_title("ROC, each class against all others")
    legend(figure, handles, [wrapped(name, 32) for name in names], loc="outside right center", handlelength=4)
    save(figure, path)


@styled()
def plot_macro_roc(
    models: Mapping[str, tuple[np.ndarray, np.ndarray]], labels: Sequence[str], path: Path, title: str
) -> None:
    """Draw the macro average curves of several models.

    A macro average is the mean of the curves of all classes that have clips; the area under it is the mean of theirs.

    Args:
        models: true class ids (clips,) and probabilities (clips, classes) by model name.
        labels: class names; the legend names those without clips.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
    """
    figure = new_figure(8.5, 5.4, title)
    axes = figure.subplots()
    handles, names = [], []
    for index, (name, (label_ids, probabilities)) in enumerate(models.items()):
        curves = class_curves(np.asarray(label_ids), np.asarray(probabilities))
        missing = ", ".join(label for position, label in enumerate(labels) if position not in curves)
        without = f", without {missing}" if missing else ""
        if curves:
            mean = average_curve(list(curves.values()))
            handles += axes.plot(*mean, **line(index), markevery=(0.02 * (index % 5), 0.15))
            names.append(f"{name} (AUC {auc(*mean):.3f}{without})")
        else:
            handles.append(Line2D([], [], linestyle=""))
            names.append(f"{name} (clips of one class only)")
    _finish(axes, bool(axes.lines))
    axes.set_title("ROC, mean over the classes")
    legend(figure, handles, [wrapped(name, 32) for name in names], loc="outside right center", handlelength=4)
    save(figure, path)


def class_curves(label_ids: np.ndarray, probabilities: np.ndarray) -> dict[int, Curve]:
    """ROC curve by class id, for classes with both positive and negative clips."""
    curves = {}
    for index in range(probabilities.shape[1]):
        hits = label_ids == index
        if hits.any() and not hits.all():
            false, true, _ = roc_curve(hits, probabilities[:, index], drop_intermediate=False)
            curves[index] = (false, true)
    return curves


def average_curve(curves: Sequence[Curve]) -> Curve:
    """Mean true positive rate at each false positive rate.

    Both ends of each vertical step are averaged. With one end only, as in plain interpolation, the area under the mean
    curve would exceed the mean area.
    """
    grid = np.unique(np.concatenate([false for false, _ in curves]))
    upper = np.mean([np.interp(grid, false, true) for false, true in curves], axis=0)
    lower = np.mean([np.interp(-grid, -false[::-1], true[::-1]) for false, true in curves], axis=0)
    return np.repeat(grid, 2), np.column_stack([lower, upper]).ravel()


def _finish(axes: Axes, drawn: bool) -> None:
    axes.plot([0, 1], [0, 1], color=look().faint, linewidth=0.8)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    if not drawn:
        note(axes, "needs clips of two classes")
