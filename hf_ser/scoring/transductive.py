"""Transductive normalisation: all clips of a test speaker, without their labels, are used to classify each of them.

Such scores answer another question than those of a model that gets one clip at a time, so they have a protocol of
their own and are never in one ranking with other scores.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from hf_ser.scoring.predictions import Predictions, PredictionsError, softmax

TRANSDUCTIVE = "transductive_speaker_normalization"
_SMALLEST = 1e-12  # of a probability, and of a standard deviation


def normalize_by_speaker(predictions: Predictions) -> Predictions:
    """Give the log-probabilities of every speaker the same mean and standard deviation, class by class.

    For each class, the log-probabilities of a speaker are standardised with the mean and standard deviation over this
    speaker's clips, and get those over the clips of all speakers. This assumes that all speakers show the classes
    equally often, as in acted corpora.

    Args:
        predictions: of a whole split.

    Returns:
        The same clips with other probabilities.

    Raises:
        PredictionsError: a clip has no speaker, there is one speaker, or a speaker has a single clip.

    >>> from pathlib import Path
    >>> from hf_ser.scoring import read_predictions
    >>> predictions = read_predictions(Path("runs/audio_cnn/predictions_test.parquet"))
    >>> normalized = normalize_by_speaker(predictions)
    >>> normalized.clips["id"] == predictions.clips["id"], normalized.probabilities.shape[1]
    (True, 8)
    """
    _check(predictions)
    speakers = np.asarray(predictions.clips["speaker"], dtype=object)
    logs = np.log(np.maximum(predictions.probabilities, _SMALLEST))
    result = np.empty_like(logs)
    for speaker in set(speakers):
        own = logs[speakers == speaker]
        spread = np.maximum(own.std(axis=0), _SMALLEST)
        result[speakers == speaker] = (own - own.mean(axis=0)) / spread
    return Predictions(predictions.clips, softmax(result * logs.std(axis=0) + logs.mean(axis=0)), predictions.labels)


def _check(predictions: Predictions) -> None:
    speakers = list(predictions.clips["speaker"])
    unknown = sum(not speaker for speaker in speakers)
    if unknown:
        raise PredictionsError(
            f"{TRANSDUCTIVE} needs the speaker of every clip; {unknown} of {len(speakers)} clips have none. Add the "
            "speakers, or leave it out."
        )
    counts = Counter(speakers)
    if len(counts) < 2:
        raise PredictionsError(f"{TRANSDUCTIVE} needs clips of at least two speakers; got only {speakers[0]}.")
    single = sorted(speaker for speaker, count in counts.items() if count == 1)
    if single:
        raise PredictionsError(
            f"{TRANSDUCTIVE} needs at least two clips of every speaker; got one of {', '.join(single[:5])}. Leave "
            "these speakers out."
        )


def transductive_protocol(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol of results.json with the normalisation in its name, hash and notes.

    >>> protocol = transductive_protocol({"name": "emobox", "fold": 1, "folds": None, "hash": None, "notes": []})
    >>> protocol["name"]
    'emobox+transductive_speaker_normalization'
    """
    digest = protocol["hash"]
    if digest is not None:
        digest = hashlib.sha256(f"{digest}\n{TRANSDUCTIVE}\n".encode()).hexdigest()
    note = (
        "transductive: log-probabilities are standardised with all clips of the test speaker; scores are not "
        "comparable with those of a model that gets one clip at a time"
    )
    name = f"{protocol['name']}+{TRANSDUCTIVE}"
    return {**protocol, "name": name, "hash": digest, "notes": [*protocol["notes"], note]}
