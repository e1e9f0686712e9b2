"""One colour per class, the same in figures and in the demo."""

import colorsys
from collections.abc import Sequence

# Found by a search within each emotion's customary hue (angry red, sad blue): every pair differs by at least 19 units
# of CIELAB for normal vision and for protanopia, deuteranopia and tritanopia (simulated as in Machado et al. 2009),
# and every colour has a contrast of 3 to 1 on white and on the dark theme of the figures.
EMOTION_COLOURS = {
    "neutral": "#626166",
    "calm": "#07a780",
    "happy": "#d37e09",
    "sad": "#2663a7",
    "angry": "#c32919",
    "fearful": "#a766ed",
    "disgust": "#79a051",
    "surprised": "#c67db3",
}


# Generated colours, found by a search: 32 of them and the eight above differ by at least 10 units of CIELAB. The
# relative luminances give a contrast of 3 to 1 on white and on the dark theme.
_LUMINANCES = (0.135, 0.285)
_SATURATIONS = (1.0, 0.5, 0.25)
_HUE_STEP = 0.137


def class_colour(label: str, labels: Sequence[str]) -> str:
    """The colour of a class: that of its emotion; other labels get the colours that are left, then generated ones.

    >>> class_colour("sad", ["angry", "sad"]), class_colour("tired", ["bored", "tired"])
    ('#2663a7', '#07a780')
    >>> class_colour("40", [str(number) for number in range(41)])
    '#27753f'
    """
    if label in EMOTION_COLOURS:
        return EMOTION_COLOURS[label]
    free = [colour for emotion, colour in EMOTION_COLOURS.items() if emotion not in labels]
    place = [other for other in labels if other not in EMOTION_COLOURS].index(label)
    return free[place] if place < len(free) else _generated(place - len(free))


def _generated(number: int) -> str:
    """A colour whose hue, saturation or luminance differs from those of all others."""
    hue, wanted = (number * _HUE_STEP) % 1, _LUMINANCES[number % len(_LUMINANCES)]
    saturation = _SATURATIONS[number // len(_LUMINANCES) % len(_SATURATIONS)]
    low, high = 0.0, 1.0
    for _ in range(20):  # luminance grows with lightness
        lightness = (low + high) / 2
        is_dark = luminance(colorsys.hls_to_rgb(hue, lightness, saturation)) < wanted
        low, high = (lightness, high) if is_dark else (low, lightness)
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, low, saturation))


def luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance of WCAG 2 of red, green and blue from 0 to 1.

    >>> luminance((1.0, 1.0, 1.0))
    1.0
    """
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
