"""The one error of recordings that cannot be used."""

from typing import Any, Literal

Reason = Literal[
    "argument",
    "empty",
    "level",
    "lfs_pointer",
    "not_finite",
    "not_found",
    "silent",
    "too_short",
    "truncated",
    "undecodable",
]
REPLACE = "Replace the file or convert it to WAV."
COPY_AGAIN = "Download or copy the file again."


class AudioError(ValueError):
    """A recording that cannot be used: what was got, what was expected, and what to do.

    Args:
        reason: short code, one of `Reason`.
        path: where the recording came from.
        got: what was found.
        expected: what was not.
        remedy: a sentence.
    """

    def __init__(self, reason: Reason, path: str, got: str, expected: str, remedy: str) -> None:
        self.reason, self.path, self.got, self.expected, self.remedy = reason, path, got, expected, remedy
        super().__init__(f"{path}: got {got}; expected {expected}. {remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions rebuild themselves from their message by default; worker processes need all five parts.
        return type(self), (self.reason, self.path, self.got, self.expected, self.remedy)


def argument_error(name: str, got: str, expected: str, remedy: str) -> AudioError:
    """Make the error for an argument that is no recording, or an option out of range.

    Args:
        name: of the recording.
        got: what was passed.
        expected: what is valid.
        remedy: a sentence.

    Returns:
        An AudioError with reason "argument".
    """
    return AudioError("argument", name, got, expected, remedy)
