"""Faults that a test injects into the Hub to test against."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Fault:
    """What goes wrong, at which requests and how often.

    Args:
        pattern: regular expression that is searched for in "METHOD /path?query", such as "PUT /storage/".
        times: the next so many requests that match; None for all.
        status: answer with this status instead of doing anything.
        headers: of that answer, such as {"Retry-After": "3"}.
        cut_after: close the connection after so many bytes of the request's body where it has one, else of the
            answer's; nothing is done with half a body.
        lose_answer: do what was asked and close the connection without a word.
        corrupt: change one byte of a body on its way, in a request that has one, else in the answer; lengths stay.
        bytes_per_s: pass bodies, both ways, at this rate.
        hits: requests that it struck so far.
    """

    pattern: str
    times: int | None = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    lose_answer: bool = False
    corrupt: bool = False
    bytes_per_s: float | None = None
    hits: int = 0

    def matches(self, line: str) -> bool:
        return (self.times is None or self.hits < self.times) and re.search(self.pattern, line) is not None


NO_FAULT = Fault("")


class Faults:
    """The faults that wait; of several that match a request the first one named strikes."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Let it wait for its requests.

        Raises:
            ValueError: not exactly one thing goes wrong.
        """
        named = sum(value is not None for value in (fault.status, fault.cut_after, fault.bytes_per_s))
        if named + fault.lose_answer + fault.corrupt != 1:
            raise ValueError("name exactly one of status, cut_after, lose_answer, corrupt and bytes_per_s")
        if fault.headers and fault.status is None:
            raise ValueError("headers: they belong to a status")
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def strike(self, line: str) -> Fault:
        """The fault of this request, counted as having struck."""
        with self._lock:
            for fault in self._faults:
                if fault.matches(line):
                    fault.hits += 1
                    return fault
        return NO_FAULT


def flip(body: bytes) -> bytes:
    """The same number of bytes, the middle one changed."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :] if body else body
