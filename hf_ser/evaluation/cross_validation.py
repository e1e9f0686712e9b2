"""Cross-validation: train and score every fold with every seed through one recipe, and pool the predictions."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from hf_ser.arguments import ConfigError
from hf_ser.data.auxiliary import assign_with_auxiliary, under_test
from hf_ser.data.protocols import CROSS_CORPUS, FOLDED, Row, folds
from hf_ser.data.splits import DataArguments
from hf_ser.errors import SerError
from hf_ser.evaluation.training_jobs import (
    LOCAL,
    SUBMITIT,
    JobSettings,
    Training,
    python_command,
    run_trainings,
)
from hf_ser.reporting.run_report import write_run
from hf_ser.results_file import read_results
from hf_ser.run_folder import LOCK, UNFINISHED, held, is_finished, is_marked
from hf_ser.scoring.abstention import AbstentionRule, describe_abstention
from hf_ser.scoring.predictions import Predictions, concatenate, read_predictions, restrict
from hf_ser.scoring.results import over_runs, sample_std, score, score_split, versions, write_json

PLAN = "cross_validation.json"


class CrossValidationError(SerError):
    """A cross-validation that cannot start or continue."""


@dataclass
class CrossValidationArguments:
    """The recipe that trains every fold, and the seeds.

    >>> CrossValidationArguments(recipe_overrides=["num_train_epochs"])
    Traceback (most recent call last):
        ...
    hf_ser.errors.ConfigError: recipe_config or recipe_overrides is given without model_recipe; name the recipe too.
    """

    model_recipe: str | None = field(
        default=None, metadata={"help": "recipe that trains and scores each fold, such as recipes/finetune.py"}
    )
    recipe_config: str | None = field(default=None, metadata={"help": "YAML file for that recipe"})
    recipe_overrides: list[str] = field(
        default_factory=list, metadata={"help": "fields of that recipe, such as num_train_epochs=8"}
    )
    seeds: list[int] = field(
        default_factory=lambda: [0],
        metadata={"help": "every fold is trained with every seed; it also seeds the split"},
    )
    launch_config: str | None = field(
        default=None, metadata={"help": "accelerate configuration that launches each training"}
    )
    jobs: int = field(
        default=1, metadata={"help": "trainings at the same time, each with one of the GPUs if there are several"}
    )
    threads: int | None = field(
        default=None, metadata={"help": "CPU threads of each training; default: all, divided by jobs"}
    )
    launcher: str = field(default=LOCAL, metadata={"help": "local, or submitit for jobs of SLURM"})
    slurm_options: list[str] = field(
        default_factory=list,
        metadata={"help": "parameters of submitit's AutoExecutor, such as slurm_partition=gpu timeout_min=600"},
    )

    def __post_init__(self) -> None:
        if self.model_recipe is None and (self.recipe_config or self.recipe_overrides):
            raise ConfigError("recipe_config or recipe_overrides is given without model_recipe; name the recipe too.")
        for name in (self.model_recipe, self.recipe_config, self.launch_config):
            if name is not None and not Path(name).is_file():
                raise ConfigError(f"{name}: no such file; expected a recipe (.py) or its configuration (.yaml).")
        _refuse_unnamed("recipe_overrides", self.recipe_overrides, "num_train_epochs=8")
        if any(override.startswith("target=dim") for override in self.recipe_overrides):
            raise ConfigError("recipe_overrides has target=dimensions; cross-validation scores classes. Leave it out.")
        _refuse_unnamed("slurm_options", self.slurm_options, "timeout_min=600")
        if self.launcher not in (LOCAL, SUBMITIT):
            raise ConfigError(f"launcher is {self.launcher!r}; expected {LOCAL} or {SUBMITIT}.")
        if self.slurm_options and self.launcher != SUBMITIT:
            raise ConfigError(f"slurm_options is given but launcher is {self.launcher}; pass --launcher submitit.")
        for name, value in (("jobs", self.jobs), ("threads", self.threads)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; expected at least 1.")
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ConfigError(f"seeds are {self.seeds}; expected at least one, without repetitions.")

    @property
    def job_settings(self) -> JobSettings:
        """How the trainings are run. One at a time on this machine writes to the terminal."""
        options = dict(option.split("=", 1) for option in self.slurm_options)
        return JobSettings(
            self.jobs,
            self.threads,
            self.launcher,
            {name: yaml.safe_load(value) for name, value in options.items()},
            to_terminal=self.jobs == 1 and self.launcher == LOCAL,
            divide_gpus=self.launch_config is None,
        )


def _refuse_unnamed(name: str, given: Sequence[str], example: str) -> None:
    """Raise `ConfigError` unless every word is field=value, or field.key=value."""
    known = re.compile(r"[^\W\d]\w*(\.\w+)?=.*", re.DOTALL)
    bad = [word for word in given if not known.fullmatch(word)]
    if bad:
        raise ConfigError(f"{name} has {bad[0]!r}; expected field=value, such as {example}.")


class Run(NamedTuple):
    """One training: a fold (None for protocols with a single split), a seed, and a nested fold if there is one.

    A nested run has the training seed of its configuration, as the run has that it is nested in.
    """

    folder: Path
    fold: int | None
    fold_name: str | None
    seed: int
    nested_fold: int | None = None

    @property
    def title(self) -> str:
        """Fold and seed in words."""
        name = f" ({self.fold_name})" if self.fold_name else ""
        fold = f"fold {self.fold}{name}, " if self.fold else ""
        return f"{fold}seed {self.seed}" + (f", nested fold {self.nested_fold}" if self.nested_fold else "")


def cross_validate(
    rows: Sequence[Row],
    args: CrossValidationArguments,
    data_args: DataArguments,
    output_dir: Path,
    overwrite: bool,
    figures: bool = True,
) -> dict[str, Any]:
    """Train and score every fold with every seed, then pool the test predictions and write the folder's results.

    Finished folds of an earlier call are kept; an interrupted fold resumes from its last checkpoint.

    Args:
        rows: metadata of the dataset's clips.
        args: recipe and seeds.
        data_args: dataset, configuration and protocol; its fold and seed are set for each run.
        output_dir: holds the runs in `seed_N/fold_K`.
        overwrite: whether to replace a cross-validation with other settings.
        figures: whether to draw figures, also for each run.

    Returns:
        The content of the folder's results.json.

    Raises:
        CrossValidationError: the folder belongs to other settings.
        TrainingJobError: a run failed.

    >>> from hf_ser.data import load_rows
    >>> args = CrossValidationArguments(model_recipe="recipes/baseline.py", seeds=[0, 1])  # doctest: +SKIP
    >>> data_args = DataArguments("data/emotions", "ravdess", protocol="leave_one_speaker_out")
    >>> cross_validate(load_rows(data_args), args, data_args, Path("runs/folds"), overwrite=False)  # doctest: +SKIP
    """
    if data_args.nested_fold is not None:
        raise ConfigError("cross-validation runs the folds of a protocol, not nested folds; leave out --nested_fold.")
    if data_args.protocol is None or data_args.fold is not None:
        raise ConfigError("cross-validation runs every fold of a protocol: pass --protocol and leave out --fold.")
    protocol, auxiliary = data_args.protocol, data_args.auxiliary_corpora
    with held(output_dir):
        _claim(output_dir, _plan(rows, args, data_args), overwrite)
        runs = list(_runs(under_test(rows, auxiliary), args, protocol, output_dir))
        missing = []
        for number, run in enumerate(runs, 1):
            wanted = assign_with_auxiliary(rows, protocol, auxiliary, seed=run.seed, fold=run.fold).hash
            if is_finished(run.folder) and read_results(run.folder)["protocol"]["hash"] == wanted:
                continue
            training = training_of(run, args, data_args, figures)
            missing.append(training._replace(name=f"Run {number} of {len(runs)}: {training.name}"))
        run_trainings(missing, args.job_settings)
        return _pool(runs, args, data_args, output_dir, figures)


def _plan(rows: Sequence[Row], args: CrossValidationArguments, data_args: DataArguments) -> dict[str, Any]:
    """The settings that must match for finished folds to be kept; seeds may be added."""
    config = Path(args.recipe_config).read_text(encoding="utf-8") if args.recipe_config else None
    protocol, auxiliary = str(data_args.protocol), data_args.auxiliary_corpora
    first = 1 if protocol in FOLDED else None
    return {
        "recipe": Path(str(args.model_recipe)).name,
        "config": config,
        "overrides": sorted(args.recipe_overrides),
        "protocol": protocol,
        "configuration": data_args.configuration,
        **({"auxiliary_corpora": sorted(auxiliary)} if auxiliary else {}),
        "threads": args.threads,  # results on CPU depend on it
        "preprocessing": data_args.preprocessing,
        "first_assignment": assign_with_auxiliary(rows, protocol, auxiliary, seed=0, fold=first).hash,
    }


def _claim(output_dir: Path, plan: dict[str, Any], overwrite: bool) -> None:
    path = output_dir / PLAN
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        differ = [key for key in plan if earlier.get(key) != plan[key]]
        if not differ and not overwrite:
            return
        if not overwrite:
            raise CrossValidationError(
                f"--output_dir {output_dir} holds a cross-validation with another {', '.join(differ)}. Choose another "
                "folder, or pass --overwrite true to replace it."
            )
        _empty(output_dir)
    elif any(path.name not in (LOCK, UNFINISHED) for path in output_dir.iterdir()):
        raise CrossValidationError(f"--output_dir {output_dir} holds other files; choose another folder.")
    write_json(path, plan)


def _empty(folder: Path) -> None:
    """Remove everything but the lock and the mark of this process."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (LOCK, UNFINISHED):
            path.unlink()


def _runs(rows: Sequence[Row], args: CrossValidationArguments, protocol: str, output_dir: Path) -> Iterator[Run]:
    for seed in args.seeds:
        folder = output_dir / f"seed_{seed}"
        if protocol not in FOLDED:
            yield Run(folder, None, None, seed)
            continue
        for number, fold in enumerate(folds(rows, protocol, seed), 1):
            yield Run(folder / f"fold_{number}", number, fold.name, seed)


def train_run(run: Run, args: CrossValidationArguments, data_args: DataArguments, figures: bool) -> None:
    """Train and score one run through its recipe, in a process; an interrupted run resumes from its last checkpoint.

    Args:
        run: see `training_of`, as for the others.
        args: the recipe.
        data_args: the dataset.
        figures: whether the recipe draws figures.

    Raises:
        TrainingJobError: the recipe ended with an error, or without results.
    """
    run_trainings([training_of(run, args, data_args, figures)], args.job_settings)


def training_of(run: Run, args: CrossValidationArguments, data_args: DataArguments, figures: bool) -> Training:
    """Return the command that trains and scores a run.

    Args:
        run: folder, fold and seed.
        args: the recipe and how it is launched.
        data_args: dataset, configuration, protocol and preprocessing.
        figures: whether the recipe draws figures.
    """
    fields: dict[str, Any] = {
        "dataset": data_args.dataset,
        "configuration": data_args.configuration,
        "protocol": data_args.protocol,
        "fold": run.fold,
        "protocol_seed": run.seed,
        "nested_fold": run.nested_fold,
        "nested_folds": data_args.nested_folds if run.nested_fold else None,
        "seed": None if run.nested_fold else run.seed,
        "output_dir": run.folder,
        **data_args.preprocessing,
    }
    if not figures:
        fields["figures"] = "false"
    if any(run.folder.glob("checkpoint-*")):
        fields["resume_from_checkpoint"] = "true"
    elif is_marked(run.folder):  # a recipe without checkpoints was killed
        fields["overwrite"] = "true"
    words = [f"--{key}={value}" for key, value in fields.items() if value is not None and value is not False]
    if data_args.auxiliary_corpora:
        words += ["--auxiliary_corpora", *data_args.auxiliary_corpora]
    config = ["--config", args.recipe_config] if args.recipe_config else []
    overrides = [f"--{override}" for override in args.recipe_overrides]
    command = [*python_command(str(args.model_recipe), args.launch_config), *config, *words, *overrides]
    return Training(run.title, command, run.folder)


def _pool(
    runs: Sequence[Run], args: CrossValidationArguments, data_args: DataArguments, output_dir: Path, figures: bool
) -> dict[str, Any]:
    each = [read_results(run.folder) for run in runs]
    files = [results["splits"]["test"]["predictions"][0] for results in each]
    tests = [read_predictions(run.folder / file) for run, file in zip(runs, files, strict=True)]
    protocol = str(data_args.protocol)
    results = _head(each, runs, args, data_args, output_dir.name)
    predictions: dict[str, list[Predictions]] = {}
    if protocol == "cross_corpus":
        results["matrix"] = _matrix(runs, each, tests)
    elif protocol not in CROSS_CORPUS:  # whose folds have different classes, so that pooled scores are meaningless
        by_seed = [[test for run, test in zip(runs, tests, strict=True) if run.seed == seed] for seed in args.seeds]
        pooled = [concatenate(parts) for parts in by_seed]
        single = len(pooled) == 1
        files = ["predictions.parquet"] if single else [f"predictions_seed_{seed}.parquet" for seed in args.seeds]
        computed_in = {run_results["splits"]["test"].get("precision") for run_results in each}
        precision = computed_in.pop() if len(computed_in) == 1 else None
        results["splits"]["test"] = score_split(
            pooled, files=files, precision=precision, abstention=_abstention(runs, each, tests, pooled)
        )
        predictions["test"] = pooled
    write_run(output_dir, results, predictions, figures=figures)
    return results


def _abstention(
    runs: Sequence[Run], each: Sequence[dict[str, Any]], tests: Sequence[Predictions], pooled: Sequence[Predictions]
) -> dict[str, Any] | None:
    """Coverage and accuracy with the threshold of each clip's own fold; None if a run has no abstention."""
    found = [results["splits"]["test"].get("abstention") for results in each]
    if any(abstention is None for abstention in found):
        return None
    rules = {AbstentionRule(abstention["target_accuracy"], abstention["min_coverage"]) for abstention in found}
    thresholds: list[np.ndarray | None] = []
    for seed in dict.fromkeys(run.seed for run in runs):
        own = [(found[i]["threshold"], len(tests[i].label_ids)) for i, run in enumerate(runs) if run.seed == seed]
        if any(threshold is None for threshold, _ in own):
            thresholds.append(None)  # a fold did not reach the target on validation
        else:
            thresholds.append(np.concatenate([np.full(clips, threshold) for threshold, clips in own]))
    return describe_abstention(pooled, thresholds, rules.pop() if len(rules) == 1 else None)


def _head(
    each: Sequence[dict[str, Any]],
    runs: Sequence[Run],
    args: CrossValidationArguments,
    data_args: DataArguments,
    name: str,
) -> dict[str, Any]:
    first = each[0]
    protocol = dict(first["protocol"]) | {"fold": None, "hash": None, "seed": None}
    protocol["folds"] = len({run.fold for run in runs}) if runs[0].fold else None
    protocol["notes"] = sorted({note for results in each for note in results["protocol"]["notes"]})
    scores = [results["splits"]["test"]["scores"] for results in each]
    target = {name: first["training"][name] for name in ("target",) if name in (first["training"] or {})}
    return {
        **first,
        "kind": "cross_validation",
        "name": name,
        "dataset": first["dataset"] | {"train_clips": None, "train_speakers": None, "train_classes": None},
        "protocol": protocol,
        "training": {"recipe": Path(str(args.model_recipe)).name, "overrides": args.recipe_overrides, **target},
        "seeds": list(args.seeds),
        "versions": versions(),
        "splits": {},
        "runs": [
            {
                "folder": Path(*run.folder.parts[-2 if run.fold else -1 :]).as_posix(),
                "fold": run.fold,
                "fold_name": run.fold_name,
                "seed": run.seed,
                "protocol_hash": results["protocol"]["hash"],
                "clips": results["splits"]["test"]["clips"],
                "temperature": results["splits"]["test"]["calibration"]["temperature"],
                "abstention_threshold": results["splits"]["test"].get("abstention", {}).get("threshold"),
                "left_out": results["splits"]["test"]["left_out"],
                "validation": results["splits"].get("validation", {}).get("scores"),
                "test": results["splits"]["test"]["scores"],
            }
            for run, results in zip(runs, each, strict=True)
        ],
        "over_folds": {"mean": over_runs(scores, np.mean), "std": over_runs(scores, sample_std)}
        if len(scores) > 1
        else None,
    }


def _matrix(runs: Sequence[Run], each: Sequence[dict[str, Any]], tests: Sequence[Predictions]) -> dict[str, Any]:
    """UAR of each training corpus (rows) on each corpus (columns) over the classes that both have, mean over seeds."""
    trained = list(dict.fromkeys(str(run.fold_name) for run in runs))
    tested = sorted({corpus for test in tests for corpus in test.clips["corpus"]})
    cells: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    for run, results, test in zip(runs, each, tests, strict=True):
        for corpus in sorted(set(test.clips["corpus"])):
            part = test.where("corpus", corpus)
            here = {part.labels[label] for label in set(part.clips["label"])}
            part, _ = restrict(part, sorted(here & set(results["dataset"]["train_classes"])))
            uar = score(part.label_ids, part.probabilities, part.labels)["uar"]
            cells.setdefault((str(run.fold_name), corpus), []).append((uar, len(part.label_ids), len(part.labels)))
    table = [[cells.get((row, column)) for column in tested] for row in trained]
    return {
        "train": trained,
        "test": tested,
        "uar": [[float(np.mean([uar for uar, _, _ in cell])) if cell else None for cell in row] for row in table],
        "clips": [[cell[0][1] if cell else 0 for cell in row] for row in table],
        "classes": [[cell[0][2] if cell else 0 for cell in row] for row in table],
    }
