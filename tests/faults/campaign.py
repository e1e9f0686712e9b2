"""The counts of the last whole campaign, in results/faults.json, and their table in docs/robustness.md.

python tests/faults/campaign.py  # writes the table
"""

import json
import os
import platform
from pathlib import Path

ROOT = Path(__file__).parents[2]
COUNTS = ROOT / "results/faults.json"
PAGE = ROOT / "docs/robustness.md"
BEGIN, END = "<!-- faults:begin -->\n", "<!-- faults:end -->"


def save(troubles: dict[str, dict]) -> None:
    """Replace the counts of the troubles that were tried; others stay, so that a part can be repeated."""
    before = json.loads(COUNTS.read_text(encoding="utf-8"))["troubles"] if COUNTS.is_file() else {}
    content = {"machine": _machine(), "troubles": dict(sorted((before | troubles).items()))}
    COUNTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"


def table() -> str:
    """What was tried, survived and failed, by trouble."""
    content = json.loads(COUNTS.read_text(encoding="utf-8"))
    rows, total = [], {"tried": 0, "failed": 0, "skipped": 0}
    for trouble, counts in content["troubles"].items():
        rows.append(_row(trouble, counts))
        total = {key: total[key] + counts[key] for key in total}
    head = ["| trouble | tried | survived | failed | measured |", "|---|---|---|---|---|"]
    skipped = f" {total['skipped']} trials were skipped." if total["skipped"] else ""
    return "\n".join([f"On {content['machine']}.{skipped}", "", *head, *rows, _row("**all**", total)]) + "\n"


def _row(trouble: str, counts: dict) -> str:
    tried, failed = counts["tried"], counts["failed"]
    measured = "; ".join(f"{name}: {value}" for name, value in counts.get("measured", {}).items())
    return f"| {trouble} | {tried:,} | {tried - failed:,} | {failed or ''} | {measured} |"


def page() -> str:
    """docs/robustness.md with the current table."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
