"""results.json: every figure that cards, tables and plots may show, written once by the run that measured it."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hf_ser
from hf_ser.evaluation.intervals import intervals
from hf_ser.metrics import SpeechEmotion

_PACKAGES = ("accelerate", "datasets", "evaluate", "scikit-learn", "torch", "transformers")


def score(references: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Score probabilities (clips, classes) with the package's metric."""
    # In memory: the default goes through files that several processes would share.
    metric = SpeechEmotion(keep_in_memory=True)
    result = metric.compute(predictions=probabilities, references=references, labels=list(labels))
    assert result is not None  # None is what evaluate's other processes get, and this metric runs on one
    return result


def score_split(
    clips: Mapping[str, Sequence[Any]], probabilities: np.ndarray, labels: Sequence[str]
) -> dict[str, Any]:
    """Score a split as a whole, with intervals, and per corpus.

    Args:
        clips: the columns corpus, speaker and label (class ids).
        probabilities: (clips, classes), in the clips' order.
        labels: class names.
    """
    truth, guess = np.asarray(clips["label"]), probabilities.argmax(axis=1)
    corpora = np.asarray(clips["corpus"])
    whole = score(truth, probabilities, labels)
    return {
        "clips": len(truth),
        "speakers": len(set(clips["speaker"])),
        "scores": _scalars(whole),
        "intervals": [intervals(truth, guess, by, len(labels)) for by in (clips["speaker"], None)],
        "per_class": whole["per_class"],
        "absent": whole["absent"],
        "per_corpus": {
            str(name): {
                "clips": int((corpora == name).sum()),
                "scores": _scalars(score(truth[corpora == name], probabilities[corpora == name], labels)),
            }
            for name in np.unique(corpora)
        },
        "chance": {"accuracy_of_the_largest_class": float(np.bincount(truth).max() / len(truth))},
        "confusion": whole["confusion"],
        "labels": list(labels),
    }


def _scalars(scores: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: value for name, value in scores.items() if value is None or isinstance(value, float)}


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that decide results."""
    return {
        "hf_ser": hf_ser.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one step, so that no reader meets half a file."""
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
