"""results.json: every number in cards, tables and plots, written once by the run that measured it."""

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import hf_ser
from hf_ser.corpora import CORPORA
from hf_ser.data.dataset_card import DEFAULT_PROTOCOL
from hf_ser.data.prepare import PrepareArguments
from hf_ser.data.splits import SplitData
from hf_ser.labels import EMOTIONS
from hf_ser.results_file import RESULTS, check_results
from hf_ser.scoring.bootstrap import CLUSTERED, PLAIN, WITH_SEEDS, intervals_over_seeds
from hf_ser.scoring.calibration import describe_calibration
from hf_ser.scoring.corpus_mean import score_by_corpus
from hf_ser.scoring.fairness import score_fairness
from hf_ser.scoring.groups import score_groups
from hf_ser.scoring.predictions import Predictions, count_speakers
from hf_ser.scoring.vote_scores import describe_votes

_T = TypeVar("_T")
SCHEMA_VERSION = 1
_PACKAGES = ("accelerate", "datasets", "evaluate", "lightgbm", "scikit-learn", "torch", "transformers")


def score(references: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Score probabilities with the package's metric.

    Args:
        references: true class ids (clips,).
        probabilities: (clips, classes).
        labels: class names, in the order of the columns.

    >>> probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
    >>> scores = score(np.array([0, 1, 0, 1]), probabilities, ["happy", "sad"])
    >>> scores["accuracy"], scores["uar"]
    (0.75, 0.75)
    """
    from hf_ser.metrics import SpeechEmotion  # here: it imports evaluate and scikit-learn

    # In memory: by default, evaluate uses files that several processes would share.
    metric = SpeechEmotion(keep_in_memory=True)
    result = metric.compute(predictions=probabilities, references=references, labels=list(labels))
    assert result is not None  # None only in secondary processes of evaluate, which are not used here
    return result


def score_split(
    predictions: Predictions | Sequence[Predictions],
    *,
    files: Sequence[str],
    temperature: float | None = None,
    left_out: Mapping[str, int] | None = None,
    precision: str | None = None,
    abstention: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score a split: overall, as a mean over corpora, per class and group, with calibration, and against votes.

    Args:
        predictions: of one run, or of several with different seeds. With several, scores are means over the seeds with
            standard deviations; confusion matrix, classes, groups and calibration pool the seeds.
        files: names of the predictions files, one per run.
        temperature: of a calibrated model; None without calibration, or if pooled models differ.
        left_out: clips per class that were not scored because the model does not have the class.
        precision: bf16, fp16 or fp32; None if unknown, or if pooled models differ.
        abstention: of `describe_abstention`; None for models without abstention.

    >>> from hf_ser.scoring import read_predictions
    >>> predictions = read_predictions(Path("runs/audio_cnn/predictions_test.parquet"))
    >>> scored = score_split(predictions, files=["predictions_test.parquet"])
    >>> scored["clips"] == len(predictions.clips["id"]), scored["labels"][:3]
    (True, ['neutral', 'calm', 'happy'])
    """
    runs = [predictions] if isinstance(predictions, Predictions) else list(predictions)
    labels = runs[0].labels
    label_ids = np.concatenate([run.label_ids for run in runs])
    probabilities = np.concatenate([run.probabilities for run in runs])
    whole = score(label_ids, probabilities, labels)
    each = [_scalars(score(run.label_ids, run.probabilities, labels)) for run in runs] if len(runs) > 1 else []
    votes = describe_votes(runs)
    ids = sorted({clip for run in runs for clip in run.clips["id"]})
    speakers = {speaker for run in runs for speaker in run.clips["speaker"]}
    by_corpus = score_by_corpus(runs)
    return {
        "clips": len(ids),
        "speakers": count_speakers(speakers),
        "clips_hash": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        "predictions": list(files),
        "left_out": dict(left_out or {}),
        "precision": precision,
        "scores": over_runs(each, np.mean) if each else _scalars(whole),
        "std": over_runs(each, sample_std) if each else None,
        "intervals": _intervals(runs, len(labels)),
        **({} if by_corpus is None else {"by_corpus": by_corpus}),
        "per_class": whole["per_class"],
        "absent": whole["absent"],
        "groups": score_groups(runs),
        "fairness": score_fairness(runs),
        "calibration": describe_calibration(probabilities, label_ids, temperature or 1.0)
        | {"temperature": temperature},
        **({} if abstention is None else {"abstention": dict(abstention)}),
        **({} if votes is None else {"votes": votes}),
        "chance": {"accuracy_of_the_largest_class": float(np.bincount(label_ids).max() / len(label_ids))},
        "confusion": whole["confusion"],
        "labels": list(labels),
    }


def _intervals(runs: Sequence[Predictions], num_classes: int) -> list[dict[str, Any]]:
    """Over speakers if they are known, over clips, and, with several seeds, over speakers and seeds."""
    known = any(speaker for run in runs for speaker in run.clips["speaker"])
    kinds = [(CLUSTERED if known else PLAIN, known, False), (PLAIN, False, False)]
    if known and len(runs) > 1:
        kinds.append((WITH_SEEDS, True, True))
    found = []
    for method, by_speaker, draw_seeds in kinds:
        drawn = [(run.label_ids, run.predicted, run.clusters if by_speaker else run.clips["id"]) for run in runs]
        found.append(intervals_over_seeds(drawn, num_classes, method, seed=0, draw_seeds=draw_seeds))
    return found


def _scalars(scores: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: value for name, value in scores.items() if value is None or isinstance(value, float)}


def sample_std(values: Sequence[float]) -> float:
    """Standard deviation of a sample."""
    return float(np.std(values, ddof=1))


def over_runs(each: Sequence[Mapping[str, float | None]], function: Any) -> dict[str, float | None]:
    """Apply a function to every score over runs; None if a run lacks the score."""
    columns = {name: [scores[name] for scores in each] for name in each[0]}
    return {name: None if None in values else float(function(values)) for name, values in columns.items()}


def only_one(values: set[_T]) -> _T | None:
    """The value if there is exactly one, such as the precision of all runs, else None."""
    return next(iter(values)) if len(values) == 1 else None


def describe_dataset(data: SplitData) -> dict[str, Any]:
    """The dataset of a run, for results.json."""
    name = str(data.args.dataset)
    own = {corpus for part in data.splits.values() for corpus in part["corpus"]} - set(CORPORA)
    return {
        "name": Path(name).name if Path(name).exists() else name,
        "configuration": data.args.configuration,
        "synthetic": list(data.synthetic),
        "labels": list(data.labels),
        "label_mapping": data.label_mapping,
        "languages": data.languages,
        "licence": data.summary.get("licence") if own else None,
    }


def describe_recordings(data: SplitData) -> dict[str, Any]:
    """The recordings that trained or selected a model, and how they were prepared, for results.json.

    Returns:
        corpora; quarantined: corpus -> reason -> files; and preparation: the fields of recipes/prepare.py that are not
        at their defaults. The last two are None for a dataset without `preparation.json`.
    """
    corpora = sorted({corpus for split in ("train", "validation") for corpus in data.splits[split]["corpus"]})
    made = data.summary
    if not made:
        return {"corpora": corpora, "quarantined": None, "preparation": None}
    kept_out = made.get("quarantined", {})
    quarantined = {corpus: kept_out.get(corpus, {}) for corpus in corpora}
    return {"corpora": corpora, "quarantined": quarantined, "preparation": _preparation(made)}


def _preparation(made: Mapping[str, Any]) -> dict[str, Any]:
    splits = made.get("protocols", {}).get(made.get("default_protocol", DEFAULT_PROTOCOL), {})
    given = {name: splits[name] for name in ("seed", "ratios") if name in splits} | made.get("limits", {})
    plain = PrepareArguments("data", ravdess="any")  # for its defaults
    changed = {name: value for name, value in given.items() if value != getattr(plain, name)}
    labels = made.get("labels")
    return changed | ({"labels": labels} if labels and labels != list(EMOTIONS) else {})


def describe_protocol(data: SplitData) -> dict[str, Any]:
    """The protocol of a run, for results.json."""
    assignment = data.assignment
    return {
        "name": assignment.protocol,
        "fold": assignment.fold,
        "folds": None,
        "seed": assignment.seed,
        "hash": assignment.hash,
        "notes": list(assignment.notes),
        **({"auxiliary_corpora": list(assignment.auxiliary)} if assignment.auxiliary else {}),
    }


def describe_training(
    data: SplitData, name: str, model_type: str, parameters: int, training: dict[str, Any]
) -> dict[str, Any]:
    """The fields of results.json for a trained model, without scores.

    Args:
        data: the training data.
        name: of the run.
        model_type: of the model's configuration.
        parameters: number of parameters of the model.
        training: settings of the training, including its seed.

    Returns:
        All fields of results.json; `splits` is empty.
    """
    train = data.splits["train"]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "training",
        "name": name,
        "model_type": model_type,
        "parameters": parameters,
        "dataset": {
            **describe_dataset(data),
            "train_clips": len(train),
            "train_speakers": count_speakers(train["speaker"]),
            "train_classes": [data.labels[label] for label in sorted(set(train["label"]))],
        },
        "protocol": describe_protocol(data),
        "preprocessing": data.args.preprocessing,
        "training": {**training, **describe_recordings(data)},
        "seeds": [training["seed"]],
        "versions": versions(),
        "splits": {},
    }


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that affect results.

    >>> versions()["hf_ser"] == hf_ser.__version__
    True
    """
    return {
        "hf_ser": hf_ser.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write results.json into a run's folder.

    Raises:
        ResultsError: the results do not follow `results.schema.json`.
    """
    check_results(results, str(folder / RESULTS))
    write_json(folder / RESULTS, results)


def write_text(path: Path, text: str) -> None:
    """Write atomically, so that no program reads a partial file; a symbolic link keeps its target."""
    path = path.resolve()
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(text.encode("utf-8"))
    os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically.

    >>> write_json(Path("scores.json"), {"uar": 0.5})
    >>> json.loads(Path("scores.json").read_text())
    {'uar': 0.5}
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
