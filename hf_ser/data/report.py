"""Report on a scan: counts per speaker and class compared with the published corpora, tables and CSV files."""

import csv
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hf_ser.corpora import CORPORA, Utterance
from hf_ser.data.found_recordings import Found
from hf_ser.data.label_set import LabelSet
from hf_ser.data.protocols import SPLITS, Assignment
from hf_ser.data.scan import ScanResult
from hf_ser.labels import EMOTIONS
from hf_ser.remote_code.audio_sources import printable
from hf_ser.terminal import display_width

_MOST_COLUMNS = 10  # classes as columns of a table; more are rows

_Key = tuple[str, str, str, str]  # corpus, channel, speaker, emotion


class Count(NamedTuple):
    """Recordings of one speaker in one class: in the published corpus, found, kept and missing.

    Corpora from lists and folders of the user have no published recordings, so that none are missing.
    """

    corpus: str
    channel: str
    speaker: str
    emotion: str
    published: int
    found: int
    kept: int
    missing: int


def count(result: ScanResult, labels: LabelSet | None = None, own: Collection[str] = ()) -> list[Count]:
    """Count recordings per (corpus, channel, speaker, emotion), including published speakers that were not found.

    Song is compared with the published song recordings only if at least one song recording was found.

    Args:
        result: result of the scan.
        labels: the label set, which the published counts are mapped to; default: the eight emotions.
        own: corpora from lists and folders of the user.
    """
    taken = _performances(clip.utterance for clip in result.clips)
    kept = Counter(taken.values())
    refused = _performances(item.utterance for item in result.quarantined if item.utterance is not None)
    found = Counter((refused | taken).values())  # recordings of one performance count once
    published: Counter[_Key] = Counter()
    for corpus, channel in {key[:2] for key in found if key[0] not in own}:
        for (speaker, emotion), number in CORPORA[corpus].published_counts(channel).items():
            published[corpus, channel, speaker, (labels or LabelSet()).of(emotion) or emotion] += number
    return [
        Count(*key, published[key], found[key], kept[key], max(0, published[key] - found[key]))
        for key in sorted(published.keys() | found.keys())
    ]


def _performances(utterances: Iterable[Utterance]) -> dict[tuple[str, str], _Key]:
    return {
        (one.corpus, one.performance): (one.corpus, one.vocal_channel, one.speaker, one.emotion) for one in utterances
    }


def write_counts(counts: Iterable[Count], path: Path) -> None:
    """Write the counts as CSV."""
    _write_csv(path, Count._fields, counts)


def write_quarantine(result: ScanResult, path: Path) -> None:
    """Write one line per quarantined file: corpus, path, reason, detail, id."""
    rows = [
        (item.corpus, item.path, item.reason, item.detail, item.utterance.id if item.utterance else "")
        for item in result.quarantined
    ]
    _write_csv(path, ("corpus", "path", "reason", "detail", "id"), rows)


def write_notes(result: ScanResult, path: Path) -> None:
    """Write one line per note on a kept recording (corpus, file, note), such as a wrong header."""
    noted = _noted(result)
    if noted:
        _write_csv(path, ("corpus", "file", "note"), noted)


def _noted(result: ScanResult) -> list[tuple[str, str, str]]:
    rows = [(clip.utterance.corpus, clip.utterance.path.name, note) for clip in result.clips for note in clip.notes]
    return [(corpus, printable(name), note) for corpus, name, note in rows]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with open(path, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def reasons(result: ScanResult, corpus: str) -> dict[str, int]:
    """Number of quarantined files of a corpus per reason."""
    return dict(sorted(Counter(item.reason for item in result.quarantined if item.corpus == corpus).items()))


def format_report(
    result: ScanResult,
    counts: Sequence[Count],
    found: Found,
    assignments: Mapping[str, Assignment],
    labels: Sequence[str] = EMOTIONS,
    synthetic: Collection[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """Render the report that `recipes/prepare.py` prints.

    Args:
        result: result of the scan.
        counts: counts from `count`.
        found: the sources, for their corpora and other files.
        assignments: protocol -> its assignment of clips to splits.
        labels: the label set.
        synthetic: corpora with generated recordings; their missing recordings are not listed.
        notes: remarks on sources and labels.

    Returns:
        Plain text: found and kept, per class, quarantined, notes, missing, splits.
    """
    blocks = [_overview(result, counts, found), _per_class(counts, labels, found.own)]
    if notes:
        blocks.append("Notes on the recordings:" + "".join(f"\n  {note}" for note in notes))
    quarantined = [(item.corpus, item.reason, item.path, item.detail) for item in result.quarantined]
    if quarantined:
        # Copies can be thousands, such as in archives that contain every file twice.
        shown = sorted(quarantined, key=lambda row: row[1].startswith(("duplicate", "label", "no_agreement")))[:20]
        blocks.append(text_table(("quarantined", "reason", "file", "detail"), shown))
        if len(quarantined) > len(shown):
            blocks.append(
                f"... and {len(quarantined) - len(shown)} more. All are in quarantine.csv of the prepared dataset."
            )
    noted = _noted(result)
    if noted:
        blocks.append(text_table(("kept with note", "file", "note"), noted[:20]))
        if len(noted) > 20:
            blocks.append(f"... and {len(noted) - 20} more. All are in notes.csv of the prepared dataset.")
    missing = _missing([item for item in counts if item.corpus not in synthetic])
    if missing:
        blocks.append(
            "Missing compared with the published corpora (counts per speaker and class are in counts.csv):\n" + missing
        )
    return "\n\n".join([*blocks, _splits(assignments)])


def _splits(assignments: Mapping[str, Assignment]) -> str:
    rows = [
        (name, *(len(made.ids(split)) for split in SPLITS), made.hash[:16], made.seed)
        for name, made in assignments.items()
    ]
    notes = "".join(f"\n  {name}: {note}" for name, made in assignments.items() for note in made.notes)
    return text_table(("protocol", *SPLITS, "hash", "seed"), rows) + (
        "\nNotes on the splits:" + notes if notes else ""
    )


def _overview(result: ScanResult, counts: Sequence[Count], found: Found) -> str:
    by_corpus: dict[str, list[Count]] = defaultdict(list)
    for item in counts:
        by_corpus[item.corpus].append(item)
    rows: list[tuple[object, ...]] = []
    for corpus, others in found.other_files.items():
        own = by_corpus[corpus]
        kept = sum(item.kept for item in own)
        why = reasons(result, corpus)
        missing = f"{sum(item.missing for item in own)} of {sum(item.published for item in own)}"
        rows.append(
            (
                corpus,
                kept + sum(why.values()),
                kept,
                sum(why.values()),
                ", ".join(f"{number} {reason}" for reason, number in why.items()) or "-",
                "-" if corpus in found.own else missing,
                others,
            )
        )
    totals = [sum(int(str(row[column])) for row in rows) for column in (1, 2, 3)]
    rows.append(("all", *totals, "", "", sum(found.other_files.values())))
    return text_table(("corpus", "found", "kept", "quarantined", "reasons", "missing", "other files"), rows)


def _per_class(counts: Sequence[Count], labels: Sequence[str], own: Collection[str]) -> str:
    """Clips kept of each class and corpus, beside the published ones of the corpora that are published."""
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for item in counts:
        sums[item.corpus, item.emotion][0] += item.kept
        sums[item.corpus, item.emotion][1] += item.published
    corpora = sorted({item.corpus for item in counts})

    def cell(corpus: str, label: str) -> str:
        if (corpus, label) not in sums:
            return "-"
        kept, published = sums[corpus, label]
        return f"{kept}/{published}" if published and corpus not in own else str(kept)

    title = "kept" if set(corpora) <= set(own) else "kept/published"
    if len(labels) > _MOST_COLUMNS:
        return text_table(
            (title, *corpora), [(label, *(cell(corpus, label) for corpus in corpora)) for label in labels]
        )
    return text_table((title, *labels), [(corpus, *(cell(corpus, label) for label in labels)) for corpus in corpora])


def _missing(counts: Sequence[Count]) -> str:
    lines = []
    for corpus in sorted({item.corpus for item in counts if item.published}):
        own = [item for item in counts if item.corpus == corpus]
        here = {item.speaker for item in own if item.found}
        absent = sorted({item.speaker for item in own} - here)
        partly = Counter(item.emotion for item in own if item.speaker in here for _ in range(item.missing))
        if absent:
            names = [speaker.removeprefix(f"{corpus}_") for speaker in absent]
            span = ", ".join(names) if len(names) <= 6 else f"{names[0]} ... {names[-1]}"
            lines.append(f"  {corpus}: all clips of {len(absent)} of {len(absent) + len(here)} speakers ({span})")
        if partly:
            classes = ", ".join(f"{number} {emotion}" for emotion, number in sorted(partly.items()))
            lines.append(f"  {corpus}: of the speakers found, {classes}")
    return "\n".join(lines)


def text_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Render a table for the terminal."""
    cells = [[str(value) for value in row] for row in (header, *rows)]
    widths = [max(display_width(row[column]) for row in cells) for column in range(len(header))]

    def padded(value: str, width: int) -> str:
        return value + " " * (width - display_width(value))

    lines = ["  ".join(map(padded, row, widths)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
