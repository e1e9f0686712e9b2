"""Prepare a dataset folder from corpora on disk: scan, splits, Parquet, dataset card. Atomic and resumable."""

import gc
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import hf_ser
from hf_ser.corpora import CORPORA
from hf_ser.data import report
from hf_ser.data.dataset_card import DEFAULT_PROTOCOL, cell_name, render_card
from hf_ser.data.protocols import Assignment, SpeakerLeakWarning, assign, check_ratios
from hf_ser.data.scan import Clip, Found, Limits, ScanResult, find, fingerprint, scan
from hf_ser.data.workers import run_jobs
from hf_ser.errors import SerError
from hf_ser.run_folder import LOCK, RunFolderError, hold, release

MATERIALISED = (DEFAULT_PROTOCOL, "random")
SUMMARY = "preparation.json"
SYNTHETIC_MARK = "SYNTHETIC.json"
_MARK = "lock"  # in the folder of temporary files: it belongs to this program


class PrepareError(SerError):
    """A dataset that cannot be prepared as requested."""


@dataclass
class PrepareArguments:
    """Corpora to merge, how to check the clips and how to split them.

    >>> PrepareArguments("data/emotions", ravdess="corpora/ravdess").ratios
    [0.7, 0.15, 0.15]
    """

    output_dir: str = field(metadata={"help": "folder of the prepared dataset; written completely or not at all"})
    ravdess: str | None = field(default=None, metadata={"help": "folder of RAVDESS recordings, searched at any depth"})
    crema_d: str | None = field(default=None, metadata={"help": "folder of CREMA-D recordings, searched at any depth"})
    tess: str | None = field(default=None, metadata={"help": "folder of TESS recordings, searched at any depth"})
    savee: str | None = field(default=None, metadata={"help": "folder of SAVEE recordings, searched at any depth"})
    seed: int = field(default=0, metadata={"help": "random seed of the splits"})
    ratios: list[float] = field(
        default_factory=lambda: [0.70, 0.15, 0.15], metadata={"help": "train, validation and test fractions"}
    )
    min_duration_s: float = field(default=0.3, metadata={"help": "quarantine clips shorter than this (seconds)"})
    silence_dbfs: float = field(
        default=-60.0, metadata={"help": "quarantine clips whose peak level is below this (dBFS)"}
    )
    num_proc: int | None = field(default=None, metadata={"help": "worker processes; default: one per CPU core"})
    max_shard_size: str = field(default="500MB", metadata={"help": "maximum size of a Parquet file"})
    overwrite: bool = field(
        default=False, metadata={"help": "replace a dataset prepared from other files or settings"}
    )

    def __post_init__(self) -> None:
        from datasets.utils.py_utils import convert_file_size_to_int  # here: datasets takes long to import

        if not self.folders:
            raise PrepareError("no corpus given; expected at least one of --ravdess, --crema_d, --tess, --savee DIR.")
        if self.num_proc is not None and self.num_proc < 1:
            raise PrepareError(f"--num_proc is {self.num_proc}; expected at least 1.")
        check_ratios(self.ratios)
        self.limits  # noqa: B018 - checks the two fields
        try:
            convert_file_size_to_int(self.max_shard_size)
        except ValueError:
            raise PrepareError(f"--max_shard_size is {self.max_shard_size}; expected a size such as 500MB.") from None

    @property
    def limits(self) -> Limits:
        """The limits that a clip must meet."""
        return Limits(self.min_duration_s, self.silence_dbfs)

    @property
    def folders(self) -> dict[str, Path]:
        """Corpus name -> folder, for the corpora that are given."""
        given = {name: getattr(self, name) for name in CORPORA}
        return {name: Path(folder).resolve() for name, folder in given.items() if folder}


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
        ProtocolError: if the ratios are invalid.

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
    found = find(args.folders)
    key = _inputs_key(found, args)
    if _is_complete(output, key, args.overwrite):
        return Prepared(output, json.loads((output / SUMMARY).read_text(encoding="utf-8"))["report"], True)
    hold(output)
    try:
        return Prepared(output, _make(output, found, args, key, progress), False)
    finally:
        release(output)


def _make(output: Path, found: Found, args: PrepareArguments, key: str, progress: bool) -> str:
    """Write the dataset next to the output folder, which is held, and rename it; return the report to print."""
    work = output.with_name(output.name + ".incomplete")
    if work.exists() and any(work.iterdir()) and not (work / _MARK).exists():
        raise PrepareError(
            f"{work} is needed for temporary files but contains files of another program. Move or rename it."
        )
    work.mkdir(parents=True, exist_ok=True)
    (work / _MARK).touch()
    result = scan(found, work / "packs", limits=args.limits, num_proc=args.num_proc, progress=progress)
    text = _write_dataset(work, found, result, args, key, progress)
    _move_into_place(work / "dataset", output)
    with suppress(RunFolderError, OSError):  # another preparation of this folder has just begun
        hold(output)
        for folder in ("packs", "cells"):
            shutil.rmtree(work / folder, ignore_errors=True)
        (work / _MARK).unlink(missing_ok=True)
        work.rmdir()
    return text


def _inputs_key(found: Found, args: PrepareArguments) -> str:
    refused = [item.path for item in found.refused]
    settings = [args.seed, *args.ratios, args.max_shard_size, refused, found.other_files]
    return fingerprint(found.copies, args.limits) + ":" + hashlib.sha256(json.dumps(settings).encode()).hexdigest()


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
    work: Path, found: Found, result: ScanResult, args: PrepareArguments, key: str, progress: bool
) -> str:
    """Write the complete dataset folder to `work/dataset`; return the report to print."""
    if not result.clips:
        first = result.quarantined[0]
        raise PrepareError(
            f"none of the {len(result.quarantined)} recordings can be used. The first is {first.path} "
            f"({first.reason}): {first.detail}."
        )
    folder = work / "dataset"
    for leftover in (folder, work / "cells"):  # of a killed run: datasets would treat its cells as complete
        shutil.rmtree(leftover, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    rows = [clip.row for clip in result.clips]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpeakerLeakWarning)  # the report and the card contain this note
        assignments = {name: assign(rows, name, seed=args.seed, ratios=args.ratios) for name in MATERIALISED}
    _write_parquet(result.clips, assignments, work, folder / "data", args, progress)

    counts = report.count(result)
    report.write_counts(counts, folder / "counts.csv")
    report.write_quarantine(result, folder / "quarantine.csv")
    report.write_notes(result, folder / "notes.csv")
    synthetic = [name for name, path in found.folders.items() if is_synthetic(path)]
    text = report.format_report(result, counts, found.other_files, assignments, synthetic)
    quarantined = {corpus: report.reasons(result, corpus) for corpus in found.folders}
    card = render_card(result.clips, assignments, quarantined, synthetic)
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
    summary = {
        "inputs": key,
        "hf_ser_version": hf_ser.__version__,
        "clips": len(result.clips),
        "files": _file_sizes(folder),
        "corpora": sorted({clip.utterance.corpus for clip in result.clips}),
        "synthetic": synthetic,
        "quarantined": quarantined,
        "protocols": {name: _describe(assignment) for name, assignment in assignments.items()},
        "limits": asdict(args.limits),
        "report": text,
    }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2), encoding="utf-8", newline="\n")
    return text


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
    largest_first = sorted(cells.items(), key=lambda cell: -len(cell[1]))
    run_jobs(
        _write_cell,
        [(name, members, work, folder, args.max_shard_size) for name, members in largest_first],
        sizes=[len(members) for _, members in largest_first],
        desc="Writing Parquet",
        unit="clips",
        num_proc=args.num_proc,
        show=progress,
    )


def _write_cell(name: str, clips: list[Clip], work: Path, folder: Path, max_shard_size: str) -> None:
    import datasets

    from hf_ser.data.builder import EmotionCorpora

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    builder = EmotionCorpora({"cell": clips}, work / "packs", cache_dir=work / "cells" / name)
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
