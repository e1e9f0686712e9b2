"""Hybrids: stacks, boosters and forests over trained models, fitted and written as one model."""

from hf_ser.hybrids.conversion import ConversionError, from_forest, from_lightgbm, read_booster

__all__ = ["ConversionError", "from_forest", "from_lightgbm", "read_booster"]
