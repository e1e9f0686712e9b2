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
from hf_ser.metrics import SpeechEmotion

_PACKAGES = ("accelerate", "datasets", "evaluate", "scikit-learn", "torch", "transformers")


def score(references: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
    """Score class ids with the package's metric."""
    # In memory: the default goes through files that several processes would share.
    result = SpeechEmotion(keep_in_memory=True).compute(predictions=predictions, references=references)
    assert result is not None  # None is what evaluate's other processes get, and this metric runs on one
    return result


def score_split(
    clips: Mapping[str, Sequence[Any]], probabilities: np.ndarray, labels: Sequence[str]
) -> dict[str, Any]:
    """Score a split as a whole and per corpus.

    Args:
        clips: the columns corpus and label (class ids).
        probabilities: (clips, classes), in the clips' order.
        labels: class names.
    """
    truth, guess = np.asarray(clips["label"]), probabilities.argmax(axis=1)
    corpora = np.asarray(clips["corpus"])
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (truth, guess), 1)
    return {
        "clips": len(truth),
        "speakers": len(set(clips["speaker"])),
        "scores": score(truth.tolist(), guess.tolist()),
        "per_corpus": {
            str(name): {
                "clips": int((corpora == name).sum()),
                "scores": score(truth[corpora == name].tolist(), guess[corpora == name].tolist()),
            }
            for name in np.unique(corpora)
        },
        "chance": {"accuracy_of_the_largest_class": float(np.bincount(truth).max() / len(truth))},
        "confusion": confusion.tolist(),
        "labels": list(labels),
    }


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
