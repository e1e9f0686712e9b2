"""The hybrids stage: fitted boosters and forests as models."""

from hf_ser.hybrids.baseline import BaselineArguments, fit_baseline
from hf_ser.hybrids.conversion import ConversionError, from_forest, from_lightgbm, read_booster

__all__ = ["BaselineArguments", "ConversionError", "fit_baseline", "from_forest", "from_lightgbm", "read_booster"]
