"""One colour per emotion, the same in figures and in the demo."""

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


def class_colour(label: str, labels: Sequence[str]) -> str:
    """The colour of a class: that of its emotion, or of its position among other labels.

    >>> class_colour("sad", ["angry", "sad"]), class_colour("tired", ["bored", "tired"])
    ('#2663a7', '#07a780')
    """
    colours = list(EMOTION_COLOURS.values())
    return EMOTION_COLOURS.get(label) or colours[labels.index(label) % len(colours)]
