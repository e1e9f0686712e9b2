"""A folder of answers in parts: fixed groups of clips, each in a Parquet file, written by any number of processes."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.clip_listing import ClipListing, ListingFile, digest_of_names
from hf_ser.batch.escaped_names import escaped_name
from hf_ser.batch.loaded_model import LoadedModel
from hf_ser.batch.parquet_output import ParquetOutput
from hf_ser.batch.run_stamp import RunStamp
from hf_ser.batch.written_answers import Answers, write_all
from hf_ser.scoring.results import write_json

MANIFEST, LISTING, PARTS, MERGED = "manifest.json", "listing.arrow", "answers", "answers.parquet"
_LOCK = "merge.lock"
_OURS = frozenset((MANIFEST, LISTING, PARTS, MERGED, _LOCK))
_REMEDY = "Name another folder, or pass --overwrite true to replace it."


@dataclass(frozen=True)
class AnswerFolder:
    """The answers of a run in a folder that all processes share.

    `listing.arrow` has the names of the clips, `answers/part-NNNNNN.parquet` the answers of a fixed group of them, and
    `manifest.json` the counts, the stamp and the digest of the listing. A part that is being written has a journal
    (`.part`) beside it, with which any process can complete it.

    Args:
        path: of the folder.
        run: model and options of the answers.
        manifest: the content of manifest.json.
    """

    path: Path
    run: RunStamp
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: Path, run: RunStamp) -> "AnswerFolder":
        """Open a folder that `begin` has prepared."""
        return cls(path, run, _read_manifest(path))

    @property
    def is_finished(self) -> bool:
        """Whether all clips have answers, which were counted and, if requested, merged."""
        return "answered" in self.manifest

    def part_path(self, number: int) -> Path:
        """Path of the Parquet file of a part."""
        return self.path / PARTS / f"part-{number:06d}.parquet"

    def unfinished_parts(self) -> list[int]:
        """Return the numbers of the parts that have no complete file."""
        present = set(os.listdir(self.path / PARTS))

        def is_whole(number: int) -> bool:
            name = self.part_path(number).name
            return name in present and f"{name}.part" not in present

        return [number for number in range(self.manifest["parts"]) if not is_whole(number)]

    def answer_part(
        self,
        number: int,
        model: LoadedModel,
        options: Mapping[str, Any],
        reader: Callable[[int, Sequence[str]], Callable[[str], Any]] | None = None,
    ) -> tuple[int, int]:
        """Answer the clips of a part that have no answer yet, and complete its file.

        Args:
            number: of the part.
            model: the model.
            options: of the calls of the pipeline.
            reader: function of the number of the first clip and the names, which returns `Answers.source_of`; None if
                the names are paths or URLs.

        Returns:
            Number of clips, and of those that failed, in this call.

        Raises:
            BatchError: the file is not writable, or another process writes it.
            Interrupted: Ctrl-C; the answers so far have been written.
        """
        names = ListingFile(self.path / LISTING).names(number)
        output = ParquetOutput(self.part_path(number), self.run)
        try:
            todo = [name for name in names if escaped_name(name) not in output.failed]
            output.start(model.labels, options["abstain"] is not False)
            source_of = reader(number * self.manifest["clips_per_part"], names) if reader else None
            answers = Answers(model, todo, options, source_of, answered_before=len(names) - len(todo))
            remedy = f" in {output.path.name}; run the same command to continue"
            failed = write_all(output, answers, remedy=remedy, show_bar=False)
        finally:
            output.release()
        return len(todo), failed

    def finish(self, merge: bool) -> "AnswerFolder | None":
        """Check, count and merge the answers once all parts are written; the process that ends last does this.

        Args:
            merge: whether to write all answers into answers.parquet, in the order of the listing.

        Returns:
            The finished folder; None if other processes are still writing parts.

        Raises:
            BatchError: the answers of a part are not those of its clips.
        """
        if self.unfinished_parts():
            return None
        with FileLock(self.path / _LOCK):  # two processes can end at the same time
            found = AnswerFolder.open(self.path, self.run)
            if found.is_finished and (not merge or (self.path / MERGED).is_file()):
                return found
            answered, failed = self._merge() if merge else self._count(None)
            done = {**found.manifest, "answered": answered, "failed": failed}
            write_json(self.path / MANIFEST, done)
            return AnswerFolder(self.path, self.run, done)

    def _merge(self) -> tuple[int, int]:
        beside = self.path / f"{MERGED}.new"
        try:
            with pq.ParquetWriter(beside, pq.read_schema(self.part_path(0))) as writer:
                counts = self._count(writer)
            os.replace(beside, self.path / MERGED)
        finally:
            beside.unlink(missing_ok=True)
        return counts

    def _count(self, writer: pq.ParquetWriter | None) -> tuple[int, int]:
        """Check every part against the listing and copy it -> number of answered and of failed clips."""
        listing, clips, failed = ListingFile(self.path / LISTING), 0, 0
        for number in range(self.manifest["parts"]):
            found = []
            for batch in _batches(self.part_path(number), None if writer else ["file", "start", "error"]):
                firsts = batch.filter(pc.is_null(batch["start"]))  # the others are windows
                found += firsts["file"].to_pylist()
                failed += len(firsts) - firsts["error"].null_count
                if writer is not None:
                    writer.write_batch(batch)
            expected = [escaped_name(name) for name in listing.names(number)]
            if found != expected:
                raise BatchError(
                    f"{self.part_path(number)}: got answers for {len(found):,} clips that are not those of the "
                    f"listing; expected {len(expected):,}. Delete this file and run the same command again."
                )
            clips += len(found)
        return clips - failed, failed


def _batches(path: Path, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(columns=columns)
    except (pa.ArrowException, OSError) as error:
        shown = " ".join(str(error).split())
        raise BatchError(f"{path}: {shown}. Delete this file and run the same command again.") from error


def begin(path: Path, listing: ClipListing, run: RunStamp, clips_per_part: int, overwrite: bool) -> None:
    """Prepare a folder for the answers; the folder of an interrupted run with the same settings is kept.

    Args:
        path: of the folder, created if it does not exist.
        listing: the clips.
        run: model and options.
        clips_per_part: number of clips in each part, the last of which may have fewer.
        overwrite: whether to replace the answers of another run.

    Raises:
        BatchError: the folder has other files, or answers with another model, other options or other clips.
    """
    wanted = {
        "clips": len(listing.names),
        "parts": -(-len(listing.names) // clips_per_part),
        "clips_per_part": clips_per_part,
        "listing_sha256": digest_of_names(listing.names),
        "kind": listing.kind,
        "model": run.model,
        "options": run.options,
    }
    if path.is_dir() and any(path.iterdir()):
        if not (path / MANIFEST).is_file() and any(entry.name not in _OURS for entry in path.iterdir()):
            raise BatchError(f"--output {path}: got a folder with other files; expected an empty folder or a new one.")
        if overwrite:
            _empty(path)
        elif (path / MANIFEST).is_file():
            _refuse_others(path, _read_manifest(path), wanted, run)
            return
    (path / PARTS).mkdir(parents=True, exist_ok=True)
    ListingFile.write(path / LISTING, listing.names, clips_per_part)
    write_json(path / MANIFEST, wanted)  # last, so that a folder with it is complete


def _refuse_others(path: Path, found: dict[str, Any], wanted: dict[str, Any], run: RunStamp) -> None:
    differences = run.differences(found["model"], found["options"])
    if differences:
        raise BatchError(f"--output {path}: got {differences}. {_REMEDY}")
    if found["listing_sha256"] != wanted["listing_sha256"]:
        raise BatchError(
            f"--output {path}: got the answers of a listing of {found['clips']:,} clips; expected those of this one, "
            f"which has {wanted['clips']:,} and other names or another order. {_REMEDY}"
        )
    if found["clips_per_part"] != wanted["clips_per_part"]:
        raise BatchError(
            f"--output {path}: got parts of {found['clips_per_part']:,} clips; expected {wanted['clips_per_part']:,}. "
            f"Pass --clips_per_part {found['clips_per_part']} to continue, or --overwrite true to replace them."
        )


def _empty(path: Path) -> None:
    (path / MANIFEST).unlink(missing_ok=True)  # first, so that an interruption leaves no complete folder
    shutil.rmtree(path / PARTS, ignore_errors=True)
    for name in (LISTING, MERGED, _LOCK):
        (path / name).unlink(missing_ok=True)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BatchError(f"{path / MANIFEST}: {error}. {_REMEDY}") from error
