"""The hybrids stage: fitted boosters and forests as models."""

from hf_ser.hybrids.convert import ConversionError, from_forest, from_lightgbm, read_booster

__all__ = ["ConversionError", "from_forest", "from_lightgbm", "read_booster"]
