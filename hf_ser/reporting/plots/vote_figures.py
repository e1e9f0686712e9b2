"""Votes of raters: what they perceived where something was intended, and accuracy where they agree."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.reporting.plots.style import MOST_WITHOUT_CROWDING, legend, line, new_figure, save, styled
from hf_ser.reporting.plots.tables import draw_cells

_CELL_IN = 0.3  # inches of each further class


def draw_votes(folder: Path, split: str, scored: Mapping[str, Any], title: str) -> dict[str, str]:
    """Draw both figures of a split, if its clips have votes.

    Args:
        folder: for the figures.
        split: name of the split.
        scored: its scores in results.json.
        title: of the figures.

    Returns:
        Name of each figure -> caption.
    """
    if not scored.get("votes"):
        return {}
    plot_perceived(scored["votes"], scored["labels"], folder / f"intended_perceived_{split}", title)
    plot_agreement(scored["votes"], folder / f"agreement_{split}", title)
    return {
        f"intended_perceived_{split}": f"Votes by intended and perceived emotion ({split}), per cent of the row",
        f"agreement_{split}": f"Accuracy by agreement of the raters ({split})",
    }


@styled()
def plot_perceived(votes: Mapping[str, Any], labels: Sequence[str], path: Path, title: str) -> None:
    """Draw the votes by intended class (rows, per cent of their votes) and perceived class (columns).

    Args:
        votes: of one split in results.json.
        labels: class names.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
    """
    table = np.asarray(votes["intended_perceived"], dtype=float)
    totals = table.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, table / np.maximum(totals, 1), np.nan)
    more = _CELL_IN * max(0, len(labels) - MOST_WITHOUT_CROWDING)
    figure = new_figure(8.2 + more, 6.3 + more, title)
    axes = figure.subplots()
    cells = [[f"{100 * share:.0f}" for share in row] for row in shares]
    names = [f"{label} ({int(total)} votes)" for label, total in zip(labels, totals[:, 0], strict=True)]
    image = draw_cells(axes, shares, cells, names, labels, 45 if len(labels) <= MOST_WITHOUT_CROWDING else 90)
    axes.set(xlabel="perceived by the raters (cells: per cent of the row)", ylabel="intended: label of the clip")
    bar = figure.colorbar(image, label="share of the votes (diagonal: perceived as intended)", aspect=30)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    save(figure, path)


@styled()
def plot_agreement(votes: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw accuracy on clips with at least some agreement, against the majority and against the label.

    Args:
        votes: of one split in results.json.
        path: file to write, without suffix.
        title: of the figure: model, dataset and protocol.
    """
    rows = [row for row in votes["by_agreement"] if row["clips"]]
    places = np.arange(len(rows))
    figure = new_figure(7.2, 4.8, title)
    axes = figure.subplots()
    handles = []
    for index, name in enumerate(("majority", "acted")):
        values = [row[name]["value"] for row in rows]
        bounds = [row[name]["interval"] for row in rows]
        known = [ends if ends[0] is not None else [value, value] for ends, value in zip(bounds, values, strict=True)]
        spread = np.abs(np.transpose(known) - np.asarray(values))
        style = line(index)
        handles.append(axes.errorbar(places + 0.08 * (index - 0.5), values, spread, capsize=3, **style))
    axes.set_xticks(places, [f"{100 * row['threshold']:.0f} %\n{row['clips']} clips" for row in rows])
    axes.set(ylim=(0, 1.02), ylabel="accuracy (95 % interval)")
    axes.set_xlabel("at least this share of the raters chose the most frequent class (without ties)")
    axes.grid(alpha=0.3)
    names = ["against the majority of the raters", "against the label of the clip"]
    legend(figure, handles, names, loc="outside lower center", ncols=2)
    save(figure, path)
