"""Hyperparameter search with Optuna on validation only. The same command resumes an interrupted search."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from transformers import Trainer, TrainerCallback, set_seed
from transformers.trainer_utils import get_last_checkpoint

from hf_ser.arguments import ConfigError
from hf_ser.data.splits import DataArguments, SplitData, load_splits
from hf_ser.errors import SerError
from hf_ser.extras import needs_extra
from hf_ser.results_file import RESULTS
from hf_ser.run_folder import release
from hf_ser.search.search_report import BEST, write_search
from hf_ser.search.search_space import (
    Arguments,
    Space,
    arguments_of,
    check_space,
    propose,
    read_space,
    with_values,
)
from hf_ser.search.search_study import begin, direction, record, stored
from hf_ser.training.checkpoints import ModelError
from hf_ser.training.dimension_targets import TARGET
from hf_ser.training.distillation import check_teachers
from hf_ser.training.modeling import build_model
from hf_ser.training.preflight import check_arguments, check_clips, check_pretraining
from hf_ser.training.recipe_settings import settings_of
from hf_ser.training.trainer import DivergedError, make_trainer
from hf_ser.training.training_arguments import ModelArguments, SerTrainingArguments
from hf_ser.training.validation_scores import resolve_best_metric

logger = logging.getLogger(__name__)

# A trial only returns scores; its checkpoints would never be loaded.
_TRIAL = {"save_strategy": "no", "load_best_model_at_end": False, "push_to_hub": False}


class TrialError(SerError):
    """A trial that failed for a reason that does not affect other trials."""


@dataclass
class SearchArguments:
    """The search space and the number of trials.

    >>> SearchArguments(search_space="recipes/search_spaces/wav2vec2.yaml", n_trials=50).prune
    False
    """

    search_space: str | None = field(
        default=None, metadata={"help": "YAML file: field -> {low, high, log} or a list of choices"}
    )
    n_trials: int = field(default=20, metadata={"help": "number of trials, including those of earlier runs"})
    prune: bool = field(default=False, metadata={"help": "stop trials that are worse than the median of the others"})

    def __post_init__(self) -> None:
        if self.search_space is None:
            raise ConfigError(
                "search_space is not given; expected a file such as recipes/search_spaces/wav2vec2.yaml."
            )
        if self.n_trials < 1:
            raise ConfigError(f"n_trials is {self.n_trials}; expected at least 1.")


class SearchTrainer(Trainer):
    """`Trainer.hyperparameter_search` with a separate training for each trial.

    The stock Trainer sets a trial's values on its arguments without checks, and keeps the loss, augmentation,
    parameter groups and callbacks (with the used-up patience of early stopping) of the previous trial. Here, a trial
    does the same as the training recipes with its settings.

    Args:
        args: settings of the search, such as the number of processes.
        run_trial: trial -> value.
    """

    objective: float | None

    def __init__(self, args: SerTrainingArguments, run_trial: Callable[[Any], float]) -> None:
        placeholder: Any = torch.nn.Identity()  # each trial builds its own model
        super().__init__(args=args, model_init=lambda: placeholder)
        self._run_trial = run_trial

    def train(
        self, resume_from_checkpoint: Any = None, trial: Any = None, ignore_keys_for_eval: list[str] | None = None
    ) -> Any:
        """Run a trial; `hyperparameter_search` takes its value from `objective`."""
        import optuna

        try:
            self.objective = self._run_trial(trial)
        except (TrialError, optuna.TrialPruned):
            if self.args.process_index == 0:
                raise  # Optuna records it
            self.objective = float("nan")  # the other processes continue with the next trial


class _Watch(TrainerCallback):
    """Report the best score of a trial after each evaluation, and stop the trial if it is pruned."""

    def __init__(self, trial: Any, args: SerTrainingArguments) -> None:
        self.trial, self.args = trial, args
        self.better = max if args.greater_is_better else min
        self.values: list[float] = []

    @property
    def name(self) -> str:
        """The score of the search, which auto chooses when the trainer of the trial is made."""
        return f"eval_{str(self.args.metric_for_best_model).removeprefix('eval_')}"

    @property
    def best(self) -> float:
        return self.better(self.values)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        import optuna

        if not np.isfinite(metrics[self.name]):
            raise TrialError(f"{self.name} is {metrics[self.name]}")
        self.values.append(metrics[self.name])
        self.trial.set_user_attr("values", self.values)
        # The step is the number of evaluations: trials have different batch sizes, so training steps do not compare.
        self.trial.report(self.best, len(self.values))
        if broadcast_object_list([self.trial.should_prune()])[0]:  # so that all processes stop together
            raise optuna.TrialPruned


def search(
    model_args: ModelArguments, data_args: DataArguments, args: SerTrainingArguments, search_args: SearchArguments
) -> tuple[SearchTrainer, str]:
    """Search until the study has `n_trials` complete or pruned trials, and write its table, figure and best.yaml.

    All processes take part in each trial; only the first one has the study.

    Args:
        model_args: the model of all trials.
        data_args: the dataset; its test split is not used.
        args: training arguments of all trials; output_dir is the search's folder.
        search_args: the search space and the number of trials.

    Returns:
        The Trainer of the search, and the table as text, which is empty on all processes but the first.

    Raises:
        ConfigError: an invalid search space or setting, a folder with another run, Optuna is not installed, or no
            trial has a value.

    >>> _ = Path("space.yaml").write_text("learning_rate: {low: 1.0e-4, high: 1.0e-3}")
    >>> search(
    ...     ModelArguments("runs/audio_cnn"),
    ...     DataArguments("data/emotions"),
    ...     SerTrainingArguments("runs/audio_cnn"),
    ...     SearchArguments("space.yaml", n_trials=2),
    ... )
    Traceback (most recent call last):
    hf_ser.errors.ConfigError: --output_dir runs/audio_cnn contains a training run; choose another folder ...
    """
    with needs_extra():
        import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # no tracebacks of trials that run out of memory
    # No warnings from early stopping that the best model is not loaded at the end: trials do not need it.
    logging.getLogger("transformers.trainer_callback").setLevel(logging.ERROR)
    folder = Path(str(args.output_dir))
    if args.target == TARGET:
        raise ConfigError(f"target is {args.target}; the search compares scores of classes. Leave target out.")
    check_arguments(args)
    _reject_runs(folder, args)
    space = read_space(Path(str(search_args.search_space)))
    if any(dimension.name == "target" and TARGET in dimension.choices for dimension in space):
        raise ConfigError(f"{search_args.search_space}: target has {TARGET}; the search compares scores of classes.")
    settings = settings_of(model_args, data_args, args)
    check_space(space, settings | _TRIAL | {"output_dir": args.output_dir}, str(search_args.search_space))
    with args.main_process_first(desc="loading the dataset"):
        data = load_splits(data_args)
    check_clips(data, args)
    resolve_best_metric(args, data)
    data = check_teachers(args, check_pretraining(model_args, data))
    # Remove the test split, so that no trial can use it.
    data = dataclasses.replace(data, splits={split: data.splits[split] for split in ("train", "validation")})

    run_trial = _runner(space, settings, data, args)
    trainer = SearchTrainer(arguments_of({**_still(settings), "output_dir": str(folder)})[2], run_trial)
    study, left = begin(folder, record(settings, space, args, data), args, search_args.n_trials)
    try:
        if left > 0:
            _optimize(trainer, study, space, args, search_args, left)
    finally:
        text = ""
        if study is not None:
            for left_behind in (folder / "trials").glob("*"):  # by a killed process
                _remove_empty(left_behind)
            text = write_search(folder, study, space, settings, args, data, search_args.n_trials)
            release(folder)
    if study is not None and not (folder / BEST).is_file():
        raise ConfigError(f"no trial of {folder} has a value; see {folder / 'report.md'} for the reasons.")
    return trainer, text


def _runner(
    space: Space, settings: Mapping[str, Any], data: SplitData, args: SerTrainingArguments
) -> Callable[[Any], float]:
    """Return a function that runs a trial, records why it failed, and logs one line."""
    import optuna

    def run_trial(trial: Any) -> float:
        values = propose(space, trial)
        folder = Path(str(args.output_dir)) / "trials" / str(trial.number)
        try:
            value = _train(with_values(settings, values) | _TRIAL | {"output_dir": str(folder)}, data, trial)
        except optuna.TrialPruned:
            logger.info("trial %d: pruned; %s", trial.number, values)
            raise
        except (TrialError, ConfigError, ModelError) as error:
            trial.set_user_attr("failure", str(error))
            logger.info("trial %d: failed, %s; %s", trial.number, error, values)
            if isinstance(error, TrialError):
                raise
            raise ConfigError(
                f"trial {trial.number} with {values}: {error} Correct the search space. With the same space, the same "
                "command continues without this trial."
            ) from error
        logger.info("trial %d: %s %.4f; %s", trial.number, args.metric_for_best_model, value, values)
        return value

    return run_trial


def _still(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the search's Trainer, which neither trains nor evaluates."""
    return {**settings, **_TRIAL, "eval_strategy": "no"}


def _train(settings: Mapping[str, Any], data: SplitData, trial: Any) -> float:
    """Train as the recipes do, and return the best score of all evaluations."""
    arguments = arguments_of(settings)
    watch, out_of_memory = _Watch(trial, arguments[2]), False
    try:
        _fit(arguments, data, watch)
    except DivergedError as error:
        raise TrialError(error.what) from error
    except (RuntimeError, MemoryError) as error:
        out_of_memory = isinstance(error, MemoryError) or should_reduce_batch_size(error)
        if not out_of_memory:
            raise
    finally:
        clear_device_cache(garbage_collection=True)
        if arguments[2].should_save:
            _remove_empty(Path(settings["output_dir"]))
    if out_of_memory:  # raised here because the traceback of the first error keeps the model in memory
        raise TrialError("out of memory")
    return watch.best


def _fit(arguments: Arguments, data: SplitData, watch: _Watch) -> None:
    model_args, _, args = arguments
    set_seed(args.seed)
    model, extractor = build_model(model_args, data.labels)
    trainer = make_trainer(model, extractor, data.with_steps_of(extractor), args)
    trainer.add_callback(watch)
    trainer.train()
    if not watch.values:
        trainer.evaluate()


def _remove_empty(folder: Path) -> None:
    """Remove a trial's folder and its parent, unless they contain files such as logs."""
    for path in (folder, folder.parent):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _reject_runs(folder: Path, args: SerTrainingArguments) -> None:
    if args.resume_from_checkpoint:
        raise ConfigError("resume_from_checkpoint is not supported: the same command resumes a search. Remove it.")
    if folder.is_dir() and ((folder / RESULTS).is_file() or get_last_checkpoint(str(folder))):
        raise ConfigError(f"--output_dir {folder} contains a training run; choose another folder for the search.")


def _optimize(
    trainer: SearchTrainer,
    study: Any,
    space: Space,
    args: SerTrainingArguments,
    search_args: SearchArguments,
    left: int,
) -> None:
    import optuna

    options: dict[str, Any] = {"catch": (TrialError,), **stored(Path(str(args.output_dir)))}
    if study is not None:
        # A new sampler with the same seed would draw the first trials again.
        seed = int(np.random.SeedSequence([args.seed, len(study.trials)]).generate_state(1)[0])
        options["sampler"] = optuna.samplers.TPESampler(seed=seed)
        options["pruner"] = optuna.pruners.MedianPruner() if search_args.prune else optuna.pruners.NopPruner()
    try:
        trainer.hyperparameter_search(
            hp_space=lambda trial: propose(space, trial),
            n_trials=left,
            direction=direction(args),
            backend="optuna",
            **options,
        )
    except ValueError as error:
        # Optuna looks up the best trial at the end and raises if there is none; the caller reports that.
        if isinstance(error, SerError) or any(trial.state.name == "COMPLETE" for trial in study.trials):
            raise
