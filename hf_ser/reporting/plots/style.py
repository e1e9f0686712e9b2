"""The look of all figures: light or dark, readable in greyscale, titled, the same bytes each time."""

import itertools
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hf_ser.reporting.palette import luminance

Theme = Literal["light", "dark"]


@dataclass(frozen=True)
class Look:
    """The colours of a theme: page, text, secondary lines, series, and the map of shares from 0 to 1."""

    paper: str
    text: str
    faint: str
    series: tuple[str, ...]
    sequential: str


# Series: Paul Tol's schemes "muted" and "light", https://sronpersonalpages.nl/~pault/, which are safe for the colour
# blind, in an order in which neighbours differ in lightness. The maps are perceptually uniform in lightness.
THEMES: dict[Theme, Look] = {
    "light": Look(
        paper="#ffffff",
        text="#1a1a1a",
        faint="#8a8a8a",
        series=("#332288", "#CC6677", "#88CCEE", "#117733", "#DDCC77", "#882255", "#44AA99", "#999933"),
        sequential="Blues",
    ),
    "dark": Look(
        paper="#111418",
        text="#e8e8e8",
        faint="#8f959e",
        series=("#77AADD", "#EEDD88", "#EE8866", "#99DDFF", "#44BB99", "#FFAABB", "#AAAA00", "#DDDDDD"),
        sequential="cividis",
    ),
}
_look: ContextVar[Look] = ContextVar("look", default=THEMES["light"])

# As many lines and markers as have no common divisor with the colours: no pair comes twice among 56 series.
LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (5, 4)))
MARKERS = ("o", "^", "s", "X", "D", "v", "P", "<", "*")
HATCHES = ("", "////", "..", "\\\\\\\\", "xxx", "---", "oo", "++", "||")
MOST_WITHOUT_CROWDING = 12  # classes; with more, figures grow and the names of classes are upright
NONE = "–"  # in place of a missing value
_TITLE_COLUMNS = 10  # characters of a figure's title per inch

# Fonts for letters that matplotlib's own font lacks: labels may be in any script.
_FALLBACKS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "Microsoft YaHei", "Malgun Gothic", "Noto Sans")
_FONTS = ["DejaVu Sans", *(name for name in _FALLBACKS if name in set(font_manager.get_font_names()))]

_RC = {
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.dpi": 150,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "font.family": _FONTS,
    "font.size": 10,
    "hatch.linewidth": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.bbox": "tight",
    "savefig.dpi": 150,
    "svg.hashsalt": "hf_ser",  # else the ids in SVG files are random
    "text.parse_math": False,  # names hold dollars and underscores that mean nothing
}
_PAPER = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
_TEXT = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")


@contextmanager
def styled(theme: Theme | None = None) -> Iterator[None]:
    """Draw in the project's style, whatever the user's matplotlibrc says; also a decorator.

    Args:
        theme: light or dark; default: that of the enclosing `styled`, else light.

    Raises:
        ValueError: unknown theme.

    >>> from hf_ser.reporting import plots
    >>> with plots.styled("dark"):
    ...     plots.plot_matrix([[0.7]], ["ravdess"], ["ravdess"], Path("uar"), title="AudioCNN, RAVDESS")
    >>> Path("uar.png").is_file(), Path("uar.svg").is_file()
    (True, True)
    """
    if theme is not None and theme not in THEMES:
        raise ValueError(f"theme is {theme!r}; expected one of {', '.join(THEMES)}.")
    chosen = THEMES[theme] if theme else look()
    colours = dict.fromkeys(_PAPER, chosen.paper) | dict.fromkeys(_TEXT, chosen.text) | {"grid.color": chosen.faint}
    token = _look.set(chosen)
    try:
        with matplotlib.style.context(["default", _RC | colours]):
            yield
    finally:
        _look.reset(token)


def look() -> Look:
    """The colours of the current theme."""
    return _look.get()


def new_figure(
    width_in: float, height_in: float, title: str, layout: Literal["constrained", "compressed"] = "constrained"
) -> Figure:
    """Make a titled figure; pyplot does not register it, so that nothing needs closing.

    Args:
        width_in: inches.
        height_in: inches.
        title: what the figure is about, such as model, dataset and protocol; may be empty.
        layout: compressed leaves no gaps between panels of a fixed aspect.
    """
    figure = Figure(figsize=(width_in, height_in), layout=layout)
    if title:
        figure.suptitle(wrapped(title, int(_TITLE_COLUMNS * width_in)), x=0.01, ha="left")
    return figure


@styled()
def save(figure: Figure, path: Path) -> None:
    """Write `path`.png (150 dpi) and `path`.svg; a missing folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Not with_suffix, which would cut "fold.1" to "fold".
        figure.savefig(f"{path}.png", metadata={"Software": None})
        figure.savefig(f"{path}.svg", metadata={"Date": None, "Creator": None})
    _warn(caught)


_warned: set[str] = set()  # characters


def _warn(caught: Sequence[warnings.WarningMessage]) -> None:
    """Pass warnings on; those about characters without a glyph, several per figure, become one for all figures."""
    missing = set()
    for entry in caught:
        found = re.match(r"Glyph (\d+) .* missing from font", str(entry.message))
        if found:
            missing.add(chr(int(found[1])))
        else:
            warnings.warn_explicit(entry.message, entry.category, entry.filename, entry.lineno)
    if missing - _warned:
        characters = "".join(sorted(missing - _warned))
        _warned.update(missing)
        warnings.warn(
            f"figures show {characters} as boxes, because no font has them. Install a font such as Noto Sans CJK.",
            stacklevel=3,
        )


def line(index: int, colour: str | None = None) -> dict[str, Any]:
    """Colour, line style and marker of a series' line."""
    return {"linestyle": LINES[index % len(LINES)], **point(index, colour), "markeredgewidth": 0.6}


def point(index: int, colour: str | None = None) -> dict[str, Any]:
    """Colour and marker of a series' points; the edge keeps them visible on the page and on each other."""
    colours = look().series
    return {
        "color": colour or colours[index % len(colours)],
        "marker": MARKERS[index % len(MARKERS)],
        "markeredgecolor": look().text if colour is None else look().paper,
    }


def bar(index: int, colour: str | None = None) -> dict[str, Any]:
    """Colour and hatch of a series' bars; bars with a colour of their own have no hatch."""
    colours = look().series
    face = colour or colours[index % len(colours)]
    hatch = "" if colour else HATCHES[index % len(HATCHES)]
    return {"facecolor": face, "edgecolor": ink(face), "hatch": hatch, "linewidth": 0.7}


def box() -> dict[str, Any]:
    """The background of text on hatches and lines."""
    return {"facecolor": look().paper, "edgecolor": "none", "pad": 0.8}


def ink(colour: Any) -> str:
    """Black or white, whichever has more contrast with `colour` (relative luminance of WCAG 2)."""
    return "black" if luminance(to_rgb(colour)) > 0.179 else "white"


def legend(figure: Figure, handles: Sequence[Any], names: Sequence[str], **options: Any) -> None:
    """Add a legend outside the axes that shows every name as it is; matplotlib hides those that begin with `_`."""
    made = figure.legend(handles, [str(number) for number in range(len(names))], **options)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(name)


def wrapped(text: str, columns: int = 30) -> str:
    """Break a long name or title into lines of so many characters, also inside words."""
    return "\n".join(itertools.chain.from_iterable(textwrap.wrap(part, columns) or [""] for part in text.split("\n")))


def note(axes: Axes, text: str) -> None:
    """Write in the middle of an empty panel why it is empty."""
    axes.text(0.5, 0.5, wrapped(text), ha="center", va="center", transform=axes.transAxes, bbox=box())


def whole_numbers(axis: Axis) -> None:
    """Put the ticks on round whole numbers."""
    axis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
