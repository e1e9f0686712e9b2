"""Confidence intervals and paired tests by bootstrap, clustered on speakers.

Clips of one speaker resemble each other, so an interval over single clips is too narrow for new speakers. Resampling
whole speakers accounts for this (Davison & Hinkley 1997, section 3.8); with few speakers, the interval is still
somewhat narrow. All scores are computed from confusion matrices, so a bootstrap is one matrix product.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hf_ser.errors import SerError
from hf_ser.scoring.confusion_scores import SCORES, confusion_scores, mean_scores
from hf_ser.scoring.significance import permutation_p_values

CLUSTERED, PLAIN = "clustered on speakers", "plain"  # the method if the drawn units are speakers, or clips
WITH_SEEDS = "clustered on speakers and seeds"  # new speakers, and a new training
REPLICATES = 2000
_LEVEL = 0.95


class IntervalError(SerError):
    """No interval can be computed from the clips."""


Run = tuple[np.ndarray, np.ndarray, Sequence[Any] | None]  # true ids, predicted ids, clusters


def intervals(
    label_ids: np.ndarray, predicted: np.ndarray, clusters: Sequence[Any] | None, num_classes: int, seed: int = 0
) -> dict[str, Any]:
    """95 % percentile intervals of accuracy, UAR, weighted and macro F1.

    Args:
        label_ids: true class ids (clips,).
        predicted: predicted class ids (clips,).
        clusters: each clip's speaker; None resamples single clips ("plain").
        num_classes: number of classes.
        seed: of the resampling.

    Returns:
        `{"method", "clusters", "replicates", score: [low, high]}`; with a single cluster the bounds are None.

    >>> label_ids, predicted = np.array([0, 1, 0, 1] * 10), np.array([0, 1, 1, 1] * 10)
    >>> found = intervals(label_ids, predicted, np.repeat(["a", "b", "c", "d"], 10), num_classes=2)
    >>> found["method"], found["clusters"], [round(bound, 1) for bound in found["uar"]]
    ('clustered on speakers', 4, [0.7, 0.8])
    """
    method = PLAIN if clusters is None else CLUSTERED
    return intervals_over_seeds([(label_ids, predicted, clusters)], num_classes, method, seed)


def intervals_over_seeds(
    runs: Sequence[Run], num_classes: int, method: str, seed: int = 0, *, draw_seeds: bool = False
) -> dict[str, Any]:
    """95 % intervals of the mean over runs with several seeds; each draw of clusters applies to all runs.

    With clusters alone, the interval covers other speakers and these trainings. With `draw_seeds` it covers other
    trainings as well: clusters and runs are drawn independently (the pigeonhole bootstrap, Owen 2007,
    https://arxiv.org/abs/0712.1111). Two or three seeds say little about the spread over seeds.

    Args:
        runs: true ids, predicted ids and clusters of each run; clusters with the same name are drawn together.
        num_classes: number of classes.
        method: its name, for reports.
        seed: of the resampling.
        draw_seeds: whether the runs are drawn with replacement, too.

    Returns:
        As for `intervals`.
    """
    parts = _aligned(runs, num_classes)
    described: dict[str, Any] = {"method": method, "clusters": len(parts), "replicates": REPLICATES}
    if len(parts) < 2:
        return described | {name: [None, None] for name in SCORES}
    drawn = _resample(parts, seed)
    samples = [confusion_scores(drawn[:, run]) for run in range(len(runs))]
    weights = np.full((REPLICATES, len(runs)), 1 / len(runs))
    if draw_seeds:
        weights = np.random.default_rng([seed, 1]).multinomial(len(runs), weights[0], size=REPLICATES) / len(runs)
    return described | {
        name: _bounds(_weighted_mean(np.stack([sample[name] for sample in samples], axis=1), weights))
        for name in SCORES
    }


def difference_interval(one: Run, other: Run, num_classes: int, seed: int = 0) -> list[float] | None:
    """95 % interval of the UAR of one group of clips minus that of another; a speaker in both is drawn for both.

    Args:
        one: true ids, predicted ids and clusters of the first group.
        other: those of the second group.
        num_classes: number of classes.
        seed: of the resampling.

    Returns:
        The bounds; None if a group has a single cluster.

    >>> right, wrong = np.array([0, 1] * 4), np.array([1, 0] * 4)
    >>> difference_interval((right, right, list("aabbccdd")), (right, wrong, list("eeffgghh")), 2)
    [1.0, 1.0]
    """
    if min(len(set(run[2] or ())) for run in (one, other)) < 2:
        return None
    drawn = _resample(_aligned([one, other], num_classes), seed)
    first, second = (confusion_scores(drawn[:, side])["uar"] for side in (0, 1))
    difference = first - second  # NaN where no cluster of a group was drawn
    return _bounds(difference[~np.isnan(difference)])


def mean_over_parts(
    parts: Sequence[Sequence[Run]], num_classes: Sequence[int], seed: int = 0
) -> tuple[dict[str, float], dict[str, list[float] | None]]:
    """Mean over parts, such as corpora, of scores that are means over runs, with 95 % intervals.

    Clusters are drawn within each part. A part with one cluster is the same in every draw.

    Args:
        parts: for each part, the runs as in `intervals_over_seeds`.
        num_classes: number of classes of each part.
        seed: of the resampling.

    Returns:
        Score -> mean, and score -> bounds; None if no part has two clusters.

    >>> right, half = (np.array([0, 1] * 4), np.array([0, 1] * 4)), (np.array([0, 1] * 4), np.zeros(8, dtype=int))
    >>> means, bounds = mean_over_parts([[(*right, list("aabbccdd"))], [(*half, list("aabbccdd"))]], [2, 2])
    >>> means["uar"], bounds["uar"]
    (0.75, [0.75, 0.75])
    """
    found, drawn, free = [], [], False
    for number, (runs, classes) in enumerate(zip(parts, num_classes, strict=True)):
        confusions = _aligned(runs, classes)
        free = free or len(confusions) > 1
        found.append(mean_scores([confusions.sum(axis=0, keepdims=True)]))
        drawn.append(mean_scores([_resample(confusions, [seed, number])]))
    means = {name: float(np.mean([scores[name] for scores in found])) for name in SCORES}
    bounds = {name: _bounds(np.mean([scores[name] for scores in drawn], axis=0)) if free else None for name in SCORES}
    return means, bounds


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over runs (draws, runs) -> (draws,). A run without a clip in a draw is left out of it."""
    weights = np.where(np.isnan(values), 0.0, weights)
    totals = weights.sum(axis=1)
    kept = totals > 0
    return (np.nan_to_num(values) * weights).sum(axis=1)[kept] / totals[kept]


def point_scores(label_ids: np.ndarray, predicted: np.ndarray, num_classes: int) -> dict[str, float]:
    """Accuracy, UAR, weighted and macro F1 of clips; classes without clips are left out of means."""
    confusion = _confusions(label_ids, predicted, [0] * len(label_ids), num_classes)
    return {name: float(values[0]) for name, values in confusion_scores(confusion).items()}


def ratio_interval(
    numerators: np.ndarray, denominators: np.ndarray, clusters: Sequence[Any], seed: int = 0
) -> list[float] | list[None]:
    """95 % percentile interval of sum(numerators) / sum(denominators), resampling clusters.

    Args:
        numerators: per clip (clips,), such as whether it is answered correctly.
        denominators: per clip (clips,), such as whether it is answered.
        clusters: each clip's speaker, or its id for an interval over clips.
        seed: of the resampling.

    Returns:
        The bounds; None twice with a single cluster, or if no draw has a denominator above 0.

    >>> answered = np.array([1, 1, 0, 0] * 4)
    >>> ratio_interval(answered, np.ones(16), np.repeat(["a", "b", "c", "d"], 4))  # each speaker has one half
    [0.5, 0.5]
    """
    groups = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums = np.stack(
        [np.bincount(groups, np.asarray(part, dtype=float)) for part in (numerators, denominators)], axis=1
    )
    if len(sums) < 2:
        return [None, None]
    drawn = _resample(sums, seed)
    filled = drawn[:, 1] > 0  # a draw may hold no answered clip
    return _bounds(drawn[filled, 0] / drawn[filled, 1]) if filled.any() else [None, None]


def resampled_bounds(
    parts: np.ndarray,
    clusters: Sequence[Any],
    statistic: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    seed: int = 0,
) -> dict[str, list[float] | list[None]]:
    """95 % percentile intervals of any scores that follow from sums over clips, resampling clusters.

    Args:
        parts: numbers of each clip (clips, ...).
        clusters: each clip's speaker, or its id for an interval over clips.
        statistic: sums of `parts` (draws, ...) -> score -> (draws,); NaN for a draw without a score.
        seed: of the resampling.

    Returns:
        Score -> bounds; None twice with a single cluster, or if no draw has the score.

    >>> right = np.array([[1.0, 1.0], [0.0, 1.0]] * 8)  # hits and clips
    >>> speakers = np.repeat(["a", "b", "c", "d"], 4)
    >>> resampled_bounds(right, speakers, lambda sums: {"accuracy": sums[:, 0] / sums[:, 1]})
    {'accuracy': [0.5, 0.5]}
    """
    names, groups = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.zeros((len(names), *parts.shape[1:]))
    np.add.at(sums, groups, parts)
    if len(sums) < 2:
        return {name: [None, None] for name in statistic(parts.sum(axis=0, keepdims=True))}
    found: dict[str, list[float] | list[None]] = {}
    for name, values in statistic(_resample(sums, seed)).items():
        defined = values[~np.isnan(values)]
        found[name] = _bounds(defined) if len(defined) else [None, None]
    return found


def compare(
    label_ids: np.ndarray,
    predicted_a: np.ndarray,
    predicted_b: np.ndarray,
    clusters: Sequence[Any] | None,
    num_classes: int,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Paired bootstrap: is model A better than model B on the same clips?

    Args:
        label_ids: true class ids (clips,).
        predicted_a: class ids that model A predicts (clips,).
        predicted_b: class ids that model B predicts (clips,).
        clusters: each clip's speaker; None resamples single clips.
        num_classes: number of classes.
        seed: of the resampling.

    Returns:
        For each score, the difference A - B, its 95 % and 90 % intervals, its standard error, two-sided p values of
        the bootstrap and of a permutation test (see `permutation_p_values`), and whether it is significant: the 95 %
        interval does not include 0. The 90 % interval is for `is_equivalent`, the error and the number of clusters,
        `units`, for `detectable_difference`.

    Raises:
        IntervalError: fewer than two clusters.

    >>> label_ids, speakers = np.array([0, 1] * 20), np.repeat(["a", "b", "c", "d"], 10)
    >>> always_right, half_right = label_ids, np.zeros(40, dtype=int)
    >>> tested = compare(label_ids, always_right, half_right, speakers, num_classes=2)
    >>> tested["uar"]["difference"], tested["uar"]["significant"]
    (0.5, True)
    """
    both = [_confusions(label_ids, predicted, clusters, num_classes) for predicted in (predicted_a, predicted_b)]
    parts = np.stack(both, axis=1)
    if len(parts) < 2:
        raise IntervalError("got one speaker; a paired test needs clips of at least two.")
    return _tested([parts[:, None]], [seed], seed)


def compare_over_parts(
    parts: Sequence[tuple[Sequence[Run], Sequence[Run]]], num_classes: Sequence[int], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Paired bootstrap of the scores of `mean_over_parts`, with clusters drawn within each part.

    Args:
        parts: for each part, the runs of model A and those of model B, on the same clips one by one. A part with one
            cluster is the same in every draw; the permutation test exchanges it like any other cluster.
        num_classes: number of classes of each part.
        seed: of the resampling.

    Returns:
        As for `compare`. Each part but the first takes one from `units`, as it takes a degree of freedom.

    Raises:
        IntervalError: each part has one cluster.

    >>> label_ids, speakers = np.array([0, 1] * 4), list("aabbccdd")
    >>> right, half = (label_ids, label_ids, speakers), (label_ids, np.zeros(8, dtype=int), speakers)
    >>> tested = compare_over_parts([([right], [half]), ([right], [right])], [2, 2])["uar"]
    >>> tested["difference"], tested["interval"], tested["units"]
    (0.25, [0.25, 0.25], 7)
    """
    confusions = [
        np.stack([_aligned(of_a, classes), _aligned(of_b, classes)], axis=2)
        for (of_a, of_b), classes in zip(parts, num_classes, strict=True)
    ]
    if max(map(len, confusions)) < 2:
        raise IntervalError("got one speaker in each part; a paired test needs a part with clips of at least two.")
    return _tested(confusions, [[seed, number] for number in range(len(parts))], seed)


def _tested(parts: Sequence[np.ndarray], seeds: Sequence[int | list[int]], seed: int) -> dict[str, dict[str, Any]]:
    """The tests of `compare`.

    Args:
        parts: for each part, confusion matrices (clusters, runs, 2 models, true, predicted).
        seeds: of the resampling of each part.
        seed: of the permutations.
    """
    drawn = [_resample(part, of_part) for part, of_part in zip(parts, seeds, strict=True)]
    a, b = (mean_scores([part[:, :, side] for part in drawn]) for side in (0, 1))
    whole = [part.sum(axis=0, keepdims=True) for part in parts]
    whole_a, whole_b = (mean_scores([part[:, :, side] for part in whole]) for side in (0, 1))
    permuted = permutation_p_values(parts, SCORES, seed)
    units = 1 + sum(len(part) - 1 for part in parts)
    result = {}
    for name in SCORES:
        difference = a[name] - b[name]
        low, high = _bounds(difference)
        tail = min((difference <= 0).mean(), (difference >= 0).mean())
        result[name] = {
            "difference": float(whole_a[name][0] - whole_b[name][0]),
            "interval": [low, high],
            "interval_90": _bounds(difference, 0.90),
            "standard_error": float(np.std(difference)),
            "units": units,
            "permutation_p": permuted[name],
            "p_value": float(min(1.0, 2 * max(tail, 1 / REPLICATES))),
            "significant": bool(low > 0 or high < 0),
        }
    return result


def _confusions(
    label_ids: np.ndarray, predicted: np.ndarray, clusters: Sequence[Any] | None, num_classes: int
) -> np.ndarray:
    """One confusion matrix per cluster: (clusters, true, predicted)."""
    label_ids, predicted = np.asarray(label_ids), np.asarray(predicted)
    if len(label_ids) == 0 or len(label_ids) != len(predicted):
        got = f"got {len(label_ids)} labels and {len(predicted)} predictions"
        raise IntervalError(f"{got}; expected equal numbers, at least one.")
    groups = np.arange(len(label_ids)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    parts = np.zeros((groups.max() + 1, num_classes, num_classes))
    np.add.at(parts, (groups, label_ids, predicted), 1)
    return parts


def _aligned(runs: Sequence[Run], num_classes: int) -> np.ndarray:
    """Confusion matrices of all runs over the union of their clusters: (clusters, runs, true, predicted)."""
    names = [np.arange(len(run[0])) if run[2] is None else np.unique(np.asarray(run[2])) for run in runs]
    every = np.unique(np.concatenate(names))
    parts = np.zeros((len(every), len(runs), num_classes, num_classes))
    for index, (run, clusters) in enumerate(zip(runs, names, strict=True)):
        parts[np.searchsorted(every, clusters), index] = _confusions(*run, num_classes)
    return parts


def _resample(parts: np.ndarray, seed: int | list[int]) -> np.ndarray:
    """Sums over clusters drawn with replacement: (replicates, ...)."""
    number = len(parts)
    draws = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=REPLICATES)
    return np.tensordot(draws.astype(float), parts, axes=1)


def _bounds(values: np.ndarray, level: float = _LEVEL) -> list[float]:
    tail = 50 * (1 - level)
    return [float(bound) for bound in np.percentile(values, [tail, 100 - tail])]
