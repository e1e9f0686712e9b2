"""The errors that end a batch early."""

from hf_ser.errors import SerError


class BatchError(SerError):
    """Invalid options, or a run that has to stop; the message is one line."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; the message says how many recordings have answers and how to continue."""
