"""One training of a cross-validation: its folder, fold and seed, and the command that trains and scores it."""

from pathlib import Path
from typing import Any, NamedTuple

from hf_ser.data.protocols import Assignment
from hf_ser.data.splits import DataArguments
from hf_ser.evaluation.cross_validation_arguments import CrossValidationArguments
from hf_ser.evaluation.training_jobs import Training, python_command, run_trainings
from hf_ser.results_file import read_results
from hf_ser.run_folder import is_finished, is_marked


class Run(NamedTuple):
    """One training: a fold (None for protocols with a single split), a seed, and a nested fold if there is one.

    The seed is that of the split and of the training, unless the training has the seed of its configuration.
    """

    folder: Path
    fold: int | None
    fold_name: str | None
    seed: int
    nested_fold: int | None = None
    seed_of_configuration: bool = False

    def is_finished(self, assignment: Assignment) -> bool:
        """Whether the folder has a finished run of this division of the clips."""
        return is_finished(self.folder) and read_results(self.folder)["protocol"]["hash"] == assignment.hash

    @property
    def title(self) -> str:
        """Fold and seed in words."""
        name = f" ({self.fold_name})" if self.fold_name else ""
        fold = f"fold {self.fold}{name}, " if self.fold else ""
        return f"{fold}seed {self.seed}" + (f", nested fold {self.nested_fold}" if self.nested_fold else "")


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
        "seed": None if run.seed_of_configuration else run.seed,
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
