"""A comparison's tables: scores, differences to the best run, what a protocol is worth; as Markdown, CSV and LaTeX."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import LATEX_ESCAPE_RULES, tabulate

from hf_ser import markdown
from hf_ser.data.protocols import SHARES_SPEAKERS
from hf_ser.errors import SerError
from hf_ser.reporting.comparison import CLUSTERED, Key, Run, differing, paired
from hf_ser.reporting.published_scores import Published, published_for
from hf_ser.reporting.run_report import SCORES, brackets
from hf_ser.results_file import number

_SYMBOLS = {"±": r"$\pm$", "−": "$-$", "≤": r"$\leq$"}
Groups = Mapping[Key, Sequence[Run]]


@dataclass
class Table:
    """Plain text, escaped where it is rendered."""

    title: str
    sentences: list[str]
    header: list[str]
    rows: list[list[str]]


def make_tables(groups: Groups, reported: Mapping[str, Published] | None = None) -> list[Table]:
    """Of every group its scores, those per corpus, and the differences to the best run; then what protocols are worth.

    Args:
        groups: see `comparison.group`.
        reported: what others report, see `read_published`.
    """
    tables = []
    for key, runs in groups.items():
        table = _scores_table(key, runs, groups)
        _add_published(table, runs, reported or {})
        tables += [table, *_corpora_tables(key, runs)]
        if len(runs) > 1 and runs[0].scored:
            tables.append(_differences_table(key, runs))
    return tables + _gap_tables(groups)


def heading(key: Key) -> str:
    """A group's name for people."""
    fold = f", fold {key.fold}" if key.fold else ""
    synthetic = ", synthetic recordings" if key.synthetic else ""
    configuration = f" ({key.configuration})" if key.configuration else ""
    return f"{key.protocol}{fold} on {key.dataset}{configuration}{synthetic}"


def _scores_table(key: Key, runs: Sequence[Run], groups: Groups) -> Table:
    header = ["model", *SCORES.values(), "ECE", "parameters", "seeds"]
    rows = []
    for run in runs:
        ece = number(run.scores["ece"]) + (f" ± {number(run.std['ece'])}" if run.std else "")
        parameters, seeds = run.results["parameters"], run.results["seeds"]
        name = run.shown + (" (clips left out)" if run.left_out else "")
        cells = [_cell(run, score) for score in SCORES]
        size = "-" if parameters is None else f"{parameters:,}"
        rows.append([name, *cells, ece, size, ", ".join(map(str, seeds)) or "-"])
    return Table(f"Scores: {heading(key)}", _caption(key, runs, groups), header, rows)


def _add_published(table: Table, runs: Sequence[Run], reported: Mapping[str, Published]) -> None:
    """A column beside our accuracy, where there is anything to put into it, and the protocols in words."""
    names = [published_for(run.name, _by_corpus(run), reported) for run in runs]
    shown = {name: reported[name] for name in names if name is not None}
    if not shown:
        return
    place = 1 + table.header.index("accuracy")
    table.header.insert(place, "published accuracy")
    for row, name in zip(table.rows, names, strict=True):
        row.insert(place, "-" if name is None else number(reported[name].accuracy))
    protocols = "; ".join(f"{name}: {other.protocol}" for name, other in sorted(shown.items()))
    table.sentences.append(f"Published are others' figures, one run each, on other clips than these ({protocols}).")


def _cell(run: Run, score: str) -> str:
    spread = f" ± {number(run.std.get(score))}" if run.std else ""
    return number(run.scores[score]) + spread + brackets(run.interval(score))


def _caption(key: Key, runs: Sequence[Run], groups: Groups) -> list[str]:
    first = runs[0]
    folds = sorted({count for run in runs if (count := run.results["protocol"]["folds"])})
    protocol = f"Protocol {key.protocol}" + (f", {' or '.join(map(str, folds))} folds" if folds else "")
    if first.scored:
        chance = first.scored["chance"]["accuracy_of_the_largest_class"]
        interval = next(interval for interval in first.scored["intervals"] if interval["method"] == CLUSTERED)
        sentences = [
            f"{protocol}: {first.scored['clips']:,} clips of {first.scored['speakers']} speakers"
            f"{' over the splits of all seeds' if key.seeds else ''}, {len(key.classes)} classes; "
            f"always saying the largest class would score {number(chance)} accuracy.",
            f"In brackets 95 % intervals by bootstrap {CLUSTERED} ({interval['replicates']} replicates).",
        ]
        if any(run.std for run in runs):
            sentences.append("Where ± stands, the score is the mean over the seeds and ± its standard deviation.")
    else:
        clips = sum(part["clips"] for part in first.parts)
        sentences = [
            f"{protocol}: {clips:,} tested clips over all folds and seeds. Mean ± standard deviation over them; "
            "nothing is pooled and there are no intervals, because the folds' clips or classes do not compare."
        ]
    if key.synthetic:
        sentences.append("Synthetic recordings: these scores say nothing about real speech.")
    others = [other for other in groups if other.protocol == key.protocol and other != key]
    if others:
        sentences.append(f"Not ranked with the other runs under {key.protocol}: other {differing([key, *others])}.")
    return sentences + _notes(runs)


def _notes(runs: Sequence[Run]) -> list[str]:
    """What readers must know of a group's runs: notes on their splits, clips left out, unlike preprocessing."""
    sentences = []
    of_note: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for note in run.results["protocol"]["notes"]:
            of_note[note].append(run.shown)
    for note, names in of_note.items():
        sentences.append(f"{'Note' if len(names) == len(runs) else ', '.join(names)}: {note}.")
    for run in runs:
        if run.left_out:
            left = ", ".join(f"{count} {label}" for label, count in run.left_out.items())
            sentences.append(f"{run.shown} leaves clips out whose class it does not know: {left}.")
    if len({digest for run in runs if (digest := run.results["protocol"]["hash"])}) > 1:
        sentences.append("The runs test the same clips, but their other clips are split in different ways.")
    names_of: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        kept = ", ".join(f"{name} {value}" for name, value in run.results["preprocessing"].items() if value) or "none"
        names_of[kept].append(run.shown)
    if len(names_of) > 1:
        listed = "; ".join(f"{kept} ({', '.join(names)})" for kept, names in names_of.items())
        sentences.append(f"Preprocessing differs: {listed}.")
    return sentences


def _corpora_tables(key: Key, runs: Sequence[Run]) -> list[Table]:
    """What a mean over several corpora hides; none where there is one."""
    of_run = [(run.shown, _by_corpus(run)) for run in runs if run.scored]
    corpora = sorted({corpus for _, scores in of_run for corpus in scores})
    if len(corpora) < 2:
        return []
    header, rows = ["model"], [[name] for name, _ in of_run]
    for corpus in corpora:
        header += [f"{corpus}: accuracy", f"{corpus}: UAR"]
        for row, (_, scores) in zip(rows, of_run, strict=True):
            row += _corpus_cells(scores.get(corpus))
    first = sorted(of_run[0][1].items())
    sizes = ", ".join(f"{group['clips']:,} clips of {group['speakers']} speakers in {name}" for name, group in first)
    sentence = (
        f"The same answers, scored within each corpus and over its own classes: {sizes}. No interval stands where "
        "there is one speaker."
    )
    return [Table(f"Scores per corpus: {heading(key)}", [sentence], header, rows)]


def _by_corpus(run: Run) -> dict[str, Any]:
    """The scores of every corpus among a run's test clips."""
    return run.scored["groups"]["corpus"]["groups"] if run.scored else {}


def _corpus_cells(group: Mapping[str, Any] | None) -> list[str]:
    if group is None:  # somebody else's table, with other names
        return ["-", "-"]
    return [number(group["scores"]["accuracy"]), number(group["scores"]["uar"]) + brackets(group["interval"])]


def _differences_table(key: Key, runs: Sequence[Run]) -> Table:
    best, *others = runs
    rows, skipped = [], []
    for run in others:
        try:
            tested = paired(run, best)["uar"]
        except SerError as error:
            skipped.append(f"{run.shown} is not tested: {str(error).rstrip('.')}.")
            continue
        low, high = tested["interval"]
        p = "≤ 0.001" if tested["p_value"] <= 0.001 else number(tested["p_value"])
        significant = "yes" if tested["significant"] else "no"
        rows.append([run.shown, _signed(tested["difference"]), f"[{_signed(low)}, {_signed(high)}]", p, significant])
    sentences = [
        f"Paired bootstrap {CLUSTERED} against {best.shown}, the best, on the same clips, the seeds pooled; p "
        "two-sided and not corrected for the number of comparisons; significant where the interval leaves out 0."
    ]
    header = ["model", "difference in UAR to the best", "95 % interval", "p", "significant"]
    return Table(f"Differences: {heading(key)}", (sentences if rows else []) + skipped, header, rows)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−").replace("−0.000", "0.000").replace("+0.000", "0.000")


def _gap_tables(groups: Groups) -> list[Table]:
    """Models that were scored under several protocols on one dataset, over the same classes."""
    families: dict[Key, list[Key]] = defaultdict(list)
    for key in groups:
        if key.classes:
            families[_family(key)].append(key)
    return [table for keys in families.values() if (table := _gap_table(keys, groups)) is not None]


def _family(key: Key) -> Key:
    """What groups under several protocols on one dataset have in common."""
    return key._replace(protocol="", fold=None, seeds=(), clips="")


def _gap_table(keys: Sequence[Key], groups: Groups) -> Table | None:
    models: dict[tuple[Any, ...], dict[Key, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for key in keys:
        for run in groups[key]:
            models[(_stem(run), run.results["model_type"], run.results["parameters"])][key].append(run)
    rows_of = {model: runs_of for model, runs_of in models.items() if len({key.protocol for key in runs_of}) > 1}
    if not rows_of:
        return None
    leaks = {key: key.protocol in SHARES_SPEAKERS for key in keys}
    shown = sorted({key for runs_of in rows_of.values() for key in runs_of}, key=lambda key: (leaks[key], str(key)))
    base, *rest = shown
    rows = []
    for (name, *_), runs_of in sorted(rows_of.items(), key=str):
        cells = [" / ".join(_cell(run, "uar") for run in runs_of.get(key, [])) or "-" for key in shown]
        single = {key: runs[0].scores["uar"] or 0.0 for key, runs in runs_of.items() if len(runs) == 1}
        gaps = [_signed(single[key] - single[base]) if {key, base} <= single.keys() else "-" for key in rest]
        rows.append([name, *cells, *gaps])
    header = ["model", *(f"UAR, {_column(key, groups)}" for key in shown)]
    header += [f"{_column(key, groups)} − {_column(base, groups)}" for key in rest]
    sentence = (
        "The same model under several protocols. The differences are gaps between protocols, with other test "
        "clips and other training clips: they rank nothing."
    )
    return Table(f"What the protocol is worth: {heading(base).partition(' on ')[2]}", [sentence], header, rows)


def _column(key: Key, groups: Groups) -> str:
    """The protocol, and the clips' number where several groups are under it."""
    if sum(other.protocol == key.protocol and _family(other) == _family(key) for other in groups) == 1:
        return key.protocol
    scored = groups[key][0].scored
    return f"{key.protocol} ({f'fold {key.fold}, ' if key.fold else ''}{scored['clips'] if scored else 0} clips)"


def _stem(run: Run) -> str:
    """The run's name without its protocol's at the end; the model type where nothing else is left."""
    protocol = re.escape(run.results["protocol"]["name"])
    return re.sub(rf"[\s_.,(-]*{protocol}\)?$", "", run.name, flags=re.IGNORECASE) or run.results["model_type"]


def render_markdown(tables: Sequence[Table]) -> str:
    """The tables under headings of the third level."""
    parts = []
    for table in tables:
        parts += [f"### {plain(table.title)}", plain(" ".join(table.sentences))]
        if table.rows:
            parts.append(
                markdown.table([plain(cell) for cell in table.header], [[*map(plain, row)] for row in table.rows])
            )
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table."""
    return re.sub(r"([\\`*|<])", r"\\\1", text)


def render_latex(tables: Sequence[Table]) -> str:
    r"""Floats for `\input`; the document loads booktabs and adjustbox."""
    parts = [r"% Made by recipes/compare.py; needs \usepackage{booktabs, adjustbox}."]
    for table in tables:
        if not table.rows:
            parts.append(f"% {_latex(' '.join([table.title + ':', *table.sentences]))}")
            continue
        body = _symbols(tabulate(table.rows, table.header, tablefmt="latex_booktabs", disable_numparse=True))
        body = re.sub(r"^(\s*)([\[*])", r"\1{\2}", body, flags=re.MULTILINE)  # else \\ or \midrule would take it
        caption = _latex(f"{table.title}. {' '.join(table.sentences)}")
        parts.append(
            f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\begin{{adjustbox}}{{max width=\\linewidth}}\n"
            f"{body}\n\\end{{adjustbox}}\n\\end{{table}}"
        )
    return "\n\n".join(parts) + "\n"


def _latex(text: str) -> str:
    return _symbols("".join(LATEX_ESCAPE_RULES.get(character, character) for character in text))


def _symbols(text: str) -> str:
    return "".join(_SYMBOLS.get(character, character) for character in text)


def render_csv(groups: Groups) -> str:
    """One line per run, numbers in full; what is undefined stays empty."""
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
        "interval": CLUSTERED if scored else None,
    }
    for score in SCORES:
        low, high = run.interval(score)
        line |= {score: run.scores[score], f"{score}_std": run.std.get(score)}
        line |= {f"{score}_low": low, f"{score}_high": high}
    return line | {"ece": run.scores["ece"], "ece_std": run.std.get("ece")}
