"""A comparison's tables: scores, scores per corpus, differences to the best run, and gaps between protocols."""

import string
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hf_ser.data.protocols import SHARES_SPEAKERS
from hf_ser.reporting import run_titles
from hf_ser.reporting.comparison import Key, Run, are_merged, differing, without_protocol
from hf_ser.reporting.paired_tests import SIGNIFICANT, marked_p_value, p_value, tests_to_best
from hf_ser.reporting.published_scores import Published, published_for
from hf_ser.reporting.run_report import SCORES, brackets
from hf_ser.results_file import clips_and_speakers, number
from hf_ser.scoring.significance import detectable_difference, is_equivalent

Groups = Mapping[Key, Sequence[Run]]

SYNTHETIC = "synthetic"
_INTERVALS = "Brackets give 95 % intervals, from a bootstrap {} ({} replicates)."
_SPREAD = "A score with ± is the mean over seeds and its standard deviation."
_TESTS = (
    "Differences are on the same clips, pooled over the seeds that both models have. Their intervals come from a "
    "paired bootstrap {drawn}. p is two-sided, from a permutation test that exchanges the answers of two models "
    "{unit} by {unit}, and Holm's method corrects it for the comparisons of its table. A difference of the size under "
    '"detectable" would be found with a probability of 80 % without the correction.'
)
_EQUIVALENCE = (
    "A model is within {margin} of the best run if the 90 % interval of the difference is "
    "(two one-sided tests at 5 %)."
)
_BY_CORPUS = (
    "Models on several corpora are ranked and compared by the mean over the corpora, each over its own classes. "
    "Differences are then means over the seeds, too, and the bootstrap draws speakers within each corpus; it treats a "
    "corpus with one speaker as given."
)
_GAPS = "Gaps between protocols come from different training and test clips and are not a ranking."
_PUBLISHED = "Published accuracies are other authors' figures, one run each, on other test clips: {}."


class Score(NamedTuple):
    """A score, its standard deviation, and the ends of its interval; None for what is undefined."""

    value: float | None
    std: float | None = None
    interval: tuple[float | None, float | None] = (None, None)

    def __str__(self) -> str:
        """As in `0.868 ± 0.014 [0.823, 0.904]`."""
        spread = "" if self.std is None else f" ± {number(self.std)}"
        return number(self.value) + spread + brackets(self.interval)


Cell = str | Score


@dataclass
class Table:
    """A table as plain text, which is escaped when it is rendered.

    Args:
        title: names the protocol and the dataset.
        caption: at most two short sentences.
        header: names of the columns.
        rows: a cell per column.
        marks: row -> the marks of its notes.
        notes: (mark, sentence); the mark is empty if the sentence is about the whole table.
        explanations: sentences that are printed once for all tables.
    """

    title: str
    caption: str
    header: list[str]
    rows: list[list[Cell]]
    marks: dict[int, list[str]] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    explanations: list[str] = field(default_factory=list)

    def name(self, row: int) -> str:
        """Return a row's first cell with its marks."""
        marks = self.marks.get(row)
        return f"{self.rows[row][0]} ({', '.join(marks)})" if marks else str(self.rows[row][0])


def make_tables(
    groups: Groups, reported: Mapping[str, Published] | None = None, margin: float | None = None
) -> list[Table]:
    """Make the tables of each group of comparable runs, then those of the gaps between protocols.

    Args:
        groups: see `comparison.group`.
        reported: published accuracies, see `read_published`.
        margin: of the tests of equivalence; None for none.
    """
    tables, with_published = [], []
    marks: dict[str, str] = {}
    systems: set[str] = set()
    for key, runs in groups.items():
        table = _scores_table(key, runs, groups, marks)
        if shown := _add_published(table, runs, reported or {}):
            with_published.append(table)
            systems |= shown
        tables += [table, *_corpora_tables(key, runs)]
        if len(runs) > 1 and runs[0].scored:
            tables.append(_differences_table(key, runs, margin))
    for table in with_published:
        table.explanations.append(_PUBLISHED.format(_protocols({name: (reported or {})[name] for name in systems})))
    return tables + _gap_tables(groups)


def _protocols(reported: Mapping[str, Published]) -> str:
    """The protocols of published accuracies, each with its systems."""
    systems: dict[str, list[str]] = defaultdict(list)
    for name, other in sorted(reported.items()):
        systems[other.protocol].append(name)
    return "; ".join(f"{protocol} ({', '.join(names)})" for protocol, names in systems.items())


def heading(key: Key) -> str:
    """A group's name for people."""
    fold = f", fold {key.fold}" if key.fold else ""
    synthetic = ", synthetic recordings" if key.synthetic else ""
    configuration = f" ({key.configuration})" if key.configuration else ""
    return f"{key.protocol}{fold} on {key.dataset}{configuration}{synthetic}"


def _scores_table(key: Key, runs: Sequence[Run], groups: Groups, marks: dict[str, str]) -> Table:
    one_set_of_seeds = len({tuple(run.results["seeds"]) for run in runs}) == 1
    merged = are_merged(runs)
    header = [
        "model",
        *(["UAR, mean over corpora"] if merged else []),
        *SCORES.values(),
        "ECE",
        "parameters",
        *([] if one_set_of_seeds else ["seeds"]),
    ]
    rows: list[list[Cell]] = []
    for run in runs:
        parameters, seeds = run.results["parameters"], run.results["seeds"]
        cells = [_score(run, score) for score in SCORES]
        ece = Score(run.scores["ece"], run.std.get("ece"))
        size = "-" if parameters is None else f"{parameters:,}"
        if merged:
            mean, ends = run.headline(merged)
            cells = [Score(mean, None, ends), *cells]
        rows.append([run.shown, *cells, ece, size, *([] if one_set_of_seeds else [_listed(seeds)])])
    table = Table(f"Scores: {heading(key)}", _caption(key, runs, one_set_of_seeds), header, rows)
    _add_explanations(table, key, runs)
    if merged:
        table.explanations.append(_BY_CORPUS)
    _mark_synthetic(table, key)
    others = [other for other in groups if other.protocol == key.protocol and other != key]
    if others:
        differences = differing([key, *others])
        table.explanations.append(
            f"Tables under {key.protocol} are not comparable with each other: different {differences}."
        )
    _add_notes(table, runs, marks)
    return table


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) or "-"


def _score(run: Run, score: str) -> Score:
    return Score(run.scores[score], run.std.get(score), run.interval(score))


def _caption(key: Key, runs: Sequence[Run], with_seeds: bool) -> str:
    """The clips, and the accuracy of the largest class."""
    first = runs[0]
    counts = sorted({count for run in runs if (count := run.results["protocol"]["folds"])})
    parts = [f"{' or '.join(map(str, counts))} folds"] if counts else []
    seeds = first.results["seeds"]
    if with_seeds and seeds:
        parts.append(f"seed{'s' if len(seeds) > 1 else ''} {_listed(seeds)}")
    if not first.scored:
        clips = sum(part["clips"] for part in first.parts)
        described = ", ".join([f"{clips:,} test clips over all folds and seeds", *parts])
        return (
            f"{described}. Mean ± standard deviation over them, without intervals: folds differ in clips or classes."
        )
    over = " over the splits of all seeds" if key.seeds else ""
    clips = clips_and_speakers(first.scored["clips"], first.scored["speakers"]) + over
    chance = number(first.scored["chance"]["accuracy_of_the_largest_class"])
    described = ", ".join([clips, f"{len(key.classes)} classes", *parts])
    return f"{described}. Always predicting the largest class gives {chance} accuracy."


def _add_explanations(table: Table, key: Key, runs: Sequence[Run]) -> None:
    """Add what holds for all scores, and notes that hold for all runs under a protocol."""
    scored = runs[0].scored
    if scored:
        table.explanations.append(_INTERVALS.format(runs[0].drawn, scored["intervals"][0]["replicates"]))
        if any(run.std for run in runs):
            table.explanations.append(_SPREAD)
    for note in _common_notes(runs):
        table.explanations.append(f"Protocol {key.protocol}: {note}.")


def _common_notes(runs: Sequence[Run]) -> list[str]:
    first, *others = (run.results["protocol"]["notes"] for run in runs)
    return [note for note in first if all(note in notes for notes in others)]


def _mark_synthetic(table: Table, key: Key) -> None:
    """Mark every row whose scores come from generated voices."""
    if not key.synthetic:
        return
    for row in range(len(table.rows)):
        table.marks.setdefault(row, []).append(SYNTHETIC)
    table.notes.append(("", run_titles.SYNTHETIC))


def _add_notes(table: Table, runs: Sequence[Run], marks: dict[str, str]) -> None:
    """Add notes on some of the runs: on their splits, clips that are left out, and preprocessing.

    Args:
        table: of the runs' scores.
        runs: a run per row.
        marks: sentence -> mark, for all tables; new sentences are added.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    common = _common_notes(runs)
    for row, run in enumerate(runs):
        for note in run.results["protocol"]["notes"]:
            if note not in common:
                rows_of[f"{note[:1].upper()}{note[1:]}."].append(row)
        if run.left_out:
            left = ", ".join(f"{count} {label}" for label, count in run.left_out.items())
            rows_of[f"Clips of classes that the model does not have are left out: {left}."].append(row)
    kept = [
        ", ".join(f"{name} {value}" for name, value in run.results["preprocessing"].items() if value) or "none"
        for run in runs
    ]
    ((usual, _), *unusual) = Counter(kept).most_common()
    for other, _ in unusual:
        sentence = f"Preprocessing: {other} (unmarked runs: {usual})."
        rows_of[sentence] = [row for row, name in enumerate(kept) if name == other]
    for sentence, rows in rows_of.items():
        mark = marks.setdefault(sentence, string.ascii_lowercase[len(marks) % 26] * (1 + len(marks) // 26))
        table.notes.append((mark, sentence))
        for row in rows:
            table.marks.setdefault(row, []).append(mark)
    if len({digest for run in runs if (digest := run.results["protocol"]["hash"])}) > 1:
        table.notes.append(("", "The runs have the same test clips, but different training or validation clips."))


def _add_published(table: Table, runs: Sequence[Run], reported: Mapping[str, Published]) -> set[str]:
    """Add a column next to our accuracy, if any run has a published one.

    Returns:
        The published systems in the column.
    """
    names = [published_for(_names(run), _by_corpus(run), reported) for run in runs]
    shown = {name for name in names if name is not None}
    if not shown:
        return set()
    place = 1 + table.header.index("accuracy")
    table.header.insert(place, "published accuracy")
    for row, name in zip(table.rows, names, strict=True):
        row.insert(place, "-" if name is None else number(reported[name].accuracy))
    return shown


def _names(run: Run) -> set[str]:
    """A run's name in results.json, with and without its protocol."""
    return {run.results["name"], without_protocol(run.results["name"], run.results["protocol"]["name"])}


def _corpora_tables(key: Key, runs: Sequence[Run]) -> list[Table]:
    """The scores within each corpus; no table for one corpus."""
    of_run = [(run.shown, _by_corpus(run)) for run in runs if run.scored]
    corpora = sorted({corpus for _, scores in of_run for corpus in scores})
    if len(corpora) < 2:
        return []
    header = ["model"]
    rows: list[list[Cell]] = [[name] for name, _ in of_run]
    for corpus in corpora:
        header += [f"{corpus}: accuracy", f"{corpus}: UAR"]
        for row, (_, scores) in zip(rows, of_run, strict=True):
            row += _corpus_cells(scores.get(corpus))
    first = sorted(of_run[0][1].items())
    sizes = ", ".join(f"{name} {clips_and_speakers(group['clips'], group['speakers'])}" for name, group in first)
    caption = f"The same predictions, scored within each corpus over its classes: {sizes}."
    table = Table(f"Scores per corpus: {heading(key)}", caption, header, rows)
    _mark_synthetic(table, key)
    return [table]


def _by_corpus(run: Run) -> dict[str, Any]:
    """The scores of every corpus among a run's test clips."""
    return run.scored["groups"]["corpus"]["groups"] if run.scored else {}


def _corpus_cells(group: Mapping[str, Any] | None) -> list[Cell]:
    if group is None:  # a table from elsewhere, with other names of corpora
        return ["-", "-"]
    low, high = group["interval"] or (None, None)
    return [Score(group["scores"]["accuracy"]), Score(group["scores"]["uar"], None, (low, high))]


def _differences_table(key: Key, runs: Sequence[Run], margin: float | None) -> Table:
    best, *others = runs
    within = [] if margin is None else [f"within {margin:g}"]
    header = ["model", "difference in UAR", "95 % interval", "p", "p (Holm)", "detectable", *within]
    table = Table(f"Differences: {heading(key)}", "", header, [])
    tests, untested = tests_to_best(best, others)
    table.notes += [("", f"{name} is not tested: {reason}.") for name, reason in untested.items()]
    for name, tested in tests.items():
        low, high = tested["interval"]
        row = [
            name,
            _signed(tested["difference"]),
            f"[{_signed(low)}, {_signed(high)}]",
            p_value(tested["permutation_p"]),
            marked_p_value(tested["holm_p"]),
            number(detectable_difference(tested["standard_error"], tested["units"])),
        ]
        row += ["yes" if is_equivalent(tested["interval_90"], value) else "no" for value in [margin] if value]
        table.rows.append(list(row))
    if table.rows:
        score = "UAR, mean over corpora," if are_merged(runs) else "UAR"
        table.caption = (
            f"{score} minus that of {best.shown}, the best run. {SIGNIFICANT} marks differences that remain "
            "significant after the correction for several comparisons."
        )
        unit = "clip" if best.drawn.startswith("over clips") else "speaker"
        table.explanations.append(_TESTS.format(drawn=best.drawn, unit=unit))
        if margin is not None:
            table.explanations.append(_EQUIVALENCE.format(margin=f"{margin:g}"))
    _mark_synthetic(table, key)
    return table


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−").replace("−0.000", "0.000").replace("+0.000", "0.000")


def _gap_tables(groups: Groups) -> list[Table]:
    """Models that were scored under several protocols on one dataset, over the same classes."""
    families: dict[Key, list[Key]] = defaultdict(list)
    for key in groups:
        if key.classes:
            families[family(key)].append(key)
    return [table for keys in families.values() if (table := _gap_table(keys, groups)) is not None]


def family(key: Key) -> Key:
    """What groups under several protocols on one dataset have in common."""
    return key._replace(protocol="", fold=None, seeds=(), clips="")


def _gap_table(keys: Sequence[Key], groups: Groups) -> Table | None:
    models: dict[tuple[Any, ...], dict[Key, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for key in keys:
        for run in groups[key]:
            name = run.results["model_type"] if run.short == key.protocol else run.short
            models[(name, run.results["model_type"], run.results["parameters"])][key].append(run)
    rows_of = {model: runs_of for model, runs_of in models.items() if len({key.protocol for key in runs_of}) > 1}
    if not rows_of:
        return None
    found = {key for runs_of in rows_of.values() for key in runs_of}
    shown = sorted(found, key=lambda key: (key.protocol in SHARES_SPEAKERS, str(key)))
    base, *rest = shown
    rows: list[list[Cell]] = []
    for (name, *_), runs_of in sorted(rows_of.items(), key=str):
        cells = [_gap_cell(runs_of.get(key, [])) for key in shown]
        single = {key: runs[0].scores["uar"] or 0.0 for key, runs in runs_of.items() if len(runs) == 1}
        gaps = [_signed(single[key] - single[base]) if {key, base} <= single.keys() else "-" for key in rest]
        rows.append([name, *cells, *gaps])
    header = ["model", *(f"UAR, {protocol_label(key, groups)}" for key in shown)]
    header += [f"{protocol_label(key, groups)} − {protocol_label(base, groups)}" for key in rest]
    title = f"Gaps between protocols: {heading(base).partition(' on ')[2]}"
    table = Table(title, "The UAR of the same model under several protocols.", header, rows, explanations=[_GAPS])
    _mark_synthetic(table, base)
    return table


def _gap_cell(runs: Sequence[Run]) -> Cell:
    """The UAR without its interval, which is in the table of scores."""
    scores = [Score(run.scores["uar"]) for run in runs]
    return scores[0] if len(scores) == 1 else " / ".join(map(str, scores)) or "-"


def protocol_label(key: Key, groups: Groups) -> str:
    """The protocol, with the number of clips if it has several groups."""
    if sum(other.protocol == key.protocol and family(other) == family(key) for other in groups) == 1:
        return key.protocol
    scored = groups[key][0].scored
    return f"{key.protocol} ({f'fold {key.fold}, ' if key.fold else ''}{scored['clips'] if scored else 0} clips)"
