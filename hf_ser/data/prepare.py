"""From corpora on disk to one dataset folder: scan, protocols, Parquet, card; atomic, and resumable."""

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

from filelock import FileLock, Timeout

import hf_ser
from hf_ser.corpora import CORPORA
from hf_ser.data import report
from hf_ser.data.dataset_card import DEFAULT_PROTOCOL, cell_name, render_card
from hf_ser.data.protocols import Assignment, SpeakerLeakWarning, assign, check_ratios
from hf_ser.data.scan import Clip, Found, Limits, ScanResult, find, fingerprint, scan
from hf_ser.data.workers import run_jobs
from hf_ser.errors import SerError

MATERIALISED = (DEFAULT_PROTOCOL, "random")
SUMMARY = "preparation.json"
SYNTHETIC_MARK = "SYNTHETIC.json"


class PrepareError(SerError):
    """A dataset that cannot be prepared as asked."""


@dataclass
class PrepareArguments:
    """What `recipes/prepare.py` takes.

    >>> PrepareArguments("data/emotions", ravdess="corpora/ravdess").ratios
    [0.7, 0.15, 0.15]
    """

    output_dir: str = field(metadata={"help": "folder of the dataset; made whole or not at all"})
    ravdess: str | None = field(default=None, metadata={"help": "folder below which RAVDESS recordings lie"})
    crema_d: str | None = field(default=None, metadata={"help": "folder below which CREMA-D recordings lie"})
    tess: str | None = field(default=None, metadata={"help": "folder below which TESS recordings lie"})
    savee: str | None = field(default=None, metadata={"help": "folder below which SAVEE recordings lie"})
    seed: int = field(default=0, metadata={"help": "seed of the splits"})
    ratios: list[float] = field(
        default_factory=lambda: [0.70, 0.15, 0.15], metadata={"help": "shares of train, validation and test"}
    )
    min_duration_s: float = field(default=0.3, metadata={"help": "quarantine shorter clips (seconds)"})
    silence_dbfs: float = field(default=-60.0, metadata={"help": "quarantine clips whose peak lies below this"})
    num_proc: int | None = field(default=None, metadata={"help": "worker processes; default: all processors"})
    max_shard_size: str = field(default="500MB", metadata={"help": "largest Parquet file"})
    overwrite: bool = field(default=False, metadata={"help": "replace a dataset made from other inputs"})

    def __post_init__(self) -> None:
        from datasets.utils.py_utils import convert_file_size_to_int  # here: datasets takes long to import

        if not self.folders:
            raise PrepareError("got no corpus; expected at least one of --ravdess, --crema_d, --tess, --savee DIR.")
        if self.num_proc is not None and self.num_proc < 1:
            raise PrepareError(f"--num_proc {self.num_proc}; expected at least 1.")
        check_ratios(self.ratios)
        self.limits  # noqa: B018 - checks the two fields
        try:
            convert_file_size_to_int(self.max_shard_size)
        except ValueError:
            raise PrepareError(f"--max_shard_size {self.max_shard_size}; expected a size such as 500MB.") from None

    @property
    def limits(self) -> Limits:
        """What a clip must satisfy."""
        return Limits(self.min_duration_s, self.silence_dbfs)

    @property
    def folders(self) -> dict[str, Path]:
        """Corpus name -> folder, for the corpora that were given."""
        given = {name: getattr(self, name) for name in CORPORA}
        return {name: Path(folder).resolve() for name, folder in given.items() if folder}


@dataclass(frozen=True)
class Prepared:
    """The outcome: where the dataset lies, the tables to print, and whether it had been there already."""

    folder: Path
    report: str
    already_there: bool


def prepare(args: PrepareArguments, *, progress: bool = True) -> Prepared:
    """Make the dataset folder, or find that it is there already.

    The work lies in `OUTPUT_DIR.incomplete` until all of it is done, and is then renamed; a run that was broken off
    leaves its finished packs there, and the next run with the same inputs goes on from them.

    Raises:
        PrepareError: the output folder holds something else, another run is at work, or no clip can be kept.
        ScanError: a corpus's folder does not exist or holds no recording.
        ProtocolError: bad ratios.

    >>> prepare(PrepareArguments("data/emotions", ravdess="corpora/ravdess"), progress=False).already_there
    True
    """
    gc.freeze()  # nothing that is loaded already is garbage; looking through it takes a while, in workers too
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
    work = output.with_name(output.name + ".incomplete")
    if work.exists() and any(work.iterdir()) and not (work / "lock").exists():
        raise PrepareError(f"{work} is where the work would go, but was not made by this program; move it away.")
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "lock", timeout=0):
            result = scan(found, work / "packs", limits=args.limits, num_proc=args.num_proc, progress=progress)
            text = _write_dataset(work, found, result, args, key, progress)
            _move_into_place(work / "dataset", output)
            for folder in ("packs", "cells"):
                shutil.rmtree(work / folder, ignore_errors=True)
        with suppress(OSError):  # not before the lock is released, since Windows removes no open file
            (work / "lock").unlink(missing_ok=True)
            work.rmdir()
    except Timeout:
        raise PrepareError(f"{work} is in use by another run; wait for it, or choose another --output_dir.") from None
    return Prepared(output, text, False)


def _inputs_key(found: Found, args: PrepareArguments) -> str:
    refused = [item.path for item in found.refused]
    settings = [args.seed, *args.ratios, args.max_shard_size, refused, found.other_files]
    return fingerprint(found.copies, args.limits) + ":" + hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def _is_complete(output: Path, key: str, overwrite: bool) -> bool:
    """Whether the output already is what would be made; refuse to replace anything else without `overwrite`."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    summary = output / SUMMARY
    if not summary.is_file():
        raise PrepareError(
            f"--output_dir {output} holds something that is no prepared dataset; choose another folder."
        )
    made = json.loads(summary.read_text(encoding="utf-8"))
    whole = made.get("files") == _file_sizes(output)
    if made["inputs"] == key and whole:
        return True
    if not overwrite:
        state = "made from other inputs or settings" if whole else "that lacks files it was written with"
        raise PrepareError(
            f"--output_dir {output} holds a dataset {state}; choose another folder, or pass --overwrite true to "
            "replace it."
        )
    return False


def _file_sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted((folder / "data").glob("*.parquet"))}


def _write_dataset(
    work: Path, found: Found, result: ScanResult, args: PrepareArguments, key: str, progress: bool
) -> str:
    """Write everything that the finished folder holds into `work/dataset`; return the printed report."""
    if not result.clips:
        first = result.quarantined[0]
        raise PrepareError(
            f"all {len(result.quarantined)} recordings were refused; the first, {first.path}, is {first.reason}: "
            f"{first.detail}."
        )
    folder = work / "dataset"
    for leftover in (folder, work / "cells"):  # of a killed run: datasets would take its cells for built
        shutil.rmtree(leftover, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    rows = [clip.row for clip in result.clips]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpeakerLeakWarning)  # the report and the card say it
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
    """Whether the generator's mark lies in the folder, above it (one speaker was given) or right below it."""
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
    """Cut the clips into cells that no configuration separates, and write each as Parquet in a worker process."""
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
        if shown:  # with one process, this is the caller's
            datasets.enable_progress_bars()
    for path in sorted(written.glob("*.parquet")):
        shard = path.stem.partition("-cell")[2]  # "" or "-00000-of-00002"
        os.replace(path, folder / f"{name}{shard}.parquet")
    shutil.rmtree(work / "cells" / name)


def _move_into_place(folder: Path, output: Path) -> None:
    if output.exists():
        old = Path(tempfile.mkdtemp(prefix=f"{output.name}.old-", dir=output.parent))
        os.replace(output, old / "dataset")
        os.replace(folder, output)
        shutil.rmtree(old)
    else:
        os.replace(folder, output)
