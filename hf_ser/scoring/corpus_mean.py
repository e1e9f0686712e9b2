"""The headline of a merged set: the mean over its corpora, each scored over its own classes.

Pooled scores follow the corpora with most clips. If one speaker of TESS has half of the test clips, that voice decides
them; in the mean over corpora, TESS counts as much as any other corpus.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hf_ser.scoring.bootstrap import compare_over_parts, mean_over_parts, point_scores
from hf_ser.scoring.predictions import Predictions, restrict

UAR_BY_CORPUS = "uar_by_corpus"  # the validation score of this name, see `uar_by_corpus`


def score_by_corpus(runs: Sequence[Predictions]) -> dict[str, Any] | None:
    """Score each corpus over the classes that its clips have, and take the mean over corpora.

    Args:
        runs: predictions of the same clips, one per seed.

    Returns:
        None for one corpus, else `{"scores", "intervals", "corpora", "fixed"}`: the means; their 95 % intervals, for
        which speakers are drawn within each corpus, None if each corpus has one speaker; corpus -> its classes, UAR
        and number of clips; and the corpora with one speaker, which the intervals treat as given.

    >>> clips = {"id": ["a/1", "a/2", "b/1"], "corpus": ["a", "a", "b"], "speaker": ["a_1", "a_2", "b_1"],
    ...          "gender": ["", "", ""], "intensity": [None] * 3, "label": [0, 1, 1]}
    >>> predictions = Predictions(clips, np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]]), ("happy", "sad"))
    >>> score_by_corpus([predictions])["scores"]["uar"]  # 0.5 in a; b has one class, so its only answer is right
    0.75
    """
    if len({corpus for run in runs for corpus in run.clips["corpus"]}) < 2:
        return None
    parts, sizes, described, fixed = [], [], {}, []
    for corpus, kept in _by_corpus(runs):
        classes = kept[0].labels
        parts.append([(part.label_ids, part.predicted, part.clusters) for part in kept])
        recalls = [point_scores(part.label_ids, part.predicted, len(classes))["uar"] for part in kept]
        sizes.append(len(classes))
        described[corpus] = {
            "clips": len({clip for part in kept for clip in part.clips["id"]}),
            "classes": list(classes),
            "uar": float(np.mean(recalls)),
        }
        if len({unit for part in kept for unit in part.clusters}) == 1:
            fixed.append(corpus)
    scores, intervals = mean_over_parts(parts, sizes)
    return {"scores": scores, "intervals": intervals, "corpora": described, "fixed": fixed}


def compare_by_corpus(a: Sequence[Predictions], b: Sequence[Predictions], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Test model A against model B by the means of `score_by_corpus`; speakers are drawn within each corpus.

    Args:
        a: predictions of model A, one per seed.
        b: those of model B, of the same clips in the same order.
        seed: of the resampling.

    Returns:
        As for `compare`.

    Raises:
        IntervalError: each corpus has one speaker.

    >>> clips = {"id": ["a/1", "a/2", "b/1"], "corpus": ["a", "a", "b"], "speaker": ["a_1", "a_2", "b_1"],
    ...          "gender": ["", "", ""], "intensity": [None] * 3, "label": [0, 1, 1]}
    >>> good, poor = (Predictions(clips, np.array([[0.9, 0.1], p, [0.7, 0.3]]), ("happy", "sad"))
    ...               for p in ([0.4, 0.6], [0.6, 0.4]))
    >>> compare_by_corpus([good], [poor])["uar"]["difference"]
    0.25
    """
    parts, sizes = [], []
    for (_, of_a), (_, of_b) in zip(_by_corpus(a), _by_corpus(b), strict=True):
        first, second = ([(run.label_ids, run.predicted, run.clusters) for run in runs] for runs in (of_a, of_b))
        parts.append((first, second))
        sizes.append(len(of_a[0].labels))
    return compare_over_parts(parts, sizes, seed)


def _by_corpus(runs: Sequence[Predictions]) -> Iterator[tuple[str, list[Predictions]]]:
    """Each corpus with its clips of all runs, over the classes that it has in any of them."""
    for corpus in sorted({corpus for run in runs for corpus in run.clips["corpus"]}):
        of_corpus = [run.where("corpus", corpus) for run in runs]
        present = sorted({label for part in of_corpus for label in part.label_ids.tolist()})
        classes = [runs[0].labels[label] for label in present]
        yield corpus, [restrict(part, classes)[0] for part in of_corpus]


def corpus_weights(corpora: Sequence[str]) -> np.ndarray | None:
    """Weights of clips with which each corpus has the same total weight; their mean is 1. None for one corpus.

    >>> corpus_weights(["tess", "tess", "tess", "savee"]).round(2).tolist()
    [0.67, 0.67, 0.67, 2.0]
    """
    _, numbers, counts = np.unique(np.asarray(corpora), return_inverse=True, return_counts=True)
    return len(corpora) / (len(counts) * counts[numbers]) if len(counts) > 1 else None


def uar_by_corpus(label_ids: np.ndarray, values: np.ndarray, corpora: Sequence[str]) -> float:
    """Mean over corpora of the UAR, where a clip gets the best class among those that its corpus has.

    Args:
        label_ids: true class ids (clips,).
        values: logits or probabilities (clips, classes).
        corpora: corpus of each clip.

    >>> values = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    >>> uar_by_corpus(np.array([0, 1, 1]), values, ["a", "a", "b"])
    0.75
    """
    names, recalls = np.asarray(corpora), []
    for corpus in np.unique(names):
        rows = names == corpus
        own = np.unique(label_ids[rows])
        predicted = own[values[rows][:, own].argmax(axis=1)]
        recalls.append(point_scores(label_ids[rows], predicted, values.shape[1])["uar"])
    return float(np.mean(recalls))
