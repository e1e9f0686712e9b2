"""Nested folds: the training clips of an assignment, divided again.

Models trained on all but one part predict that part, so that every training clip is predicted by a model that was not
trained on its speaker.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from hf_ser.data.balanced_groups import by, choose_groups
from hf_ser.data.protocols import SHARES_SPEAKERS, Assignment, ProtocolError, Row, speakers_known


def nested(rows: Sequence[Row], outer: Assignment, number: int, folds: int) -> Assignment:
    """Hold out a part of the training clips of an assignment as test clips; its own test clips are not used.

    If the protocol is speaker-disjoint and the speakers are known, whole speakers of each corpus are held out, with
    classes and genders balanced over the folds. Otherwise, each class of each corpus is divided, and clips with
    identical audio stay together. Every training clip is a test clip of exactly one nested fold.

    Args:
        rows: the clips' metadata, in any order.
        outer: the assignment whose training clips are divided.
        number: number of the nested fold, from 1.
        folds: number of nested folds, at least 2.

    Returns:
        test: the held-out training clips; train: the other training clips; validation: as in `outer`.

    Raises:
        ProtocolError: the number is not from 1 to `folds`, or there are too few speakers or clips for the folds.

    >>> from hf_ser.data import Row, assign
    >>> rows = [Row(f"c/{who}_{n}", "c", f"c_{who}", "angry") for who in "abcdefgh" for n in (1, 2)]
    >>> outer = assign(rows, "speaker_disjoint")
    >>> inner = nested(rows, outer, 1, 3)
    >>> {split: len(inner.ids(split)) for split in ("train", "validation", "test")}, len(outer.ids("train"))
    ({'train': 8, 'validation': 2, 'test': 4}, 12)
    """
    if folds < 2 or not 1 <= number <= folds:
        raise ProtocolError(f"nested_fold is {number} of {folds}; expected 1 to nested_folds, which is at least 2.")
    trained = sorted(row for row in rows if outer.splits.get(row.id) == "train")
    parts = _parts(trained, outer, folds)
    missing = [part for part in range(folds) if part not in parts.values()]
    if missing:
        what = "speakers" if _by_speaker(trained, outer) else "clips"
        raise ProtocolError(
            f"nested_folds is {folds}, but the training clips have too few {what} under {outer.protocol}; expected at "
            f"most {folds - len(missing)}. Pass a smaller --nested_folds."
        )
    splits = {clip: split for clip, split in outer.splits.items() if split == "validation"}
    splits |= {clip: "test" if part == number - 1 else "train" for clip, part in parts.items()}
    note = f"nested fold {number} of {folds}: the test clips are training clips of {outer.protocol}, held out in turn"
    return replace(outer, splits=splits, notes=(*outer.notes, note))


def _by_speaker(trained: Sequence[Row], outer: Assignment) -> bool:
    return outer.protocol not in SHARES_SPEAKERS and speakers_known(trained)


def _parts(trained: Sequence[Row], outer: Assignment, folds: int) -> dict[str, int]:
    """Clip id -> number of its part, from 0."""
    parts: dict[str, int] = {}
    for corpus, clips in by(trained, lambda row: row.corpus).items():
        seed = f"{outer.seed}/{corpus}/nested"
        if _by_speaker(trained, outer):
            shares = [1 / folds] * folds
            chosen = choose_groups(clips, lambda row: row.speaker, shares, seed)
            parts |= {row.id: chosen[row.speaker] for row in clips}
            continue
        offset = 0  # continues across classes, so that the parts have equal sizes
        for emotion, members in by(clips, lambda row: row.emotion).items():
            units = list(by(members, lambda row: row.sha256 or row.id).values())
            random.Random(f"{seed}/{emotion}").shuffle(units)
            for place, unit in enumerate(units, offset):
                parts |= {row.id: place % folds for row in unit}
            offset += len(units)
    return parts
