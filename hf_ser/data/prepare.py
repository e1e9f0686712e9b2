"""Prepare a dataset folder from corpora on disk: scan, splits, Parquet, dataset card. Atomic and resumable."""

import gc
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import hf_ser
from hf_ser.corpora import CORPORA, Utterance
from hf_ser.corpora.audformat_database import read_audformat
from hf_ser.corpora.audio_folder import read_audio_folder
from hf_ser.corpora.crema_d_votes import read_votes
from hf_ser.corpora.csv_listing import read_csv
from hf_ser.data import report
from hf_ser.data.clip_dimensions import present_dimensions, with_range
from hf_ser.data.clip_votes import vote_notes, with_crema_d_votes
from hf_ser.data.dataset_card import CardFacts, cell_name, render_card
from hf_ser.data.found_recordings import Found, find, found_listing, join
from hf_ser.data.hub_source import open_dataset, read_metadata
from hf_ser.data.label_set import LabelSet, choose_labels, label_notes
from hf_ser.data.preparation_arguments import PrepareArguments, PrepareError
from hf_ser.data.protocols import Assignment, Row, SpeakerLeakWarning, assign, default_protocol, speakers_known
from hf_ser.data.scan import Clip, ScanResult, fingerprint, scan
from hf_ser.data.stream_scan import examine_streams, without_streams
from hf_ser.data.workers import run_jobs
from hf_ser.run_folder import LOCK, RunFolderError, hold, release

SUMMARY = "preparation.json"
SYNTHETIC_MARK = "SYNTHETIC.json"
_MARK = "lock"  # in the folder of temporary files: it belongs to this program


@dataclass(frozen=True)
class Prepared:
    """The result: the dataset's folder, the report to print, and whether the dataset was already up to date."""

    folder: Path
    report: str
    already_there: bool


def prepare(args: PrepareArguments, *, progress: bool = True) -> Prepared:
    """Write the dataset folder, or return it unchanged if it is up to date.

    The dataset is written to `OUTPUT_DIR.incomplete` and renamed when it is complete. An interrupted run leaves its
    finished packs there, and the next run with the same inputs reuses them. Meanwhile the output folder is locked.

    Raises:
        PrepareError: if the output folder contains other files, or no clip can be kept.
        RunFolderError: if another program is using the output folder.
        SystemTroubleError: if the output folder cannot be written to.
        ScanError: if a corpus folder does not exist or contains no recordings.
        ListingError: if a list or folder of the user cannot be used.
        LabelError: if labels do not match the label set or the label mapping.

    >>> prepare(PrepareArguments("data/emotions", ravdess="corpora/ravdess"), progress=False).already_there
    True
    """
    gc.freeze()  # objects loaded so far stay alive; excluding them makes collection faster, in workers too
    try:
        return _prepare(args, progress)
    finally:
        gc.unfreeze()


def _prepare(args: PrepareArguments, progress: bool) -> Prepared:
    output = Path(args.output_dir).resolve()
    found, labels = choose_labels(find_sources(args), args.labels, args.label_mapping)
    key = _inputs_key(found, labels, args)
    if _is_complete(output, key, args.overwrite):
        return Prepared(output, json.loads((output / SUMMARY).read_text(encoding="utf-8"))["report"], True)
    hold(output)
    try:
        return Prepared(output, _make(output, found, labels, args, key, progress), False)
    finally:
        release(output)


def _make(output: Path, found: Found, labels: LabelSet, args: PrepareArguments, key: str, progress: bool) -> str:
    """Write the dataset next to the output folder, which is held, and rename it; return the report to print."""
    work = output.with_name(output.name + ".incomplete")
    if work.exists() and any(work.iterdir()) and not (work / _MARK).exists():
        raise PrepareError(
            f"{work} is needed for temporary files but contains files of another program. Move or rename it."
        )
    work.mkdir(parents=True, exist_ok=True)
    (work / _MARK).touch()
    options: Any = {"limits": args.limits, "num_proc": args.num_proc, "progress": progress}
    streamed = examine_streams(found, work / "packs", **options)
    result = scan(without_streams(found), work / "packs", streamed=streamed, **options)
    text = _write_dataset(work, found, result, labels, args, key, progress)
    _move_into_place(work / "dataset", output)
    with suppress(RunFolderError, OSError):  # another preparation of this folder has just begun
        hold(output)
        for folder in ("packs", "cells"):
            shutil.rmtree(work / folder, ignore_errors=True)
        (work / _MARK).unlink(missing_ok=True)
        work.rmdir()
    return text


def find_sources(args: PrepareArguments) -> Found:
    """The recordings of all sources, with the labels of the sources.

    Raises:
        ScanError: a corpus folder does not exist or contains no recordings, or two sources have the same corpus.
        ListingError: a list or folder of the user cannot be used.
        VotesError: votes cannot be used, or fit none of the recordings.
    """
    audio_dir = Path(args.audio_dir) if args.audio_dir else None
    columns: Any = args.columns
    in_tables = {name: column for name, column in (columns or {}).items() if name != "audio"}
    listings = [read_csv(Path(path), audio_dir, in_tables) for path in args.csv or []]
    listings += [read_audio_folder(Path(path), in_tables) for path in args.audio_folder or []]
    if args.audformat:
        listings.append(read_audformat(Path(args.audformat), columns, args.audformat_tables))
    corpora = find(args.folders)
    if args.crema_d_votes is not None:
        corpora = with_crema_d_votes(corpora, read_votes(Path(args.crema_d_votes), args.crema_d_votes_modality))
    listings = [with_range(listing, args.dimension_range) for listing in listings]
    sources = [corpora, *map(found_listing, listings)]
    if args.hub_dataset:
        stream = open_dataset(
            args.hub_dataset,
            configuration=args.hub_configuration,
            revision=args.hub_revision,
            splits=args.hub_split,
            columns=columns,
        )
        sources.append(found_listing(with_range(read_metadata(stream), args.dimension_range), stream))
    return join(sources)


_NOT_DESCRIBED = ("path", "rank", "origin", "dimensions")  # dimensions are added where clips have any
_DESCRIPTION = [field.name for field in fields(Utterance) if field.name not in _NOT_DESCRIBED]


def _inputs_key(found: Found, labels: LabelSet, args: PrepareArguments) -> str:
    settings: list[Any] = [args.seed, *args.ratios, args.max_shard_size, found.other_files]
    settings += [labels.names, dict(labels.mapping), args.licence]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for item in found.refused:
        digest.update(f"{item.path}\0{item.reason}\0".encode("utf-8", "surrogateescape"))
    for copies in found.copies:
        corpus = CORPORA.get(copies[0].corpus)
        voted = any(copy.votes for copy in copies)
        if corpus is None or corpus.annotate is not None or copies[0].corpus in found.own or voted:
            # In the other corpora, names of files and the version of this package determine these.
            described = [[getattr(copy, name) for name in _DESCRIPTION] for copy in copies]
            digest.update(json.dumps(described).encode())
        values = [copy.dimensions for copy in copies]
        if any(values):
            digest.update(json.dumps(values).encode())
    return fingerprint(found.copies, args.limits) + ":" + digest.hexdigest()


def _is_complete(output: Path, key: str, overwrite: bool) -> bool:
    """Whether the output is up to date; raise `PrepareError` if it contains anything else and `overwrite` is false."""
    if not output.exists() or (output.is_dir() and all(path.name == LOCK for path in output.iterdir())):
        return False
    summary = output / SUMMARY
    if not summary.is_file():
        raise PrepareError(f"--output_dir {output} exists and is not a prepared dataset. Choose another folder.")
    made = json.loads(summary.read_text(encoding="utf-8"))
    whole = made.get("files") == _file_sizes(output)
    if made["inputs"] == key and whole:
        return True
    if not overwrite:
        state = "prepared from other files or settings" if whole else "with missing or changed Parquet files"
        raise PrepareError(
            f"--output_dir {output} contains a dataset {state}. Choose another folder, or pass --overwrite true to "
            "replace the dataset."
        )
    return False


def _file_sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted((folder / "data").glob("*.parquet"))}


def _write_dataset(
    work: Path,
    found: Found,
    result: ScanResult,
    labels: LabelSet,
    args: PrepareArguments,
    key: str,
    progress: bool,
) -> str:
    """Write the complete dataset folder to `work/dataset`; return the report to print."""
    refuse_nothing(result)
    folder = work / "dataset"
    for leftover in (folder, work / "cells"):  # of a killed run: datasets would treat its cells as complete
        shutil.rmtree(leftover, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    assignments = assign_all([clip.row for clip in result.clips], args)
    _write_parquet(result.clips, assignments, labels, work, folder / "data", args, progress)

    counts = report.count(result, labels, found.own)
    report.write_counts(counts, folder / "counts.csv")
    report.write_quarantine(result, folder / "quarantine.csv")
    report.write_notes(result, folder / "notes.csv")
    synthetic = _synthetic(found)
    text = render_report(result, counts, found, labels, assignments, args.licence)
    quarantined = {corpus: report.reasons(result, corpus) for corpus in found.folders}
    facts = CardFacts(labels, quarantined, tuple(synthetic), found.own, args.licence)
    card = render_card(result.clips, assignments, facts)
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
    summary = {
        "inputs": key,
        "hf_ser_version": hf_ser.__version__,
        "clips": len(result.clips),
        "files": _file_sizes(folder),
        "corpora": sorted({clip.utterance.corpus for clip in result.clips}),
        "labels": list(labels.names),
        "label_mapping": dict(labels.mapping) or None,
        "languages": sorted({clip.utterance.language for clip in result.clips if clip.utterance.language}),
        "licence": args.licence,
        "speakers_known": speakers_known(clip.row for clip in result.clips),
        "synthetic": synthetic,
        "quarantined": quarantined,
        "default_protocol": next(iter(assignments)),
        "protocols": {name: _describe(assignment) for name, assignment in assignments.items()},
        "limits": asdict(args.limits),
        "report": text,
    }
    content = json.dumps(summary, indent=2, ensure_ascii=False)
    (folder / SUMMARY).write_text(content, encoding="utf-8", newline="\n")
    return text


def _synthetic(found: Found) -> list[str]:
    """The corpora with generated recordings."""
    generated = [stream.folder for stream in found.streams if stream.synthetic]
    return [name for name, path in found.folders.items() if path in generated or is_synthetic(path)]


def refuse_nothing(result: ScanResult) -> None:
    """Raise `PrepareError` if no clip was kept."""
    if not result.clips:
        first = result.quarantined[0]
        raise PrepareError(
            f"none of the {len(result.quarantined)} recordings can be used. The first is {first.path} "
            f"({first.reason}): {first.detail}."
        )


def render_report(
    result: ScanResult,
    counts: Sequence[report.Count],
    found: Found,
    labels: LabelSet,
    assignments: Mapping[str, Assignment],
    licence: str,
) -> str:
    """Render the report of a preparation.

    Args:
        result: result of the scan.
        counts: its recordings per speaker and class.
        found: the sources.
        labels: the label set.
        assignments: protocol -> its assignment of clips to splits.
        licence: licence of the user's own recordings.
    """
    notes = [*found.notes, *label_notes((clip.utterance for clip in result.clips), labels)]
    notes += _missing_fields(result.clips)
    notes += vote_notes([clip.utterance for clip in result.clips], labels)
    if found.own and licence == "unknown":
        notes.append(f"the licence of {', '.join(sorted(found.own))} is unknown; pass --licence to publish the audio")
    return report.format_report(result, counts, found, assignments, labels.names, _synthetic(found), notes)


def _missing_fields(clips: Sequence[Clip]) -> list[str]:
    """Notes on fields that protocols need and that only some clips have."""
    notes = []
    for name, effect in (
        ("speaker", "the protocol speaker_disjoint needs the speaker of every clip"),
        ("split", "the protocol given needs the split of every clip"),
    ):
        without = [clip.utterance for clip in clips if not getattr(clip.utterance, name)]
        if 0 < len(without) < len(clips):
            first = without[0].origin or without[0].id
            notes.append(f"{len(without)} of {len(clips)} clips have no {name} (the first: {first}); {effect}")
    return notes


def assign_all(rows: list[Row], args: PrepareArguments) -> dict[str, Assignment]:
    """Assign the clips under each stored protocol, the default one first."""
    offered = [default_protocol(rows)]
    if speakers_known(rows) and "speaker_disjoint" not in offered:
        offered.append("speaker_disjoint")
    if "random" not in offered:
        offered.append("random")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpeakerLeakWarning)  # the report and the card contain this note
        return {name: assign(rows, name, seed=args.seed, ratios=args.ratios) for name in offered}


def is_synthetic(folder: Path) -> bool:
    """Whether the generator's marker file is in the folder, in a parent (of a speaker's folder) or one level below."""
    above = any((parent / SYNTHETIC_MARK).is_file() for parent in (folder, *folder.parents))
    return above or any(folder.glob(f"*/{SYNTHETIC_MARK}"))


def _describe(assignment: Assignment) -> dict[str, Any]:
    return {
        "seed": assignment.seed,
        "ratios": list(assignment.ratios),
        "hash": assignment.hash,
        "notes": list(assignment.notes),
    }


def _write_parquet(
    clips: list[Clip],
    assignments: Mapping[str, Assignment],
    labels: LabelSet,
    work: Path,
    folder: Path,
    args: PrepareArguments,
    progress: bool,
) -> None:
    """Group the clips into cells that no configuration splits further; write each cell as Parquet in a worker."""
    cells: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        splits = {name: assignment.splits[clip.utterance.id] for name, assignment in assignments.items()}
        cells[cell_name(clip.utterance.corpus, splits)].append(clip)
    votes = any(clip.utterance.votes for clip in clips)
    dimensions = present_dimensions(clip.utterance for clip in clips)
    largest_first = sorted(cells.items(), key=lambda cell: -len(cell[1]))
    run_jobs(
        _write_cell,
        [
            (name, members, work, folder, args.max_shard_size, labels.names, votes, dimensions)
            for name, members in largest_first
        ],
        sizes=[len(members) for _, members in largest_first],
        desc="Writing Parquet",
        unit="clips",
        num_proc=args.num_proc,
        show=progress,
    )


def _write_cell(
    name: str,
    clips: list[Clip],
    work: Path,
    folder: Path,
    max_shard_size: str,
    labels: Sequence[str],
    with_votes: bool,
    dimensions: Sequence[str],
) -> None:
    import datasets

    from hf_ser.data.builder import EmotionCorpora, features

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    columns = features(labels, with_votes=with_votes, dimensions=dimensions)
    builder = EmotionCorpora({"cell": clips}, work / "packs", cache_dir=work / "cells" / name, columns=columns)
    written = work / "cells" / name / "parquet"
    try:
        builder.download_and_prepare(
            str(written), file_format="parquet", max_shard_size=max_shard_size, verification_mode="no_checks"
        )
    finally:
        if shown:  # with one process, this is the caller's setting
            datasets.enable_progress_bars()
    for path in sorted(written.glob("*.parquet")):
        shard = path.stem.partition("-cell")[2]  # "" or "-00000-of-00002"
        os.replace(path, folder / f"{name}{shard}.parquet")
    shutil.rmtree(work / "cells" / name)


def _move_into_place(folder: Path, output: Path) -> None:
    """Rename the complete dataset to the output folder, which is empty or holds an older dataset."""
    release(output)  # Windows renames no folder with an open file
    if (output / SUMMARY).is_file():
        old = Path(tempfile.mkdtemp(prefix=f"{output.name}.old-", dir=output.parent))
        os.replace(output, old / "dataset")
        os.replace(folder, output)
        shutil.rmtree(old)
        return
    with suppress(OSError):  # files of a program that has just locked the folder: the next line fails
        output.rmdir()
    os.replace(folder, output)
