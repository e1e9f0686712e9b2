"""Models trained on intended emotions, on the majority of raters, and on their votes, each scored against all three.

python benchmarks/votes.py RUN [RUN ...] [--output results/votes.json] [--docs docs/how-to/votes.md]

RUN is a folder of recipes/train_companion.py, recipes/finetune.py, or of a cross-validation of recipes/evaluate.py,
on a dataset with votes; its `target` is read from it. All targets need the same seeds and test clips. Scores are means
over the seeds of a target, computed from the stored predictions, beside those of single raters and of their majority.
Intervals are from a bootstrap over speakers, which draws the clips of all seeds together. Differences from the target
acted are paired: both models of a pair have seen the same clips and are scored on the same ones.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine

from hf_ser import markdown
from hf_ser.errors import SerError
from hf_ser.metrics import emotion_votes as metric
from hf_ser.results_file import bounds, number, read_results
from hf_ser.scoring import Predictions, read_predictions
from hf_ser.scoring.bootstrap import resampled_bounds
from hf_ser.scoring.confusion_scores import confusion_scores
from hf_ser.scoring.results import write_json, write_text
from hf_ser.scoring.vote_scores import describe_votes
from hf_ser.scoring.votes import MIN_RATERS, vote_counts
from hf_ser.training.vote_targets import ACTED, TARGETS

BEGIN, END = "<!-- votes:begin -->", "<!-- votes:end -->"
COLUMNS = {
    ("acted", "accuracy"): "intended: accuracy",
    ("acted", "uar"): "intended: UAR",
    ("majority", "accuracy"): "majority: accuracy",
    ("majority", "uar"): "majority: UAR",
    ("votes", "jensen_shannon"): "votes: Jensen-Shannon (bits, lower is better)",
    ("votes", "all_inclusive_f1"): "votes: F1, all-inclusive",
}
NAMES = {"acted": "intended emotion", "majority": "majority of the raters", "votes": "distribution of votes"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--output", default="results/votes.json", help="file with the results")
    parser.add_argument("--docs", default="docs/how-to/votes.md", help="page with the table")
    args = parser.parse_args(argv)
    print(describe_machine())
    results = collect([Path(run) for run in args.runs])
    write_json(Path(args.output), results)
    fill(Path(args.docs), results)
    print(f"{args.output}: {', '.join(results['targets'])}; table in {args.docs}")


def collect(folders: Sequence[Path]) -> dict[str, Any]:
    """Read the runs, and score each target against all three.

    Args:
        folders: of the runs.

    Raises:
        SerError: a run has no votes, or the targets differ in seeds or test clips.
    """
    runs: dict[str, list[tuple[int, Predictions]]] = defaultdict(list)
    stored = {}
    for folder in folders:
        stored[folder] = read_results(folder)
        runs[_target(stored[folder])] += _predictions(folder, stored[folder])
    found = {target: sorted(runs[target], key=lambda pair: pair[0]) for target in TARGETS if target in runs}
    _check(found)
    targets = {}
    for target, pairs in found.items():
        targets[target] = {
            "votes": describe_votes([run for _, run in pairs]),
            "seeds": [{"seed": seed, **_points(run)} for seed, run in pairs],
        }
    first = stored[folders[0]]
    return {
        "runs": [folder.name for folder in folders],
        "model_type": first["model_type"],
        "protocol": first["protocol"]["name"],
        "labels": list(next(iter(found.values()))[0][1].labels),
        "targets": targets,
        "differences": {
            target: _difference(found[target], found[ACTED]) for target in found if target != ACTED and ACTED in found
        },
    }


def _target(results: Mapping[str, Any]) -> str:
    """The target that a run was trained on."""
    training = results["training"] or {}
    given = dict(text.split("=", 1) for text in training.get("overrides", ()))
    return str(training.get("target") or given.get("target") or ACTED)


def _predictions(folder: Path, results: Mapping[str, Any]) -> list[tuple[int, Predictions]]:
    """Seed and test predictions of each seed of a run."""
    files = results["splits"]["test"]["predictions"]
    runs = [read_predictions(folder / name) for name in files]
    for run in runs:
        if not any(run.clips.get("votes", ())):
            raise SerError(f"{folder}: its predictions have no votes; expected a dataset prepared with votes.")
    return list(zip(results["seeds"], runs, strict=True))


def _check(found: Mapping[str, Sequence[tuple[int, Predictions]]]) -> None:
    """Raise `SerError` unless every target has the same seeds, and for each seed the same clips and classes."""
    described = {
        target: [(seed, tuple(sorted(run.clips["id"])), run.labels) for seed, run in pairs]
        for target, pairs in found.items()
    }
    if len({str(each) for each in described.values()}) > 1:
        sizes = "; ".join(
            f"{target}: " + ", ".join(f"seed {seed}, {len(ids)} clips" for seed, ids, _ in pairs)
            for target, pairs in described.items()
        )
        raise SerError(f"the targets differ in seeds, test clips or classes ({sizes}); expected the same in all.")


def _points(run: Predictions) -> dict[str, Any]:
    """The scores of the table for one seed."""
    votes = describe_votes([run])
    assert votes is not None  # checked when it was read
    return {f"{of}_{name}": votes["model"][of][name]["value"] for of, name in COLUMNS}


def _difference(
    target: Sequence[tuple[int, Predictions]], acted: Sequence[tuple[int, Predictions]]
) -> dict[str, dict[str, Any]]:
    """Scores of a target minus those of the target acted, with 95 % intervals over speakers."""
    rows = [_paired(one, other) for (_, one), (_, other) in zip(target, acted, strict=True)]
    counts, label_ids, clusters, mine, theirs = (np.concatenate(column) for column in zip(*rows, strict=True))
    size, won = counts.shape[1], metric.majority(counts)
    every, unique = np.arange(len(counts)), np.flatnonzero(won != metric.TIED)
    found: dict[str, dict[str, Any]] = {}
    for name, of, kept in (("acted", label_ids, every), ("majority", won, unique)):
        parts = np.zeros((len(kept), 2, size, size))
        for side, probabilities in enumerate((mine, theirs)):
            parts[np.arange(len(kept)), side, of[kept], probabilities[kept].argmax(axis=1)] = 1
        found[f"{name}_uar"] = _interval(parts, clusters[kept], _uar_difference)
    shannon = [metric.distances(probabilities, counts)["jensen_shannon"] for probabilities in (mine, theirs)]
    parts = np.stack([shannon[0] - shannon[1], np.ones(len(counts))], axis=1)
    found["votes_jensen_shannon"] = _interval(parts, clusters, lambda sums: {"value": sums[:, 0] / sums[:, 1]})
    return found


def _paired(one: Predictions, other: Predictions) -> tuple[np.ndarray, ...]:
    """Votes, labels, clusters and both models' probabilities of the clips with enough raters, in the same order."""
    place = {clip: row for row, clip in enumerate(other.clips["id"])}
    order = np.asarray([place[clip] for clip in one.clips["id"]])
    counts = vote_counts(one.clips["votes"], one.labels)
    kept = np.flatnonzero(counts.sum(axis=1) >= MIN_RATERS)
    columns = (counts, one.label_ids, np.asarray(one.clusters), one.probabilities, other.probabilities[order])
    return tuple(column[kept] for column in columns)


def _uar_difference(sums: np.ndarray) -> dict[str, np.ndarray]:
    one, other = (confusion_scores(sums[:, side])["uar"] for side in (0, 1))
    return {"value": one - other}


def _interval(parts: np.ndarray, clusters: np.ndarray, statistic: Any) -> dict[str, Any]:
    value = float(statistic(parts.sum(axis=0, keepdims=True))["value"][0])
    return {"value": value, "interval": resampled_bounds(parts, clusters.tolist(), statistic)["value"]}


# --- the table --------------------------------------------------------------------------------------------------


def render(results: Mapping[str, Any]) -> str:
    """The text between the markers of the page."""
    targets = results["targets"]
    votes = next(iter(targets.values()))["votes"]
    rows = [(NAMES[target], *_cells(found["votes"]["model"])) for target, found in targets.items()]
    rows += [
        ("(one rater)", *_cells(votes["rater"])),
        ("(majority of the raters)", *_cells(votes["majority"])),
        ("(one answer for all clips)", *_cells(votes["chance"])),
    ]
    seeds = [entry["seed"] for entry in next(iter(targets.values()))["seeds"]]
    parts = [
        f"{results['model_type']}, protocol {results['protocol']}, {len(seeds)} "
        f"{'seed' if len(seeds) == 1 else 'seeds'}: {votes['clips']:,} test clips of {votes['clusters']} speakers, "
        f"{votes['ties']:,} of them tied. Each row is what a model learned; each column is what it is scored against, "
        "with 95 % intervals.",
        markdown.table(("trained on", *COLUMNS.values()), rows),
    ]
    if results["differences"]:
        header = ("trained on", "intended: UAR", "majority: UAR", "votes: Jensen-Shannon (bits)")
        names = ("acted_uar", "majority_uar", "votes_jensen_shannon")
        differences = [
            (NAMES[target], *(_signed(found[name]) for name in names))
            for target, found in results["differences"].items()
        ]
        parts += [
            "Paired differences from the model that learned the intended emotion:",
            markdown.table(header, differences),
        ]
    return "\n\n".join(parts)


def _cells(scores: Mapping[str, Any]) -> list[str]:
    found = [scores.get(of, {}).get(name) for of, name in COLUMNS]
    return ["-" if score is None else f"{number(score['value'])}{_ends(score)}" for score in found]


def _signed(score: Mapping[str, Any]) -> str:
    low, high = score["interval"]
    return f"{score['value']:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")


def _ends(score: Mapping[str, Any]) -> str:
    ends = bounds(score["interval"])
    return "" if ends == "-" else f" [{ends.replace(' to ', ', ')}]"


def fill(page: Path, results: Mapping[str, Any]) -> None:
    """Replace the text between the markers of a page.

    Raises:
        SerError: the page does not have both markers once.
    """
    before, after = markdown.around_part(page.read_text(encoding="utf-8"), BEGIN, END, str(page))
    write_text(page, f"{before}\n\n{render(results)}\n\n{after}")


if __name__ == "__main__":
    main()
