"""Sections of report.md on a split: mean over corpora, groups and calibration."""

from collections.abc import Mapping
from typing import Any

from hf_ser import markdown
from hf_ser.results_file import bounds, number

SCORES = {"accuracy": "accuracy", "f1_weighted": "weighted F1", "f1_macro": "macro F1", "uar": "UAR"}
GROUPINGS = {
    "corpus": "By corpus",
    "language": "By language",
    "gender": "By gender within corpus",
    "intensity": "By intensity within corpus",
    "speaker": "By speaker",
}


def by_corpus_section(by_corpus: Mapping[str, Any] | None) -> list[str]:
    """The headline of a merged set; nothing for one corpus."""
    if not by_corpus:
        return []
    rows = [
        (name, number(by_corpus["scores"][key]), bounds(by_corpus["intervals"][key])) for key, name in SCORES.items()
    ]
    corpora = [
        (name, corpus["clips"], len(corpus["classes"]), number(corpus["uar"]))
        for name, corpus in by_corpus["corpora"].items()
    ]
    given = (
        f" The interval treats {', '.join(by_corpus['fixed'])} (one speaker) as given." if by_corpus["fixed"] else ""
    )
    return [
        f"### Mean over the {len(corpora)} corpora",
        f"Each corpus counts equally and is scored over its own classes.{given}",
        markdown.table(("score", "mean", "95 % interval, speakers within corpora"), rows),
        markdown.table(("corpus", "clips", "classes", "UAR over its classes"), corpora),
    ]


def group_section(title: str, grouping: Mapping[str, Any]) -> list[str]:
    """The scores of the groups of a grouping; nothing without groups."""
    if not grouping["groups"]:
        return []
    rows = [
        (
            name,
            group["clips"],
            "unknown" if group["speakers"] is None else group["speakers"],
            *(number(group["scores"][key]) for key in SCORES),
            bounds(group["interval"]),
        )
        for name, group in grouping["groups"].items()
    ]
    parts = [
        f"### {title}",
        markdown.table(("group", "clips", "speakers", *SCORES.values(), "95 % interval of UAR"), rows),
    ]
    if grouping["best"]:
        parts.append(f"Best by UAR: {grouping['best']}. Worst: {grouping['worst']}.")
    return parts


def fairness_section(fairness: Mapping[str, Any] | None) -> list[str]:
    """The differences between groups; nothing if no grouping has two groups."""
    if not fairness:
        return []
    rows = [
        (
            name,
            f"{found['best']} ({number(found['groups'][found['best']])})",
            f"{found['worst']} ({number(found['groups'][found['worst']])})",
            number(found["gap"]),
            bounds(found["interval"]),
            number(found["equalized_odds_difference"]),
        )
        for name, found in fairness.items()
    ]
    header = ("groups", "best (UAR)", "worst (UAR)", "gap", "95 % interval", "equalised-odds difference")
    return [
        "### Differences between groups",
        "Over the classes that all groups have. An interval needs two speakers in both groups.",
        markdown.table(header, rows),
    ]


def calibration_section(calibration: Mapping[str, Any]) -> list[str]:
    """The calibration errors before and after temperature scaling."""
    temperature = calibration["temperature"]
    if temperature is None:
        return ["### Calibration", f"Expected calibration error {number(calibration['after']['ece'])}."]
    return [
        "### Calibration",
        f"Expected calibration error {number(calibration['before']['ece'])} before and "
        f"{number(calibration['after']['ece'])} after dividing the logits by the temperature {temperature:.3f}, "
        "which was fitted on validation and is part of the model.",
    ]
