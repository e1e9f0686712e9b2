"""Protocols assign clips to train, validation and test. Each is a pure function of the metadata and a seed.

`speaker_disjoint` (the default), `random` and `given` (the splits of the source) have one split.
`leave_one_speaker_out`, `speaker_folds_5`, `leave_one_corpus_out`, `cross_corpus` (train on one corpus, test on all)
and the published protocols have numbered folds. If a protocol specifies the test clips only, validation is drawn from
the rest, with no speaker in both train and validation if the corpus has at least two speakers left. Without known
speakers, only `random` and `given` can be used.
"""

import hashlib
import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hf_ser.data.balanced_groups import by, choose_groups, quotas
from hf_ser.data.published import PUBLISHED
from hf_ser.errors import SerError

SPLITS = ("train", "validation", "test")
Ratios = tuple[float, float, float]
DEFAULT_RATIOS: Ratios = (0.70, 0.15, 0.15)
SHARES_SPEAKERS = ("random",)  # protocols whose train and test splits share speakers
LEAK = "train and test share speakers; on RAVDESS, scores are 7 to 13 points higher than on held-out speakers"
UNKNOWN_SPEAKERS = "speakers are unknown: test clips may contain voices of the training data"
_SHOWN = 5  # names in one message


class ProtocolError(SerError):
    """A protocol that does not exist or cannot be applied to the clips."""


class SpeakerLeakWarning(UserWarning):
    """The train and test splits of the protocol share speakers."""


class Row(NamedTuple):
    """The metadata of one clip that protocols use.

    >>> Row("ravdess/03-01-05-01-01-01-07", "ravdess", "ravdess_07", "angry", "male").vocal_channel
    'speech'
    """

    id: str
    corpus: str
    speaker: str
    emotion: str
    gender: str = ""
    text: str = ""
    vocal_channel: str = "speech"
    sha256: str = ""
    split: str = ""  # train, validation or test, if the source has splits


def speakers_known(rows: Iterable[Row]) -> bool:
    """Whether every clip has a speaker."""
    return all(row.speaker for row in rows)


def default_protocol(rows: Sequence[Row]) -> str:
    """The default protocol of a dataset: the given splits if there are any, else held-out speakers if they are known.

    >>> default_protocol([Row("calls/1", "calls", "", "angry"), Row("calls/2", "calls", "", "happy")])
    'random'
    """
    if all(row.split for row in rows):
        return "given"
    return "speaker_disjoint" if speakers_known(rows) else "random"


@dataclass(frozen=True)
class Assignment:
    """The result of a protocol: the split of each clip that it uses.

    >>> splits = {"tess/OAF_back_sad": "test", "tess/YAF_back_sad": "train"}
    >>> Assignment("speaker_disjoint", None, 0, DEFAULT_RATIOS, splits).ids("train")
    ['tess/YAF_back_sad']
    """

    protocol: str
    fold: int | None
    seed: int
    ratios: Ratios
    splits: dict[str, str]  # clip id -> split; clips outside the protocol are absent
    notes: tuple[str, ...] = field(default=())
    auxiliary: tuple[str, ...] = ()  # corpora for training only, see hf_ser.data.auxiliary

    @property
    def hash(self) -> str:
        """SHA-256 over the sorted (id, split) pairs. Equal hashes mean equal splits."""
        lines = "".join(f"{clip}\t{split}\n" for clip, split in sorted(self.splits.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def ids(self, split: str) -> list[str]:
        """The sorted ids of the clips in a split."""
        return sorted(clip for clip, given in self.splits.items() if given == split)


def assign(
    rows: Iterable[Row],
    protocol: str = "speaker_disjoint",
    *,
    seed: int = 0,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    fold: int | None = None,
) -> Assignment:
    """Split clips under a protocol.

    Args:
        rows: the clips' metadata, in any order.
        protocol: a name from `PROTOCOLS`.
        seed: random seed; the order of `rows` has no effect.
        ratios: train, validation and test fractions (published work uses 70/15/15 and 70/20/10).
        fold: number of the fold, from 1, for protocols with folds.

    Returns:
        The split of each clip that the protocol uses.

    Raises:
        ProtocolError: if the protocol is unknown or cannot be applied to the clips, or the ratios or fold are invalid.

    >>> speakers = ("DC", "JE", "JK", "KL")
    >>> rows = [Row(f"savee/{name}_a0{n}", "savee", f"savee_{name}", "angry") for name in speakers for n in (1, 2)]
    >>> assignment = assign(rows, "speaker_disjoint", seed=0)
    >>> {split: len(assignment.ids(split)) for split in SPLITS}
    {'train': 4, 'validation': 2, 'test': 2}
    """
    rows = sorted(rows)
    parts = check_ratios(ratios)
    if not rows:
        raise ProtocolError("got no clips; expected at least one. Prepare a dataset with recipes/prepare.py.")
    if protocol in _SINGLE:
        if fold is not None:
            raise ProtocolError(f"fold is {fold}; expected no fold, since protocol {protocol} has only one split.")
        if protocol == "speaker_disjoint":
            _need_speakers(rows, protocol)
        splits, notes = _SINGLE[protocol](rows, seed, parts)
        return Assignment(protocol, None, seed, parts, splits, tuple(notes))
    choices = folds(rows, protocol)
    if fold is None or not 1 <= fold <= len(choices):
        names = "; ".join(f"{number}: {choice.name}" for number, choice in enumerate(choices, 1))
        raise ProtocolError(f"fold is {fold}; expected 1 to {len(choices)} for protocol {protocol} ({names}).")
    splits, notes = _assign_fold(rows, choices[fold - 1], seed, parts)
    unused = Counter(f"{row.corpus} ({row.vocal_channel})" for row in rows if row.id not in splits)
    if unused:
        counts = ", ".join(f"{number} of {name}" for name, number in sorted(unused.items()))
        notes = [*notes, f"clips that the protocol does not use: {counts}"]
    return Assignment(protocol, fold, seed, parts, splits, tuple(notes))


class Fold(NamedTuple):
    """One fold: which clips it uses, which are test clips and, if the protocol specifies them, validation clips."""

    name: str
    takes_part: Callable[[Row], bool]
    tests: Callable[[Row], bool]
    validates: Callable[[Row], bool] | None = None
    own_test: bool = False  # whether some speakers of the remaining clips are also held out for testing


def folds(rows: Iterable[Row], protocol: str) -> list[Fold]:
    """The folds of a protocol over these clips, in published or sorted order.

    Raises:
        ProtocolError: if the protocol is unknown, has no folds, or cannot be applied to the clips.

    >>> rows = [Row(f"tess/{name}_back_sad", "tess", f"tess_{name}", "sad") for name in ("OAF", "YAF")]
    >>> [fold.name for fold in folds(rows, "leave_one_speaker_out")]
    ['tess_OAF', 'tess_YAF']
    """
    rows = sorted(rows)
    if protocol in FOLDED:
        _need_speakers(rows, protocol)
    if protocol == "leave_one_speaker_out":
        return _leave_one_out(rows, lambda row: row.speaker, "speakers")
    if protocol == "speaker_folds_5":
        return _speaker_folds(rows, protocol, 5)
    if protocol == "leave_one_corpus_out":
        return _leave_one_out(rows, lambda row: row.corpus, "corpora")
    if protocol == "cross_corpus":
        return _one_corpus_trains(rows)
    if protocol in PUBLISHED:
        return _published_folds(rows, protocol)
    if protocol in _SINGLE:
        raise ProtocolError(f"protocol {protocol} has no folds; expected one of {', '.join(FOLDED)}.")
    raise ProtocolError(f"unknown protocol {protocol!r}; expected one of {', '.join(PROTOCOLS)}.")


def _need_speakers(rows: Sequence[Row], protocol: str) -> None:
    without = sum(not row.speaker for row in rows)
    if without:
        raise ProtocolError(
            f"protocol {protocol} needs the speaker of every clip; {without} of {len(rows)} clips have none. Use the "
            "protocol random, or add the speakers and prepare the dataset again."
        )


def check_ratios(ratios: Sequence[float]) -> Ratios:
    """Return the fractions as a tuple; raise `ProtocolError` unless they are three positive numbers that sum to 1."""
    values = tuple(float(ratio) for ratio in ratios)
    if len(values) != 3 or not min(values) > 0 or not abs(sum(values) - 1) <= 1e-6:
        raise ProtocolError(
            f"ratios are {list(ratios)}; expected three positive fractions for train, validation and test that sum "
            "to 1, such as 0.7 0.15 0.15."
        )
    return values[0], values[1], values[2]


Splits = tuple[dict[str, str], list[str]]


def _speaker_disjoint(rows: list[Row], seed: int, ratios: Ratios) -> Splits:
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
            divided, more = _divide_rest(rest, seed, ratios)
            splits.update(divided)
            notes += more
        else:
            splits.update((row.id, "train") for row in clips)
            notes.append(f"{corpus}: the only speaker is {speakers[0]}, so all clips are in train")
    return splits, notes + _missing_classes(rows, splits)


def _random(rows: list[Row], seed: int, ratios: Ratios) -> Splits:
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
    return splits, [LEAK if known else UNKNOWN_SPEAKERS, *_missing_classes(rows, splits)]


def _given(rows: list[Row], seed: int, ratios: Ratios) -> Splits:
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
        divided, notes = _divide_rest([row for row in rows if row.split == "train"], seed, ratios)
        splits |= divided
        notes = ["the source has no validation clips; they are drawn from its training clips", *notes]
    notes += [f"the source has no {split} clips" for split in SPLITS if split not in splits.values()]
    return splits, [*notes, *_shared_speakers(rows, splits), *_missing_classes(rows, splits)]


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


def _divide_rest(rows: list[Row], seed: int, ratios: Ratios) -> Splits:
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


def _missing_classes(rows: list[Row], splits: dict[str, str]) -> list[str]:
    notes = []
    for corpus, clips in by(rows, lambda row: row.corpus).items():
        classes = {row.emotion for row in clips}
        for split in sorted({splits[row.id] for row in clips if row.id in splits}, key=SPLITS.index):
            missing = classes - {row.emotion for row in clips if splits.get(row.id) == split}
            if missing:
                notes.append(f"{corpus}: {split} has no {', '.join(sorted(missing))} clips")
    return notes


def _assign_fold(rows: list[Row], fold: Fold, seed: int, ratios: Ratios) -> Splits:
    rows = [row for row in rows if fold.takes_part(row)]
    splits = {row.id: "test" for row in rows if fold.tests(row)}
    rest = [row for row in rows if row.id not in splits]
    if all(fold.validates is not None and fold.validates(row) for row in rest):
        raise ProtocolError(f"fold {fold.name} has no clips to train on. Prepare the other speakers too.")
    if fold.validates is not None:
        splits.update((row.id, "validation" if fold.validates(row) else "train") for row in rest)
        return splits, []
    if fold.own_test:
        divided, notes = _speaker_disjoint(rest, seed, ratios)
    else:
        divided, notes = _divide_rest(rest, seed, ratios)
    return splits | divided, notes


def _leave_one_out(rows: list[Row], key: Callable[[Row], str], what: str) -> list[Fold]:
    names = sorted({key(row) for row in rows})
    if len(names) < 2:
        raise ProtocolError(f"leaving one out needs at least 2 {what}; got 1 ({', '.join(names)}).")
    return [Fold(name, lambda row: True, lambda row, name=name: key(row) == name) for name in names]  # type: ignore[misc]


def _speaker_folds(rows: list[Row], protocol: str, number: int) -> list[Fold]:
    """Folds of whole speakers with as equal numbers of women and men as possible; no seed, so that they have one form.

    The speakers of a corpus are sorted by gender, then by name, and dealt to the folds in turn.
    """
    fold_of: dict[str, int] = {}
    for corpus, clips in by(rows, lambda row: row.corpus).items():
        speakers = sorted({(row.gender, row.speaker) for row in {row.speaker: row for row in clips}.values()})
        if len(speakers) < number:
            raise ProtocolError(
                f"protocol {protocol} needs at least {number} speakers of each corpus; got {len(speakers)} of "
                f"{corpus}. Pass --configuration with a corpus that has enough, or use leave_one_speaker_out."
            )
        fold_of |= {speaker: place % number for place, (_, speaker) in enumerate(speakers)}
    sizes = Counter(fold_of.values())
    return [
        Fold(
            f"part {fold + 1} of {number} ({sizes[fold]} speakers)",
            lambda row: True,
            lambda row, fold=fold: fold_of[row.speaker] == fold,  # type: ignore[misc]
        )
        for fold in range(number)
    ]


def _one_corpus_trains(rows: list[Row]) -> list[Fold]:
    """One fold per corpus: train on it, and test on held-out speakers of it and on every other corpus."""
    corpora = [fold.name for fold in _leave_one_out(rows, lambda row: row.corpus, "corpora")]
    with_two = [corpus for corpus in corpora if len({row.speaker for row in rows if row.corpus == corpus}) > 1]
    return [
        Fold(name, lambda row: True, lambda row, name=name: row.corpus != name, own_test=True)  # type: ignore[misc]
        for name in with_two
    ]


def _published_folds(rows: list[Row], protocol: str) -> list[Fold]:
    tables = PUBLISHED[protocol]
    corpora = sorted({row.corpus for row in rows} & set(tables))
    if len(corpora) != 1:
        raise ProtocolError(
            f"protocol {protocol} is published for {', and separately for '.join(sorted(tables))}; got clips of "
            f"{', '.join(sorted({row.corpus for row in rows}))}. Pass --configuration {' or '.join(sorted(tables))}."
        )
    corpus = corpora[0]
    present = {row.speaker for row in rows if row.corpus == corpus and row.vocal_channel == "speech"}
    result = []
    for test, validation in tables[corpus]:
        missing = sorted((set(test) | set(validation)) - present)
        if missing:
            raise ProtocolError(
                f"protocol {protocol} needs clips of all its speakers; got none of {', '.join(missing)}. Prepare the "
                f"whole of {corpus}."
            )
        result.append(_published_fold(corpus, test, validation))
    return result


def _published_fold(corpus: str, test: tuple[str, ...], validation: tuple[str, ...]) -> Fold:
    return Fold(
        name=" ".join(speaker.removeprefix(f"{corpus}_") for speaker in test),
        takes_part=lambda row: row.corpus == corpus and row.vocal_channel == "speech",
        tests=lambda row: row.speaker in test,
        validates=(lambda row: row.speaker in validation) if validation else None,
    )


_SINGLE: dict[str, Callable[[list[Row], int, Ratios], Splits]] = {
    "speaker_disjoint": _speaker_disjoint,
    "random": _random,
    "given": _given,
}
CROSS_CORPUS = ("leave_one_corpus_out", "cross_corpus")
FOLDED = ("leave_one_speaker_out", "speaker_folds_5", *CROSS_CORPUS, *PUBLISHED)
PROTOCOLS = (*_SINGLE, *FOLDED)
