"""Read several recordings at a time in threads; decoders release the global interpreter lock."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

_T = TypeVar("_T")
_MOST_THREADS = 16


def read_ahead(sources: Iterable[Any], read: Callable[[Any], _T], threads: int | None = None) -> Iterator[_T]:
    """Call a function for several sources at a time.

    Args:
        sources: iterated in the calling thread.
        read: function of a source.
        threads: number of threads; None for the CPUs available to this process, at most 16.

    Yields:
        Results of `read` in the order of the sources. Exceptions are raised when their source's turn comes.
    """
    threads = threads or min(available_processors(), _MOST_THREADS)
    coming = iter(sources)
    # A thread pool does not pay off for one source, which is the most common case.
    head = list(islice(coming, 2))
    if threads == 1 or len(head) < 2:
        yield from map(read, head)
        yield from map(read, coming)
        return
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[_T]] = deque(pool.submit(read, source) for source in head)
        try:
            while begun:
                while len(begun) < 2 * threads and (following := next(coming, _END)) is not _END:
                    begun.append(pool.submit(read, following))
                yield begun.popleft().result()
        finally:
            for future in begun:  # these results are no longer needed
                future.cancel()


_END = object()


def available_processors() -> int:
    """Number of CPUs available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def computing_threads() -> int:
    """Number of threads for libraries that ignore OMP_NUM_THREADS: its value if set, else the available CPUs."""
    number = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(number) if number.isdigit() and int(number) > 0 else available_processors()
