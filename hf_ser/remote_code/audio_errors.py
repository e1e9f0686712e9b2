"""The error raised for recordings that cannot be used."""

from typing import Any, Literal

Reason = Literal[
    "argument",
    "empty",
    "level",
    "lfs_pointer",
    "not_finite",
    "not_found",
    "segment",
    "silent",
    "too_short",
    "truncated",
    "undecodable",
]
REPLACE = "Replace the file or convert it to WAV."
COPY_AGAIN = "Download or copy the file again."


class AudioError(ValueError):
    """A recording that cannot be used: what was found, what was expected, and how to fix it.

    Args:
        reason: short code, one of `Reason`.
        path: path, address or description of the recording.
        got: what was found.
        expected: what was expected instead.
        remedy: sentence that says how to fix it.
    """

    def __init__(self, reason: Reason, path: str, got: str, expected: str, remedy: str) -> None:
        self.reason, self.path, self.got, self.expected, self.remedy = reason, path, got, expected, remedy
        super().__init__(f"{path}: got {got}; expected {expected}. {remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, exceptions are unpickled from their message alone; worker processes need all five parts.
        return type(self), (self.reason, self.path, self.got, self.expected, self.remedy)


def argument_error(name: str, got: str, expected: str, remedy: str) -> AudioError:
    """Make the error for an argument that is not a recording, or an option out of range.

    Args:
        name: name of the recording.
        got: what was passed.
        expected: what is valid.
        remedy: sentence that says how to fix it.

    Returns:
        An AudioError with reason "argument".
    """
    return AudioError("argument", name, got, expected, remedy)
