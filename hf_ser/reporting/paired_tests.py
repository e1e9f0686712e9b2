"""Paired tests between runs on the same clips, and their p values as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_ser.errors import SerError
from hf_ser.reporting.comparison import ComparisonError, Run, are_merged
from hf_ser.results_file import number
from hf_ser.scoring.bootstrap import compare
from hf_ser.scoring.corpus_mean import compare_by_corpus
from hf_ser.scoring.predictions import Predictions
from hf_ser.scoring.significance import LEVEL, holm

SIGNIFICANT = "*"


def tests_to_best(best: Run, others: Sequence[Run]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Test the UAR that ranks the runs (see `Run.headline`), of each run against the best one.

    Args:
        best: the first of a group.
        others: its other runs.

    Returns:
        Shown name -> the test (see `paired`) with `holm_p`, corrected for all of these tests; and shown name -> why a
        run is not tested.
    """
    merged = are_merged([best, *others])
    tests: dict[str, dict[str, Any]] = {}
    untested: dict[str, str] = {}
    for run in others:
        try:
            tests[run.shown] = paired(run, best, merged)["uar"]
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


def paired(a: Run, b: Run, merged: bool | None = None) -> dict[str, dict[str, Any]]:
    """Test run A against run B on the clips of both, over the seeds that both have.

    Args:
        a: the run whose scores the differences start from.
        b: the run whose scores are subtracted.
        merged: whether scores are means over corpora and seeds (see `compare_by_corpus`), not those of all clips and
            seeds pooled (see `compare`); default: if both runs have a mean over corpora.

    Raises:
        ComparisonError: the clips or their labels differ, or the runs have no seed in common.
        PredictionsError: predictions are invalid.
        IntervalError: too few speakers.
    """
    pairs = [(left, _in_order_of(left, right, b)) for left, right in _with_common_seeds(a, b)]
    of_a, of_b = ([pair[side] for pair in pairs] for side in (0, 1))
    if are_merged((a, b)) if merged is None else merged:
        return compare_by_corpus(of_a, of_b)
    label_ids = np.concatenate([table.label_ids for table in of_a])
    predicted_a, predicted_b = (np.concatenate([table.predicted for table in tables]) for tables in (of_a, of_b))
    speakers = [speaker for table in of_a for speaker in table.clusters]
    return compare(label_ids, predicted_a, predicted_b, speakers, len(a.labels))


def _in_order_of(left: Predictions, right: Predictions, b: Run) -> Predictions:
    """The predictions of run B with the clips in the order of those of run A."""
    row_of = {clip: row for row, clip in enumerate(right.clips["id"])}
    if row_of.keys() != set(left.clips["id"]):
        raise ComparisonError(f"its clips differ from those of {b.shown}")
    ordered = right.select(np.asarray([row_of[clip] for clip in left.clips["id"]]))
    if (left.label_ids != ordered.label_ids).any():
        raise ComparisonError(f"its labels differ from those of {b.shown}")
    # Corpora and speakers are those of run A, also where tables of other programs name them differently.
    return Predictions(left.clips, ordered.probabilities, right.labels)


def _with_common_seeds(a: Run, b: Run) -> list[tuple[Predictions, Predictions]]:
    if len(a.predictions) == len(b.predictions) == 1:
        return [(a.predictions[0], b.predictions[0])]
    of_a, of_b = (dict(zip(run.results["seeds"], run.predictions, strict=True)) for run in (a, b))
    common = [seed for seed in of_a if seed in of_b]
    if not common:
        raise ComparisonError(f"its seeds are {a.results['seeds']}, those of {b.shown} are {b.results['seeds']}")
    return [(of_a[seed], of_b[seed]) for seed in common]
