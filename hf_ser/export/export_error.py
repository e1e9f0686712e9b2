"""The error of this package."""

from hf_ser.errors import SerError


class ExportError(SerError):
    """A model that cannot be exported, or an export that does not say the same as the model."""
