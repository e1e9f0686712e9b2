"""Cross-validation with --jobs 2 beside folds in sequence: time, and whether the predictions are equal.

python benchmarks/fold_jobs.py [--dataset data/ravdess] [--protocol emobox] [--epochs 10]

Trains audio_cnn_plus on every fold three times, from new folders: in sequence with one thread, two folds at a time
with one thread each, and in sequence with the default number of threads. Times include the start of each process,
scores and reports. Writes results/fold_jobs.json and the part of docs/how-to/many_files.md between the markers.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine

from hf_ser import markdown
from hf_ser.scoring import read_predictions
from hf_ser.scoring.results import write_json, write_text

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- jobs:begin -->", "<!-- jobs:end -->"
RUNS = {
    "in sequence, 1 thread": ["--jobs", "1", "--threads", "1"],
    "2 jobs, 1 thread each": ["--jobs", "2", "--threads", "1"],
    "in sequence, all threads": ["--jobs", "1"],
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="data/ravdess")
    parser.add_argument("--protocol", default="emobox")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--overrides", nargs="*", default=[], help="further settings of the recipe, as key=value")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "fold_jobs.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "how-to" / "many_files.md")
    args = parser.parse_args(argv)
    before, after = markdown.around_part(args.docs.read_text(encoding="utf-8"), BEGIN, END, str(args.docs))
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
    results = {
        "machine": describe_machine(),
        "dataset": Path(args.dataset).name,
        "protocol": args.protocol,
        "epochs": args.epochs,
        "rows": rows,
    }
    write_json(args.output, results)
    write_text(args.docs, f"{before}\n\n{render(results)}\n\n{after}")


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run each cross-validation: a row per run, with its largest difference to the first one's probabilities."""
    rows: list[dict[str, Any]] = []
    for number, (name, words) in enumerate(RUNS.items()):
        output = folder / str(number)
        start = time.perf_counter()
        subprocess.run([*command(args), *words, "--output_dir", str(output)], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        difference = largest_difference(output, folder / "0")
        rows.append({"name": name, "seconds": round(seconds, 1), "largest_difference": difference})
        print(rows[-1], flush=True)  # noqa: T201
    return rows


def command(args: argparse.Namespace) -> list[str]:
    """The command without jobs, threads and folder."""
    words = [
        sys.executable,
        ROOT / "recipes" / "evaluate.py",
        "--model_recipe",
        ROOT / "recipes" / "train_companion.py",
    ]
    words += ["--recipe_config", ROOT / "recipes" / "configs" / "audio_cnn_plus.yaml", "--recipe_overrides"]
    words += [f"num_train_epochs={args.epochs}", "disable_tqdm=true", *args.overrides]
    words += ["--dataset", args.dataset, "--configuration", "all", "--protocol", args.protocol, "--figures", "false"]
    return [str(word) for word in words]


def largest_difference(a: Path, b: Path) -> float:
    """Largest difference of a probability between the predictions of two cross-validations, by clip."""
    one, other = (read_predictions(folder / "predictions.parquet") for folder in (a, b))
    row_of = {clip: row for row, clip in enumerate(other.clips["id"])}
    rows = [row_of[clip] for clip in one.clips["id"]]
    return float(np.abs(one.probabilities - other.probabilities[rows]).max())


def render(results: Mapping[str, Any]) -> str:
    """The text between the markers of the page."""
    rows = results["rows"]
    first = rows[0]["seconds"]
    said = (
        f"All folds of {results['protocol']} on {results['dataset']}, `audio_cnn_plus.yaml` with {results['epochs']} "
        f"epochs, with the start of each process. Machine: {results['machine']}."
    )
    cells = [
        (row["name"], f"{row['seconds']:.0f}", f"{first / row['seconds']:.2f}", f"{row['largest_difference']:.0e}")
        for row in rows
    ]
    header = ("folds", "seconds", "speed-up", "largest difference of a probability")
    return f"{said}\n\n{markdown.table(header, cells)}"


if __name__ == "__main__":
    main()
