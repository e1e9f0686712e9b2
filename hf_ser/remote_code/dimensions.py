"""Dimensions of emotion (arousal, valence, dominance), which regression models predict instead of classes."""

from collections.abc import Iterable
from typing import Any

DIMENSIONS = ("arousal", "valence", "dominance")


def is_dimensional(config: Any) -> bool:
    """Whether a model predicts values of dimensions: its outputs are not logits of classes.

    >>> from transformers import Wav2Vec2Config
    >>> is_dimensional(Wav2Vec2Config(problem_type="regression"))
    True
    """
    return getattr(config, "problem_type", None) == "regression"


def are_dimensions(labels: Iterable[str]) -> bool:
    """Whether the names of a model's outputs are those of dimensions, in any letter case.

    >>> are_dimensions(["arousal", "dominance", "valence"]), are_dimensions(["neutral", "happy"])
    (True, False)
    """
    names = [label.casefold() for label in labels]
    return bool(names) and all(name in DIMENSIONS for name in names)
