"""The score of validation clips that selects checkpoints and settings."""

from collections.abc import Iterable, Sequence

import numpy as np

from hf_ser.scoring.corpus_mean import UAR_BY_CORPUS, uar_by_corpus
from hf_ser.scoring.results import score

ONE_CORPUS = "f1_weighted"


def selection_score(corpora: Iterable[str], one_corpus: str = ONE_CORPUS) -> str:
    """The name of the score that selects.

    On several corpora it is the mean over them, so that a corpus with most of the clips does not decide alone.

    Args:
        corpora: corpus of each validation clip.
        one_corpus: the score for clips of one corpus.

    >>> selection_score(["ravdess", "ravdess"]), selection_score(["ravdess", "tess"])
    ('f1_weighted', 'uar_by_corpus')
    """
    return UAR_BY_CORPUS if len(set(corpora)) > 1 else one_corpus


def selection_value(
    label_ids: np.ndarray, probabilities: np.ndarray, corpora: Sequence[str], one_corpus: str = ONE_CORPUS
) -> float:
    """The value of the score that selects; larger is better.

    Args:
        label_ids: true class ids (clips,).
        probabilities: (clips, classes).
        corpora: corpus of each clip.
        one_corpus: the score for clips of one corpus.

    >>> probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    >>> selection_value(np.array([0, 1, 1]), probabilities, ["ravdess", "ravdess", "tess"])
    0.75
    """
    name = selection_score(corpora, one_corpus)
    if name == UAR_BY_CORPUS:
        return uar_by_corpus(label_ids, probabilities, corpora)
    return float(score(label_ids, probabilities, [str(number) for number in range(probabilities.shape[1])])[name])
