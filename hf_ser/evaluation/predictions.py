"""The predictions table: one row per clip, joined on its id and never on position."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_ser.errors import SerError


class PredictionsError(SerError):
    """Predictions that do not fit their clips."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities from logits, (clips, classes) -> (clips, classes) float64 with rows that sum to 1."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def write_predictions(
    path: Path, clips: Mapping[str, Sequence[Any]], probabilities: np.ndarray, labels: Sequence[str]
) -> None:
    """Write id, corpus, speaker, gender, label and one probability column `p_EMOTION` per class as Parquet.

    Args:
        path: where to write; an existing file is replaced in one step.
        clips: the columns id, corpus, speaker, gender and label (class ids), in the order of `probabilities`.
        probabilities: (clips, classes).
        labels: class names in the order of the columns.

    Raises:
        PredictionsError: sizes differ, ids repeat, or probabilities are not finite.
    """
    ids = list(clips["id"])
    if len(ids) != len(probabilities) or probabilities.shape[1] != len(labels):
        raise PredictionsError(
            f"got probabilities of shape {probabilities.shape}; expected ({len(ids)}, {len(labels)}), a row per clip."
        )
    if len(set(ids)) != len(ids):
        raise PredictionsError(f"got {len(ids) - len(set(ids))} repeated clip ids; expected each clip once.")
    if not np.isfinite(probabilities).all():
        bad = [ids[row] for row in np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[:5]]
        raise PredictionsError(f"got NaN or infinite probabilities, first for {', '.join(bad)}; the model diverged.")
    columns: dict[str, Any] = {name: list(clips[name]) for name in ("id", "corpus", "speaker", "gender")}
    columns["label"] = [labels[index] for index in clips["label"]]
    columns |= {f"p_{label}": probabilities[:, index] for index, label in enumerate(labels)}
    partial = path.with_suffix(".part")
    pq.write_table(pa.table(columns), partial)
    os.replace(partial, path)
