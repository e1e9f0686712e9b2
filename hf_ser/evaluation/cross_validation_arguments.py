"""Arguments of a cross-validation: the recipe that trains every fold, and how its trainings are run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from hf_ser.arguments import ConfigError
from hf_ser.evaluation.training_jobs import LOCAL, SUBMITIT, JobSettings


@dataclass
class CrossValidationArguments:
    """The recipe that trains every fold, and the seeds.

    >>> CrossValidationArguments(recipe_overrides=["num_train_epochs"])
    Traceback (most recent call last):
        ...
    hf_ser.errors.ConfigError: recipe_config, recipe_overrides or candidates is given without model_recipe; name ...
    """

    model_recipe: str | None = field(
        default=None, metadata={"help": "recipe that trains and scores each fold, such as recipes/finetune.py"}
    )
    recipe_config: str | None = field(default=None, metadata={"help": "YAML file for that recipe"})
    recipe_overrides: list[str] = field(
        default_factory=list, metadata={"help": "fields of that recipe, such as num_train_epochs=8"}
    )
    candidates: list[str] = field(
        default_factory=list,
        metadata={
            "help": "two or more YAML files for that recipe instead of recipe_config; in every fold, the best one is "
            "chosen by --nested_folds of its training clips"
        },
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
        if self.model_recipe is None and (self.recipe_config or self.recipe_overrides or self.candidates):
            names = "recipe_config, recipe_overrides or candidates"
            raise ConfigError(f"{names} is given without model_recipe; name the recipe too.")
        for name in (self.model_recipe, self.recipe_config, self.launch_config, *self.candidates):
            if name is not None and not Path(name).is_file():
                raise ConfigError(f"{name}: no such file; expected a recipe (.py) or its configuration (.yaml).")
        self._check_candidates()
        _refuse_unnamed("recipe_overrides", self.recipe_overrides, "num_train_epochs=8")
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

    def with_candidate(self, config: str) -> "CrossValidationArguments":
        """The same recipe with one candidate as its configuration."""
        return replace(self, recipe_config=config, candidates=[])

    def _check_candidates(self) -> None:
        stems = [Path(name).stem for name in self.candidates]
        if len(stems) == 1:
            raise ConfigError(
                f"candidates has 1 file; expected at least 2. Pass it as --recipe_config {self.candidates[0]}."
            )
        repeated = [stem for stem in stems if stems.count(stem) > 1]
        if repeated:
            raise ConfigError(f"candidates has two files of the name {repeated[0]}; expected different names.")
        if stems and self.recipe_config:
            raise ConfigError("candidates and recipe_config are both given; expected one of them.")

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
