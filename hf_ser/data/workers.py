"""Worker processes with a progress bar, under any multiprocessing start method."""

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from hf_ser.console import progress_bar
from hf_ser.errors import SerError
from hf_ser.parent_process import end_with_parent
from hf_ser.remote_code.reading_ahead import available_processors

_T = TypeVar("_T")
_MOST_ON_WINDOWS = 61  # the maximum number of processes in a pool


class WorkerError(SerError):
    """A worker process that ended unexpectedly."""


def run_jobs(
    function: Callable[..., _T],
    jobs: Sequence[tuple[Any, ...]],
    *,
    sizes: Sequence[int],
    desc: str,
    unit: str,
    num_proc: int | None = None,
    show: bool = True,
) -> list[_T]:
    """Call a function once per job, in worker processes, under one progress bar.

    Args:
        function: a module-level function, so that it can be pickled.
        jobs: the arguments of each call; they must be picklable.
        sizes: units of work of each job, for the progress bar.
        desc: description of the work, such as "Checking clips".
        unit: name of the units, in the plural.
        num_proc: worker processes, at most one per job; 1 runs in this process; None uses all available CPU cores.
        show: whether to show progress.

    Returns:
        The results, in the order of the jobs.

    Raises:
        WorkerError: if a worker was killed or could not start.
    """
    num_proc = min(num_proc or available_processors(), len(jobs))
    with progress_bar(total=sum(sizes), desc=desc, unit=unit, show=show) as bar:
        if num_proc <= 1:
            results = []
            for job, size in zip(jobs, sizes, strict=True):
                results.append(function(*job))
                bar.update(size)
            return results
        with worker_pool(num_proc) as pool:
            futures = {pool.submit(function, *job): size for job, size in zip(jobs, sizes, strict=True)}
            for future in as_completed(futures):
                future.result()  # raises at the first error
                bar.update(futures[future])
            return [future.result() for future in futures]


@contextmanager
def worker_pool(num_proc: int) -> Iterator[ProcessPoolExecutor]:
    """Make a pool of processes. On an error or Ctrl-C, running jobs finish and the remaining ones are cancelled.

    Submitted functions must be module-level functions, and their arguments must be picklable.

    Raises:
        WorkerError: if a worker was killed or could not start.
    """
    num_proc = min(num_proc, _MOST_ON_WINDOWS) if sys.platform == "win32" else num_proc
    with ProcessPoolExecutor(num_proc, initializer=_start) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise WorkerError(
                f"one of {num_proc} worker processes ended unexpectedly. If memory is low, pass a smaller --num_proc. "
                'In your own script, put the call under `if __name__ == "__main__":`.'
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)  # waits, so that no worker writes after this
            raise


def _start() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides, so that workers finish what they write.
    parent = multiprocessing.parent_process()
    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert parent.pid is not None
        end_with_parent(parent.pid)
