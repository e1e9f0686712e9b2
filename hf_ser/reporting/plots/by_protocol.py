"""One score of several models under several protocols."""

from collections.abc import Sequence
from pathlib import Path

from hf_ser.reporting.plots.scores import ScoreRow
from hf_ser.reporting.plots.style import legend, new_figure, point, save, styled, wrapped


@styled()
def plot_protocols(rows: Sequence[ScoreRow], path: Path, title: str, score: str) -> None:
    """Draw a row per model, with a point and an interval per protocol, the first model at the top.

    Args:
        rows: models in the order of the figure, with their score under each protocol.
        path: file to write, without suffix.
        title: of the figure.
        score: label of the x axis.
    """
    protocols = list(dict.fromkeys(protocol for row in rows for protocol in row.scores))
    figure = new_figure(7.5, 1.4 + 0.26 * len(rows), title)
    axes = figure.subplots()
    handles = []
    for index, protocol in enumerate(protocols):
        shown = [(position, row.scores[protocol]) for position, row in enumerate(rows) if protocol in row.scores]
        for position, (value, low, high) in shown:
            if low is not None and high is not None:
                axes.plot(
                    [low, high],
                    [position, position],
                    color=point(index)["color"],
                    linewidth=2.4,
                    alpha=0.55,
                    solid_capstyle="butt",
                )
            axes.plot([value], [position], linestyle="none", zorder=3, **point(index))
        handles += axes.plot([], [], linestyle="none", **point(index))
    axes.set_yticks(range(len(rows)), [wrapped(row.name, 32) for row in rows])
    axes.set(xlabel=score, xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xticks=[tick / 5 for tick in range(6)])
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    legend(figure, handles, protocols, loc="outside lower center", ncols=min(4, max(1, len(protocols))))
    save(figure, path)
