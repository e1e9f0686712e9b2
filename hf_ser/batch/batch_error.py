"""How a batch ends before all of it is answered."""

from hf_ser.errors import SerError


class BatchError(SerError):
    """A command that cannot be followed, or that has to stop; the message is one line."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C after some answers; the message says how many and how to continue."""
