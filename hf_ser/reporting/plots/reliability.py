"""Reliability diagrams: accuracy against confidence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.reporting.plots.style import bar, line, look, new_figure, save, styled, whole_numbers, wrapped


@styled()
def plot_reliability(curves: Mapping[str, Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw reliability diagrams side by side, each above the number of clips per bin.

    Args:
        curves: by title, `{"confidence", "accuracy", "clips"}` with one value per bin that has clips, and "ece", the
            expected calibration error.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
    """
    number = len(curves)
    figure = new_figure(1 + 3.9 * number, 5.5, title)
    grid = figure.subplots(2, number, squeeze=False, sharex=True, sharey="row", height_ratios=[3, 1])
    for (name, curve), (upper, lower) in zip(curves.items(), grid.T, strict=True):
        confidence = np.asarray(curve["confidence"], dtype=float)
        upper.plot([0, 1], [0, 1], color=look().faint, linewidth=0.9)
        upper.plot(confidence, curve["accuracy"], **line(0))
        upper.set_title(f"{wrapped(name, 40)}\nECE = {curve['ece']:.3f}")
        upper.set(xlim=(0, 1.02), ylim=(0, 1.02))
        upper.grid(alpha=0.3)
        # The edges of the bins are unknown here, only their mean confidence.
        gap = np.diff(np.sort(confidence)).min(initial=0.075)
        lower.bar(confidence, curve["clips"], width=max(0.01, 0.8 * gap), **bar(0))
        lower.set_xlabel("confidence")
        whole_numbers(lower.yaxis)
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("clips")
    save(figure, path)
