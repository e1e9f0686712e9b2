"""The error of the static page."""

from hf_ser.errors import SerError


class WebError(SerError):
    """A graph, a package or a folder that a static page cannot be made of."""
