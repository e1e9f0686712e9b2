"""A comparison's tables of scores against the votes of raters."""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_ser.reporting.comparison import Key, Run
from hf_ser.reporting.comparison_tables import Cell, Groups, Score, Table, heading

_COLUMNS = {
    ("majority", "accuracy"): "majority: accuracy",
    ("majority", "uar"): "majority: UAR",
    ("votes", "jensen_shannon"): "votes: Jensen-Shannon (bits)",
    ("votes", "all_inclusive_f1"): "votes: F1, all-inclusive",
    ("acted", "uar"): "label: UAR",
}


def votes_tables(groups: Groups) -> list[Table]:
    """One table for each group with votes: every run with votes, one rater, and one answer for all clips."""
    return [table for key, runs in groups.items() if (table := _votes_table(key, runs)) is not None]


def _votes_table(key: Key, runs: Sequence[Run]) -> Table | None:
    found = [(run.shown, run.scored["votes"]) for run in runs if run.scored and run.scored.get("votes")]
    if not found:
        return None
    votes = found[0][1]
    rows: list[list[Cell]] = [[name, *_cells(of["model"])] for name, of in found]
    rows += [["one rater against the others", *_cells(votes["rater"])]]
    rows += [["one answer for all clips", *_cells(votes["chance"])]]
    caption = (
        f"{votes['clips']:,} clips with votes of {votes['raters']:.1f} raters on average; scores against the majority "
        f"leave out {votes['ties']:,} tied clips. A smaller Jensen-Shannon divergence is better."
    )
    return Table(f"Votes of raters: {heading(key)}", caption, ["model", *_COLUMNS.values()], rows)


def _cells(scores: Mapping[str, Any]) -> list[Cell]:
    found = [scores.get(of, {}).get(name) for of, name in _COLUMNS]
    return ["-" if one is None else Score(one["value"], None, tuple(one["interval"])) for one in found]
