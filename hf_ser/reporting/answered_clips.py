"""What results.json says about abstention, in words."""

from collections.abc import Mapping
from typing import Any

from hf_ser.results_file import bounds, number


def abstention_section(abstention: Mapping[str, Any] | None) -> list[str]:
    """The section of a report on one split; empty for runs without abstention."""
    return ["### Abstention", abstention_text(abstention)] if abstention else []


def abstention_text(abstention: Mapping[str, Any]) -> str:
    """Threshold, coverage and accuracy on answered clips of one split, in two sentences.

    >>> abstention_text({"threshold": None, "target_accuracy": 0.8, "min_coverage": 0.2, "coverage": None})
    'No threshold reaches an accuracy of 0.800 on at least 20 % of the validation clips.'
    """
    coverage, threshold = abstention["coverage"], abstention["threshold"]
    target, least = abstention["target_accuracy"], abstention["min_coverage"]
    weights = ", each corpus with the same weight" if abstention.get("equal_corpora") else ""
    if coverage is None:
        if target is None:
            return "Not every model has a threshold."
        return (
            f"No threshold reaches an accuracy of {number(target)} on at least {100 * least:.0f} % of the validation "
            f"clips{weights}."
        )
    interval = abstention["interval"]
    at = "with the threshold of each fold" if threshold is None else f"at the threshold {number(threshold)}"
    said = f"The share of answered clips {at} is {number(coverage)}{_ends(interval['coverage'])}, "
    said += f"the accuracy on them {number(abstention['accuracy'])}{_ends(interval['accuracy'])}."
    if target is None:
        return said
    chosen = f"for an accuracy of {number(target)} on answered clips{weights}"
    return f"{said} The threshold was chosen on validation, {chosen}."


def _ends(interval: Any) -> str:
    return "" if interval[0] is None else f" (95 % interval {bounds(interval)})"
