"""What the tables of results can tell apart: differences in UAR that tests on their speakers would find.

python benchmarks/power.py [RUNS ...] [--speakers 20 24 91] [--docs docs/power.md]

For each protocol with at least two runs, every run is tested against the best one and against the next one in the
ranking, on the speakers of the test clips. The standard errors of these differences give the smallest difference that
would be found with a probability of 80 %, and how it falls with more speakers. Writes results/power.json and the part
of docs/power.md between the markers.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser import markdown
from hf_ser.errors import SerError
from hf_ser.reporting.comparison import Run, are_merged, find_runs, group, load_runs
from hf_ser.reporting.comparison_tables import heading
from hf_ser.reporting.paired_tests import paired
from hf_ser.results_file import number
from hf_ser.scoring.results import write_json, write_text
from hf_ser.scoring.significance import LEVEL, SignificanceError, detectable_difference, speakers_needed

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- power:begin -->", "<!-- power:end -->"
SPEAKERS, WANTED = (20, 24, 91), (0.01, 0.02, 0.05)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=["results/*_emobox", "results/*_crema_d"])
    parser.add_argument("--speakers", type=int, nargs="+", default=SPEAKERS)
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "power.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "power.md")
    args = parser.parse_args(argv)
    before, after = markdown.around_part(args.docs.read_text(encoding="utf-8"), BEGIN, END, str(args.docs))
    groups = group(load_runs(find_runs(args.runs)))
    tables = [found for key, runs in groups.items() if (found := measure(heading(key), runs, args.speakers))]
    results = {"power": 0.8, "level": LEVEL, "tables": tables}
    write_json(args.output, results)
    write_text(args.docs, f"{before}\n\n{render(results)}\n\n{after}")


def measure(title: str, runs: Sequence[Run], speakers: Sequence[int]) -> dict[str, Any] | None:
    """Standard errors of differences between the runs of a group, and what follows; None if no pair can be tested."""
    pairs = {(runs[0].shown, run.shown): (runs[0], run) for run in runs[1:]}
    pairs |= {(a.shown, b.shown): (a, b) for a, b in zip(runs, runs[1:], strict=False)}
    tested = []
    for one, other in pairs.values():
        try:
            found = paired(one, other, are_merged(runs))["uar"]
        except SerError:  # runs without predictions, or without a common seed
            continue
        tested.append((found["standard_error"], found["permutation_p"]))
    scored = runs[0].scored
    if not tested or scored is None or not scored["speakers"]:
        return None
    errors = np.array([error for error, _ in tested])
    known = int(scored["speakers"])
    middle, large = (float(np.percentile(errors, share)) for share in (50, 90))
    return {
        "title": title,
        "clips": scored["clips"],
        "speakers": known,
        "pairs": len(tested),
        "decided": sum(p < LEVEL for _, p in tested),
        "standard_error": {"median": middle, "90 % of pairs": large},
        "detectable": {str(n): [_scaled(middle, known, n), _scaled(large, known, n)] for n in speakers},
        "needed": {str(wanted): _needed(middle, known, wanted) for wanted in WANTED},
    }


def _scaled(error: float, known: int, wanted: int) -> float:
    """Detectable difference with another number of speakers, each with as many clips."""
    return detectable_difference(error * math.sqrt(known / wanted), wanted)


def _needed(error: float, known: int, difference: float) -> int | None:
    try:
        return speakers_needed(error, known, difference)
    except SignificanceError:  # more than any corpus has
        return None


def render(results: Mapping[str, Any]) -> str:
    """The text between the markers of the page."""
    parts = []
    for table in results["tables"]:
        middle, large = (f"{value:.4f}" for value in table["standard_error"].values())
        said = (
            f"{table['clips']:,} clips of {table['speakers']} speakers. {table['pairs']} pairs of models were tested "
            f"(each with the best one and with the next one): the standard error of the difference in UAR is {middle} "
            f"in the median and at most {large} for 90 % of them. {table['decided']} differ at 5 %, without "
            "correction."
        )
        detectable = [
            (n + (" (this table)" if int(n) == table["speakers"] else ""), number(usual), number(large_))
            for n, (usual, large_) in table["detectable"].items()
        ]
        header = ("speakers", "detectable difference, median pair", "90 % of pairs")
        needed = [(wanted, "-" if n is None else f"{n:,}") for wanted, n in table["needed"].items()]
        parts += [
            f"### {table['title']}\n\n{said}\n\n{markdown.table(header, detectable)}",
            markdown.table(("difference in UAR to be found", "speakers needed, median pair"), needed),
        ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
