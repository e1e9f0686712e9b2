"""The look that all figures share: readable in greyscale, at the width of a README, the same bytes each time."""

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Paul Tol's "muted" scheme, https://sronpersonalpages.nl/~pault/, in an order in which neighbours differ in lightness.
COLOURS = ("#332288", "#CC6677", "#88CCEE", "#117733", "#DDCC77", "#882255", "#44AA99", "#999933")
# As many lines and markers as have no common divisor with the colours: no pair comes twice among 56 series.
LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (5, 4)))
MARKERS = ("o", "^", "s", "X", "D", "v", "P", "<", "*")
HATCHES = ("", "////", "..", "\\\\\\\\", "xxx", "---", "oo", "++", "||")
SEQUENTIAL = "Greys"
BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # behind text on hatches and lines
NONE = "–"  # stands where there is no value

_RC = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.dpi": 150,
    "figure.titlesize": 12,
    "hatch.linewidth": 0.7,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.dpi": 150,
    "svg.hashsalt": "hf_ser",  # else the ids in SVG files are random
    "text.parse_math": False,  # names hold dollars and underscores that mean nothing
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style, whatever the person's matplotlibrc says; also a decorator."""
    with matplotlib.style.context(["default", _RC]):
        yield


def new_figure(
    width_in: float, height_in: float, layout: Literal["constrained", "compressed"] = "constrained"
) -> Figure:
    """Make a figure of this size in inches; pyplot does not know it, so that nothing needs closing.

    The compressed layout is the constrained one for panels of a fixed aspect: it leaves no gaps between them.
    """
    return Figure(figsize=(width_in, height_in), layout=layout)


@style()
def save(figure: Figure, path: Path) -> None:
    """Write `path`.png (150 dpi) and `path`.svg; the folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not with_suffix, which would cut "fold.1" to "fold".
    figure.savefig(f"{path}.png", metadata={"Software": None})
    figure.savefig(f"{path}.svg", metadata={"Date": None, "Creator": None})


def line(index: int) -> dict[str, Any]:
    """Colour, line style and marker of a series' line."""
    return {"linestyle": LINES[index % len(LINES)], **point(index), "markeredgewidth": 0.6}


def point(index: int) -> dict[str, Any]:
    """Colour and marker of a series' points; the dark edge keeps light colours visible on white."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "markeredgecolor": "0.2"}


def bar(index: int) -> dict[str, Any]:
    """Colour and hatch of a series' bars."""
    colour = COLOURS[index % len(COLOURS)]
    return {"facecolor": colour, "edgecolor": ink(colour), "hatch": HATCHES[index % len(HATCHES)], "linewidth": 0.7}


def ink(colour: Any) -> str:
    """Black or white, whichever has more contrast with `colour` (relative luminance of WCAG 2)."""
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "white"


def legend(owner: Axes | Figure, handles: Sequence[Any], names: Sequence[str], **options: Any) -> None:
    """Add a legend that shows every name as it is; matplotlib would leave out those that begin with `_`."""
    made = owner.legend(handles, [str(number) for number in range(len(names))], **options)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(name)


def wrapped(text: str, columns: int = 30) -> str:
    """Break a long name or title into lines of so many characters, also inside words."""
    return "\n".join(itertools.chain.from_iterable(textwrap.wrap(part, columns) or [""] for part in text.split("\n")))


def note(axes: Axes, text: str) -> None:
    """Say in the middle of an empty panel why it is empty."""
    axes.text(0.5, 0.5, wrapped(text), ha="center", va="center", transform=axes.transAxes, bbox=BOX)


def whole_numbers(axis: Axis) -> None:
    """Put the ticks on round whole numbers."""
    axis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 5, 10]))
