"""Robustness reports: scores of a model on the same clips under conditions with levels."""

from hf_ser.robustness.measurement import measure_robustness, summary
from hf_ser.robustness.robustness_arguments import RobustnessArguments
from hf_ser.robustness.stored_conditions import ReportError, read_report
from hf_ser.robustness.tested_models import RobustnessError

__all__ = [
    "ReportError",
    "RobustnessArguments",
    "RobustnessError",
    "measure_robustness",
    "read_report",
    "summary",
]
