"""Baseline: logistic regression on mean and standard deviation of log-mel spectrograms."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_ser.arguments import ConfigError
from hf_ser.console import progress_bar
from hf_ser.data.splits import SplitData
from hf_ser.data.splits_file import SPLITS_FILE, write_assignment
from hf_ser.evaluation.split_scores import score_splits
from hf_ser.hybrids.meta_learners import class_probabilities, regression
from hf_ser.models import LogMel
from hf_ser.recipe_file import RECIPE, changed_fields, recipe_text
from hf_ser.reporting import ReportArguments, write_run
from hf_ser.run_folder import held, is_finished
from hf_ser.scoring import AbstentionRule
from hf_ser.scoring.results import describe_training, write_text
from hf_ser.scoring.selection import selection_score, selection_value

_MODEL_TYPE = "logistic regression on log-mel mean and standard deviation"


@dataclass
class BaselineArguments(ReportArguments):
    """Arguments of the baseline."""

    output_dir: str = field(metadata={"help": "folder for predictions, results and report"})
    penalties: list[float] = field(
        default_factory=lambda: [0.001, 0.01, 0.1, 1.0],
        metadata={
            "help": "inverse penalties C; the one with the best score on validation is chosen: uar_by_corpus for "
            "clips of several corpora, else f1_weighted"
        },
    )
    seed: int = field(default=0, metadata={"help": "recorded in the results; the fit itself is deterministic"})
    overwrite: bool = field(default=False, metadata={"help": "replace an earlier run's files in output_dir"})

    def __post_init__(self) -> None:
        self.check_figures()
        if not self.penalties or min(self.penalties) <= 0:
            raise ConfigError(f"penalties is {self.penalties}; expected at least one positive number.")
        if is_finished(self.output_dir) and not self.overwrite:
            raise ConfigError(f"--output_dir {self.output_dir} contains a finished run; pass --overwrite true.")


def log_mel_statistics(waveforms: Sequence[np.ndarray], frontend: LogMel) -> np.ndarray:
    """Mean and standard deviation over time of each band: waveforms (samples,) -> (clips, 2 * n_mels)."""
    rows = []
    for waveform in waveforms:
        bands = frontend(torch.from_numpy(waveform)[None])[0]
        rows.append(torch.cat([bands.mean(dim=1), bands.std(dim=1)]).double().numpy())
    return np.stack(rows)


def fit_baseline(data: SplitData, args: BaselineArguments, name: str) -> dict[str, Any]:
    """Fit on train, select penalty and temperature on validation, score validation and test, and write the folder.

    The folder contains predictions, results and report, but not the fitted model.

    Returns:
        The contents of results.json.
    """
    data.args.refuse_streaming("the baseline")
    with held(args.output_dir) as folder:
        return _fit(data, args, name, folder)


def _fit(data: SplitData, args: BaselineArguments, name: str, folder: Path) -> dict[str, Any]:
    features = {split: _features(data, split) for split, part in data.splits.items() if len(part)}
    labels = {split: np.asarray(data.splits[split]["label"]) for split in features}
    models = [regression(features["train"], labels["train"], penalty) for penalty in args.penalties]
    corpora = data.splits["validation"]["corpus"]
    values = [
        selection_value(
            labels["validation"], class_probabilities(model, features["validation"], len(data.labels)), corpora
        )
        for model in models
    ]
    best = int(np.argmax(values))
    model = models[best]
    training = {
        "seed": args.seed,
        "penalty": args.penalties[best],
        "best_metric": selection_score(corpora),
        "best_value": values[best],
    }
    classifier = model[-1]
    size = int(classifier.coef_.size + classifier.intercept_.size)
    results = describe_training(data, name, _MODEL_TYPE, size, training)
    results["splits"], predictions, _ = score_splits(
        data, lambda split: class_probabilities(model, features[split], len(data.labels)), AbstentionRule(), "fp32"
    )
    write_assignment(folder / SPLITS_FILE, data.assignment, data.hashes)
    write_text(folder / RECIPE, recipe_text(changed_fields(data.args) | changed_fields(args), "baseline"))
    write_run(folder, results, predictions, figures=args.figures)
    return results


def _features(data: SplitData, split: str) -> np.ndarray:
    clips, frontend = data.decoded(split), LogMel()
    starts = progress_bar(range(0, len(clips), 64), desc=f"Computing log-mels of {split}", unit="batches")
    return np.concatenate([log_mel_statistics(clips[start : start + 64]["waveform"], frontend) for start in starts])
