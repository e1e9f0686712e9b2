"""Colours of the emotions: distinct for everyone, visible in both themes."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from hf_ser.labels import EMOTIONS
from hf_ser.reporting.palette import EMOTION_COLOURS, class_colour
from hf_ser.reporting.plots.style import THEMES

# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def cielab(rgb):
    relative = XYZ @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_emotions_differ_for_every_kind_of_colour_vision(vision):
    seen = [cielab(VISION[vision] @ linear(colour)) for colour in EMOTION_COLOURS.values()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 19


@pytest.mark.parametrize("theme", THEMES)
def test_emotions_are_visible_in_every_theme(theme):
    paper = XYZ[1] @ linear(THEMES[theme].paper)
    for colour in EMOTION_COLOURS.values():
        low, high = sorted((paper, XYZ[1] @ linear(colour)))
        assert (high + 0.05) / (low + 0.05) > 2.95


@pytest.mark.parametrize("theme", THEMES)
def test_forty_classes_have_forty_visible_colours(theme):
    labels = ["angry", *(f"label {number}" for number in range(38)), "neutral"]
    colours = [class_colour(label, labels) for label in labels]
    seen = [cielab(linear(colour)) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 10
    paper = XYZ[1] @ linear(THEMES[theme].paper)
    for colour in colours:
        low, high = sorted((paper, XYZ[1] @ linear(colour)))
        assert (high + 0.05) / (low + 0.05) > 2.95


def test_other_labels_do_not_get_the_colours_of_emotions_beside_them():
    labels = ["angry", "bored", "neutral", "calm", "tired"]
    assert len({class_colour(label, labels) for label in labels}) == 5


def test_an_emotion_has_one_colour_whatever_the_model():
    assert tuple(EMOTION_COLOURS) == EMOTIONS
    assert class_colour("angry", EMOTIONS) == class_colour("angry", ["angry", "sad"])
    assert class_colour("angry", EMOTIONS) != class_colour("sad", ["angry", "sad"])
    assert class_colour("bored", ["bored", "tired"]) != class_colour("tired", ["bored", "tired"])
