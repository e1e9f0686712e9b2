"""Votes of raters: joined to clips and described in preparation, and read from a prepared dataset."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hf_ser.corpora import Utterance, crema_d
from hf_ser.corpora.crema_d_votes import VotesError
from hf_ser.data.found_recordings import Found
from hf_ser.data.label_set import LabelSet

if TYPE_CHECKING:
    import datasets

_SHOWN = 5  # labels or stems in one note


def with_crema_d_votes(found: Found, votes: Mapping[str, Mapping[str, int]]) -> Found:
    """Join votes to the recordings of CREMA-D by the stem of the file.

    Args:
        found: recordings of the corpora.
        votes: stem -> emotion -> number of raters, from `read_votes`.

    Returns:
        The recordings with their votes, and notes on recordings without votes and votes without recordings.

    Raises:
        VotesError: no recording has votes.
    """
    copies = [[_voted(one, votes) for one in group] for group in found.copies]
    stems = {one.stem for group in copies for one in group if one.corpus == crema_d.NAME}
    without, unused = sorted(stems - votes.keys()), sorted(votes.keys() - stems)
    if len(without) == len(stems):
        raise VotesError(
            f"--crema_d_votes has none of the {len(stems)} recordings of CREMA-D (the first: {without[0]}, in the "
            f"file: {unused[0]}); expected their stems in its column fileName. Pass the file of these recordings."
        )
    notes = list(found.notes)
    if without:
        notes.append(f"{len(without)} recordings of crema_d have no votes ({_some(without)})")
    if unused:
        notes.append(f"the votes of {len(unused)} clips have no recording ({_some(unused)})")
    return replace(found, copies=copies, notes=tuple(notes))


def _voted(one: Utterance, votes: Mapping[str, Mapping[str, int]]) -> Utterance:
    if one.corpus != crema_d.NAME or one.stem not in votes:
        return one
    return replace(one, votes=tuple((emotion, count) for emotion, count in votes[one.stem].items() if count))


def vote_notes(clips: Sequence[Utterance], labels: LabelSet) -> list[str]:
    """What the report says about votes; empty if no clip has any.

    Raises:
        VotesError: no vote is for a label of the dataset.
    """
    voted = [clip for clip in clips if clip.votes]
    if not voted:
        return []
    outside: Counter[str] = Counter()
    known: list[tuple[str, dict[str, int]]] = []
    for clip in voted:
        outside.update({label: count for label, count in clip.votes if label not in labels.names})
        counts = {label: count for label, count in clip.votes if label in labels.names and count}
        if counts:
            known.append((clip.emotion, counts))
    shown = _some([f"{label}: {count}" for label, count in outside.most_common()])
    if not known:
        raise VotesError(
            f"no vote is for a label of the dataset: the votes are {shown}, the labels "
            f"{', '.join(labels.names)}. Name the votes like the labels, or add a label_mapping."
        )
    raters = [sum(counts.values()) for _, counts in known]
    winners = [[label for label, count in counts.items() if count == max(counts.values())] for _, counts in known]
    tied = sum(len(each) > 1 for each in winners)
    agreed = sum(each == [label] for each, (label, _) in zip(winners, known, strict=True))
    notes = [
        f"{len(known)} of {len(clips)} clips have votes, {min(raters)} to {max(raters)} per clip (mean "
        f"{sum(raters) / len(raters):.1f}); the most frequent vote is the label of {agreed} clips, another one of "
        f"{len(known) - agreed - tied}, and tied in {tied}"
    ]
    if outside:
        notes.append(f"{outside.total()} votes are for labels outside the label set and do not count ({shown})")
    return notes


def votes_of_split(part: "datasets.Dataset") -> list[dict[str, int] | None]:
    """The votes of each clip of a prepared dataset's split, label -> number of raters; None for clips without.

    >>> from hf_ser.data import DataArguments, load_splits
    >>> votes_of_split(load_splits(DataArguments("data/emotions", "ravdess")).splits["test"])[:2]
    [None, None]
    """
    if "votes" not in part.column_names:
        return [None] * len(part)
    return [_summed(clip) if clip else None for clip in part["votes"]]


def _summed(votes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Counts by label; merged classes have several entries of one label."""
    counts: Counter[str] = Counter()
    for vote in votes:
        counts[vote["label"]] += vote["count"]
    return dict(counts)


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{', '.join(items[:_SHOWN])}{more}"
