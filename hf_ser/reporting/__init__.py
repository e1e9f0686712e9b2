"""Reports: report.md, figures, comparisons of runs, exploration of a dataset.

`explore` is in `hf_ser.reporting.exploration`, which imports matplotlib and datasets.
"""

from hf_ser.reporting.comparison import CompareArguments
from hf_ser.reporting.comparison_report import compare_runs
from hf_ser.reporting.run_report import Explanation, ReportArguments, summary, write_run

__all__ = [
    "CompareArguments",
    "Explanation",
    "ReportArguments",
    "compare_runs",
    "summary",
    "write_run",
]
