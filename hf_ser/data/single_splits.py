"""Protocols with one split: speakers held out, random, or the splits of the source."""

import random
import warnings
from collections import defaultdict
from collections.abc import Callable

from hf_ser.data.assignment import SPLITS, ProtocolError, Ratios, Row, Splits, speakers_known
from hf_ser.data.balanced_groups import by, choose_groups, quotas

LEAK = "train and test share speakers; on RAVDESS, scores are 7 to 13 points higher than on held-out speakers"
UNKNOWN_SPEAKERS = "speakers are unknown: test clips may contain voices of the training data"
_SHOWN = 5  # names in one message


class SpeakerLeakWarning(UserWarning):
    """The train and test splits of the protocol share speakers."""


def speaker_disjoint(rows: list[Row], seed: int, ratios: Ratios) -> Splits:
    """Per corpus: no speaker in two splits, classes and genders balanced.

    With two speakers (TESS), one is the test speaker, and the clips of the other are split by text into train and
    validation, so that the test speaker is held out of training and model selection. With one speaker, all clips are
    in train.
    """
    splits: dict[str, str] = {}
    notes = []
    for corpus, clips in by(rows, lambda row: row.corpus).items():
        speakers = sorted({row.speaker for row in clips})
        if len(speakers) >= 3:
            chosen = choose_groups(clips, lambda row: row.speaker, ratios, f"{seed}/{corpus}")
            splits.update((row.id, SPLITS[chosen[row.speaker]]) for row in clips)
        elif len(speakers) == 2:
            tested = random.Random(f"{seed}/{corpus}").choice(speakers)
            splits.update((row.id, "test") for row in clips if row.speaker == tested)
            rest = [row for row in clips if row.speaker != tested]
            divided, more = divide_rest(rest, seed, ratios)
            splits.update(divided)
            notes += more
        else:
            splits.update((row.id, "train") for row in clips)
            notes.append(f"{corpus}: the only speaker is {speakers[0]}, so all clips are in train")
    return splits, notes + missing_classes(rows, splits)


def random_split(rows: list[Row], seed: int, ratios: Ratios) -> Splits:
    """Stratified by corpus and label; clips with identical audio stay together."""
    known = speakers_known(rows)
    leak = f"{LEAK}. Use speaker_disjoint instead." if known else f"{UNKNOWN_SPEAKERS}."
    warnings.warn(f"protocol random: {leak}", SpeakerLeakWarning, stacklevel=3)
    units = by(rows, lambda row: row.sha256 or row.id)
    strata: dict[str, list[list[Row]]] = defaultdict(list)
    for unit in units.values():
        strata[f"{unit[0].corpus}/{unit[0].emotion}"].append(sorted(unit))
    splits: dict[str, str] = {}
    for stratum, members in sorted(strata.items()):
        members.sort()
        random.Random(f"{seed}/{stratum}").shuffle(members)
        sizes = quotas(len(members), ratios)
        labels = [split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]
        splits.update((row.id, split) for unit, split in zip(members, labels, strict=True) for row in unit)
    return splits, [LEAK if known else UNKNOWN_SPEAKERS, *missing_classes(rows, splits)]


def given_split(rows: list[Row], seed: int, ratios: Ratios) -> Splits:
    """The splits of the source. If it has no validation clips, they are drawn from its training clips."""
    without = [row.id for row in rows if row.split not in SPLITS]
    if without:
        raise ProtocolError(
            f"protocol given needs the split of every clip; {len(without)} of {len(rows)} clips have none, such as "
            f"{without[0]}. Leave the protocol out to use the stored splits of the configuration, or choose another."
        )
    splits = {row.id: row.split for row in rows}
    notes: list[str] = []
    if "validation" not in splits.values():
        divided, notes = divide_rest([row for row in rows if row.split == "train"], seed, ratios)
        splits |= divided
        notes = ["the source has no validation clips; they are drawn from its training clips", *notes]
    notes += [f"the source has no {split} clips" for split in SPLITS if split not in splits.values()]
    return splits, [*notes, *_shared_speakers(rows, splits), *missing_classes(rows, splits)]


def _shared_speakers(rows: list[Row], splits: dict[str, str]) -> list[str]:
    if not speakers_known(rows):
        return [UNKNOWN_SPEAKERS]
    seen = {split: {row.speaker for row in rows if splits[row.id] == split} for split in SPLITS}
    notes = []
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        shared = sorted(seen[one] & seen[other])
        if shared:
            more = f" and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else ""
            who = "1 speaker" if len(shared) == 1 else f"{len(shared)} speakers"
            notes.append(f"{one} and {other} share {who} ({', '.join(shared[:_SHOWN])}{more})")
    return notes


def divide_rest(rows: list[Row], seed: int, ratios: Ratios) -> Splits:
    """Split the remaining clips of each corpus into train and validation: by speaker, or by text for one speaker."""
    share = ratios[1] / (ratios[0] + ratios[1])
    splits: dict[str, str] = {}
    notes = []
    for corpus, clips in by(rows, lambda row: row.corpus).items():
        by_speaker = len({row.speaker for row in clips}) >= 2 and speakers_known(clips)
        group_of: Callable[[Row], str] = (lambda row: row.speaker) if by_speaker else (lambda row: row.text or row.id)
        chosen = choose_groups(clips, group_of, (1 - share, share), f"{seed}/{corpus}/rest")
        splits.update((row.id, SPLITS[chosen[group_of(row)]]) for row in clips)
        if not by_speaker and clips[0].speaker:
            notes.append(
                f"{corpus}: train and validation share speaker {clips[0].speaker} (with different texts); the test "
                "speaker is held out"
            )
    return splits, notes


def missing_classes(rows: list[Row], splits: dict[str, str]) -> list[str]:
    """Notes on the classes of a corpus that a split lacks."""
    notes = []
    for corpus, clips in by(rows, lambda row: row.corpus).items():
        classes = {row.emotion for row in clips}
        for split in sorted({splits[row.id] for row in clips if row.id in splits}, key=SPLITS.index):
            missing = classes - {row.emotion for row in clips if splits.get(row.id) == split}
            if missing:
                notes.append(f"{corpus}: {split} has no {', '.join(sorted(missing))} clips")
    return notes
