"""Cross-validation: train and score every fold with every seed through one recipe, and pool the predictions."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.arguments import ConfigError
from hf_ser.data.auxiliary import assign_with_auxiliary, under_test
from hf_ser.data.protocols import CROSS_CORPUS, FOLDED, Row, folds
from hf_ser.data.splits import DataArguments
from hf_ser.errors import SerError
from hf_ser.evaluation.cross_validation_arguments import CrossValidationArguments
from hf_ser.evaluation.dimension_folds import check_dimension_folds, pooled_dimensions
from hf_ser.evaluation.fold_runs import Run, training_of
from hf_ser.evaluation.fold_scores import names_of_pooled, over_folds, scores_of_run
from hf_ser.evaluation.nested_selection import Choice, choose_candidates, describe_choices
from hf_ser.evaluation.training_jobs import run_trainings
from hf_ser.reporting.dimension_report import write_dimension_run
from hf_ser.reporting.run_report import write_run
from hf_ser.results_file import read_results
from hf_ser.run_folder import LOCK, UNFINISHED, held
from hf_ser.scoring.abstention import AbstentionRule, describe_abstention
from hf_ser.scoring.predictions import Predictions, concatenate, read_predictions, restrict
from hf_ser.scoring.results import only_one, score, score_split, versions, write_json

PLAN = "cross_validation.json"


class CrossValidationError(SerError):
    """A cross-validation that cannot start or continue."""


def cross_validate(
    rows: Sequence[Row],
    args: CrossValidationArguments,
    data_args: DataArguments,
    output_dir: Path,
    overwrite: bool,
    figures: bool = True,
    thresholds: str | None = None,
) -> dict[str, Any]:
    """Train and score every fold with every seed, then pool the test predictions and write the folder's results.

    Finished folds of an earlier call are kept; an interrupted fold resumes from its last checkpoint. With candidates,
    the configuration of each run is first chosen by nested folds, see `choose_candidates`.

    Args:
        rows: metadata of the dataset's clips.
        args: recipe and seeds.
        data_args: dataset, configuration and protocol; its fold and seed are set for each run.
        output_dir: holds the runs in `seed_N/fold_K`.
        overwrite: whether to replace a cross-validation with other settings.
        figures: whether to draw figures, also for each run.
        thresholds: file of limits that the caller checks the results against.

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
    check_dimension_folds(args, protocol, thresholds)
    with held(output_dir):
        _claim(output_dir, _plan(rows, args, data_args), overwrite)
        runs = list(_runs(under_test(rows, auxiliary), args, protocol, output_dir))
        choices = choose_candidates(runs, rows, args, data_args, output_dir) if args.candidates else []
        missing = []
        for number, run in enumerate(runs, 1):
            if run.is_finished(assign_with_auxiliary(rows, protocol, auxiliary, seed=run.seed, fold=run.fold)):
                continue
            how = args.with_candidate(choices[number - 1].config) if choices else args
            training = training_of(run, how, data_args, figures)
            missing.append(training._replace(name=f"Run {number} of {len(runs)}: {training.name}"))
        run_trainings(missing, args.job_settings)
        return _pool(runs, choices, args, data_args, output_dir, figures)


def _plan(rows: Sequence[Row], args: CrossValidationArguments, data_args: DataArguments) -> dict[str, Any]:
    """The settings that must match for finished folds to be kept; seeds may be added."""
    config = Path(args.recipe_config).read_text(encoding="utf-8") if args.recipe_config else None
    candidates = {Path(name).stem: Path(name).read_text(encoding="utf-8") for name in args.candidates}
    protocol, auxiliary = str(data_args.protocol), data_args.auxiliary_corpora
    first = 1 if protocol in FOLDED else None
    return {
        "recipe": Path(str(args.model_recipe)).name,
        "config": config,
        "overrides": sorted(args.recipe_overrides),
        "protocol": protocol,
        "configuration": data_args.configuration,
        **({"candidates": candidates, "nested_folds": data_args.nested_folds} if candidates else {}),
        **({"auxiliary_corpora": sorted(auxiliary)} if auxiliary else {}),
        "threads": args.threads,  # results on CPU depend on it
        "preprocessing": data_args.preprocessing,
        "first_assignment": assign_with_auxiliary(rows, protocol, auxiliary, seed=0, fold=first).hash,
    }


def _claim(output_dir: Path, plan: dict[str, Any], overwrite: bool) -> None:
    path = output_dir / PLAN
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        differ = sorted(key for key in plan.keys() | earlier.keys() if earlier.get(key) != plan.get(key))
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


def _pool(
    runs: Sequence[Run],
    choices: Sequence[Choice],
    args: CrossValidationArguments,
    data_args: DataArguments,
    output_dir: Path,
    figures: bool,
) -> dict[str, Any]:
    each = [read_results(run.folder) for run in runs]
    results = _head(each, runs, args, data_args, output_dir.name)
    if each[0].get("dimensions"):
        test, values = pooled_dimensions([run.folder for run in runs], each, [run.seed for run in runs])
        write_dimension_run(output_dir, results | {"dimensions": {"test": test}}, {"test": values}, figures=figures)
        return read_results(output_dir)
    files = [results["splits"]["test"]["predictions"][0] for results in each]
    tests = [read_predictions(run.folder / file) for run, file in zip(runs, files, strict=True)]
    protocol = str(data_args.protocol)
    if choices:
        results["training"]["selection"] = describe_choices(choices, data_args.nested_folds)
    predictions: dict[str, list[Predictions]] = {}
    if protocol == "cross_corpus":
        results["matrix"] = _matrix(runs, each, tests)
    elif protocol not in CROSS_CORPUS:  # whose folds have different classes, so that pooled scores are meaningless
        by_seed = [[test for run, test in zip(runs, tests, strict=True) if run.seed == seed] for seed in args.seeds]
        pooled = [concatenate(parts) for parts in by_seed]
        results["splits"]["test"] = score_split(
            pooled,
            files=names_of_pooled(args.seeds),
            precision=only_one({run_results["splits"]["test"].get("precision") for run_results in each}),
            abstention=_abstention(runs, each, tests, pooled),
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
    rules = {AbstentionRule.of(abstention) for abstention in found}
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
    notes = {note for results in each for note in results["protocol"]["notes"]}
    if any(results["preprocessing"] != first["preprocessing"] for results in each):
        notes.add("the chosen configurations differ in preprocessing; that of the first run is shown")
    protocol["notes"] = sorted(notes)
    target = {name: first["training"][name] for name in ("target",) if name in (first["training"] or {})}
    return {
        **first,
        "kind": "cross_validation",
        "name": name,
        "model_type": " or ".join(dict.fromkeys(results["model_type"] for results in each)),
        "parameters": only_one({results["parameters"] for results in each}),
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
                **scores_of_run(results),
            }
            for run, results in zip(runs, each, strict=True)
        ],
        "over_folds": over_folds(each),
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
