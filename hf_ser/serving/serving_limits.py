"""The limits of `hf-ser serve`, and the error for a request outside of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from hf_ser.errors import SerError

RETRY_AFTER_S = 1  # of a request that is rejected because the server is busy
_BODIES_IN_MEMORY = 8  # as many bodies of the largest size are held at a time


class ServingError(SerError):
    """Invalid options of the server, or an address that it cannot use."""


class RequestError(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        text: one line: what was got, what was expected, what to do.
        **details: more fields of the answer, such as the reason.
    """

    def __init__(self, status: int, text: str, **details: Any) -> None:
        super().__init__(text)
        self.status, self.details = status, details


def busy(got: str) -> RequestError:
    """The error of a request that can be answered later."""
    return RequestError(503, f"{got}; expected fewer requests at a time. Try again in {RETRY_AFTER_S} s.")


@dataclass(frozen=True)
class ServingLimits:
    """Limits of one request and of all requests together.

    Args:
        max_body_mb: size of a request's body in megabytes (10**6 bytes).
        max_duration_s: seconds of audio in a clip.
        max_clips: clips in a request.
        queue_size: clips that are decoded, wait or are classified at a time, of all requests together.
        upload_timeout_s: seconds until a request's body has arrived.
        queue_timeout_s: seconds from the end of the upload to the answer.

    Raises:
        ServingError: a limit is not positive, or a request with `max_clips` would never fit into the queue.

    >>> ServingLimits(max_body_mb=2).max_body_bytes
    2000000
    """

    max_body_mb: float = 25.0
    max_duration_s: float = 600.0
    max_clips: int = 32
    queue_size: int = 64
    upload_timeout_s: float = 30.0
    queue_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ServingError(f"--{field.name} {value}; expected a positive number.")
        if self.max_clips > self.queue_size:
            raise ServingError(
                f"--max_clips {self.max_clips} is above --queue_size {self.queue_size}; expected at most that: "
                "all clips of a request wait at the same time."
            )

    @property
    def max_body_bytes(self) -> int:
        """Size of a request's body."""
        return round(self.max_body_mb * 1e6)


class UploadMemory:
    """Counts the bytes of all bodies that are held in memory; used by the event loop's thread only.

    Args:
        limits: of the server.
    """

    def __init__(self, limits: ServingLimits) -> None:
        self.held_bytes = 0
        self._most = _BODIES_IN_MEMORY * limits.max_body_bytes

    @contextmanager
    def of_request(self) -> Iterator["HeldBytes"]:
        """Count the bytes of one request until its end."""
        held = HeldBytes(self)
        try:
            yield held
        finally:
            self.held_bytes -= held.size

    def add(self, size: int) -> None:
        """Count bytes.

        Raises:
            RequestError: the bodies of all requests together are too large.
        """
        if self.held_bytes + size > self._most:
            raise busy(f"{self.held_bytes / 1e6:.0f} MB of uploads are in memory")
        self.held_bytes += size


@dataclass
class HeldBytes:
    """The bytes of one request's body that have arrived so far."""

    memory: UploadMemory
    size: int = 0

    def add(self, size: int) -> None:
        """Count bytes that have arrived; raises `RequestError` if the uploads in memory are too large."""
        self.memory.add(size)
        self.size += size
