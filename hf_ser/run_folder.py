"""One run folder, one owner: a lock for as long as the program lives, and a mark for as long as the run is unfinished.

The mark shows what a killed program left behind: it is written before the first file of the run and removed after the
last. Loaders, pushes and hybrids reject a marked folder without results.json or with a model that is still a draft.
"""

import atexit
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from hf_ser.errors import SerError
from hf_ser.model_draft import discard_draft, draft_of
from hf_ser.system_errors import SystemTroubleError, check_output, system_trouble

UNFINISHED = "unfinished.json"
LOCK = ".lock"
_RESULTS = ("results.json", "pretraining.json")  # of a model or evaluation, and of a pretrained encoder
_held: dict[Path, "_Hold"] = {}


class RunFolderError(SerError):
    """A run folder that another program uses, or whose run is unfinished."""


@dataclass(frozen=True)
class _Hold:
    lock: FileLock | None  # None where another process of this run has it
    created: bool  # the folder, by this process
    pid: int  # forked children share the lock and must not release it


def hold(folder: str | Path, *, flag: str = "--output_dir") -> None:
    """Lock a folder for this process and its children until the process ends or calls `release`.

    The system drops the lock when the process is killed, so that no stale one remains. A folder that this process
    holds already stays held.

    Args:
        folder: created where it is missing.
        flag: the argument that it comes from, for the message.

    Raises:
        RunFolderError: another program uses the folder.
        SystemTroubleError: the folder cannot be written to.

    >>> hold("runs/new")
    >>> release("runs/new")
    """
    check_output(folder, flag)
    path = Path(folder).resolve()
    if path in _held:
        return
    lock = FileLock(path / LOCK, timeout=0)
    created = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunFolderError(
            f"{flag} {folder} is in use by {_owner(path)}. Wait until it has ended, or choose another folder."
        ) from None
    except OSError as error:
        raise system_trouble(error) or error from error
    _held[path] = _Hold(lock, created, os.getpid())
    with suppress(SystemTroubleError):  # Windows writes into no locked file; the name of the owner is missing then
        _write(path / LOCK)


def join(folder: str | Path) -> None:
    """Take part in a run whose folder another process of the same run holds, as the first of several GPUs does."""
    _held.setdefault(Path(folder).resolve(), _Hold(None, False, os.getpid()))


def release(folder: str | Path) -> None:
    """Unlock a folder that `hold` locked, and remove it if it was created for a run that never began."""
    path = Path(folder).resolve()
    held = _held.pop(path, None)
    if held is None or held.lock is None or held.pid != os.getpid():
        return
    # While the lock is held, so that the file is not that of the next owner. Windows removes no open file.
    removed = _is_removed(path / LOCK)
    held.lock.release()
    if not removed:
        _is_removed(path / LOCK)
    if held.created:
        with suppress(OSError):  # it has files
            path.rmdir()


def _is_removed(path: Path) -> bool:
    """Remove a file, unless the system does not allow it."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


@contextmanager
def held(folder: str | Path, *, flag: str = "--output_dir") -> Iterator[Path]:
    """Hold a folder while a run is written into it; afterwards the run is finished, or marked after an error.

    Within a block that holds the same folder already, the outer block decides.

    >>> with held("runs/new") as folder:
    ...     _ = (folder / "report.md").write_text("scores")
    >>> is_unfinished("runs/new")
    False
    """
    path = Path(folder).resolve()
    if path in _held:
        yield Path(folder)
        return
    hold(folder, flag=flag)
    try:
        begin_run(folder)
        yield Path(folder)
        finish_run(folder)
    finally:
        untouched = all(entry.name in (LOCK, UNFINISHED) for entry in path.iterdir())
        if untouched or _is_whole(path):  # the earlier run, which nothing replaced yet
            (path / UNFINISHED).unlink(missing_ok=True)
        release(folder)


@atexit.register
def _release_all() -> None:
    for folder, held in list(_held.items()):
        # A script may have ended without `finish_run`.
        if held.lock is not None and held.pid == os.getpid() and _is_whole(folder):
            finish_run(folder)
        release(folder)


def begin_run(folder: str | Path) -> None:
    """Mark the run in a folder that this process holds as unfinished, and remove the draft of a killed one.

    >>> hold("runs/new")
    >>> begin_run("runs/new")
    >>> is_unfinished("runs/new")
    True
    >>> finish_run("runs/new")
    >>> is_unfinished("runs/new")
    False
    """
    _write(Path(folder).resolve() / UNFINISHED)
    discard_draft(folder)


def finish_run(folder: str | Path) -> None:
    """Remove the mark and the lock: all files of the run are written.

    >>> hold("runs/new")
    >>> begin_run("runs/new")
    >>> finish_run("runs/new")
    >>> is_unfinished("runs/new")
    False
    """
    (Path(folder) / UNFINISHED).unlink(missing_ok=True)
    release(folder)


def is_unfinished(folder: str | Path) -> bool:
    """Whether scores or model are not complete yet, and a program that writes them is running or ended early."""
    return is_marked(folder) and not _is_whole(folder)


def is_finished(folder: str | Path) -> bool:
    """Whether a folder holds the scores and all other files of a run."""
    return has_results(folder) and not is_marked(folder)


def has_results(folder: str | Path) -> bool:
    """Whether a folder holds the results of a run, which may still be unfinished or be replaced by another."""
    return any((Path(folder) / name).is_file() for name in _RESULTS)


def _is_whole(folder: str | Path) -> bool:
    """Whether a folder has scores, and the model that they belong to if there is one."""
    return has_results(folder) and not draft_of(folder).is_dir()


def is_marked(folder: str | Path) -> bool:
    """Whether the last file of the run in a folder is still missing."""
    return (Path(folder) / UNFINISHED).is_file()


def refuse_unfinished(folder: str | Path, flag: str, error: type[SerError] = RunFolderError) -> None:
    """Raise an error for a folder whose run is unfinished, unless this process writes it.

    Names that are no folder, such as Hub ids, pass.
    """
    path = Path(folder).resolve()
    if path in _held or not is_unfinished(path):
        return
    raise error(
        f"{flag} {folder} holds an unfinished run of {_owner(path)}. If that program has ended, run the same command "
        "again with --resume_from_checkpoint true (training) or --overwrite true, to finish or replace it."
    )


def _write(path: Path) -> None:
    """Write who this process is."""
    owner = {"program": Path(sys.argv[0] or "python").name, "pid": os.getpid(), "host": platform.node()}
    started = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        path.write_text(json.dumps({**owner, "started": started}) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise system_trouble(error) or error from error


def _owner(folder: Path) -> str:
    """Name the process that wrote the mark or the lock."""
    for name in (UNFINISHED, LOCK):
        with suppress(OSError, ValueError, KeyError, TypeError):
            owner = json.loads((folder / name).read_text(encoding="utf-8"))
            return f"{owner['program']} (process {owner['pid']} on {owner['host']}, since {owner['started']})"
    return "another program"
