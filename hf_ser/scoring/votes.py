"""Votes of raters as counts over the classes of a model."""

from collections.abc import Mapping, Sequence

import numpy as np

# A clip with fewer raters counts as a clip without votes: one or two raters have no majority worth the name.
MIN_RATERS = 3


def vote_counts(votes: Sequence[Mapping[str, int] | None], labels: Sequence[str]) -> np.ndarray:
    """Number of raters for each class (clips, classes); votes for other labels do not count.

    Args:
        votes: of each clip, label -> number of raters; None without votes.
        labels: class names.

    >>> vote_counts([{"sad": 3, "bored": 1}, None], ["happy", "sad"]).tolist()
    [[0, 3], [0, 0]]
    """
    return np.array([[(clip or {}).get(label, 0) for label in labels] for clip in votes], dtype=np.int64).reshape(
        len(votes), len(labels)
    )
