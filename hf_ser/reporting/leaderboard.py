"""A leaderboard: one ranking per protocol and set of test clips, made again from the entries' files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_ser.arguments import ConfigError
from hf_ser.data.protocols import SHARES_SPEAKERS
from hf_ser.markdown import around_part
from hf_ser.reporting.comparison import Key, Run, are_merged, group, names_of_runs
from hf_ser.reporting.comparison_rendering import render_markdown
from hf_ser.reporting.comparison_tables import Cell, Score, Table, heading
from hf_ser.reporting.leaderboard_entries import Entry, LeaderboardError, Speeds, load_entries, read_speeds
from hf_ser.reporting.paired_tests import SIGNIFICANT, marked_p_value, tests_to_best
from hf_ser.reporting.run_titles import SYNTHETIC
from hf_ser.results_file import clips_and_speakers, number
from hf_ser.run_folder import held
from hf_ser.scoring.results import write_json, write_text
from hf_ser.scoring.significance import LEVEL

LEADERBOARD = "leaderboard.md"
BEGIN, END = "<!-- leaderboard:begin -->", "<!-- leaderboard:end -->"
_COLUMNS = (
    "Ranked by UAR, with its 95 % interval over speakers. The same rank means the same UAR; whether two models differ "
    f"is another question: p (Holm) tests each against the first, and {SIGNIFICANT} marks values below {LEVEL}.",
    "ECE is the calibration error after temperature scaling. Robust is the mean UAR over the conditions of "
    "recipes/robustness.py.",
    "A model is checked if its stored predictions give the UAR in its results.json. That says nothing about how they "
    "were made: whether the model has seen test clips can only be checked by scoring it again.",
)
_MERGED = (
    "Each corpus is scored over its own classes. p is for the mean over corpora; accuracy and ECE are those of all "
    "clips together."
)
_SHARED = "Training and test clips have speakers in common, so these scores do not hold for new speakers."


@dataclass
class LeaderboardArguments:
    """The entries, and where the page is written.

    >>> LeaderboardArguments(["results/*_emobox", "owner/model@v1"]).output_dir is None
    True
    """

    runs: list[str] = field(
        metadata={
            "help": "folders with a results.json, patterns such as 'results/*', and models on the Hub, as OWNER/NAME "
            "or OWNER/NAME@REVISION; the flag itself may be omitted"
        }
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "folder for leaderboard.md and leaderboard.json; default: print only"}
    )
    page: str | None = field(
        default=None, metadata={"help": f"file in which the tables replace the text between {BEGIN} and {END}"}
    )
    names: list[str] = field(default_factory=list, metadata={"help": "names to show, as RUN=NAME"})
    protocol: str | None = field(default=None, metadata={"help": "raise an error for entries of another protocol"})
    speeds: str | None = field(
        default=None, metadata={"help": "JSON file of benchmarks/model_speed.py, such as results/speeds.json"}
    )
    overwrite: bool = field(default=False, metadata={"help": "replace an earlier leaderboard in output_dir"})

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("runs is empty; expected at least one folder or Hub id.")
        names_of_runs(self.names)
        if self.page is not None and not Path(self.page).is_file():
            raise ConfigError(f"--page {self.page}: no such file; expected one with the markers {BEGIN} and {END}.")
        folder = Path(self.output_dir or "")
        if self.output_dir is not None and (folder / LEADERBOARD).exists() and not self.overwrite:
            raise ConfigError(f"--output_dir {folder} contains a leaderboard; pass --overwrite true to replace it.")


def make_leaderboard(args: LeaderboardArguments) -> tuple[str, list[Path]]:
    """Make the tables and write the requested files.

    Returns:
        The tables as Markdown, and the files that were written.

    Raises:
        LeaderboardError, ComparisonError, ResultsError: unusable entries.
        SerError: the page does not have both markers once.

    >>> text, written = make_leaderboard(LeaderboardArguments(["runs/audio_cnn"], output_dir="runs/leaderboard"))
    >>> [path.name for path in written]
    ['leaderboard.json', 'leaderboard.md']
    """
    speeds = read_speeds(Path(args.speeds)) if args.speeds else None
    entries = load_entries(args.runs, names_of_runs(args.names), args.protocol, speeds)
    ranked = _ranked(entries)
    text = render_markdown([_table(key, of_key, speeds) for key, of_key in ranked.items()])
    page = Path(args.page) if args.page else None
    around = around_part(page.read_text(encoding="utf-8"), BEGIN, END, str(page)) if page else None
    written: list[Path] = []
    if args.output_dir is not None:
        with held(args.output_dir) as folder:
            write_json(folder / "leaderboard.json", _content(ranked, speeds))
            write_text(folder / LEADERBOARD, f"# Leaderboard\n\n{text}")
            written += [folder / "leaderboard.json", folder / LEADERBOARD]
    if page and around:
        write_text(page, f"{around[0]}\n\n{text}\n{around[1]}")
        written.append(page)
    return text, written


def _ranked(entries: Sequence[Entry]) -> dict[Key, list[tuple[Run, Entry]]]:
    """The runs with the names to show, best first, for each set of comparable ones; held-out speakers first."""
    entry_of = {id(entry.run.results): entry for entry in entries}
    groups = group([entry.run for entry in entries])
    order = sorted(groups, key=lambda key: (key.protocol in SHARES_SPEAKERS, bool(key.synthetic)))
    return {key: [(run, entry_of[id(run.results)]) for run in groups[key]] for key in order}


def _table(key: Key, ranked: Sequence[tuple[Run, Entry]], speeds: Speeds | None) -> Table:
    merged = are_merged([run for run, _ in ranked])
    headline = "UAR, mean over corpora" if merged else "UAR"
    header = ["rank", "model", headline, "accuracy", "p (Holm)", "seeds", "parameters", "clips/s", "ECE", "robust"]
    header += ["licence", "checked"]
    table = Table(f"{heading(key)}, {key.clips[:8]}", _caption(key, ranked[0][0]), header, [])
    p_of = _p_values(ranked)
    scores = [_headline(run, merged) for run, _ in ranked]
    for (run, entry), score in zip(ranked, scores, strict=True):
        row: list[Cell] = [
            str(1 + sum((other.value or 0.0) > (score.value or 0.0) for other in scores)),
            run.shown if entry.source in (run.shown, run.folder.name) else f"{run.shown} ({entry.source})",
            score,
            number(run.scores["accuracy"]),
            p_of[run.shown],
            str(len(run.results["seeds"]) or "-"),
            "-" if run.results["parameters"] is None else f"{run.results['parameters']:,}",
            "-" if entry.speed is None else f"{entry.speed:,.0f}",
            number(run.scores["ece"]),
            number(entry.robustness),
            entry.licence or "-",
            "yes" if entry.is_checked else "no",
        ]
        table.rows.append(row)
    _drop_unknown(table)
    if merged:
        table.notes.append(("", _MERGED))
    if key.protocol in SHARES_SPEAKERS:
        table.notes.append(("", _SHARED))
    if key.synthetic:
        table.notes.append(("", SYNTHETIC))
    table.explanations += [*_COLUMNS, *([f"Speed: {speeds.said}"] if speeds else [])]
    return table


def _drop_unknown(table: Table) -> None:
    """Remove optional columns that no entry has, so that the table stays narrow."""
    kept = [
        column
        for column, name in enumerate(table.header)
        if name not in ("clips/s", "robust", "licence") or any(row[column] != "-" for row in table.rows)
    ]
    table.header = [table.header[column] for column in kept]
    table.rows = [[row[column] for column in kept] for row in table.rows]


def _headline(run: Run, merged: bool) -> Score:
    """The UAR that ranks the run; the deviation over seeds is that of the pooled score."""
    value, interval = run.headline(merged)
    return Score(value, None if merged else run.std.get("uar"), interval)


def _p_values(ranked: Sequence[tuple[Run, Entry]]) -> dict[str, str]:
    """Shown name -> corrected p value of the test against the first; a dash without predictions of both."""
    (best, _), *others = ranked
    tests, _ = tests_to_best(best, [run for run, _ in others]) if best.scored else ({}, {})
    found = {name: tested["holm_p"] for name, tested in tests.items()}
    return {run.shown: marked_p_value(found[run.shown]) if run.shown in found else "-" for run, _ in ranked}


def _caption(key: Key, run: Run) -> str:
    if not run.scored:
        return "Mean over folds, whose clips or classes differ."
    chance = number(run.scored["chance"]["accuracy_of_the_largest_class"])
    size = clips_and_speakers(run.scored["clips"], run.scored["speakers"])
    return f"{size}, {len(key.classes)} classes. Always predicting the largest class gives {chance} accuracy."


def _content(ranked: dict[Key, list[tuple[Run, Entry]]], speeds: Speeds | None) -> dict[str, Any]:
    """The content of leaderboard.json: unrounded."""
    tables = []
    for key, entries in ranked.items():
        rows = [
            {
                "model": run.shown,
                "source": entry.source,
                "uar": run.scores["uar"],
                "uar_mean_over_corpora": run.by_corpus["scores"]["uar"] if run.by_corpus else None,
                "uar_interval": list(run.interval("uar")),
                "accuracy": run.scores["accuracy"],
                "ece": run.scores["ece"],
                "seeds": run.results["seeds"],
                "parameters": run.results["parameters"],
                "clips_per_s": entry.speed,
                "robustness": entry.robustness,
                "licence": entry.licence,
                "checked": entry.is_checked,
            }
            for run, entry in entries
        ]
        shared = key._asdict() | {"classes": list(key.classes), "synthetic": list(key.synthetic)}
        tables.append(shared | {"seeds": list(key.seeds), "entries": rows})
    return {"schema_version": 1, "speed": speeds.said if speeds else None, "tables": tables}


__all__ = ["LeaderboardArguments", "LeaderboardError", "make_leaderboard"]
