"""The label set of a dataset: names in order, and the mapping from the labels of the sources."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hf_ser.arguments import did_you_mean
from hf_ser.corpora import Utterance
from hf_ser.data.found_recordings import Found, Quarantined
from hf_ser.errors import SerError
from hf_ser.labels import EMOTIONS

ALL = "all"  # --labels all: every label that occurs
_SHOWN = 10  # labels in one message


class LabelError(SerError):
    """Labels that do not match the label set or the label mapping."""


@dataclass(frozen=True)
class LabelSet:
    """The classes of a dataset.

    Args:
        names: labels in the order of the class ids.
        mapping: label of a source -> label or None, which drops its clips; other labels keep their names.

    >>> labels = LabelSet(("neutral", "happy"), {"excited": "happy", "xxx": None})
    >>> labels.of("excited"), labels.of("neutral"), labels.of("xxx"), labels.of("bored")
    ('happy', 'neutral', None, None)
    """

    names: tuple[str, ...] = EMOTIONS
    mapping: Mapping[str, str | None] = field(default_factory=dict)

    def of(self, label: str) -> str | None:
        """The label of the dataset for a label of a source; None if its clips are excluded."""
        mapped = self.mapping.get(label, label)
        return mapped if mapped in self.names else None


def check_mapping(mapping: Any) -> dict[str, str | None]:
    """Check a label mapping from a YAML file or the command line; return it with text keys.

    Raises:
        LabelError: it is not a mapping, or maps to something other than text or null.
    """
    if mapping is None:
        return {}
    if not isinstance(mapping, Mapping):
        raise LabelError(f"label_mapping is {mapping!r}; expected a mapping of labels to labels or null, in YAML.")
    wrong = [(key, value) for key, value in mapping.items() if isinstance(key, bool) or isinstance(value, bool)]
    if wrong:
        key, value = wrong[0]
        raise LabelError(f"label_mapping has {key}: {value}; expected text. Put yes, no, true and false in quotes.")
    wrong = [(key, value) for key, value in mapping.items() if isinstance(value, list | Mapping) or value == ""]
    if wrong:
        raise LabelError(f"label_mapping maps {wrong[0][0]} to {wrong[0][1]!r}; expected one label or null.")
    return {_spaced(str(key)): None if value is None else _spaced(str(value)) for key, value in mapping.items()}


def choose_labels(found: Found, labels: Sequence[str] | None = None, mapping: Any = None) -> tuple[Found, LabelSet]:
    """Choose the label set of a dataset and apply it to the recordings.

    Args:
        found: the recordings, with the labels of their sources.
        labels: the label set; ["all"] for all labels that occur; None for the eight emotions.
        mapping: label -> label or None, applied first.

    Returns:
        The recordings with the labels of the dataset, those with excluded labels among the refused; and the label set.

    Raises:
        LabelError: the lists and folders of the user have labels outside the label set, labels differ only in case or
            white space, an entry of the mapping matches no label, or only one label is left.
    """
    utterances = [utterance for copies in found.copies for utterance in copies]
    own = [utterance for utterance in utterances if utterance.corpus in found.own]
    checked = _complete(check_mapping(mapping), {utterance.emotion for utterance in utterances})
    spelled = _spellings(own, checked, _known(labels, checked))
    mapped = {
        label: checked.get(label, spelled.get(label, label)) for label in sorted({u.emotion for u in utterances})
    }
    left = {label for label in mapped.values() if label is not None}
    names = _names(labels, left)
    outside = Counter(u.emotion for u in own if mapped[u.emotion] not in (None, *names))
    if outside:
        raise LabelError(_outside(outside, names, mapped))
    changed = {label: target for label, target in {**mapped, **checked}.items() if label != target}
    chosen = LabelSet(names, changed)
    if own and len(left & set(names)) < 2:
        (only,) = left & set(names) or {"none"}
        raise LabelError(
            f"the only label is {only}; expected clips of at least two labels. Add recordings of other labels, or "
            "check label_mapping."
        )
    return _apply(found, chosen), chosen


def label_notes(utterances: Iterable[Utterance], labels: LabelSet) -> list[str]:
    """Remarks on rare classes, for the report: classes without clips in a chosen label set, and with few clips."""
    counts: Counter[str] = Counter()
    first: dict[str, Utterance] = {}
    for utterance in utterances:
        counts[utterance.emotion] += 1
        first.setdefault(utterance.emotion, utterance)
    notes = []
    absent = [name for name in labels.names if not counts[name]]
    if absent and labels.names != EMOTIONS:
        notes.append(f"no clips of {', '.join(absent)}")
    for name in labels.names:
        if 0 < counts[name] < 3:
            clips = "1 clip" if counts[name] == 1 else f"{counts[name]} clips"
            where = f" ({first[name].origin or first[name].id})"
            notes.append(f"{name} has only {clips}{where}; train, validation and test need at least 3 in all")
    return notes


def _spaced(label: str) -> str:
    return " ".join(label.split())


def _folded(label: str) -> str:
    return "".join(unicodedata.normalize("NFKC", label).casefold().split())


def _complete(mapping: dict[str, str | None], occurring: set[str]) -> dict[str, str | None]:
    """The mapping, with its keys spelled as the labels that occur; a key close to an unmapped label is a typo."""
    by_fold = defaultdict(list)
    for label in sorted(occurring):
        by_fold[_folded(label)].append(label)
    complete: dict[str, str | None] = {}
    for key, value in mapping.items():
        for label in [key] if key in occurring else by_fold.get(_folded(key), [key]):
            complete[label] = value
    for key in complete.keys() - occurring:
        hint = did_you_mean(key, occurring - complete.keys())
        if hint and key not in EMOTIONS:
            raise LabelError(f"label_mapping has the label {key}, which no recording has{hint}.")
    return complete


def _known(labels: Sequence[str] | None, mapping: Mapping[str, str | None]) -> dict[str, str]:
    """Folded name -> name of the labels whose spelling is known."""
    names = EMOTIONS if labels is None or list(labels) == [ALL] else labels
    return {_folded(name): name for name in [*names, *(value for value in mapping.values() if value)]}


def _spellings(
    own: Sequence[Utterance], mapping: Mapping[str, str | None], known: Mapping[str, str]
) -> dict[str, str]:
    """Labels of the user's lists that match a known label in another letter case -> the known label."""
    groups: dict[str, dict[str, list[Utterance]]] = defaultdict(lambda: defaultdict(list))
    for utterance in own:
        if utterance.emotion not in mapping:
            groups[_folded(utterance.emotion)][utterance.emotion].append(utterance)
    for spellings in groups.values():
        if len(spellings) > 1:
            shown = ", ".join(
                f"{label!r} ({len(members)}, first in {members[0].origin or members[0].path})"
                for label, members in sorted(spellings.items(), key=lambda item: -len(item[1]))
            )
            first, other = sorted(spellings, key=lambda label: -len(spellings[label]))[:2]
            raise LabelError(
                f"labels differ only in letter case or white space: {shown}. Correct them, or add label_mapping with "
                f"{other!r}: {first!r}."
            )
    return {label: known[fold] for fold, spellings in groups.items() for label in spellings if fold in known}


def _names(labels: Sequence[str] | None, left: set[str]) -> tuple[str, ...]:
    if labels is None:
        return EMOTIONS
    if list(labels) == [ALL]:
        names = sorted(left)
    else:
        names = [_spaced(label) for label in labels]
        if len(set(map(_folded, names))) < len(names):
            raise LabelError(f"--labels {' '.join(names)} has a label twice; expected different labels.")
        if len(names) < 2:
            raise LabelError(f"--labels is {', '.join(names)}; expected at least two labels, or all.")
    return tuple(name for name in EMOTIONS if name in names) if set(names) <= set(EMOTIONS) else tuple(names)


def _outside(outside: Mapping[str, int], names: Sequence[str], mapped: Mapping[str, str | None]) -> str:
    shown = sorted(outside.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{label} ({number})" for label, number in shown[:_SHOWN])
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    first = shown[0][0]
    hint = did_you_mean(str(mapped[first]), names)
    return (
        f"labels outside the label set: {listed}{more}{hint}; expected {', '.join(names)}. Pass --labels all to keep "
        "all labels, list the labels, or add a label_mapping to the YAML file that renames them, or drops them with "
        "null."
    )


def _apply(found: Found, labels: LabelSet) -> Found:
    copies: list[list[Utterance]] = []
    refused = list(found.refused)
    by_fold = {_folded(name): name for name in labels.names}
    for group in found.copies:
        kept = []
        for utterance in group:
            label = labels.of(utterance.emotion)
            if label is None:
                refused.append(_excluded(utterance, labels))
            elif label == utterance.emotion and not utterance.votes:
                kept.append(utterance)
            else:
                votes: Counter[str] = Counter()
                for name, number in utterance.votes:
                    votes[labels.of(name) or by_fold.get(_folded(name), name)] += number
                kept.append(replace(utterance, emotion=label, votes=tuple(sorted(votes.items()))))
        copies += [kept] if kept else []
    return replace(found, copies=copies, refused=refused)


def _excluded(utterance: Utterance, labels: LabelSet) -> Quarantined:
    label = utterance.emotion
    why = "is mapped to null" if labels.mapping.get(label, label) is None else "is not in the label set"
    detail = f"label {label} {why}" + (f" ({utterance.origin})" if utterance.origin else "")
    return Quarantined(utterance.corpus, utterance.path.as_posix(), "label", detail, utterance)
