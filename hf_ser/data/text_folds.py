"""Folds of speakers and texts: what is a score on known speakers, known texts, or neither worth?

Speakers are in groups, and texts in two groups. Each fold tests one group of speakers on one group of texts, so that
every clip is tested once. Under the three protocols, a fold has the same test clips, the same validation clips, and as
many training speakers with as many clips each; only the choice of the training clips differs:

- `speaker_and_text_disjoint`: other speakers with the other texts.
- `speaker_disjoint_text_shared`: the same speakers, but each with either the tested texts or the others.
- `text_disjoint`: the other texts; the test speakers replace one group of the training speakers.

Validation clips are the next group of speakers with the other texts.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from hf_ser.data.assignment import ProtocolError, Row
from hf_ser.data.fold_choices import Fold
from hf_ser.data.published import PUBLISHED

CROSSED = ("speaker_disjoint_text_shared", "text_disjoint", "speaker_and_text_disjoint")
_PUBLISHED_GROUPS = {"ravdess": "emobox", "crema_d": "emo_superb"}  # corpus -> the protocol whose groups are used
_DEALT_GROUPS = 5  # of the speakers of other corpora
_FEWEST_GROUPS = 4  # test, validation, training, and the one that text_disjoint replaces
_SHOWN = 12  # texts in a note


def crossed_folds(rows: Sequence[Row], protocol: str) -> list[Fold]:
    """The folds of one of the three protocols.

    Args:
        rows: clips of one corpus; only speech is used.
        protocol: a name from `CROSSED`.

    Raises:
        ProtocolError: there are several corpora, clips without a text, or too few speakers or texts.

    >>> rows = [Row(f"c/{who}{text}", "c", who, "sad", text=text) for who in "abcdefgh" for text in ("one", "two")]
    >>> [fold.name for fold in crossed_folds(rows, "text_disjoint")][:3]
    ['a f, texts 1 of 2', 'a f, texts 2 of 2', 'b g, texts 1 of 2']
    """
    corpora = sorted({row.corpus for row in rows})
    if len(corpora) != 1:
        raise ProtocolError(
            f"protocol {protocol} divides the speakers and texts of one corpus; got clips of {', '.join(corpora)}. "
            f"Pass --configuration {' or '.join(corpora)}."
        )
    spoken = [row for row in rows if row.vocal_channel == "speech"]
    texts = _text_groups(spoken, protocol, corpora[0])
    groups = _speaker_groups(spoken, protocol, corpora[0])
    return [
        _crossed_fold(spoken, protocol, groups, place, texts, half)
        for place in range(len(groups))
        for half in range(len(texts))
    ]


def _crossed_fold(
    rows: Sequence[Row], protocol: str, groups: list[list[str]], place: int, texts: list[list[str]], half: int
) -> Fold:
    test, validation, *train = groups[place:] + groups[:place]
    here = set(texts[half])
    speakers = {
        speaker for group in ([test, *train[1:]] if protocol == "text_disjoint" else train) for speaker in group
    }
    trains = _trains(rows, protocol, speakers, here)

    def tests(row: Row) -> bool:
        return row.speaker in test and row.text in here

    def validates(row: Row) -> bool:
        return row.speaker in validation and row.text not in here

    def takes_part(row: Row) -> bool:
        return row.vocal_channel == "speech" and (tests(row) or validates(row) or trains(row))

    prefix = f"{rows[0].corpus}_"
    name = f"{' '.join(speaker.removeprefix(prefix) for speaker in test)}, texts {half + 1} of {len(texts)}"
    return Fold(name, takes_part, tests, validates, notes=_notes(rows, protocol, texts[half], half))


def _trains(
    rows: Sequence[Row], protocol: str, speakers: Collection[str], tested: Collection[str]
) -> Callable[[Row], bool]:
    if protocol != "speaker_disjoint_text_shared":
        return lambda row: row.speaker in speakers and row.text not in tested
    # Half of the women and half of the men leave out the other texts instead of the tested ones.
    dealt = sorted({(row.gender, row.speaker) for row in rows if row.speaker in speakers})
    with_tested = {speaker for place, (_, speaker) in enumerate(dealt) if place % 2}
    return lambda row: row.speaker in speakers and (row.text in tested) == (row.speaker in with_tested)


def _speaker_groups(rows: Sequence[Row], protocol: str, corpus: str) -> list[list[str]]:
    """Published groups if all of their speakers are here; else the speakers, by gender and name, dealt in turn."""
    speakers = sorted({(row.gender, row.speaker) for row in {row.speaker: row for row in rows}.values()})
    present = {speaker for _, speaker in speakers}
    if corpus in _PUBLISHED_GROUPS:
        groups = [list(test) for test, _ in PUBLISHED[_PUBLISHED_GROUPS[corpus]][corpus]]
        if {speaker for group in groups for speaker in group} == present:
            return groups
    number = min(_DEALT_GROUPS, len(speakers))
    if number < _FEWEST_GROUPS:
        raise ProtocolError(
            f"protocol {protocol} needs at least {_FEWEST_GROUPS} speakers; got {number} of {corpus}. Use another "
            "corpus, or leave_one_speaker_out."
        )
    return [sorted(speaker for _, speaker in speakers[place::number]) for place in range(number)]


def _text_groups(rows: Sequence[Row], protocol: str, corpus: str) -> list[list[str]]:
    """Two groups with about as many clips: texts, those with most clips first, go to the group with fewer clips."""
    without = sum(not row.text for row in rows)
    if without:
        raise ProtocolError(
            f"protocol {protocol} needs the text of every clip; {without} of {len(rows)} clips of {corpus} have none. "
            "Use speaker_disjoint, or add the texts and prepare the dataset again."
        )
    counts = Counter(row.text for row in rows)
    if len(counts) < 2:
        raise ProtocolError(
            f"protocol {protocol} needs speech clips with at least 2 texts; got {len(counts)} of {corpus}."
        )
    groups: list[list[str]] = [[], []]
    for text in sorted(counts, key=lambda text: (-counts[text], text)):
        min(groups, key=lambda group: sum(counts[member] for member in group)).append(text)
    return sorted(sorted(group) for group in groups)


def _notes(rows: Sequence[Row], protocol: str, tested: Sequence[str], half: int) -> tuple[str, ...]:
    shown = "; ".join(tested[:_SHOWN]) + (f" and {len(tested) - _SHOWN} more" if len(tested) > _SHOWN else "")
    notes = [f"texts {half + 1} of 2: {shown}"]
    if protocol == "text_disjoint":
        notes.append("the test speakers are training speakers, with other texts")
    counts = Counter(row.text for row in rows)
    once = sum(count == 1 for count in counts.values())
    if once > len(counts) / 2:
        notes.append(f"{once} of {len(counts)} texts occur once, so that holding texts out says little")
    return tuple(notes)
