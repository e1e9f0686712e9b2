"""Scores by group: corpora, languages, genders within a corpus, speakers, intensities."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hf_ser.scoring.bootstrap import intervals, point_scores
from hf_ser.scoring.predictions import Predictions, count_speakers

# Grouping -> function that names the group of a clip, given its other columns; None leaves the clip out.
GROUPINGS: dict[str, Callable[[dict[str, str | None]], str | None]] = {
    "corpus": lambda clip: clip["corpus"],
    "language": lambda clip: clip["language"],
    "gender": lambda clip: f"{clip['corpus']}/{clip['gender']}" if clip["gender"] else None,
    "speaker": lambda clip: clip["speaker"],
    "intensity": lambda clip: f"{clip['corpus']}/{clip['intensity']}" if clip["intensity"] else None,
}
_COLUMNS = ("corpus", "language", "gender", "speaker", "intensity")


def score_groups(predictions: Sequence[Predictions], groupings: Iterable[str] = tuple(GROUPINGS)) -> dict[str, Any]:
    """Score every group of some groupings.

    Args:
        predictions: one per seed; a group's clips are pooled over them.
        groupings: names in `GROUPINGS`; default: all.

    Returns:
        Grouping -> `{"groups": {name: {"clips", "speakers", "scores", "interval"}}, "best", "worst"}`. Clips are
        counted once, not once per seed; speakers is None if that of any clip is unknown. The interval is that of UAR,
        clustered on speakers, where a clip of an unknown speaker is a cluster of its own; None for one cluster.
        Best and worst are by UAR; None with fewer than two groups. The grouping by language is absent with fewer than
        two languages.
    """
    found = {name: _grouping(predictions, GROUPINGS[name]) for name in groupings}
    if "language" in found and len(found["language"]["groups"]) < 2:
        del found["language"]
    return found


def group_names(clips: dict[str, list[str | None]], grouping: str) -> list[str]:
    """The group of each clip; empty for clips that are in none.

    Args:
        clips: columns of the clips; missing columns count as unknown.
        grouping: a name from `GROUPINGS`.
    """
    length = len(clips["id"])
    columns = {name: clips.get(name, [None] * length) for name in _COLUMNS}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [GROUPINGS[grouping](row) or "" for row in rows]


def _grouping(
    predictions: Sequence[Predictions], naming: Callable[[dict[str, str | None]], str | None]
) -> dict[str, Any]:
    # Columns may be missing in tables of other programs.
    columns = {
        name: [value for part in predictions for value in part.clips.get(name, [None] * len(part.clips["id"]))]
        for name in (*_COLUMNS, "id")
    }
    ids = columns.pop("id")
    clips_of = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    names = np.asarray([naming(clip) or "" for clip in clips_of])
    speakers = [speaker or "" for speaker in columns["speaker"]]
    label_ids = np.concatenate([part.label_ids for part in predictions])
    predicted = np.concatenate([part.predicted for part in predictions])
    clips, num_classes = np.asarray(ids), len(predictions[0].labels)
    voices, clusters = np.asarray(speakers), np.asarray([unit for part in predictions for unit in part.clusters])
    groups: dict[str, Any] = {}
    for name in sorted(set(names) - {""}):
        rows = names == name
        bounds = intervals(label_ids[rows], predicted[rows], clusters[rows], num_classes)["uar"]
        groups[str(name)] = {
            "clips": len(set(clips[rows])),
            "speakers": count_speakers(voices[rows].tolist()),
            "scores": point_scores(label_ids[rows], predicted[rows], num_classes),
            "interval": None if bounds[0] is None else bounds,
        }
    ranked = sorted(groups, key=lambda name: groups[name]["scores"]["uar"])
    several = len(ranked) > 1
    return {"groups": groups, "best": ranked[-1] if several else None, "worst": ranked[0] if several else None}
