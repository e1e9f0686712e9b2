"""The error of the demo."""

from hf_ser.errors import SerError


class DemoError(SerError):
    """A recording that the page cannot use, a page that cannot be served, or a Space that cannot be created."""
