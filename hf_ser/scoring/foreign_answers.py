"""Answers of models outside of transformers as a table of predictions, such as those of emotion2vec."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hf_ser.scoring.predictions import PREFIX, PredictionsError

_UNKNOWN = "<unk>"  # the last label of emotion2vec


def label_of(name: str) -> str:
    """The English name of a label of emotion2vec, whose names are bilingual.

    >>> label_of("生气/angry"), label_of("<unk>"), label_of("sad")
    ('angry', 'unknown', 'sad')
    """
    return "unknown" if name == _UNKNOWN else name.rpartition("/")[2].strip()


def write_answers(
    path: Path, answers: Iterable[Mapping[str, Any]], id_of: Callable[[str], str] | None = None
) -> tuple[str, ...]:
    """Write answers as a table for `recipes/evaluate.py --predictions`, atomically.

    Args:
        path: Parquet file to write.
        answers: `{"key", "labels", "scores"}` for each recording, as FunASR returns them for emotion2vec.
        id_of: function of a key that returns the id of the clip; default: the key is the id.

    Returns:
        The labels, in the order of the columns; map them to classes with `label_mapping` in the YAML file.

    Raises:
        PredictionsError: no answers, or answers with other labels than the first one, or not a score per label.

    >>> answer = {"key": "voice", "labels": ["生气/angry", "<unk>"], "scores": [0.9, 0.1]}
    >>> write_answers(Path("emotion2vec.parquet"), [answer], id_of=lambda key: f"own/{key}")
    ('angry', 'unknown')
    """
    columns: dict[str, list[Any]] = {"id": []}
    labels: tuple[str, ...] = ()
    for answer in answers:
        key, names = str(answer["key"]), tuple(label_of(name) for name in answer["labels"])
        labels = labels or names
        if names != labels or len(answer["scores"]) != len(labels) or len(set(labels)) != len(labels):
            raise PredictionsError(
                f"{key}: got the labels {', '.join(names)} and {len(answer['scores'])} scores; expected a score for "
                f"each of {', '.join(labels)}, all different."
            )
        columns["id"].append(key if id_of is None else id_of(key))
        for label, score in zip(labels, answer["scores"], strict=True):
            columns.setdefault(PREFIX + label, []).append(float(score))
    if not columns["id"]:
        raise PredictionsError("got no answers; expected one per recording.")
    partial = path.with_suffix(".part")
    pq.write_table(pa.table(columns), partial)
    os.replace(partial, path)
    return labels
