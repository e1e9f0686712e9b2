"""The error of `hf-ser listen`."""

from hf_ser.errors import SerError


class ListenError(SerError):
    """Invalid options, or a source of sound that cannot be used; the message is one line."""
