"""The error of conditions."""

from hf_ser.errors import SerError


class ConditionError(SerError):
    """An unknown condition or level, a codec or package that is missing, or a clip that a condition leaves silent."""
