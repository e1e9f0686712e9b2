"""Protocols assign clips to train, validation and test. Each is a pure function of the metadata and a seed.

`speaker_disjoint` (the default), `random` and `given` (the splits of the source) have one split. All other protocols
have numbered folds: of speakers or corpora (`hf_ser.data.fold_choices`), of speakers and texts
(`hf_ser.data.text_folds`), or published ones (`hf_ser.data.published`). If a protocol specifies the test clips only,
validation is drawn from the rest, with no speaker in both train and validation if the corpus has at least two speakers
left. Without known speakers, only `random` and `given` can be used.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from hf_ser.data.assignment import (
    DEFAULT_RATIOS,
    SPLITS,
    Assignment,
    ProtocolError,
    Ratios,
    Row,
    Splits,
    check_ratios,
    need_speakers,
    speakers_known,
)
from hf_ser.data.balanced_validation import balanced_rest
from hf_ser.data.fold_choices import (
    Fold,
    leave_one_out,
    one_corpus_trains,
    published_folds,
    redrawn_speaker_folds,
    speaker_folds,
)
from hf_ser.data.published import PUBLISHED
from hf_ser.data.single_splits import (
    LEAK,
    UNKNOWN_SPEAKERS,
    SpeakerLeakWarning,
    divide_rest,
    given_split,
    missing_classes,
    random_split,
    speaker_disjoint,
)
from hf_ser.data.text_folds import CROSSED, crossed_folds

__all__ = [
    "CROSSED",
    "CROSS_CORPUS",
    "DEFAULT_RATIOS",
    "FOLDED",
    "LEAK",
    "PROTOCOLS",
    "SHARES_SPEAKERS",
    "SPLITS",
    "UNKNOWN_SPEAKERS",
    "Assignment",
    "Fold",
    "ProtocolError",
    "Row",
    "SpeakerLeakWarning",
    "assign",
    "check_ratios",
    "default_protocol",
    "folds",
    "speakers_known",
]
SHARES_SPEAKERS = ("random", "text_disjoint")  # protocols whose train and test splits share speakers


def default_protocol(rows: Sequence[Row]) -> str:
    """The default protocol of a dataset: the given splits if there are any, else held-out speakers if they are known.

    >>> default_protocol([Row("calls/1", "calls", "", "angry"), Row("calls/2", "calls", "", "happy")])
    'random'
    """
    if all(row.split for row in rows):
        return "given"
    return "speaker_disjoint" if speakers_known(rows) else "random"


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
            need_speakers(rows, protocol)
        splits, notes = _SINGLE[protocol](rows, seed, parts)
        return Assignment(protocol, None, seed, parts, splits, tuple(notes))
    choices = folds(rows, protocol, seed)
    if fold is None or not 1 <= fold <= len(choices):
        names = "; ".join(f"{number}: {choice.name}" for number, choice in enumerate(choices, 1))
        raise ProtocolError(f"fold is {fold}; expected 1 to {len(choices)} for protocol {protocol} ({names}).")
    splits, notes = _assign_fold(rows, choices[fold - 1], seed, parts)
    unused = Counter(f"{row.corpus} ({row.vocal_channel})" for row in rows if row.id not in splits)
    if unused:
        counts = ", ".join(f"{number} of {name}" for name, number in sorted(unused.items()))
        notes = [*notes, f"clips that the protocol does not use: {counts}"]
    return Assignment(protocol, fold, seed, parts, splits, tuple(notes))


def folds(rows: Iterable[Row], protocol: str, seed: int = 0) -> list[Fold]:
    """The folds of a protocol over these clips, in published or sorted order.

    Args:
        rows: the clips' metadata, in any order.
        protocol: a name from `FOLDED`.
        seed: random seed; only `repeated_speaker_folds_5` draws its folds.

    Raises:
        ProtocolError: if the protocol is unknown, has no folds, or cannot be applied to the clips.

    >>> rows = [Row(f"tess/{name}_back_sad", "tess", f"tess_{name}", "sad") for name in ("OAF", "YAF")]
    >>> [fold.name for fold in folds(rows, "leave_one_speaker_out")]
    ['tess_OAF', 'tess_YAF']
    """
    rows = sorted(rows)
    if protocol in _SINGLE:
        raise ProtocolError(f"protocol {protocol} has no folds; expected one of {', '.join(FOLDED)}.")
    if protocol not in FOLDED:
        raise ProtocolError(f"unknown protocol {protocol!r}; expected one of {', '.join(PROTOCOLS)}.")
    need_speakers(rows, protocol)
    if protocol in PUBLISHED:
        return published_folds(rows, protocol)
    if protocol in CROSSED:
        return crossed_folds(rows, protocol)
    if protocol == "repeated_speaker_folds_5":
        return redrawn_speaker_folds(rows, protocol, 5, seed)
    return _FOLDS[protocol](rows)


def _assign_fold(rows: list[Row], fold: Fold, seed: int, ratios: Ratios) -> Splits:
    rows = [row for row in rows if fold.takes_part(row)]
    splits = {row.id: "test" for row in rows if fold.tests(row)}
    rest = [row for row in rows if row.id not in splits]
    if all(fold.validates is not None and fold.validates(row) for row in rest):
        raise ProtocolError(f"fold {fold.name} has no clips to train on. Prepare the other speakers too.")
    if fold.validates is not None:
        splits.update((row.id, "validation" if fold.validates(row) else "train") for row in rest)
        return splits, [*fold.notes, *missing_classes(rows, splits)]
    if fold.balanced:
        divided, notes = balanced_rest(rest, seed, ratios)
    elif fold.own_test:
        divided, notes = speaker_disjoint(rest, seed, ratios)
    else:
        divided, notes = divide_rest(rest, seed, ratios)
    return splits | divided, [*fold.notes, *notes]


_SINGLE: dict[str, Callable[[list[Row], int, Ratios], Splits]] = {
    "speaker_disjoint": speaker_disjoint,
    "random": random_split,
    "given": given_split,
}
_FOLDS: dict[str, Callable[[list[Row]], list[Fold]]] = {
    "leave_one_speaker_out": lambda rows: leave_one_out(rows, lambda row: row.speaker, "speakers"),
    "speaker_folds_5": lambda rows: speaker_folds(rows, "speaker_folds_5", 5),
    "leave_one_corpus_out": lambda rows: leave_one_out(rows, lambda row: row.corpus, "corpora"),
    "leave_one_corpus_out_balanced": lambda rows: [
        fold._replace(balanced=True) for fold in leave_one_out(rows, lambda row: row.corpus, "corpora")
    ],
    "cross_corpus": one_corpus_trains,
}
CROSS_CORPUS = ("leave_one_corpus_out", "leave_one_corpus_out_balanced", "cross_corpus")
FOLDED = (*_FOLDS, "repeated_speaker_folds_5", *CROSSED, *PUBLISHED)
PROTOCOLS = (*_SINGLE, *FOLDED)
