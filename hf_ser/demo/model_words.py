"""What a model was trained on and how good it is: in one sentence for everybody, in numbers for the details."""

from collections.abc import Mapping
from typing import Any

from hf_ser.corpora import CORPORA
from hf_ser.hub.card import shares_speakers, trained_on
from hf_ser.results_file import bounds, number

UNKNOWN = "Training data and accuracy are unknown: the model has no results.json."


def summary(results: Mapping[str, Any] | None) -> str:
    """Say in plain words what a model was trained on and how often it is right.

    Args:
        results: of the model's results.json; None if it has none.
    """
    if results is None:
        return UNKNOWN
    if results["dataset"]["synthetic"]:
        return "Trained on synthetic voices. Its answers say nothing about real speech."
    parts = [f"Trained on {_training_data(results)}."]
    test = results["splits"].get("test")
    accuracy = test["scores"]["accuracy"] if test is not None else None
    if accuracy is not None:
        parts.append(f"Right about {_times_in_ten(accuracy)} on {_tested_on(results)}.")
    return " ".join(parts)


def details(results: Mapping[str, Any] | None) -> str:
    """Give the training data, the test score with its interval, and the protocol."""
    if results is None:
        return UNKNOWN
    dataset, protocol = results["dataset"], results["protocol"]
    parts = [f"Dataset: {dataset['name']}."]
    test = results["splits"].get("test")
    if test is not None:
        scores, intervals = test["scores"], test["intervals"][0]
        parts += [
            f"{name} on test clips: {number(scores[key])} (95 % interval {bounds(intervals.get(key))})."
            for name, key in (("Accuracy", "accuracy"), ("UAR", "uar"))
        ]
        parts.append(f"Protocol: {protocol['name']}.")
        parts += [f"{note[0].upper()}{note[1:].rstrip('.')}." for note in protocol["notes"]]
    return " ".join(parts)


def _training_data(results: Mapping[str, Any]) -> str:
    """Such as: 2,327 recordings of 31 speakers (CREMA-D and RAVDESS)."""
    dataset = results["dataset"]
    corpora = [CORPORA[name].title if name in CORPORA else name for name in trained_on(dict(results))]
    named = " and ".join(filter(None, [", ".join(corpora[:-1]), *corpora[-1:]])) or dataset["name"]
    if dataset["train_clips"] is None:
        return named
    speakers = f" of {dataset['train_speakers']:,} speakers" if _has_speakers(dataset) else ""
    return f"{dataset['train_clips']:,} recordings{speakers} ({named})"


def _times_in_ten(accuracy: float) -> str:
    times = round(10 * accuracy)
    return {0: "less than 1 time in 10", 1: "1 time in 10", 10: "10 times in 10"}.get(times, f"{times} times in 10")


def _tested_on(results: Mapping[str, Any]) -> str:
    if results["dataset"]["train_speakers"] is None:
        return "test recordings of unknown speakers"
    shared = shares_speakers(results)
    if shared == "all" and _has_speakers(results["dataset"]):
        return "new recordings of the speakers it was trained on"
    return "new speakers" if not shared and _has_speakers(results["dataset"]) else "test recordings"


def _has_speakers(dataset: Mapping[str, Any]) -> bool:
    """Whether the speakers are known; earlier versions counted unknown speakers as one."""
    return (dataset["train_speakers"] or 0) > 1
