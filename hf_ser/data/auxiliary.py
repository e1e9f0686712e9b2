"""Auxiliary corpora: more training clips beside the corpora that a protocol splits."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hf_ser.arguments import ConfigError
from hf_ser.data.protocols import Assignment, ProtocolError, Row, assign


def check_auxiliary(names: Sequence[str], protocol: str | None, streaming: bool) -> None:
    """Raise `ConfigError` for repeated names, or settings that do not support auxiliary corpora."""
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ConfigError(f"auxiliary_corpora has {repeated[0]} twice; expected each corpus once.")
    if names and streaming:
        raise ConfigError(
            "auxiliary_corpora is given and streaming is true; streaming uses the stored splits. Remove one of them."
        )
    if names and protocol == "cross_corpus":
        raise ConfigError("auxiliary_corpora is given, but protocol cross_corpus trains on one corpus. Remove it.")


def under_test(rows: Iterable[Row], auxiliary: Sequence[str]) -> list[Row]:
    """The clips that the protocol splits: those of the other corpora.

    Raises:
        ProtocolError: a corpus has no clips, or no other corpus is left.

    >>> rows = [Row("savee/DC_a01", "savee", "savee_DC", "angry"), Row("tess/OAF_a", "tess", "tess_OAF", "angry")]
    >>> [row.id for row in under_test(rows, ["tess"])]
    ['savee/DC_a01']
    """
    rows = list(rows)
    corpora = sorted({row.corpus for row in rows})
    unknown = [name for name in auxiliary if name not in corpora]
    if unknown:
        raise ProtocolError(
            f"auxiliary_corpora has {unknown[0]!r}; expected corpora of the dataset's configuration: "
            f"{', '.join(corpora)}."
        )
    kept = [row for row in rows if row.corpus not in auxiliary]
    if rows and not kept:
        raise ProtocolError(
            f"auxiliary_corpora names every corpus ({', '.join(corpora)}); expected at least one other corpus, from "
            "which validation and test clips are taken."
        )
    return kept


def assign_with_auxiliary(
    rows: Iterable[Row], protocol: str, auxiliary: Sequence[str], *, seed: int = 0, fold: int | None = None
) -> Assignment:
    """Split clips under a protocol (see `assign`), and add those of the auxiliary corpora to train.

    Args:
        rows: all clips.
        protocol: of the corpora under test.
        auxiliary: names of corpora; empty for none.
        seed: random seed of the protocol.
        fold: number of the fold, from 1, for protocols with folds.

    Raises:
        ProtocolError: of `assign`, `under_test` and `add_auxiliary`.
    """
    rows = list(rows)
    return add_auxiliary(assign(under_test(rows, auxiliary), protocol, seed=seed, fold=fold), rows, auxiliary)


def add_auxiliary(assignment: Assignment, rows: Iterable[Row], auxiliary: Sequence[str]) -> Assignment:
    """Put every clip of the auxiliary corpora into train, except copies of validation and test clips.

    Splits that the assignment has for these clips are replaced. Validation and test clips of the other corpora do not
    change.

    Args:
        assignment: of the other corpora.
        rows: all clips.
        auxiliary: names of corpora; empty for no change.

    Raises:
        ProtocolError: an auxiliary corpus is unknown, or shares a speaker with validation or test.
    """
    if not auxiliary:
        return assignment
    rows = list(rows)
    held_out = [row for row in under_test(rows, auxiliary) if assignment.splits.get(row.id) in ("validation", "test")]
    hashes = {row.sha256 for row in held_out if row.sha256}
    clips = [row for row in rows if row.corpus in auxiliary]
    shared = sorted({row.speaker for row in clips if row.speaker} & {row.speaker for row in held_out})
    if shared:
        raise ProtocolError(
            f"auxiliary_corpora: speaker {shared[0]} is also in validation or test; expected other speakers. Leave "
            "the corpus out, or give different speakers different names and prepare the dataset again."
        )
    copies = [row.id for row in clips if row.sha256 in hashes]
    others = {row.id for row in clips}
    splits = {clip: split for clip, split in assignment.splits.items() if clip not in others}
    splits |= {row.id: "train" for row in clips if row.sha256 not in hashes}
    names = sorted(set(auxiliary))
    notes = [note for note in assignment.notes if not note.startswith(tuple(f"{name}: " for name in names))]
    notes.append(
        f"auxiliary corpora: all clips of {', '.join(names)} are training clips; classes that only they have are not "
        "scored"
    )
    if copies:
        notes.append(f"auxiliary clips with the audio of a validation or test clip are left out: {len(copies)}")
    return replace(assignment, splits=splits, notes=tuple(notes), auxiliary=tuple(names))
