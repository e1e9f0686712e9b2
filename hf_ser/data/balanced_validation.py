"""Validation with equally many clips of each corpus.

Otherwise, the corpus with most clips decides which checkpoint is kept and how probabilities are calibrated: in a fold
of the four corpora, one speaker of TESS has 1,400 of the 3,116 validation clips.
"""

import random
from collections.abc import Callable

from hf_ser.data.assignment import Ratios, Row, Splits
from hf_ser.data.balanced_groups import by, choose_groups

_FEWEST_SPEAKERS = 3  # with fewer, one validation speaker would be a third or half of the corpus


def balanced_rest(rows: list[Row], seed: int, ratios: Ratios) -> Splits:
    """Divide the clips of several corpora into train and validation, with equally many validation clips of each.

    1. The target is the validation share of the corpus with fewest clips.
    2. From each corpus, whole speakers are drawn, as few as hold the target: at least two, with classes and genders in
       balance. A corpus with fewer than three speakers is divided by text instead, so that train and validation share
       its speakers, but no text.
    3. Every corpus keeps the same number of validation clips, the number that all of them have, drawn in rotation over
       the classes. The other clips of validation speakers (or texts) are not used.

    Args:
        rows: clips outside the test corpus.
        seed: random seed.
        ratios: train, validation and test fractions.
    """
    share = ratios[1] / (ratios[0] + ratios[1])
    corpora = by(rows, lambda row: row.corpus)
    target = max(1, int(share * min(len(clips) for clips in corpora.values())))
    chosen, notes = {}, []
    for corpus, clips in corpora.items():
        few = len({row.speaker for row in clips}) < _FEWEST_SPEAKERS
        group_of: Callable[[Row], str] = (lambda row: row.text or row.id) if few else (lambda row: row.speaker)
        chosen[corpus] = _held_out(clips, group_of, target, 1 if few else 2, f"{seed}/{corpus}/balanced")
        if few:
            notes.append(f"{corpus}: train and validation share speakers (with different texts); it has fewer than 3")
    number = min(len(held_out) for held_out in chosen.values())
    splits: dict[str, str] = {}
    for corpus, clips in corpora.items():
        held_out = {row.id for row in chosen[corpus]}
        splits |= {row.id: "train" for row in clips if row.id not in held_out}
        splits |= {row.id: "validation" for row in _rotation(chosen[corpus], f"{seed}/{corpus}/rotation")[:number]}
    return splits, [f"validation has {number} clips of each corpus", *notes]


def _held_out(clips: list[Row], group_of: Callable[[Row], str], target: int, fewest: int, seed_key: str) -> list[Row]:
    """The clips of as few groups as hold the target on average, at least `fewest`, and not all."""
    groups = len({group_of(row) for row in clips})
    wanted = min(max(fewest, -(-groups * target // len(clips))), groups - 1)
    if wanted < 1:
        return []
    parts = choose_groups(clips, group_of, (1 - wanted / groups, wanted / groups), seed_key)
    return [row for row in clips if parts[group_of(row)] == 1]


def _rotation(clips: list[Row], seed_key: str) -> list[Row]:
    """The clips in rotation over their classes, each class in random order."""
    classes = list(by(clips, lambda row: row.emotion).values())
    rng = random.Random(seed_key)
    for members in classes:
        rng.shuffle(members)
    most = max((len(members) for members in classes), default=0)
    return [members[place] for place in range(most) for members in classes if place < len(members)]
