"""What is gained by averaging the probabilities of models: seeds of one configuration, and different networks.

python benchmarks/means_of_models.py [--results results] [--docs docs/what_helps.md]

The means are listed in benchmarks/means_of_models.yaml. They are computed from the stored predictions of the test
clips; nothing is fitted or chosen. Each mean is compared with the average UAR of its members on the same clips, by a
paired bootstrap over speakers. Writes results/means_of_models.json and the table of docs/what_helps.md.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser import markdown
from hf_ser.errors import SerError
from hf_ser.reporting.run_report import brackets
from hf_ser.scoring import Predictions, read_predictions, read_results
from hf_ser.scoring.bootstrap import CLUSTERED, compare, intervals_over_seeds, point_scores
from hf_ser.scoring.results import write_json, write_text
from hf_ser.yaml_files import load_yaml

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- means_of_models:begin -->", "<!-- means_of_models:end -->"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--means", type=Path, default=FOLDER / "means_of_models.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the runs")
    parser.add_argument("--output", type=Path, default=Path("results/means_of_models.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs/what_helps.md"))
    args = parser.parse_args(argv)
    before, after = markdown.around_part(args.docs.read_text(encoding="utf-8"), BEGIN, END, str(args.docs))
    means = [measure(name, members, args.results) for name, members in load_yaml(args.means).items()]
    write_json(args.output, {"means": means})
    write_text(args.docs, f"{before}\n\n{render(means)}\n\n{after}")


def measure(name: str, members: Mapping[str, Sequence[int]], results: Path) -> dict[str, Any]:
    """The UAR of the mean of some members, and how much it is above their average.

    Args:
        name: of the mean.
        members: run -> its seeds.
        results: folder of the runs.
    """
    tables = [in_order(read_seed(results / run, seed)) for run, seeds in members.items() for seed in seeds]
    first = tables[0]
    if any(table.clips["id"] != first.clips["id"] or table.labels != first.labels for table in tables):
        raise SerError(f"{name}: its members predict different clips or classes; expected runs of one protocol.")
    classes, count = len(first.labels), len(tables)
    predicted = np.mean([table.probabilities for table in tables], axis=0).argmax(axis=1)
    each = [point_scores(table.label_ids, table.predicted, classes)["uar"] for table in tables]
    # With every clip once per member, the pooled UAR of the members is the average of theirs.
    labels, speakers = np.tile(first.label_ids, count), list(first.clusters) * count
    members_predicted = np.concatenate([table.predicted for table in tables])
    tested = compare(labels, np.tile(predicted, count), members_predicted, speakers, classes)["uar"]
    interval = intervals_over_seeds([(first.label_ids, predicted, first.clusters)], classes, CLUSTERED)["uar"]
    return {
        "name": name,
        "members": {run: list(seeds) for run, seeds in members.items()},
        "models": count,
        "uar": point_scores(first.label_ids, predicted, classes)["uar"],
        "interval": interval,
        "average_of_members": float(np.mean(each)),
        "best_member": max(each),
        "gain": {key: tested[key] for key in ("difference", "interval", "significant")},
    }


def read_seed(run: Path, seed: int) -> Predictions:
    """The stored predictions of a run's test clips with one seed."""
    results = read_results(run)
    if seed not in results["seeds"]:
        raise SerError(f"{run} has no seed {seed}; its seeds are {results['seeds']}.")
    return read_predictions(run / results["splits"]["test"]["predictions"][results["seeds"].index(seed)])


def in_order(predictions: Predictions) -> Predictions:
    """The same predictions in the order of the clips' ids."""
    return predictions.select(np.argsort(predictions.clips["id"]))


def render(means: Sequence[Mapping[str, Any]]) -> str:
    """The text between the markers of the page."""
    header = ("mean of the probabilities of", "models", "UAR", "average of its models", "gain")
    rows = []
    for mean in means:
        gain = mean["gain"]
        star = r"\*" if gain["significant"] else ""
        uar = f"{mean['uar']:.3f}{brackets(mean['interval'])}"
        shown = f"{gain['difference']:+.3f}{brackets(gain['interval'])}{star}"
        rows.append((mean["name"], mean["models"], uar, f"{mean['average_of_members']:.3f}", shown))
    return markdown.table(header, rows)


if __name__ == "__main__":
    main()
