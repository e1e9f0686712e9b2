"""Reading several recordings at a time: decoders release the interpreter's lock."""

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
        sources: taken one by one by the thread that asks for results.
        read: of a source.
        threads: how many; default: the processors that this process may use, 16 at most.

    Yields:
        What `read` returns, in the order of the sources; what it raises is raised in its place.
    """
    threads = threads or min(available_processors(), _MOST_THREADS)
    coming = iter(sources)
    # A pool is not worth its start for one source, which is the commonest case.
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
            for future in begun:  # nobody asks for these any more
                future.cancel()


_END = object()


def available_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
