"""Tests between two models, and what a table can tell apart: permutation test, Holm's correction, equivalence, power.

The unit of all tests is the speaker, as in `bootstrap`: clips of one speaker are not independent.
"""

import math
from collections.abc import Sequence

import numpy as np

from hf_ser.errors import SerError
from hf_ser.scoring.confusion_scores import mean_scores

LEVEL = 0.05  # of significance
_EXACT = 12  # with at most this many speakers, all 2**n exchanges are computed
_PERMUTATIONS = 10_000
_PORTION = 1000  # permutations at the same time, to bound memory
_LARGEST = 100_000  # speakers; no corpus of acted speech comes near it


class SignificanceError(SerError):
    """Values from which no test or power can be computed."""


def exchanges(number: int, seed: int = 0) -> np.ndarray:
    """Which speakers' answers are exchanged between two models, in each permutation.

    Args:
        number: of speakers.
        seed: of the draws.

    Returns:
        (permutations, speakers) boolean: all of them for up to 12 speakers, else 10,000 random ones.

    >>> exchanges(2).tolist()
    [[False, False], [False, True], [True, False], [True, True]]
    """
    if number <= _EXACT:
        return (np.arange(2**number)[:, None] >> np.arange(number)[::-1] & 1).astype(bool)
    return np.random.default_rng(seed).random((_PERMUTATIONS, number)) < 0.5


def permutation_p_values(parts: Sequence[np.ndarray], scores: Sequence[str], seed: int = 0) -> dict[str, float]:
    """Two-sided p values of the hypothesis that two models are exchangeable for every speaker.

    In each permutation, the answers of the two models to all clips of a speaker are exchanged or kept (Good 2005,
    "Permutation, Parametric and Bootstrap Tests of Hypotheses", chapter 3).

    Args:
        parts: for each part, such as a corpus, confusion matrices (speakers, runs, 2 models, true, predicted). A score
            is the mean over parts of its mean over runs.
        scores: names of scores, as `point_scores` returns them.
        seed: of the random permutations.

    Returns:
        Score -> share of permutations whose difference is at least as large as the observed one. It is exact for up to
        12 speakers; above, the observed order counts as one of the permutations (Phipson & Smyth 2010).
    """
    ends = np.cumsum([len(part) for part in parts])
    number = int(ends[-1])
    steps = [(part[:, :, 1] - part[:, :, 0]).astype(float) for part in parts]
    totals = [part.sum(axis=0).astype(float) for part in parts]

    def differences(exchanged: np.ndarray) -> dict[str, np.ndarray]:
        of_parts = np.split(exchanged.astype(float), ends[:-1], axis=1)
        moved = [np.tensordot(rows, step, axes=1) for rows, step in zip(of_parts, steps, strict=True)]
        a = mean_scores([total[:, 0] + part for total, part in zip(totals, moved, strict=True)])
        b = mean_scores([total[:, 1] - part for total, part in zip(totals, moved, strict=True)])
        return {name: a[name] - b[name] for name in scores}

    observed = differences(np.zeros((1, number), dtype=bool))
    drawn = exchanges(number, seed)
    extreme = dict.fromkeys(scores, 0)
    for start in range(0, len(drawn), _PORTION):
        for name, values in differences(drawn[start : start + _PORTION]).items():
            extreme[name] += int((np.abs(values) >= abs(observed[name][0]) - 1e-12).sum())
    extra = 0 if number <= _EXACT else 1
    return {name: (extreme[name] + extra) / (len(drawn) + extra) for name in scores}


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values of several comparisons (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Args:
        p_values: one per comparison, uncorrected.

    Returns:
        The corrected values in the same order. Rejecting those below 0.05 makes a false claim anywhere in the table
        with a probability of at most 5 %.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def is_equivalent(interval_90: Sequence[float], margin: float) -> bool:
    """Whether two models are equivalent within a margin, with an error of at most 5 %.

    Two one-sided tests at 5 %: the 90 % interval of the difference lies within the margin (Schuirmann 1987).

    Args:
        interval_90: 90 % interval of the difference, see `compare`.
        margin: largest difference without practical meaning, above 0.

    >>> is_equivalent([-0.004, 0.013], margin=0.02), is_equivalent([-0.030, 0.010], margin=0.02)
    (True, False)
    """
    if not margin > 0:
        raise SignificanceError(f"margin is {margin}; expected a difference above 0, such as 0.02.")
    low, high = interval_90
    return -margin < low and high < margin


def detectable_difference(standard_error: float, speakers: int, power: float = 0.8, level: float = LEVEL) -> float:
    """Smallest true difference that a paired test on these speakers finds with a given probability.

    Args:
        standard_error: of the difference, see `compare`.
        speakers: number of speakers; at least 2.
        power: probability of finding it, between 0.5 and 1.
        level: of the two-sided test.

    Returns:
        (t(1 - level / 2) + t(power)) * standard_error, with `speakers - 1` degrees of freedom.

    Raises:
        SignificanceError: fewer than 2 speakers, a negative error, or probabilities out of range.

    >>> round(detectable_difference(0.015, speakers=24), 3)
    0.044
    """
    from scipy.stats import t  # here: the import takes a second

    if speakers < 2 or not standard_error >= 0 or not 0.5 <= power < 1 or not 0 < level < 1:
        raise SignificanceError(
            f"got standard_error {standard_error}, {speakers} speakers, power {power} and level {level}; expected an "
            "error from 0, at least 2 speakers, a power from 0.5 to below 1, and a level between 0 and 1."
        )
    return float((t.ppf(1 - level / 2, speakers - 1) + t.ppf(power, speakers - 1)) * standard_error)


def speakers_needed(
    standard_error: float, speakers: int, difference: float, power: float = 0.8, level: float = LEVEL
) -> int:
    """Number of speakers with which a difference would be found.

    The standard error is assumed to fall with the square root of the number of speakers, each with as many clips.

    Args:
        standard_error: of the difference with `speakers` speakers.
        speakers: number of speakers of that error; at least 2.
        difference: to be found, above 0.
        power: probability of finding it.
        level: of the two-sided test.

    Raises:
        SignificanceError: a difference that is not above 0, or that needs more than 100,000 speakers.

    >>> speakers_needed(0.015, speakers=24, difference=0.02)
    108
    """
    if not difference > 0:
        raise SignificanceError(f"difference is {difference}; expected one above 0.")

    def found(number: int) -> bool:
        error = standard_error * math.sqrt(speakers / number)
        return detectable_difference(error, number, power, level) <= difference

    if not found(_LARGEST):
        raise SignificanceError(f"a difference of {difference} needs more than {_LARGEST:,} speakers.")
    low, high = 1, _LARGEST  # detectable differences fall with the number of speakers
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high
