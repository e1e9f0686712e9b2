"""Ablations: train with one lever at a time, and compare the scores on validation speakers.

python benchmarks/what_helps.py --folds 1 4 --seeds 0 [--levers none "mixup (0.2)"] [--jobs 2] [--fill_only]

Levers are listed in benchmarks/what_helps.yaml. Every training is a run of its own in --runs; finished ones are kept,
so that the command can be repeated with more levers, folds or seeds. Each training uses one thread; --jobs of them run
at the same time. Test clips are not read for any score. Writes results/what_helps.json and the table of
docs/what_helps.md. Levers of an earlier call whose trainings are not at hand keep their scores, if the first lever has
the same scores as then.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine

from hf_ser import markdown
from hf_ser.errors import SerError
from hf_ser.evaluation.training_jobs import JobSettings, Training, python_command, run_trainings
from hf_ser.reporting.run_report import brackets
from hf_ser.run_folder import is_finished
from hf_ser.scoring import Predictions, read_predictions, read_results
from hf_ser.scoring.bootstrap import compare, intervals_over_seeds, point_scores
from hf_ser.scoring.results import write_json, write_text
from hf_ser.yaml_files import load_yaml

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- what_helps:begin -->", "<!-- what_helps:end -->"
NOT_MEASURED = "Nothing has been measured yet."


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levers_file", type=Path, default=FOLDER / "what_helps.yaml")
    parser.add_argument("--levers", nargs="+", help="names in the file; default: all")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time")
    parser.add_argument("--runs", type=Path, default=Path("runs/what_helps"), help="folder of the trainings")
    parser.add_argument("--output", type=Path, default=Path("results/what_helps.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs/what_helps.md"))
    parser.add_argument("--fill_only", action="store_true", help="train nothing; score what is finished")
    args = parser.parse_args(argv)
    plan = load_yaml(args.levers_file)
    names = args.levers or list(plan["levers"])
    unknown = [name for name in names if name not in plan["levers"]]
    if unknown:
        raise SerError(f"--levers: {unknown[0]!r} is not in {args.levers_file}: {'; '.join(plan['levers'])}.")
    cells = [(seed, fold) for seed in args.seeds for fold in args.folds]
    if not args.fill_only:
        waiting = [training_of(plan, name, cell, args.runs) for name in names for cell in cells]
        run_trainings(filter(None, waiting), JobSettings(args.jobs, threads=1))
    results = collect(plan, args.runs, cells)
    results["levers"] = with_earlier(results, args.output, list(plan["levers"]))
    write_json(args.output, results)
    fill(args.docs, results)
    print(render(results))  # noqa: T201


def run_folder(runs: Path, name: str, cell: tuple[int, int]) -> Path:
    """Folder of a lever's training with a seed and a fold."""
    return runs / re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") / f"seed_{cell[0]}" / f"fold_{cell[1]}"


def recipe_words(plan: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> list[str]:
    """Command line arguments of a lever's training: the options of the plan, of the lever, and these."""
    lever = plan["levers"][name]
    words = ["--config", lever["config"]]
    for option, value in {**plan["overrides"], **lever.get("overrides", {}), **options}.items():
        words += [f"--{option}", *map(str, value if isinstance(value, list) else [value])]
    return words


def training_of(plan: Mapping[str, Any], name: str, cell: tuple[int, int], runs: Path) -> Training | None:
    """The command that trains one run, None if it is finished; an interrupted one resumes."""
    folder = run_folder(runs, name, cell)
    if is_finished(folder):
        return None
    seed, fold = cell
    options = {"seed": seed, "protocol_seed": seed, "fold": fold, "output_dir": folder, "figures": "false"}
    options["disable_tqdm"] = "true"
    if any(folder.glob("checkpoint-*")):
        options["resume_from_checkpoint"] = "true"
    words = [*python_command(plan["recipe"]), *recipe_words(plan, name, options)]
    return Training(f"{name}, seed {seed}, fold {fold}", words, folder)


def collect(plan: Mapping[str, Any], runs: Path, cells: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Validation scores of the levers whose trainings are all finished, and their differences to the first lever."""
    found: dict[str, list[Predictions]] = {}
    details: dict[str, dict[str, Any]] = {}
    for name in plan["levers"]:
        folders = [run_folder(runs, name, cell) for cell in cells]
        if not all(is_finished(folder) for folder in folders):
            continue
        each = [read_results(folder) for folder in folders]
        found[name] = [read_predictions(folder / "predictions_validation.parquet") for folder in folders]
        details[name] = {
            "parameters": each[0]["parameters"],
            "minutes_per_fold": round(float(np.mean([run["training"]["seconds"] for run in each])) / 60, 1),
            "precision": each[0]["training"]["precision"],
        }
    baseline = next(iter(plan["levers"]))
    if baseline not in found:
        raise SerError(f"the trainings of {baseline!r}, with which all are compared, are not finished.")
    return {
        "machine": describe_machine(),
        "protocol": plan["overrides"]["protocol"],
        "split": "validation",
        "folds": sorted({fold for _, fold in cells}),
        "seeds": sorted({seed for seed, _ in cells}),
        "epochs": plan["overrides"]["num_train_epochs"],
        "baseline": baseline,
        "levers": [
            {"name": name, **_scores(parts, found[baseline], name == baseline), **details[name]}
            for name, parts in found.items()
        ],
    }


def with_earlier(results: Mapping[str, Any], output: Path, order: Sequence[str]) -> list[dict[str, Any]]:
    """The levers, and those of the earlier results if they were compared with the same scores of the first lever.

    A lever that was trained again with the same scores keeps the minutes of the first time.
    """
    found = {lever["name"]: lever for lever in results["levers"]}
    earlier = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    shared = ("protocol", "folds", "seeds", "epochs", "baseline")
    if all(earlier.get(name) == results[name] for name in shared):
        before = {lever["name"]: lever for lever in earlier["levers"]}
        if _same(found[results["baseline"]], before[results["baseline"]]):
            found |= {name: lever for name, lever in before.items() if _same(found.get(name, lever), lever)}
    return [found[name] for name in order if name in found]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("clips", "uar", "interval"))


def _scores(parts: Sequence[Predictions], baseline: Sequence[Predictions], same: bool) -> dict[str, Any]:
    """UAR over all runs (the mean over seeds), its interval, and the difference to the baseline on the same clips."""
    labels, guessed, speakers = (_joined(parts, name) for name in ("label_ids", "predicted", "speakers"))
    classes = len(parts[0].labels)
    scored = {
        "clips": len(labels),
        "speakers": len(set(speakers)),
        "uar": point_scores(labels, guessed, classes)["uar"],
        "interval": intervals_over_seeds([(labels, guessed, speakers)], classes, "")["uar"],
        "difference": None,
    }
    if not same:
        tested = compare(labels, guessed, _joined(baseline, "predicted"), speakers, classes)["uar"]
        scored["difference"] = {key: tested[key] for key in ("difference", "interval", "p_value", "significant")}
    return scored


def _joined(parts: Sequence[Predictions], what: str) -> np.ndarray:
    values = [part.clips["speaker"] if what == "speakers" else getattr(part, what) for part in parts]
    return np.concatenate([np.asarray(value) for value in values])


def render(results: Mapping[str, Any] | None) -> str:
    """The text between the markers of the page."""
    if results is None:
        return NOT_MEASURED
    first = results["levers"][0]
    folds, seeds = (", ".join(map(str, results[name])) for name in ("folds", "seeds"))
    said = (
        f"UAR on the validation speakers of {results['protocol']}, folds {folds}, seeds {seeds}: {first['clips']:,} "
        f"predictions on clips of {first['speakers']} speakers, {results['epochs']} epochs. Differences are to "
        f"`{results['baseline']}`, by a paired bootstrap over speakers; * marks intervals without 0. Machine: "
        f"{results['machine']}, one thread for each training."
    )
    header = ("lever", "UAR", "difference", "parameters", "minutes per fold")
    rows = []
    for lever in results["levers"]:
        change = lever["difference"]
        shown = "-"
        if change is not None:
            star = r"\*" if change["significant"] else ""
            shown = f"{change['difference']:+.3f}{brackets(change['interval'])}{star}"
        uar = f"{lever['uar']:.3f}{brackets(lever['interval'])}"
        rows.append((lever["name"], uar, shown, f"{lever['parameters']:,}", lever["minutes_per_fold"]))
    return f"{said}\n\n{markdown.table(header, rows)}"


def fill(page: Path, results: Mapping[str, Any]) -> None:
    """Replace the text between the markers of a page."""
    before, after = markdown.around_part(page.read_text(encoding="utf-8"), BEGIN, END, str(page))
    write_text(page, f"{before}\n\n{render(results)}\n\n{after}")


if __name__ == "__main__":
    main()
