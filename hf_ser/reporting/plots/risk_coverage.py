"""Risk-coverage curves: accuracy on the clips that are answered, against their share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_ser.reporting.plots.style import line, look, new_figure, save, styled


@styled()
def plot_risk_coverage(abstention: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw accuracy against coverage for every threshold, with the chosen threshold and its target.

    Args:
        abstention: of one split in results.json.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
    """
    figure = new_figure(6.2, 4.4, title)
    axes = figure.subplots()
    curve = abstention["risk_coverage"]
    axes.plot(curve["coverage"], curve["accuracy"], **{**line(0), "marker": ""}, label="all thresholds")
    if abstention["target_accuracy"] is not None:
        axes.axhline(abstention["target_accuracy"], color=look().faint, linewidth=0.9, label="target on validation")
    if abstention["coverage"] is not None and abstention["accuracy"] is not None:
        threshold = abstention["threshold"]
        label = "thresholds of the folds" if threshold is None else f"threshold {threshold:.3f}"
        point = {**line(1), "linestyle": "", "markersize": 8}
        axes.plot([abstention["coverage"]], [abstention["accuracy"]], **point, label=label)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="share of answered clips", ylabel="accuracy on answered clips")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    save(figure, path)
