"""What a hybrid's answers hang on: bases of a stack, columns of a table."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.patches import Patch

from hf_ser.reporting.plots.style import BOX, NONE, bar, legend, new_figure, note, save, style, wrapped

_MOST = 20  # columns that a figure names
_ROOM = 0.06  # a narrower segment would be hidden by its own number


@style()
def plot_shares(
    shares: Sequence[Sequence[float]] | np.ndarray, bases: Sequence[str], classes: Sequence[str], path: Path
) -> None:
    """Draw how much of an answer's score comes from which base: a bar per answered class, and one for all answers.

    Args:
        shares: from 0 to 1 (classes + 1, bases), all answers last; every row adds up to 1. A row of NaN, which has no
            shares, is shown as a dash.
        bases: names in the order of the segments.
        classes: names in the order of the bars, the first at the top.
        path: file to write, without suffix.
    """
    table = np.asarray(shares, dtype=np.float64).reshape(len(classes) + 1, len(bases))
    columns, width = (3, 28) if max(map(len, bases), default=0) <= 28 else (2, 44)
    names = [wrapped(name, width) for name in bases]
    lines = math.ceil(len(bases) / columns) * (1 + max((name.count("\n") for name in names), default=0))
    figure = new_figure(8.5, 1.5 + 0.42 * len(table) + 0.18 * lines)
    axes = figure.subplots()
    places = [*range(len(classes)), len(classes) + 0.35]  # all answers stand apart: they are no class of their own
    unknown = [bool(np.isnan(row).any()) for row in table]
    for place, row, missing in zip(places, table, unknown, strict=True):
        if missing:
            axes.text(0.005, place, NONE, va="center")
            continue
        for index, (share, start) in enumerate(zip(row, np.cumsum(row) - row, strict=True)):
            axes.barh(place, share, 0.75, left=start, **bar(index))
            if share >= _ROOM:
                middle = start + share / 2
                axes.text(middle, place, f"{100 * share:.0f} %", ha="center", va="center", fontsize=8, bbox=BOX)
    axes.set_yticks(places, [*(wrapped(label, 20) for label in classes), "all"])
    remark = f"\n{NONE} answer never given, or from no base" if any(unknown) else ""
    axes.set(
        xlabel=f"share of the answer's score{remark}",
        ylabel="answer",
        xlim=(0, 1),
        ylim=(places[-1] + 0.55, -0.55),
        xticks=[tick / 5 for tick in range(6)],
    )
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    figure.suptitle("Contributions of the base models")
    if all(unknown) or not bases:
        note(axes, "no shares")
    if bases:
        handles = [Patch(**bar(index)) for index in range(len(bases))]
        legend(figure, handles, names, loc="outside lower center", ncols=min(columns, len(bases)), handleheight=1.4)
    save(figure, path)


@style()
def plot_importances(
    values: Sequence[float] | np.ndarray, names: Sequence[str], path: Path, title: str, xlabel: str
) -> None:
    """Draw the columns of the greatest values, at most 20, the greatest at the top.

    Args:
        values: one per column; NaN where it is not known.
        names: of the columns.
        path: file to write, without suffix.
        title: of the figure.
        xlabel: what the values are, with their unit.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = np.isfinite(numbers)
    order = [index for index in np.argsort(-numbers, kind="stable") if known[index]][:_MOST]
    labels = [wrapped(names[index], 40) for index in order]
    lines = sum(max(1.5, 1 + label.count("\n")) for label in labels)
    figure = new_figure(8.5, 1.5 + 0.17 * max(4, lines))
    axes = figure.subplots()
    bars = axes.barh(range(len(order)), numbers[order], 0.75, **bar(0))
    axes.bar_label(bars, [_number(numbers[index]) for index in order], padding=3, fontsize=8)
    axes.set_yticks(range(len(order)), labels)
    axes.set_ylim(max(1, len(order)) - 0.4, -0.6)
    remarks = [xlabel]
    if known.sum() > len(order):
        remarks.append(f"the {len(order)} greatest of {known.sum()} columns")
    if not known.all():
        remarks.append(f"not shown: {(~known).sum()} of {len(known)} columns, which have no value")
    axes.set_xlabel("\n".join(wrapped(remark, 50) for remark in remarks))
    axes.margins(x=0.1)  # room for the numbers
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    if not numbers[order].any():
        axes.set(xlim=(0, 1), xticks=[0])  # matplotlib would take a range around 0, which means nothing
        note(axes, "all values are 0" if order else "no values")
    figure.suptitle(wrapped(title, 85))
    save(figure, path)


def _number(value: float) -> str:
    """Three digits; above 100 all that stand before the point."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"
