"""The error of prepared datasets."""

from hf_ser.errors import SerError


class DatasetError(SerError):
    """A dataset that cannot be loaded or is incomplete."""
