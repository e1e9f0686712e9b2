"""Worker processes of preparation, started in whichever way the system and the Python version start them."""

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from hf_ser.errors import SerError

_MOST_ON_WINDOWS = 61  # processes that a pool can wait for there


class WorkerError(SerError):
    """A worker process that ended before its work was done."""


@contextmanager
def worker_pool(num_proc: int) -> Iterator[ProcessPoolExecutor]:
    """Make a pool of processes; on an error or Ctrl-C it waits for the work at hand and drops the rest.

    What is submitted must be a function of a module with arguments that can be pickled.

    Raises:
        WorkerError: a worker was killed or could not start.
    """
    num_proc = min(num_proc, _MOST_ON_WINDOWS) if sys.platform == "win32" else num_proc
    with ProcessPoolExecutor(num_proc, initializer=_ignore_interrupts) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise WorkerError(
                f"one of {num_proc} worker processes ended early; pass a smaller --num_proc if memory "
                'is short. A script of your own needs `if __name__ == "__main__":` around its calls.'
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)  # waits, so that nobody writes after this
            raise


def _ignore_interrupts() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides, so that workers finish what they write.
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
