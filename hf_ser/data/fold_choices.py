"""Protocols with numbered folds of speakers or corpora."""

import random
from collections.abc import Callable
from typing import NamedTuple

from hf_ser.data.assignment import ProtocolError, Row
from hf_ser.data.balanced_groups import by
from hf_ser.data.published import PUBLISHED


class Fold(NamedTuple):
    """One fold: which clips it uses, which are test clips and, if the protocol specifies them, validation clips."""

    name: str
    takes_part: Callable[[Row], bool]
    tests: Callable[[Row], bool]
    validates: Callable[[Row], bool] | None = None
    own_test: bool = False  # whether some speakers of the remaining clips are also held out for testing
    balanced: bool = False  # whether validation has equally many clips of each corpus
    notes: tuple[str, ...] = ()


def leave_one_out(rows: list[Row], key: Callable[[Row], str], what: str) -> list[Fold]:
    """One fold per value of `key`: a speaker, or a corpus."""
    names = sorted({key(row) for row in rows})
    if len(names) < 2:
        raise ProtocolError(f"leaving one out needs at least 2 {what}; got 1 ({', '.join(names)}).")
    return [Fold(name, lambda row: True, lambda row, name=name: key(row) == name) for name in names]  # type: ignore[misc]


def speaker_folds(rows: list[Row], protocol: str, number: int) -> list[Fold]:
    """Folds of whole speakers with as equal numbers of women and men as possible; no seed, so that they have one form.

    The speakers of a corpus are sorted by gender, then by name, and dealt to the folds in turn.
    """
    fold_of: dict[str, int] = {}
    for speakers in _speakers_by_gender(rows, protocol, number).values():
        fold_of |= {speaker: place % number for place, (_, speaker) in enumerate(speakers)}
    return [_part(fold_of, fold, number) for fold in range(number)]


def redrawn_speaker_folds(rows: list[Row], protocol: str, number: int, seed: int) -> list[Fold]:
    """Folds as in `speaker_folds`, but each seed shuffles the women and the men of a corpus before they are dealt.

    A note of each fold names its test speakers.

    Args:
        rows: the clips' metadata.
        protocol: its name, for messages and as part of the seed.
        number: number of folds.
        seed: random seed.

    Raises:
        ProtocolError: a corpus has fewer speakers than folds.
    """
    fold_of: dict[str, int] = {}
    for corpus, speakers in _speakers_by_gender(rows, protocol, number).items():
        drawn = random.Random(f"{seed}/{corpus}/{protocol}").sample(speakers, len(speakers))
        drawn.sort(key=lambda speaker: speaker[0])  # stable: shuffled within a gender
        fold_of |= {speaker: place % number for place, (_, speaker) in enumerate(drawn)}
    members = by(rows, lambda row: str(fold_of[row.speaker]))
    tested = [", ".join(sorted({row.speaker for row in members[str(fold)]})) for fold in range(number)]
    return [
        _part(fold_of, fold, number)._replace(notes=(f"test speakers of part {fold + 1}, seed {seed}: {names}",))
        for fold, names in enumerate(tested)
    ]


def _speakers_by_gender(rows: list[Row], protocol: str, number: int) -> dict[str, list[tuple[str, str]]]:
    """Corpus -> (gender, speaker), sorted; raise `ProtocolError` if a corpus has fewer speakers than folds."""
    found = {}
    for corpus, clips in by(rows, lambda row: row.corpus).items():
        speakers = sorted({(row.gender, row.speaker) for row in {row.speaker: row for row in clips}.values()})
        if len(speakers) < number:
            raise ProtocolError(
                f"protocol {protocol} needs at least {number} speakers of each corpus; got {len(speakers)} of "
                f"{corpus}. Pass --configuration with a corpus that has enough, or use leave_one_speaker_out."
            )
        found[corpus] = speakers
    return found


def _part(fold_of: dict[str, int], fold: int, number: int) -> Fold:
    size = sum(part == fold for part in fold_of.values())
    name = f"part {fold + 1} of {number} ({size} speakers)"
    return Fold(name, lambda row: True, lambda row: fold_of[row.speaker] == fold)


def one_corpus_trains(rows: list[Row]) -> list[Fold]:
    """One fold per corpus: train on it, and test on held-out speakers of it and on every other corpus."""
    corpora = [fold.name for fold in leave_one_out(rows, lambda row: row.corpus, "corpora")]
    with_two = [corpus for corpus in corpora if len({row.speaker for row in rows if row.corpus == corpus}) > 1]
    return [
        Fold(name, lambda row: True, lambda row, name=name: row.corpus != name, own_test=True)  # type: ignore[misc]
        for name in with_two
    ]


def published_folds(rows: list[Row], protocol: str) -> list[Fold]:
    """The folds of a published protocol, in published order."""
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
