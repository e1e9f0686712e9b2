"""The tables of docs/how-to/robustness-report.md, from reports of recipes/robustness.py.

python benchmarks/robustness_page.py --report runs/robustness --without runs/plain --with runs/noise

Copies the three reports to results/robustness_*.json and writes the part of the page between the markers: the scores
of the first report under every condition, and those of a model trained without noise beside one trained with noise.
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
REPORTS = ("models", "without_noise", "with_noise")
Reports = Mapping[str, Mapping[str, Any]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, required=True, help="folder of the report of the first table")
    parser.add_argument("--without", type=Path, required=True, help="report of the model trained without noise")
    parser.add_argument("--with", type=Path, required=True, dest="with_noise", help="report of the one with noise")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "how-to" / "robustness-report.md")
    args = parser.parse_args(argv)
    before, after = markdown.around_part(args.docs.read_text(encoding="utf-8"), BEGIN, END, str(args.docs))
    folders = (args.report, args.without, args.with_noise)
    reports = {name: read_report(folder) for name, folder in zip(REPORTS, folders, strict=True)}
    if reports["without_noise"]["clips_hash"] != reports["with_noise"]["clips_hash"]:
        raise SystemExit("--without and --with are on different clips; expected two models on the same ones.")
    for name, report in reports.items():
        write_json(args.results / f"robustness_{name}.json", report)
    write_text(args.docs, f"{before}\n\n{render(reports)}\n\n{after}")


def read(results: Path) -> dict[str, Any]:
    """The stored reports."""
    return {name: json.loads((results / f"robustness_{name}.json").read_text(encoding="utf-8")) for name in REPORTS}


def render(reports: Reports) -> str:
    """The text between the markers of the page."""
    return f"{_one(reports['models'])}\n\n{_two(reports['without_noise'], reports['with_noise'])}"


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


def _two(without: Mapping[str, Any], with_noise: Mapping[str, Any]) -> str:
    said = (
        f"What noise in training changes: {without['name']} and {with_noise['name']} on the same "
        f"{clips_and_speakers(with_noise['clips'], with_noise['speakers'])} ({len(without['models'])} folds, seed 0)."
    )
    pair = [report["clean"]["scores"]["uar"] for report in (without, with_noise)]
    rows = [("clean", "", *map(number, pair), f"{pair[1] - pair[0]:+.3f}")]
    other = {condition["name"]: condition for condition in with_noise["conditions"]}
    for condition in without["conditions"]:
        levels = {level["level"]: level["scores"]["uar"] for level in other[condition["name"]]["levels"]}
        for level in condition["levels"]:
            pair = [level["scores"]["uar"], levels[level["level"]]]
            cells = (*map(number, pair), f"{pair[1] - pair[0]:+.3f}")
            rows.append((condition["title"], _level(condition, level), *cells))
    header = ("condition", "level", "UAR without noise", "UAR with noise", "difference")
    return f"{said}\n\n{markdown.table(header, rows)}"


def _level(condition: Mapping[str, Any], level: Mapping[str, Any]) -> str:
    return f"{level['level']} {condition['unit']}".strip()


if __name__ == "__main__":
    main()
