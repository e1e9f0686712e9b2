"""The tables of docs/how-to/robustness-report.md, from reports of recipes/robustness.py.

python benchmarks/robustness_page.py --report runs/robustness --stack runs/stack --without runs/plain --with runs/noise

Copies the reports to results/robustness_*.json and writes the part of the page between the markers: the scores of the
first report under every condition, a stack beside it, and a model trained without noise beside one trained with noise.
A report that is not given stays as it was.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_ser import markdown
from hf_ser.results_file import clips_and_speakers, number
from hf_ser.robustness.stored_conditions import read_report
from hf_ser.scoring.results import write_json, write_text

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- conditions:begin -->", "<!-- conditions:end -->"
REPORTS = ("models", "stack", "without_noise", "with_noise")
Reports = Mapping[str, Mapping[str, Any]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, dest="models", help="folder of the report of the first table")
    parser.add_argument("--stack", type=Path, help="report of a stack on the same clips")
    parser.add_argument("--without", type=Path, dest="without_noise", help="report of the model trained without noise")
    parser.add_argument("--with", type=Path, dest="with_noise", help="report of the one with noise")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "how-to" / "robustness-report.md")
    args = parser.parse_args(argv)
    before, after = markdown.around_part(args.docs.read_text(encoding="utf-8"), BEGIN, END, str(args.docs))
    given = {name: read_report(folder) for name in REPORTS if (folder := getattr(args, name)) is not None}
    reports = read(args.results) | given
    for one, other in (("models", "stack"), ("without_noise", "with_noise")):
        if reports[one]["clips_hash"] != reports[other]["clips_hash"]:
            raise SystemExit(f"the reports {one} and {other} are on different clips; expected the same ones.")
    for name, report in given.items():
        write_json(args.results / f"robustness_{name}.json", report)
    write_text(args.docs, f"{before}\n\n{render(reports)}\n\n{after}")


def read(results: Path) -> dict[str, Any]:
    """The stored reports that there are."""
    paths = {name: results / f"robustness_{name}.json" for name in REPORTS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


def render(reports: Reports) -> str:
    """The text between the markers of the page."""
    noise = _beside(reports["without_noise"], reports["with_noise"], ("without noise", "with noise"))
    stack = _beside(reports["models"], reports["stack"], ("of one network", "of the stack"))
    parts = [
        _one(reports["models"]),
        f"A stack beside it: {_pair(reports['models'], reports['stack'])}.",
        stack,
        f"What noise in training changes: {_pair(reports['without_noise'], reports['with_noise'])}.",
        noise,
    ]
    return "\n\n".join(parts)


def _one(report: Mapping[str, Any]) -> str:
    clean = report["clean"]["scores"]
    said = (
        f"{report['name']}, {len(report['models'])} folds, seed 0, "
        f"{clips_and_speakers(report['clips'], report['speakers'])}. Clean clips: UAR {number(clean['uar'])}, "
        f"calibration error {number(clean['ece'])}."
    )
    rows = []
    for condition in report["conditions"]:
        for level in condition["levels"]:
            low, high = level["degradation"]["uar"]["interval"]
            difference = f"{level['degradation']['uar']['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
            cells = (number(level["scores"]["uar"]), difference, f"{100 * level['flips']['share']:.0f} %")
            rows.append((condition["title"], _level(condition, level), *cells, number(level["scores"]["ece"])))
    header = ("condition", "level", "UAR", "difference to clean", "answers that change", "calibration error")
    return f"{said}\n\n{markdown.table(header, rows)}"


def _pair(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    clips = clips_and_speakers(other["clips"], other["speakers"])
    return f"{one['name']} and {other['name']} on the same {clips} ({len(other['models'])} folds, seed 0)"


def _beside(one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, str]) -> str:
    """A table of the UAR of two models under the conditions and levels that both reports have."""
    pair = [report["clean"]["scores"]["uar"] for report in (one, other)]
    rows = [("clean", "", *map(number, pair), f"{pair[1] - pair[0]:+.3f}")]
    of_other = {condition["name"]: condition for condition in other["conditions"]}
    for condition in one["conditions"]:
        found = of_other.get(condition["name"], {"levels": []})
        levels = {level["level"]: level["scores"]["uar"] for level in found["levels"]}
        for level in condition["levels"]:
            if level["level"] in levels:
                pair = [level["scores"]["uar"], levels[level["level"]]]
                cells = (*map(number, pair), f"{pair[1] - pair[0]:+.3f}")
                rows.append((condition["title"], _level(condition, level), *cells))
    return markdown.table(("condition", "level", *(f"UAR {name}" for name in names), "difference"), rows)


def _level(condition: Mapping[str, Any], level: Mapping[str, Any]) -> str:
    return f"{level['level']} {condition['unit']}".strip()


if __name__ == "__main__":
    main()
