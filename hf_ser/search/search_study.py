"""The Optuna study of a search: a SQLite file for one set of settings, which repeated runs of the command continue."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from accelerate.utils import broadcast_object_list

from hf_ser.arguments import ConfigError
from hf_ser.data.splits import SplitData
from hf_ser.errors import SerError
from hf_ser.run_folder import hold, release
from hf_ser.search.search_report import BEST
from hf_ser.search.search_space import Space
from hf_ser.system_errors import system_trouble
from hf_ser.training.training_arguments import SerTrainingArguments

STUDY = "study.db"
_NAME = "search"
_MAY_DIFFER = ("disable_tqdm",)


def direction(args: SerTrainingArguments) -> Literal["maximize", "minimize"]:
    """Return Optuna's direction of the search."""
    return "maximize" if args.greater_is_better else "minimize"


def stored(folder: Path) -> dict[str, Any]:
    """Return Optuna's arguments to open the study of a folder."""
    return {"study_name": _NAME, "storage": f"sqlite:///{folder / STUDY}", "load_if_exists": True}


def record(settings: Mapping[str, Any], space: Space, args: SerTrainingArguments, data: SplitData) -> dict[str, Any]:
    """Return what must be the same in all trials of a study.

    Args:
        settings: of all trials.
        space: the search space, whose fields may differ.
        args: of all trials.
        data: training and validation clips.

    Returns:
        Fields and values, as JSON stores them.
    """
    may_differ = (*_MAY_DIFFER, *(dimension.name for dimension in space))
    kept = {name: value for name, value in settings.items() if name not in may_differ}
    ranges = {f"search space {dimension.name}": dataclasses.asdict(dimension) for dimension in space}
    own = {"processes": args.world_size, "assignment": data.assignment.hash}
    return json.loads(json.dumps({**kept, **ranges, **own}))


def begin(folder: Path, settings: Mapping[str, Any], args: SerTrainingArguments, n_trials: int) -> tuple[Any, int]:
    """Open the study on the first process.

    Args:
        folder: of the search.
        settings: see `record`; they must be those of the study.
        args: training arguments of all trials.
        n_trials: requested number of trials.

    Returns:
        The study, None on other processes, and the number of remaining trials.

    Raises:
        ConfigError: the folder contains another study, or another search is running there.
    """
    study = None
    outcome: list[Any] = [0, None]
    if args.process_index == 0:
        try:
            hold(folder)
            study = _open_study(folder, settings, args)
            outcome[0] = n_trials - _take_up(study)
        except SerError as error:
            outcome[1] = error
            release(folder)
    left, failure = broadcast_object_list(outcome)
    if failure is not None:
        raise failure
    return study, left


def _open_study(folder: Path, settings: Mapping[str, Any], args: SerTrainingArguments) -> Any:
    import optuna
    from sqlalchemy.exc import DatabaseError

    if args.overwrite:
        for name in (STUDY, BEST):
            (folder / name).unlink(missing_ok=True)
    try:
        study = optuna.create_study(**stored(folder), direction=direction(args))
        before = study.user_attrs.get("settings", settings)
        other = sorted(name for name in {*before, *settings} if before.get(name) != settings.get(name))
        if other and _finished(study):
            changes = "; ".join(f"{name} was {before.get(name)} and is {settings.get(name)}" for name in other)
            raise ConfigError(
                f"--output_dir {folder} contains a study with other settings: {changes}. Choose another folder, or "
                "pass --overwrite true to replace it."
            )
        if other:  # the study has no trial with a value
            optuna.delete_study(study_name=_NAME, storage=stored(folder)["storage"])
            study = optuna.create_study(**stored(folder), direction=direction(args))
        study.set_user_attr("settings", settings)
    except DatabaseError as error:
        trouble = system_trouble(error)
        if trouble is not None:
            raise trouble from error
        raise ConfigError(f"{folder / STUDY} is not a study ({error.orig}); remove it to start a new one.") from error
    return study


def _finished(study: Any) -> int:
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in study.trials)


def _take_up(study: Any) -> int:
    """Mark the running trials of a killed process as failed, and queue interrupted trials again.

    Returns:
        The number of finished trials.
    """
    import optuna

    failed = optuna.trial.TrialState.FAIL
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=failed)
    again = {trial.user_attrs.get("again") for trial in study.trials}
    for trial in study.get_trials(states=(failed,)):
        if trial.params and "failure" not in trial.user_attrs and trial.number not in again:
            study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
    return _finished(study)
