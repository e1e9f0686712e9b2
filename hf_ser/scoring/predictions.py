"""The predictions table: one row per clip, joined on its id, never on its position."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_ser.errors import SerError

CLIP_COLUMNS = ("id", "corpus", "speaker", "gender", "intensity", "label")
LANGUAGE = "language"  # optional column of clips
VOTES = "votes"  # optional column of clips: label -> number of raters, or None
PREFIX = "p_"
_VOTES_PREFIX = "votes_"  # of the columns with the number of raters for each class
_ROUNDING = 1e-3


class PredictionsError(SerError):
    """Predictions that do not match their clips."""


@dataclass(frozen=True)
class Predictions:
    """Clips and a model's probabilities for them.

    Args:
        clips: the columns of `CLIP_COLUMNS`; label holds class ids, intensity may hold None, and an unknown speaker is
            an empty string. Columns language and votes (label -> number of raters, or None) are optional.
        probabilities: (clips, classes), rows that sum to 1.
        labels: class names, in the order of the columns of `probabilities`.

    Raises:
        PredictionsError: no clips, repeated ids, mismatched shapes, or invalid probabilities; names the clips.

    >>> clips = {"id": ["a/1", "a/2"], "corpus": ["a", "a"], "speaker": ["a_1", "a_2"],
    ...          "gender": ["female", "male"], "intensity": [None, None], "label": [0, 1]}
    >>> predictions = Predictions(clips, np.array([[0.9, 0.1], [0.6, 0.4]]), labels=("happy", "sad"))
    >>> predictions.predicted.tolist(), predictions.label_ids.tolist()
    ([0, 0], [0, 1])
    """

    clips: Mapping[str, Sequence[Any]]
    probabilities: np.ndarray
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        ids = list(self.clips["id"])
        if not ids:
            raise PredictionsError("got no clips; expected at least one. Choose another split, corpus or channel.")
        if self.probabilities.shape != (len(ids), len(self.labels)):
            raise PredictionsError(
                f"got probabilities of shape {self.probabilities.shape}; expected {(len(ids), len(self.labels))}, a "
                "row per clip and a column per class."
            )
        repeated = sorted({clip for clip, count in zip(*np.unique(ids, return_counts=True), strict=True) if count > 1})
        _refuse("repeated clip ids", repeated, "each clip once")
        values = self.probabilities
        for problem, bad in (
            ("clips with NaN or infinite probabilities", ~np.isfinite(values).all(axis=1)),
            ("clips with negative probabilities", (values < 0).any(axis=1)),
            ("clips whose probabilities do not sum to 1", ~(np.abs(values.sum(axis=1) - 1) < _ROUNDING)),
            ("clips of an unknown class", ~np.isin(self.label_ids, range(len(self.labels)))),
        ):
            _refuse(problem, [ids[row] for row in np.flatnonzero(bad)], f"probabilities of {', '.join(self.labels)}")

    @property
    def label_ids(self) -> np.ndarray:
        """True class ids (clips,)."""
        return np.asarray(self.clips["label"])

    @property
    def clusters(self) -> list[str]:
        """What a bootstrap draws, for each clip: its speaker, or the clip itself if the speaker is unknown."""
        return [speaker or clip for speaker, clip in zip(self.clips["speaker"], self.clips["id"], strict=True)]

    @property
    def predicted(self) -> np.ndarray:
        """Predicted class ids (clips,)."""
        return self.probabilities.argmax(axis=1)

    def select(self, rows: np.ndarray) -> "Predictions":
        """The clips at these positions."""
        clips = {name: [column[row] for row in rows] for name, column in self.clips.items()}
        return dataclasses.replace(self, clips=clips, probabilities=self.probabilities[rows])

    def where(self, column: str, value: Any) -> "Predictions":
        """The clips with this value."""
        return self.select(np.flatnonzero(np.asarray(self.clips[column], dtype=object) == value))


def _refuse(problem: str, ids: Sequence[str], expected: str) -> None:
    if len(ids):
        more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
        raise PredictionsError(f"got {len(ids)} {problem} ({', '.join(ids[:5])}{more}); expected {expected}.")


def count_speakers(speakers: Iterable[str | None]) -> int | None:
    """The number of speakers; None if that of any clip is unknown.

    >>> count_speakers(["a", "b", "a"]), count_speakers(["a", ""])
    (2, None)
    """
    different = set(speakers)
    return len(different) if all(different) else None


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities from logits, (clips, classes) -> (clips, classes) float64 with rows that sum to 1.

    >>> softmax(np.log([[1.0, 3.0]])).round(2).tolist()
    [[0.25, 0.75]]
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Join predictions for different clips over the same classes.

    Raises:
        PredictionsError: a clip is in several parts, or the classes differ.
    """
    if len({part.labels for part in parts}) != 1:
        raise PredictionsError(
            f"got classes {[list(part.labels) for part in parts]}; expected the same classes in all parts."
        )
    columns = [*CLIP_COLUMNS, *([LANGUAGE] if all(LANGUAGE in part.clips for part in parts) else [])]
    clips = {name: [value for part in parts for value in part.clips[name]] for name in columns}
    if any(VOTES in part.clips for part in parts):
        clips[VOTES] = [votes for part in parts for votes in part.clips.get(VOTES, [None] * len(part.clips["id"]))]
    return Predictions(clips, np.concatenate([part.probabilities for part in parts]), parts[0].labels)


def restrict(predictions: Predictions, classes: Sequence[str]) -> tuple[Predictions, dict[str, int]]:
    """Keep the clips and the probabilities of these classes only; each row is rescaled to sum to 1.

    Returns:
        The predictions over `classes`, and the number of clips left out per class.

    Raises:
        PredictionsError: no clips are left.

    >>> predictions = read_predictions(Path("runs/audio_cnn/predictions_test.parquet"))
    >>> kept, left_out = restrict(predictions, ["happy", "sad"])
    >>> kept.labels, len(kept.clips["id"]) + sum(left_out.values()) == len(predictions.clips["id"])
    (('happy', 'sad'), True)
    """
    labels = tuple(label for label in predictions.labels if label in set(classes))
    if labels == predictions.labels:
        return predictions, {}
    columns = [predictions.labels.index(label) for label in labels]
    names = np.asarray(predictions.labels, dtype=object)[predictions.label_ids]
    rows = np.flatnonzero(np.isin(names, labels))
    out = {label: int((names == label).sum()) for label in predictions.labels if label not in labels}
    if len(rows) == 0:
        raise PredictionsError(f"got no clips of {', '.join(labels) or 'any shared class'}; expected at least one.")
    # Logarithms, so that a row whose kept probabilities are nearly 0 does not divide 0 by 0.
    kept = softmax(np.log(np.maximum(predictions.probabilities[rows][:, columns], 1e-300)))
    clips = {name: [column[row] for row in rows.tolist()] for name, column in predictions.clips.items()}
    clips["label"] = [labels.index(names[row]) for row in rows]
    return Predictions(clips, kept, labels), {label: count for label, count in out.items() if count}


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a table as Parquet, atomically.

    It has the clips' columns, label as name, a column `p_LABEL` per class, and for clips with votes `votes_LABEL`.
    """
    columns: dict[str, Any] = {name: list(predictions.clips[name]) for name in CLIP_COLUMNS}
    columns["label"] = [predictions.labels[index] for index in predictions.clips["label"]]
    columns["intensity"] = pa.array(columns["intensity"], pa.string())
    if any(predictions.clips.get(LANGUAGE, ())):
        columns[LANGUAGE] = pa.array(predictions.clips[LANGUAGE], pa.string())
    columns |= {f"{PREFIX}{label}": predictions.probabilities[:, i] for i, label in enumerate(predictions.labels)}
    voted = predictions.clips.get(VOTES)
    if voted is not None and any(voted):
        for label in predictions.labels:
            counts = [clip.get(label, 0) if clip else None for clip in voted]
            columns[f"{_VOTES_PREFIX}{label}"] = pa.array(counts, pa.int32())
    partial = path.with_suffix(".part")
    pq.write_table(pa.table(columns), partial)
    os.replace(partial, path)


Convert = Callable[[np.ndarray, tuple[str, ...]], tuple[np.ndarray, tuple[str, ...]]]


def read_predictions(
    path: Path, clips: Mapping[str, Sequence[Any]] | None = None, convert: Convert | None = None
) -> Predictions:
    """Read a predictions table of this or any other program.

    Args:
        path: Parquet file with id and a column `p_LABEL` per class; without `clips`, also the other columns of
            `write_predictions`.
        clips: the clips that the predictions are for: the columns of `CLIP_COLUMNS` with label names. The table is
            joined to them on id.
        convert: function of probabilities (rows, labels) and labels that returns those of classes, such as a mapping.

    Raises:
        PredictionsError: no such table, missing columns, missing or unknown ids, labels that differ from those of the
            clips, or rows that are not probabilities.

    >>> predictions = read_predictions(Path("runs/audio_cnn/predictions_test.parquet"))
    >>> predictions.labels[:3], predictions.probabilities.shape[1]
    (('neutral', 'calm', 'happy'), 8)
    """
    needed = ("id",) if clips is not None else tuple(name for name in CLIP_COLUMNS if name != "intensity")
    table, probabilities, labels = read_table(path, needed)
    if convert is not None:
        probabilities, labels = convert(probabilities, labels)
    if clips is None:
        clips = {name: table.get(name, [None] * len(table["id"])) for name in CLIP_COLUMNS}
        clips |= {LANGUAGE: table[LANGUAGE]} if LANGUAGE in table else {}
        clips |= _votes(table, labels, path)
        clips |= {name: [value or "" for value in clips[name]] for name in ("corpus", "speaker", "gender")}
    else:
        probabilities = _join(table, probabilities, clips)
    unknown = [clip for clip, label in zip(clips["id"], clips["label"], strict=True) if label not in labels]
    _refuse("clips of an unknown class", unknown, f"one of {', '.join(labels)}, the classes of {path}")
    return Predictions({**clips, "label": [labels.index(label) for label in clips["label"]]}, probabilities, labels)


def _votes(
    table: Mapping[str, list[Any]], labels: Sequence[str], path: Path
) -> dict[str, list[dict[str, int] | None]]:
    """The column votes of a table with votes, else nothing."""
    named = {label: table[_VOTES_PREFIX + label] for label in labels if _VOTES_PREFIX + label in table}
    if not named:
        return {}
    missing = [label for label in labels if label not in named]
    if missing:
        raise PredictionsError(
            f"{path} has columns of votes, but none for {', '.join(missing)}; expected {_VOTES_PREFIX}LABEL for every "
            "class."
        )
    clips: list[dict[str, Any]] = [
        dict(zip(named, counts, strict=True)) for counts in zip(*named.values(), strict=True)
    ]
    bad = [clip for clip, votes in zip(table["id"], clips, strict=True) if not all(map(_is_count, votes.values()))]
    _refuse("clips with invalid votes", bad, "whole numbers of at least 0")
    return {
        VOTES: [
            None if any(map(_is_missing, votes.values())) else {label: int(votes[label]) for label in votes}
            for votes in clips
        ]
    }


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # programs without integers that may be missing write NaN


def _is_count(value: Any) -> bool:
    return _is_missing(value) or (isinstance(value, int | float) and 0 <= value < float("inf") and value == int(value))


def read_table(
    path: Path, needed: Sequence[str] = ("id",)
) -> tuple[dict[str, list[Any]], np.ndarray, tuple[str, ...]]:
    """Read a table of probabilities without joining it to clips.

    Args:
        path: Parquet file with a column `p_LABEL` per class.
        needed: other required columns.

    Returns:
        The columns, with ids as text; the probabilities (rows, classes); the classes.

    Raises:
        PredictionsError: no such table, missing columns, or probabilities that are not numbers.
    """
    try:
        table = pq.read_table(path).to_pydict()
    except (OSError, pa.ArrowException, ValueError) as error:  # ValueError: column names that are not UTF-8
        cause = " ".join(str(error).split())[:300]
        raise PredictionsError(f"{path}: {cause}; expected a Parquet file of predictions.") from error
    labels = tuple(name.removeprefix(PREFIX) for name in table if name.startswith(PREFIX))
    missing = [name for name in needed if name not in table]
    if missing or not labels:
        raise PredictionsError(f"{path} has the columns {list(table)}; expected {', '.join(needed)} and p_LABEL.")
    probabilities = _numbers(table, labels, path)
    table["id"] = [str(clip) for clip in table["id"]]
    return table, probabilities, labels


def _numbers(table: Mapping[str, list[Any]], labels: Sequence[str], path: Path) -> np.ndarray:
    """(clips, classes); rounded rows are rescaled to sum to 1, others are left for `Predictions` to reject."""
    columns = []
    for label in labels:
        try:
            columns.append(np.asarray(table[PREFIX + label], dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise PredictionsError(f"{path}: the column {PREFIX}{label} does not hold numbers ({error}).") from error
    values = np.column_stack(columns)
    sums = values.sum(axis=1, keepdims=True)
    deviation = np.abs(sums - 1)
    return np.divide(values, sums, out=values, where=(deviation > 1e-9) & (deviation < _ROUNDING))


def _join(table: Mapping[str, list[Any]], probabilities: np.ndarray, clips: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """Rows of `probabilities` in the order of the clips."""
    row_of = {clip: row for row, clip in enumerate(table["id"])}
    seen, repeated = set(), []
    for clip in table["id"]:
        if clip in seen:
            repeated.append(clip)
        seen.add(clip)
    _refuse("repeated clip ids", repeated, "each clip once")
    _refuse("clips without a prediction", [clip for clip in clips["id"] if clip not in row_of], "one for every clip")
    wanted = set(clips["id"])
    _refuse(
        "predictions for unknown clips", [clip for clip in row_of if clip not in wanted], "only clips of this split"
    )
    rows = [row_of[clip] for clip in clips["id"]]
    if "label" in table:
        pairs = zip(clips["id"], clips["label"], rows, strict=True)
        differ = [clip for clip, label, row in pairs if table["label"][row] != label]
        _refuse("clips whose label differs from the dataset's", differ, "the dataset's labels")
    return probabilities[rows]
