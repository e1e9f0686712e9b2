"""Nested cross-validation: choose the best of several configurations in every fold, on its training clips only.

For a fold, every candidate is trained on the nested folds of the fold's training clips, and the one with the best
UAR on them is trained on all of them. Test clips of the fold decide nothing (Varma and Simon 2006,
https://doi.org/10.1186/1471-2105-7-91).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hf_ser.arguments import ConfigError
from hf_ser.data.nested import nested
from hf_ser.data.protocols import Row, assign
from hf_ser.data.splits import DataArguments
from hf_ser.evaluation.cross_validation_arguments import CrossValidationArguments
from hf_ser.evaluation.fold_runs import Run, training_of
from hf_ser.evaluation.training_jobs import Training, run_trainings
from hf_ser.results_file import read_results
from hf_ser.scoring.predictions import Predictions, concatenate, read_predictions
from hf_ser.scoring.results import write_json
from hf_ser.scoring.selection import selection_value

CANDIDATES, CHOICE = "candidates", "choice.json"


class Choice(NamedTuple):
    """The candidate of one fold and seed: its configuration, and the UAR of all candidates on the training clips."""

    run: Run
    config: str
    uar: Mapping[str, float]


def choose_candidates(
    runs: Sequence[Run],
    rows: Sequence[Row],
    args: CrossValidationArguments,
    data_args: DataArguments,
    output_dir: Path,
) -> list[Choice]:
    """Train all candidates on the nested folds of every run, and choose one for each.

    Finished nested runs and choices of an earlier call are kept.

    Args:
        runs: the runs of the cross-validation.
        rows: metadata of the dataset's clips.
        args: recipe, candidates, and how trainings are run.
        data_args: dataset, configuration, protocol and nested_folds.
        output_dir: folder of the cross-validation. The nested runs are in
            `candidates/seed_S[_fold_K]/NAME/nested_I_of_N`, the choice in choice.json beside them.

    Returns:
        For each run, the candidate with the highest UAR over all its training clips, each predicted by a model that
        was not trained on its nested fold. With several corpora, UAR is the mean over them. The first one wins a tie.

    Raises:
        ConfigError: there are auxiliary corpora, which nested folds do not support.
        ProtocolError: there are too few speakers or clips for the nested folds.
        TrainingJobError: a training failed.
    """
    if data_args.auxiliary_corpora:
        raise ConfigError("candidates and auxiliary_corpora are both given; expected one of them.")
    waiting: list[tuple[Training, bool]] = []
    for run in runs:
        if not (_folder(run, output_dir) / CHOICE).is_file():
            waiting += _trainings(run, rows, args, data_args, output_dir)
    total = len(waiting)
    named = [
        training._replace(name=f"Candidate run {number} of {total}: {training.name}")
        for number, (training, is_finished) in enumerate(waiting, 1)
        if not is_finished
    ]
    run_trainings(named, args.job_settings)
    return [_choice(run, args, data_args, output_dir) for run in runs]


def _folder(run: Run, output_dir: Path) -> Path:
    return output_dir / CANDIDATES / (f"seed_{run.seed}" + (f"_fold_{run.fold}" if run.fold else ""))


def _nested_runs(run: Run, config: str, data_args: DataArguments, output_dir: Path) -> Iterator[Run]:
    total = data_args.nested_folds
    for number in range(1, total + 1):
        folder = _folder(run, output_dir) / Path(config).stem / f"nested_{number}_of_{total}"
        yield run._replace(folder=folder, nested_fold=number)


def _trainings(
    run: Run, rows: Sequence[Row], args: CrossValidationArguments, data_args: DataArguments, output_dir: Path
) -> Iterator[tuple[Training, bool]]:
    """All trainings of a run's candidates, and whether each is finished."""
    outer = assign(rows, str(data_args.protocol), seed=run.seed, fold=run.fold)
    inner = [nested(rows, outer, number, data_args.nested_folds) for number in range(1, data_args.nested_folds + 1)]
    for config in args.candidates:
        how = args.with_candidate(config)
        for one, assignment in zip(_nested_runs(run, config, data_args, output_dir), inner, strict=True):
            training = training_of(one, how, data_args, figures=False)
            yield training._replace(name=f"{Path(config).stem}, {training.name}"), one.is_finished(assignment)


def _choice(run: Run, args: CrossValidationArguments, data_args: DataArguments, output_dir: Path) -> Choice:
    """The stored choice of a run, or the one that its nested runs give, which is stored."""
    path = _folder(run, output_dir) / CHOICE
    of_name = {Path(config).stem: config for config in args.candidates}
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Choice(run, of_name[stored["chosen"]], stored["uar"])
    uar = {}
    for name, config in of_name.items():
        parts = [_tested(one.folder) for one in _nested_runs(run, config, data_args, output_dir)]
        uar[name] = selection_uar(concatenate(parts))
    best = max(uar, key=lambda name: uar[name])
    write_json(path, {"chosen": best, "uar": uar})
    return Choice(run, of_name[best], uar)


def _tested(folder: Path) -> Predictions:
    return read_predictions(folder / read_results(folder)["splits"]["test"]["predictions"][0])


def selection_uar(predictions: Predictions) -> float:
    """UAR of one corpus, or the mean over several, each over its own classes."""
    return selection_value(predictions.label_ids, predictions.probabilities, predictions.clips["corpus"], "uar")


def describe_choices(choices: Sequence[Choice], nested_folds: int) -> dict[str, Any]:
    """What results.json records of the selection, as `training.selection`."""
    described = [
        {"fold": run.fold, "seed": run.seed, "chosen": Path(config).stem, "uar": dict(uar)}
        for run, config, uar in choices
    ]
    return {"nested_folds": nested_folds, "candidates": list(choices[0].uar), "choices": described}
