"""Paired tests between runs on the same clips, and their p values as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_ser.errors import SerError
from hf_ser.reporting.comparison import ComparisonError, Run
from hf_ser.results_file import number
from hf_ser.scoring.bootstrap import compare
from hf_ser.scoring.predictions import Predictions
from hf_ser.scoring.significance import LEVEL, holm

SIGNIFICANT = "*"


def tests_to_best(best: Run, others: Sequence[Run]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Test the UAR of each run against that of the best one.

    Args:
        best: the first of a group.
        others: its other runs.

    Returns:
        Shown name -> the test (see `paired`) with `holm_p`, corrected for all of these tests; and shown name -> why a
        run is not tested.
    """
    tests: dict[str, dict[str, Any]] = {}
    untested: dict[str, str] = {}
    for run in others:
        try:
            tests[run.shown] = paired(run, best)["uar"]
        except SerError as error:
            untested[run.shown] = str(error).rstrip(".")
    corrected = holm([tested["permutation_p"] for tested in tests.values()])
    return {name: tested | {"holm_p": p} for (name, tested), p in zip(tests.items(), corrected, strict=True)}, untested


def marked_p_value(p: float) -> str:
    """A corrected p value as text, with a mark if it is significant."""
    return p_value(p) + (SIGNIFICANT if p < LEVEL else "")


def p_value(p: float) -> str:
    """A p value as text."""
    return "≤ 0.001" if p <= 0.001 else number(p)


def paired(a: Run, b: Run) -> dict[str, dict[str, Any]]:
    """Test run A against run B on the clips of both, pooled over the seeds that both have (see `compare`).

    Raises:
        ComparisonError: the clips or their labels differ, or the runs have no seed in common.
        PredictionsError: predictions are invalid.
    """
    columns: list[list[Any]] = [[], [], [], []]
    for left, right in _with_common_seeds(a, b):
        row_of = {clip: row for row, clip in enumerate(right.clips["id"])}
        if row_of.keys() != set(left.clips["id"]):
            raise ComparisonError(f"its clips differ from those of {b.shown}")
        rows = [row_of[clip] for clip in left.clips["id"]]
        if (left.label_ids != right.label_ids[rows]).any():
            raise ComparisonError(f"its labels differ from those of {b.shown}")
        found: tuple[Any, ...] = (left.label_ids, left.predicted, right.predicted[rows], left.clusters)
        for column, values in zip(columns, found, strict=True):
            column.extend(values)
    label_ids, predicted_a, predicted_b, speakers = (np.asarray(column) for column in columns)
    return compare(label_ids, predicted_a, predicted_b, speakers.tolist(), len(a.labels))


def _with_common_seeds(a: Run, b: Run) -> list[tuple[Predictions, Predictions]]:
    if len(a.predictions) == len(b.predictions) == 1:
        return [(a.predictions[0], b.predictions[0])]
    of_a, of_b = (dict(zip(run.results["seeds"], run.predictions, strict=True)) for run in (a, b))
    common = [seed for seed in of_a if seed in of_b]
    if not common:
        raise ComparisonError(f"its seeds are {a.results['seeds']}, those of {b.shown} are {b.results['seeds']}")
    return [(of_a[seed], of_b[seed]) for seed in common]
