"""Numbers of clips and speakers of a dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from hf_ser.reporting.palette import class_colour
from hf_ser.reporting.plots.style import (
    MOST_WITHOUT_CROWDING,
    bar,
    box,
    legend,
    new_figure,
    note,
    save,
    styled,
    whole_numbers,
    wrapped,
)


@styled()
def plot_class_distribution(
    counts: Mapping[str, Mapping[str, int]], labels: Sequence[str], path: Path, by: str, title: str
) -> None:
    """Draw clips per emotion, stacked by group, with the total above each bar.

    Args:
        counts: clips by group and emotion.
        labels: emotions in the order of the axis.
        path: file to write, without suffix.
        by: the kind of group: split, gender, corpus or channel; not shown for a single group.
        title: of the figure: the dataset.
    """
    more = max(0, len(labels) - MOST_WITHOUT_CROWDING)
    figure = new_figure(8.5 + 0.25 * more, 4.9, title)
    axes = figure.subplots()
    table = np.array([[group.get(label, 0) for label in labels] for group in counts.values()], dtype=np.int64)
    totals = table.sum(axis=0)
    starts = np.zeros_like(totals)
    for index, clips in enumerate(table):
        if len(table) > 1:
            axes.bar(range(len(labels)), clips, bottom=starts, width=0.75, **bar(index))
        else:
            axes.bar(range(len(labels)), clips, width=0.75, color=[class_colour(label, labels) for label in labels])
        for position, (number, start) in enumerate(zip(clips, starts, strict=True)):
            if len(table) > 1 and number >= 0.045 * totals.max():  # smaller segments have no room for a number
                axes.text(
                    position, start + number / 2, f"{number}", ha="center", va="center", fontsize=7.5, bbox=box()
                )
        starts = starts + clips
    for position, total in enumerate(totals):
        axes.text(position, total, f"{total}", ha="center", va="bottom", weight="bold")
    axes.set_xticks(range(len(labels)), [wrapped(label, 24 if more else 12) for label in labels])
    axes.tick_params("x", rotation=90 if more else 0)
    axes.set(ylabel="clips", ylim=(0, max(1, 1.08 * totals.max())))
    whole_numbers(axes.yaxis)
    axes.set_title("Clips per emotion" + (f" and {by}" if len(counts) > 1 else ""))
    if len(counts) > 1:
        names = [f"{wrapped(name, 24)} ({clips.sum()} clips)" for name, clips in zip(counts, table, strict=True)]
        handles = [Patch(**bar(index)) for index in range(len(names))]
        legend(figure, handles, names, loc="outside lower center", ncols=min(4, len(names)), handleheight=1.4)
    save(figure, path)


@styled()
def plot_gender_distribution(
    clips: Mapping[str, Mapping[str, int]], speakers: Mapping[str, Mapping[str, int]], path: Path, title: str
) -> None:
    """Draw clips and speakers of each corpus by gender.

    Args:
        clips: numbers by corpus and gender.
        speakers: numbers by corpus and gender.
        path: file to write, without suffix.
        title: of the figure: the dataset.
    """
    figure = new_figure(8.5, 4.3, title)
    groups = (*clips.values(), *speakers.values())
    genders = list(dict.fromkeys(gender for group in groups for gender in group))
    for axes, kind, numbers in zip(figure.subplots(1, 2), ("clips", "speakers"), (clips, speakers), strict=True):
        _grouped(axes, numbers, genders)
        axes.set_title(f"{kind.capitalize()} by gender")
        axes.set_ylabel(kind)
    handles = [Patch(**bar(index)) for index in range(len(genders))]
    if genders:
        legend(figure, handles, genders, loc="outside lower center", ncols=min(4, len(genders)), handleheight=1.4)
    save(figure, path)


def _grouped(axes: Axes, numbers: Mapping[str, Mapping[str, int]], genders: Sequence[str]) -> None:
    width = 0.8 / max(1, len(genders))
    for index, gender in enumerate(genders):
        heights = [by_gender.get(gender, 0) for by_gender in numbers.values()]
        places = np.arange(len(heights)) + (index - (len(genders) - 1) / 2) * width
        axes.bar_label(axes.bar(places, heights, width, **bar(index)), fontsize=8)
    axes.set_xticks(range(len(numbers)), [wrapped(name, 12) for name in numbers])
    whole_numbers(axes.yaxis)
    axes.margins(y=0.1)
    if not genders:
        note(axes, "no clips")
