"""The scores of the single runs of a cross-validation, of classes or of dimensions, for results.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hf_ser.scoring.results import over_runs, sample_std


def scores_of_run(results: Mapping[str, Any]) -> dict[str, Any]:
    """The number of test clips of a run, its scores, and what was fitted on its validation split.

    Args:
        results: the results.json of the run.
    """
    dimensions = results.get("dimensions")
    if dimensions:
        return {
            "clips": dimensions["test"]["clips"] if "test" in dimensions else 0,
            "validation": _flat(dimensions.get("validation")),
            "test": _flat(dimensions.get("test")),
        }
    test = results["splits"]["test"]
    return {
        "clips": test["clips"],
        "temperature": test["calibration"]["temperature"],
        "abstention_threshold": test.get("abstention", {}).get("threshold"),
        "left_out": test["left_out"],
        "validation": results["splits"].get("validation", {}).get("scores"),
        "test": test["scores"],
    }


def names_of_pooled(seeds: Sequence[int]) -> list[str]:
    """Names of the files with the pooled predictions of each seed."""
    return ["predictions.parquet"] if len(seeds) == 1 else [f"predictions_seed_{seed}.parquet" for seed in seeds]


def over_folds(each: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Mean and standard deviation of the test scores over several runs; None for one.

    Args:
        each: the results.json of each run. Those without test scores are left out.
    """
    found = [scores for scores in (scores_of_run(results)["test"] for results in each) if scores is not None]
    if len(found) < 2:
        return None
    return {"mean": over_runs(found, np.mean), "std": over_runs(found, sample_std)}


def _flat(scored: Mapping[str, Any] | None) -> dict[str, float] | None:
    """The scores of a split of dimensions as one mapping: ccc, and ccc_DIMENSION and rmse_DIMENSION of each."""
    if scored is None:
        return None
    each = scored["per_dimension"].items()
    return {
        "ccc": scored["ccc"],
        **{f"{score}_{name}": values[score] for score in ("ccc", "rmse") for name, values in each},
    }
