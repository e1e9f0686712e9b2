"""A comparison's files: tables, figures, and the tables in a README."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.data.protocols import SHARES_SPEAKERS
from hf_ser.errors import SerError
from hf_ser.reporting.comparison import (
    BEGIN,
    COMPARISON,
    END,
    CompareArguments,
    ComparisonError,
    Key,
    Run,
    distinct,
    find_runs,
    group,
    load_runs,
    names_of_runs,
)
from hf_ser.reporting.comparison_latex import render_latex
from hf_ser.reporting.comparison_rendering import plain, render_csv, render_markdown
from hf_ser.reporting.comparison_tables import Groups, Table, family, heading, make_tables, protocol_label
from hf_ser.reporting.comparison_votes import votes_tables
from hf_ser.reporting.published_scores import read_published
from hf_ser.reporting.run_report import SCORES
from hf_ser.run_folder import held
from hf_ser.scoring.results import write_text

_FIGURES = ("scores_", "macro_roc_", "confusions_", "protocols", "curves")
_SIDE_BY_SIDE = 4  # confusion matrices in one figure
Bar = tuple[float, float | None, float | None]
_EVERY_SCORE = 8  # runs in a figure of all scores; with more, it would not fit on a screen


def compare_runs(args: CompareArguments) -> tuple[str, list[Path]]:
    """Make the tables and write the requested files.

    Returns:
        The tables as Markdown, and the files and folders that were written.

    Raises:
        ResultsError, ComparisonError: runs that are invalid or not comparable, or a README without its markers.

    >>> text, written = compare_runs(CompareArguments(["runs/audio_cnn"], output_dir="runs/compared", figures=False))
    >>> text.splitlines()[0]
    '### Scores: random on dataset (ravdess), synthetic recordings'
    >>> [path.name for path in written]
    ['comparison.csv', 'comparison.tex', 'comparison.md']
    """
    groups = group(load_runs(find_runs(args.runs), names_of_runs(args.names), args.protocol))
    reported = read_published(Path(args.published)) if args.published else None
    tables = [*make_tables(groups, reported, args.equivalence), *votes_tables(groups)]
    text = render_markdown(tables)
    written: list[Path] = []
    readme = with_results(Path(args.readme), text) if args.readme else None  # raises before anything is written
    if args.output_dir is not None:
        with held(args.output_dir) as folder:
            written += write_comparison(folder, groups, tables, figures=args.figures)
    if args.readme and readme is not None:
        write_text(Path(args.readme), readme)
        written.append(Path(args.readme))
    return text, written


def write_comparison(folder: Path, groups: Groups, tables: Sequence[Table], *, figures: bool = True) -> list[Path]:
    """Write figures, comparison.csv, comparison.tex and, last, comparison.md; earlier figures are removed.

    Args:
        folder: created if it does not exist.
        groups: see `comparison.group`.
        tables: see `make_tables`.
        figures: whether figures are drawn.

    Returns:
        The files and folders that were written.
    """
    figures_folder = folder / "figures"
    if (folder / COMPARISON).is_file():
        for path in figures_folder.glob("*.*"):
            if path.name.startswith(_FIGURES) and path.suffix in (".png", ".svg"):
                path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    number_of_runs = sum(map(len, groups.values()))
    text = f"# Comparison of {number_of_runs} runs\n\n## Tables\n\n{render_markdown(tables)}"
    if figures:
        text += "\n## Figures\n"
        for name, caption in draw_figures(groups, figures_folder).items():
            text += f"\n{plain(caption)}:\n\n![{plain(caption)}](figures/{name}.png)\n"
    contents = {"comparison.csv": render_csv(groups), "comparison.tex": render_latex(tables), COMPARISON: text}
    for name, content in contents.items():
        write_text(folder / name, content)
    return [*(folder / name for name in contents), *([figures_folder] if figures else [])]


def draw_figures(groups: Groups, folder: Path) -> dict[str, str]:
    """Draw scores, ROC and confusion matrices of each group, protocols, and training curves; file name -> caption."""
    from hf_ser.reporting import plots  # here: it brings matplotlib and scikit-learn

    drawn: dict[str, str] = {}
    for number_, (key, runs) in enumerate(groups.items(), 1):
        slug = re.sub(r"[^a-z0-9]+", "_", key.protocol.lower()).strip("_")[:40]
        slug += f"_{number_}" if sum(other.protocol == key.protocol for other in groups) > 1 else ""
        title = heading(key)
        scores = SCORES if len(runs) <= _EVERY_SCORE else {"uar": SCORES["uar"]}
        rows = [plots.ScoreRow(run.shown, _bars(run, scores)) for run in runs]
        plots.plot_scores(rows, folder / f"scores_{slug}", title)
        shown = "Scores" if len(scores) > 1 else "UAR"
        drawn[f"scores_{slug}"] = f"{shown}, {title}; whiskers are 95 % intervals {runs[0].drawn}"
        drawn |= _draw_predictions(runs, folder, slug, title)
    drawn |= _draw_protocols(groups, folder)
    histories = _histories([run for runs in groups.values() for run in runs])
    if histories:
        title = "All protocols" if len(groups) > 1 else heading(next(iter(groups)))
        plots.plot_training_curves(histories, folder / "curves", title)
        drawn["curves"] = "Training curves" + (", of all protocols" if len(groups) > 1 else "")
    return drawn


def _bars(run: Run, scores: Mapping[str, str]) -> dict[str, Bar]:
    """The scores that the run has, by their names: value, low and high end of the interval."""
    values = {name: (run.scores[score], *run.interval(score)) for score, name in scores.items()}
    return {name: (value, low, high) for name, (value, low, high) in values.items() if value is not None}


def _draw_protocols(groups: Groups, folder: Path) -> dict[str, str]:
    """Draw the UAR of the models that have runs under several protocols, one figure per dataset."""
    from hf_ser.reporting import plots

    drawn: dict[str, str] = {}
    families: dict[Key, list[Key]] = defaultdict(list)
    for key in sorted(groups, key=lambda key: (key.protocol in SHARES_SPEAKERS, str(key))):
        families[family(key)].append(key)
    for keys in families.values():
        bars: dict[str, dict[str, Bar]] = defaultdict(dict)
        for key in keys:
            for run in groups[key]:
                bars[run.shown] |= {protocol_label(key, groups): bar for bar in _bars(run, {"uar": "UAR"}).values()}
        rows = [plots.ScoreRow(name, bars_) for name, bars_ in bars.items() if len(bars_) > 1]
        if rows:
            name = "protocols" + (f"_{len(drawn) + 1}" if drawn else "")
            title = f"UAR by protocol on {heading(keys[0]).partition(' on ')[2]}"
            plots.plot_protocols(rows, folder / name, title, "UAR")
            drawn[name] = f"{title}; lines are 95 % intervals {groups[keys[0]][0].drawn}"
    return drawn


def _draw_predictions(runs: Sequence[Run], folder: Path, slug: str, title: str) -> dict[str, str]:
    from hf_ser.reporting import plots

    drawn, curves = {}, {}
    for run in runs:
        try:
            curves[run.shown] = run.pooled()
        except SerError:
            continue  # the table of differences gives the reason
    if curves:
        plots.plot_macro_roc(curves, runs[0].labels, folder / f"macro_roc_{slug}", title)
        missing = ", ".join(run.shown for run in runs if run.shown not in curves)
        drawn[f"macro_roc_{slug}"] = f"ROC, mean over the classes, {title}" + (f" (not {missing})" if missing else "")
    scored = [run for run in runs if run.scored]
    for start in range(0, len(scored), _SIDE_BY_SIDE):
        name = f"confusions_{slug}" + (f"_part_{start // _SIDE_BY_SIDE + 1}" if len(scored) > _SIDE_BY_SIDE else "")
        matrices = {run.shown: _confusion(run) for run in scored[start : start + _SIDE_BY_SIDE]}
        plots.plot_confusions(matrices, runs[0].labels, folder / name, True, title)
        drawn[name] = f"Confusion, shares of the true class, {title}"
    return drawn


def _confusion(run: Run) -> Any:
    """Counts (true, predicted), classes in the order of the run's `labels`."""
    assert run.scored is not None
    order = [run.scored["labels"].index(label) for label in run.labels]
    return np.asarray(run.scored["confusion"])[np.ix_(order, order)].tolist()


def _histories(runs: Sequence[Run]) -> dict[str, Any]:
    trained = [run for run in runs if (run.folder / "training_history.json").is_file()]
    histories = {}
    for run in distinct(trained):
        path = run.folder / "training_history.json"
        try:
            histories[run.shown] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ComparisonError(
                f"{path} is not valid JSON ({error}); expected the Trainer's log history."
            ) from error
    return histories


def with_results(path: Path, text: str) -> str:
    """Return the file's text with the tables between its markers.

    Raises:
        ComparisonError: a marker is missing or occurs twice, or the end comes first.
    """
    before = path.read_bytes().decode("utf-8")
    starts, ends = (
        [line.start() for line in re.finditer(f"^{marker}[ \t]*\r?$", before, re.MULTILINE)] for marker in (BEGIN, END)
    )
    if len(starts) != 1 or len(ends) != 1 or starts > ends:
        raise ComparisonError(
            f"{path} has {BEGIN} on {len(starts)} lines and {END} on {len(ends)}; expected each once, on a separate "
            "line, the first above the second."
        )
    return f"{before[: starts[0]]}{BEGIN}\n\n{text}\n{before[ends[0] :]}"
