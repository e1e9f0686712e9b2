"""Processes that end when the program that started them is killed, on Linux, macOS and Windows.

A killed program cannot end its children, so each child watches: signals on the parent's death exist on Linux alone,
and come when the thread that started the child ends.
"""

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

_PARENT = "HF_SER_PARENT"  # process id and time of creation, for programs that are started through others
_INTERVAL_S = 0.5
_watching = False


def as_parent() -> dict[str, str]:
    """Variables for the environment of a program that shall end with this one; see `end_with_parent`."""
    import psutil

    return {_PARENT: f"{os.getpid()}:{psutil.Process().create_time()}"}


def run_logged(command: Sequence[str], environment: Mapping[str, str], log: str, folder: str) -> int:
    """Run a program that ends with this process, and append its output to a file.

    Jobs on other machines call this function; the module imports quickly.

    Args:
        command: words of the command.
        environment: variables beside those of this process.
        log: path of the file.
        folder: working directory.

    Returns:
        The exit code.
    """
    variables = {**os.environ, **environment, **as_parent()}
    with open(log, "ab") as output:
        return subprocess.run(command, stdout=output, stderr=output, env=variables, cwd=folder).returncode


def end_with_parent(pid: int, created: float | None = None) -> None:
    """Watch the parent process from a thread, and end this process when it is gone.

    Args:
        pid: of the process to watch, as recorded when this one was started: after the death of the parent,
            `os.getppid` returns the process that adopted this one.
        created: when that process was created, in seconds since the epoch; default: looked up.
    """
    global _watching
    if _watching:
        return
    _watching = True
    import psutil

    try:
        parent = psutil.Process(pid)
        created = parent.create_time() if created is None else created
    except psutil.NoSuchProcess:
        os._exit(1)
    threading.Thread(target=_watch, args=(parent, created), daemon=True, name="watch the parent").start()


def end_with_named_parent(environment: Mapping[str, str] = os.environ) -> None:
    """End this process with the one that put `as_parent` into its environment; no effect without one."""
    pid, _, created = environment.get(_PARENT, "").partition(":")
    if pid:
        end_with_parent(int(pid), float(created))


def _watch(parent: "psutil.Process", created: float) -> None:  # type: ignore[name-defined] # noqa: F821
    while _lives(parent, created):
        time.sleep(_INTERVAL_S)
    os._exit(1)  # as a kill would end it: everything that is written survives that


def _lives(parent: "psutil.Process", created: float) -> bool:  # type: ignore[name-defined] # noqa: F821
    import psutil

    try:
        # Another process may have got its id. A zombie has ended, and only waits for its own parent.
        return abs(parent.create_time() - created) < 1.0 and parent.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
