"""Check and encode the clips of streamed datasets, as `scan` does with files."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from hf_ser.console import progress_bar
from hf_ser.corpora import Utterance
from hf_ser.data.examination import Limits, ScanError
from hf_ser.data.found_recordings import Found
from hf_ser.data.hub_source import HubSource
from hf_ser.data.scan import CLIPS_PER_PACK, Checked, examine_chunk, finished_chunk
from hf_ser.data.workers import worker_pool
from hf_ser.remote_code.reading_ahead import available_processors

_Chunk = list[list[Utterance]]
_CHUNKS_PER_WORKER = 2  # in memory at a time; a chunk holds some megabytes


def without_streams(found: Found) -> Found:
    """The recordings in files."""
    folders = [source.folder for source in found.streams]
    files = [copies for copies in found.copies if not any(copies[0].path.is_relative_to(each) for each in folders)]
    return replace(found, copies=files, streams=())


def examine_streams(
    found: Found, packs_dir: Path, *, limits: Limits, num_proc: int | None = None, progress: bool = True
) -> Iterator[Checked]:
    """Stream and check the clips of `found.streams`, and write them to packs.

    Complete packs of an earlier run are reused, and their audio is not read again.

    Args:
        found: the recordings; those in files are skipped.
        packs_dir: folder for pack files.
        limits: limits that a clip must meet.
        num_proc: number of worker processes; None uses all CPU cores available to this process.
        progress: whether to show a progress bar.

    Yields:
        The clips that were kept and the quarantined ones of a pack.

    Raises:
        ScanError: the stream ended early, or could not be read.
        WorkerError: if a worker process was killed or could not start.
    """
    packs_dir.mkdir(parents=True, exist_ok=True)
    for source in found.streams:
        groups = [copies for copies in found.copies if copies[0].path.is_relative_to(source.folder)]
        with progress_bar(total=len(groups), desc=f"Streaming {source.name}", unit="clips", show=progress) as bar:
            todo: list[_Chunk] = []
            for chunk in _chunks(source, groups):
                finished = finished_chunk(chunk, packs_dir, limits)
                if finished is None:
                    todo.append(chunk)
                else:
                    bar.update(len(chunk))
                    yield finished
            for size, checked in _examine(source, todo, packs_dir, limits, num_proc):
                bar.update(size)
                yield checked


def _place(source: HubSource, copies: Sequence[Utterance]) -> tuple[str, int]:
    """The split and row of a clip."""
    split, row = copies[0].path.relative_to(source.folder).parts
    return split, int(row)


def _chunks(source: HubSource, groups: Sequence[list[Utterance]]) -> Iterator[_Chunk]:
    """The clips in the order of the stream."""
    for split in source.splits:
        rows = sorted((place[1], copies) for copies in groups if (place := _place(source, copies))[0] == split)
        for at in range(0, len(rows), CLIPS_PER_PACK):
            yield [copies for _, copies in rows[at : at + CLIPS_PER_PACK]]


def _examine(
    source: HubSource, chunks: Sequence[_Chunk], packs_dir: Path, limits: Limits, num_proc: int | None
) -> Iterator[tuple[int, Checked]]:
    """Examine chunks in worker processes while the stream is read."""
    workers = min(num_proc or available_processors(), len(chunks))
    if workers <= 1:
        for chunk, contents in _with_contents(source, chunks):
            yield len(chunk), examine_chunk(chunk, packs_dir, limits, contents)
        return
    pending: deque[tuple[int, Future[Checked]]] = deque()
    with worker_pool(workers) as pool:
        for chunk, contents in _with_contents(source, chunks):
            pending.append((len(chunk), pool.submit(examine_chunk, chunk, packs_dir, limits, contents)))
            if len(pending) > workers * _CHUNKS_PER_WORKER:
                size, future = pending.popleft()
                yield size, future.result()
        while pending:
            size, future = pending.popleft()
            yield size, future.result()


def _with_contents(source: HubSource, chunks: Sequence[_Chunk]) -> Iterator[tuple[_Chunk, dict[Path, bytes]]]:
    """Each chunk with the audio of its clips."""
    wanted: dict[str, list[int]] = {}
    for chunk in chunks:
        for copies in chunk:
            split, row = _place(source, copies)
            wanted.setdefault(split, []).append(row)
    stream = source.stream_audio(wanted)
    for chunk in chunks:
        contents: dict[Path, bytes] = {}
        try:
            for _ in chunk:
                path, content = next(stream)
                contents[path] = content
        except StopIteration:
            first = chunk[0][0].path
            raise ScanError(f"{first}: the stream ended before this clip. Run the same command again.") from None
        except (OSError, RuntimeError) as error:  # of the network; httpx and requests derive from these
            first = chunk[0][0].path
            raise ScanError(
                f"{first}: the stream was interrupted: {error} Run the same command again; finished clips are kept."
            ) from error
        yield chunk, contents
