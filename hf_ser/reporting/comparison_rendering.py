"""A comparison's tables as Markdown and CSV."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hf_ser import markdown
from hf_ser.reporting.comparison import Run
from hf_ser.reporting.comparison_tables import Groups, Table
from hf_ser.reporting.run_report import SCORES


def render_markdown(tables: Sequence[Table]) -> str:
    """Render the tables under headings of the third level, each note below the first table with its mark.

    The explanations of all tables come last.
    """
    parts: list[str] = []
    printed: set[str] = set()
    for table in tables:
        parts += [f"### {plain(table.title)}", plain(table.caption)]
        if table.rows:
            rows = [
                [table.name(index), *(_unbroken(str(cell)) for cell in row[1:])]
                for index, row in enumerate(table.rows)
            ]
            parts.append(markdown.table([*map(plain, table.header)], [[*map(plain, row)] for row in rows]))
        repeated = [mark for mark, _ in table.notes if mark in printed]
        new = [f"({mark}) {note}" if mark else note for mark, note in table.notes if mark not in printed]
        if repeated:
            new.append(f"({'), ('.join(repeated)}): see the notes above.")
        if new:
            parts += ["Notes:", _list(new)]
        printed |= {mark for mark, _ in table.notes if mark}
    explanations = list(dict.fromkeys(sentence for table in tables for sentence in table.explanations))
    if explanations:
        parts += ["### How to read the tables", _list(explanations)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {plain(sentence)}" for sentence in sentences)


def _unbroken(cell: str) -> str:
    """Keep an interval on one line of a narrow column."""
    return re.sub(r"(?<=\d), (?=[+−]?\d)", ",\N{NO-BREAK SPACE}", cell)


def plain(text: str) -> str:
    """Escape text so that Markdown shows it as it is, also in a table."""
    return re.sub(r"([\\`*|<])", r"\\\1", text)


def render_csv(groups: Groups) -> str:
    """Render one line per run, with unrounded numbers; undefined values are empty."""
    lines = [
        _csv_line(number_, rank_, run)
        for number_, runs in enumerate(groups.values(), 1)
        for rank_, run in enumerate(runs, 1)
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _csv_line(group_number: int, rank_in_group: int, run: Run) -> dict[str, Any]:
    dataset, protocol, scored = run.results["dataset"], run.results["protocol"], run.scored or {}
    line: dict[str, Any] = {
        "group": group_number,
        "rank": rank_in_group,
        "model": run.shown,
        "folder": str(run.folder),
        **{name: run.results[name] for name in ("kind", "model_type", "parameters")},
        "dataset": dataset["name"],
        "configuration": dataset["configuration"],
        "synthetic": " ".join(dataset["synthetic"]),
        "protocol": protocol["name"],
        "fold": protocol["fold"],
        "folds": protocol["folds"],
        "seeds": " ".join(map(str, run.results["seeds"])),
        "clips": scored.get("clips"),
        "speakers": scored.get("speakers"),
        "classes": " ".join(run.labels),
        "left_out": sum(run.left_out.values()),
        "hash": run.key.clips,
        "largest_class": scored["chance"]["accuracy_of_the_largest_class"] if scored else None,
        "interval": run.drawn if scored else None,
    }
    for score in SCORES:
        low, high = run.interval(score)
        line |= {score: run.scores[score], f"{score}_std": run.std.get(score)}
        line |= {f"{score}_low": low, f"{score}_high": high}
    return line | {"ece": run.scores["ece"], "ece_std": run.std.get("ece")}
