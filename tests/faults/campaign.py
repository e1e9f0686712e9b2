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
    """What was tried, survived and failed, by trouble, and what was measured."""
    content = json.loads(COUNTS.read_text(encoding="utf-8"))
    troubles = content["troubles"]
    total = {key: sum(counts[key] for counts in troubles.values()) for key in ("tried", "failed", "skipped")}
    lines = [f"{content['machine']}:", "", "| trouble | tried | survived | failed |", "|---|---|---|---|"]
    lines += [_row(trouble, counts) for trouble, counts in troubles.items()] + [_row("**all**", total), ""]
    if total["skipped"]:
        lines += [f"{total['skipped']:,} trials were skipped.", ""]
    measured = [(trouble, *pair) for trouble, counts in troubles.items() for pair in counts["measured"].items()]
    lines += ["| trouble | measured | value |", "|---|---|---|"] if measured else []
    lines += [f"| {trouble} | {name} | {value:,} |" for trouble, name, value in measured]
    return "\n".join(lines).strip() + "\n"


def _row(trouble: str, counts: dict) -> str:
    tried, failed = counts["tried"], counts["failed"]
    return f"| {trouble} | {tried:,} | {tried - failed:,} | {failed:,} |"


def page() -> str:
    """docs/robustness.md with the current table."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
