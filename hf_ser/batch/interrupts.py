"""Handle Ctrl-C between two answers, never while an answer is being written."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any


class Interrupts:
    """A context in which Ctrl-C sets `stopped` and raises KeyboardInterrupt, but not inside `held`."""

    def __init__(self) -> None:
        self.stopped = False
        self._held = False
        self._previous: Any = None

    def __enter__(self) -> "Interrupts":
        # Shells start background jobs with Ctrl-C ignored, and only the main thread can set a handler.
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Delay Ctrl-C until the end of this block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.stopped:
            raise KeyboardInterrupt

    def _stop(self, *_: Any) -> None:
        self.stopped = True
        if not self._held:
            raise KeyboardInterrupt
