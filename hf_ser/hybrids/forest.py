"""A random forest on functionals of the clips: handcrafted statistics, no network."""

import csv
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from tqdm import tqdm

from hf_ser.data.splits import DataArguments, SplitData, decoded
from hf_ser.evaluation import score, versions
from hf_ser.hybrids.arguments import HybridArguments, threads
from hf_ser.hybrids.output import write_hybrid
from hf_ser.models import Functionals
from hf_ser.training.baseline import class_probabilities

logger = logging.getLogger(__name__)
MODEL_TYPE = "random forest on functionals"
_CHOSEN = "the forest's settings were chosen on validation, so that validation scores flatter it a little"
_FOLDER = "hf_ser_functionals"


def fit_forest(data: SplitData, data_args: DataArguments, args: HybridArguments, name: str) -> dict[str, Any]:
    """Fit on train, choose settings by weighted F1 on validation, score both other splits, write the folder.

    Returns:
        What stands in results.json.
    """
    frontend = Functionals()
    features = {
        split: functionals(part, data_args, frontend, args, split) for split, part in data.splits.items() if len(part)
    }
    truth = {split: np.asarray(data.splits[split]["label"]) for split in features}
    logger.info("Fitting %s on %d clips, %d columns", MODEL_TYPE, *features["train"].shape)
    settings = [(share, clips) for share in args.max_features for clips in args.min_samples_leaf]
    best, forest, chosen = -1.0, None, settings[0]
    for setting in tqdm(settings, desc="Forests"):
        candidate = _fit(features["train"], truth["train"], setting, args)
        answers = class_probabilities(candidate, features["validation"], len(data.labels))
        value = score(truth["validation"], answers, data.labels)["f1_weighted"]
        if value > best:  # of equals the first
            best, forest, chosen = value, candidate, setting
    assert forest is not None
    training = {
        "seed": args.seed,
        "kind": args.kind,
        "fit_on": "train",
        "fit_clips": len(truth["train"]),
        "trees": args.n_estimators,
        "max_features": chosen[0],
        "min_samples_leaf": chosen[1],
        "class_weights": args.class_weights,
        "best_metric": "f1_weighted",
        "best_value": best,
    }
    leaves = sum(int(tree.tree_.n_leaves) for tree in forest.estimators_)
    return write_hybrid(
        data,
        data_args,
        Path(args.output_dir),
        name,
        (MODEL_TYPE, leaves, training),
        lambda split: class_probabilities(forest, features[split], len(data.labels)),
        notes=[_CHOSEN],
        write_more=lambda folder: _write_importances(folder / "importances.csv", forest, frontend.names),
    )


def functionals(
    split: Any, data_args: DataArguments, frontend: Functionals, args: HybridArguments, name: str
) -> np.ndarray:
    """Statistics of a split's clips (clips, columns), kept below the datasets cache for the next run.

    Args:
        split: a prepared dataset's split.
        data_args: how clips are cut.
        frontend: what computes the columns.
        args: batch_size and device.
        name: of the split, for the bar.
    """
    path = _cache(split, data_args, frontend)
    kept = _read(path, (len(split), len(frontend.names)))
    if kept is not None:
        return kept
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    frontend.to(device)
    items, order = decoded(split, data_args), np.argsort(split["duration"], kind="stable")
    rows = np.zeros((len(split), len(frontend.names)), dtype=np.float32)
    for start in tqdm(range(0, len(split), args.batch_size), desc=f"Functionals of {name}"):
        batch = order[start : start + args.batch_size]
        waveforms = [torch.from_numpy(waveform) for waveform in items[batch.tolist()]["waveform"]]
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(its), dtype=torch.long) for its in waveforms], True)
        padded = torch.nn.utils.rnn.pad_sequence(waveforms, True)
        rows[batch] = frontend(padded.to(device), mask.to(device)).cpu().numpy()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part")
        with open(partial, "wb") as file:
            np.save(file, rows)
        os.replace(partial, path)
    return rows


def _cache(split: Any, args: DataArguments, frontend: Functionals) -> Path | None:
    """A file whose name says everything that decides the columns; None where clips carry no hash of their audio."""
    if "sha256" not in split.column_names or not all(split["sha256"]):
        return None
    its = versions()
    settings = {
        "names": frontend.names,
        "n_mels": frontend.n_mels,
        "n_fft": frontend.n_fft,
        "hop_length": frontend.hop_length,
        "audio": args.audio_options,
        "versions": [its["hf_ser"], its["torch"]],
        "clips": list(split["sha256"]),
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return Path(datasets.config.HF_DATASETS_CACHE) / _FOLDER / f"{key}.npy"


def _read(path: Path | None, shape: tuple[int, int]) -> np.ndarray | None:
    """What an earlier run kept; None where there is nothing, or nothing whole."""
    try:
        rows = np.load(path, allow_pickle=False) if path is not None and path.is_file() else None
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows is not None and rows.shape == shape else None


def _fit(
    features: np.ndarray, truth: np.ndarray, setting: tuple[float, int], args: HybridArguments
) -> RandomForestClassifier:
    forest = RandomForestClassifier(
        args.n_estimators,
        max_features=setting[0],
        min_samples_leaf=setting[1],
        class_weight="balanced" if args.class_weights else None,
        random_state=args.seed,
        n_jobs=threads(),
    )
    return forest.fit(features, truth)


def _write_importances(path: Path, forest: RandomForestClassifier, names: tuple[str, ...]) -> None:
    order = np.argsort(-forest.feature_importances_, kind="stable")
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["column", "importance"])
        writer.writerows([names[index], f"{forest.feature_importances_[index]:.6g}"] for index in order)
