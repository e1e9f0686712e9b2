"""Out-of-fold probabilities of the training clips: each clip predicted by a model that was not trained on its speaker.

For every nested fold, a base model is trained again with its own recipe.yaml on the other training clips. These runs
are complete run folders, `OUT_OF_FOLD_DIR/BASE/PROTOCOL_seed_S[_fold_K]/nested_I_of_N`, that several stacks can share.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.arguments import ConfigError
from hf_ser.data.nested import nested
from hf_ser.data.protocols import Assignment
from hf_ser.data.seen import Marks, Record, find_seen, marks_of_split, some
from hf_ser.data.splits import SplitData, load_rows
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.evaluation.cross_validation_arguments import CrossValidationArguments
from hf_ser.evaluation.fold_runs import Run, train_run
from hf_ser.hybrids.base_models import BaseModel, StackError, probabilities
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.recipe_file import RECIPE, read_recipe, recipe_program
from hf_ser.remote_code.preprocessing import file_beside
from hf_ser.results_file import read_results
from hf_ser.run_folder import held, is_finished
from hf_ser.scoring import score
from hf_ser.scoring.predictions import read_predictions

logger = logging.getLogger(__name__)
# Fields of recipe.yaml that say which clips a run has and what it draws. Those of the run are passed instead.
_OF_THE_RUN = {"configuration", "protocol", "protocol_seed", "fold", "nested_fold", "nested_folds", "figures"}


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold probabilities of one base model.

    Args:
        features: (training clips, classes), in the order of the train split.
        uar: UAR of all training clips.
    """

    features: np.ndarray
    uar: float


def out_of_fold(base_model: BaseModel, data: SplitData, classes: Sequence[int], args: HybridArguments) -> OutOfFold:
    """Train the nested folds of a base model that are missing, check them all, and read their probabilities.

    Args:
        base_model: folder or Hub id of a model with a recipe.yaml.
        data: the dataset, under a protocol.
        classes: ids of the classes to keep.
        args: out_of_fold_dir, recipes and launch_config.

    Raises:
        ConfigError: there is no protocol, or the recipe does not exist.
        StackError: the base model cannot be trained again, was trained on another split, or a folder in
            `out_of_fold_dir` is from other data, another recipe or other clips, or was modified.
        TrainingJobError: a training failed.
    """
    folder = _train_nested(base_model, data, args)
    tables = [folder / name / "predictions_test.parquet" for name in _names(data)]
    merged = replace(base_model, location=str(folder), tables=tuple(tables), model=None)
    features = probabilities(merged, data, "train", classes, args)
    labels = np.searchsorted(classes, np.asarray(data.splits["train"]["label"]))
    uar = score(labels, features, [data.labels[index] for index in classes])["uar"]
    logger.info("Out-of-fold UAR of %s on the %d training clips: %.3f", base_model.name, len(labels), uar)
    return OutOfFold(features, uar)


def train_nested_folds(base_models: Sequence[BaseModel], data: SplitData, args: HybridArguments) -> None:
    """Train and check the nested folds of base models, for stacks that are fitted later (see `out_of_fold`)."""
    for base_model in base_models:
        _train_nested(base_model, data, args)


def _names(data: SplitData) -> list[str]:
    folds = data.args.nested_folds
    return [f"nested_{number}_of_{folds}" for number in range(1, folds + 1)]


def _train_nested(base_model: BaseModel, data: SplitData, args: HybridArguments) -> Path:
    """Train the missing nested folds and check all; return the folder that holds them."""
    if data.args.protocol is None:
        raise ConfigError("fit_on is out_of_fold but protocol is not given. Pass the protocol of the base models.")
    recipe, how = _recipe(base_model, args)
    _check_split(base_model, data)
    assignment, rows = data.assignment, load_rows(data.args)
    fold = f"_fold_{assignment.fold}" if assignment.fold else ""
    root = args.out_of_fold_root / base_model.name / f"{assignment.protocol}_seed_{assignment.seed}{fold}"
    # The recipe.yaml has the base model's preprocessing, channel and classes.
    plain = replace(
        data.args, duration_s=None, trim_db=None, normalize=False, merge_calm=False, channel=None, streaming=False
    )
    with held(root, flag="--out_of_fold_dir"):
        for number, name in enumerate(_names(data), 1):
            run = Run(root / name, assignment.fold, None, assignment.seed, number, seed_of_configuration=True)
            expected = nested(rows, assignment, number, data.args.nested_folds)
            if not is_finished(run.folder):
                logger.info("Training nested fold %d of %d of %s", number, data.args.nested_folds, base_model)
                train_run(run, how, plain, figures=False)
            _check_run(run.folder, base_model, expected, recipe, data)
    return root


def _recipe(base_model: BaseModel, args: HybridArguments) -> tuple[dict[str, Any], CrossValidationArguments]:
    """The settings in the base model's recipe.yaml, and how to train with them."""
    path = file_beside(base_model.model, RECIPE, base_model.revision) if base_model.model is not None else None
    program = recipe_program(path) if path is not None else None
    if path is None or program is None:
        raise StackError(
            f"{base_model} has no {RECIPE} that names its recipe, so it cannot be trained on nested folds; expected "
            "the folder of a run of recipes/train_companion.py, finetune.py or fit_hybrid.py. Train it again, or pass "
            "--fit_on validation."
        )
    how = CrossValidationArguments(str(Path(args.recipes) / f"{program}.py"), str(path))
    how.launch_config = None if program == "fit_hybrid" else args.launch_config
    return read_recipe(path.parent) or {}, how


def _check_split(base_model: BaseModel, data: SplitData) -> None:
    """Raise `StackError` unless the base model was trained on the split of the stack."""
    known = base_model.splits or {}
    other = [clip for clip, split in data.assignment.splits.items() if known.get(clip) != split]
    if other:
        raise StackError(
            f"{base_model} was trained on another split: {len(other)} of {len(data.assignment.splits)} clips differ "
            f"({', '.join(sorted(other)[:3])}); expected that of the stack. Pass the protocol, fold and seed of its "
            "training, which are in its results.json."
        )


def _check_run(
    folder: Path, base_model: BaseModel, expected: Assignment, recipe: dict[str, Any], data: SplitData
) -> None:
    """Raise `StackError` unless a nested run has the expected clips and recipe, and is unmodified."""
    results, record = read_results(folder), Record.read(folder / SPLITS_FILE)
    stored = Assignment("", None, 0, (0, 0, 0), dict(record.splits)).hash
    hashes = data.hashes
    cases = {
        "a results.json that does not belong to its splits.csv": results["protocol"]["hash"] != stored,
        "another protocol, fold or seed": any(
            results["protocol"][name] != getattr(expected, field)
            for name, field in (("name", "protocol"), ("fold", "fold"), ("seed", "seed"))
        ),
        "another division of the training clips": any(
            record.splits.get(clip) != split for clip, split in expected.splits.items()
        ),
        "clips with other audio": any(hashes.get(clip, sha) != sha for clip, sha in record.hashes.items()),
    }
    _refuse(folder, [problem for problem, found in cases.items() if found])
    _refuse(folder, _differences(recipe, read_recipe(folder) or {}, base_model))
    _check_speakers(folder, record, expected, data)
    _check_predictions(folder, results, expected)


def _refuse(folder: Path, problems: Sequence[str]) -> None:
    if problems:
        raise StackError(
            f"{folder} has {problems[0]}; expected a run of this base model, protocol and dataset. Choose another "
            "--out_of_fold_dir, or remove this folder to train it again."
        )


def _differences(recipe: dict[str, Any], stored: dict[str, Any], base_model: BaseModel) -> list[str]:
    names = sorted((recipe.keys() | stored.keys()) - _OF_THE_RUN)
    return [
        f"another recipe than {base_model}: {name} is {stored.get(name)!r}, not {recipe.get(name)!r}"
        for name in names
        if stored.get(name) != recipe.get(name)
    ]


def _check_speakers(folder: Path, record: Record, expected: Assignment, data: SplitData) -> None:
    """Raise `StackError` if clips to predict are under any name among the clips of the training, or selected it."""
    held_out = set(expected.ids("test"))
    train = data.splits["train"]
    rows = [row for row, clip in enumerate(train["id"]) if clip in held_out]
    cases = [("predicts", marks_of_split(train.select(rows)), "train")]
    outer: list[tuple[str, Marks]] = [
        (split, marks_of_split(data.splits[split])) for split in ("validation", "test") if len(data.splits[split])
    ]
    cases += [(f"must not use {split} clips, but", marks, "train") for split, marks in outer]
    cases += [("must not use test clips, but", marks, "validation") for split, marks in outer if split == "test"]
    for what, marks, part in cases:
        seen = find_seen(record, marks, part)
        if seen:
            raise StackError(
                f"{folder} {what} {len(seen)} clips that are in its {part} split ({some(seen)}); expected none. "
                "Choose another --out_of_fold_dir, or remove duplicates from the dataset."
            )


def _check_predictions(folder: Path, results: dict[str, Any], expected: Assignment) -> None:
    """Raise `StackError` unless the stored predictions are of the held-out clips, and give the scores of the run."""
    scored = results["splits"]["test"]
    predictions = read_predictions(folder / "predictions_test.parquet")
    found = score(predictions.label_ids, predictions.probabilities, predictions.labels)
    same = all(
        value is None or found[name] is not None and abs(found[name] - value) < 1e-6
        for name, value in scored["scores"].items()
    )
    problems = ["predictions of other clips"] * (sorted(predictions.clips["id"]) != expected.ids("test"))
    problems += ["predictions that do not give the scores in its results.json"] * (not same)
    _refuse(folder, problems)
