"""A comparison's tables as LaTeX floats, with booktabs and siunitx."""

import re
from collections import Counter
from collections.abc import Sequence

from tabulate import LATEX_ESCAPE_RULES

from hf_ser.reporting.comparison_tables import Cell, Score, Table
from hf_ser.reporting.paired_tests import SIGNIFICANT
from hf_ser.results_file import number

_PREAMBLE = r"""% Made by recipes/compare.py. The preamble of the document needs:
%   \usepackage{booktabs, siunitx, adjustbox}
%   \sisetup{detect-all}  % bold numbers in S columns"""
_SYMBOLS = {"±": r"$\pm$", "−": "$-$", "≤": r"$\leq$"}
_LOWER_IS_BETTER = ("ECE",)
_NUMBER = re.compile(rf"≤? ?[+−]?\d[\d.,]*{re.escape(SIGNIFICANT)}?|-")


def render_latex(tables: Sequence[Table]) -> str:
    r"""Render floats for `\input`, each with label, short caption and notes below; the best scores are bold."""
    parts, labels = [_PREAMBLE], Counter[str]()
    for table in tables:
        label = re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-")
        labels[label] += 1
        label += f"-{labels[label]}" if labels[label] > 1 else ""
        parts.append(_float(table, label) if table.rows else _comment(table))
    return "\n\n".join(parts) + "\n"


def _float(table: Table, label: str) -> str:
    columns = [_column(table, index) for index in range(1, len(table.header))]
    names = [_name(table, row) for row in range(len(table.rows))]
    header = " & ".join(["{model}", *(column.header for column in columns)])
    lines = [" & ".join([name, *cells]) for name, *cells in zip(names, *(c.cells for c in columns), strict=True)]
    body = "\n".join(f"{line} \\\\" for line in lines)
    title = escaped(table.title)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption[{{{title}}}]{{{title}. {escaped(table.caption)}}}",
            rf"\label{{tab:{label}}}",
            r"\begin{adjustbox}{max width=\linewidth}",
            rf"\begin{{tabular}}{{l{''.join(column.alignment for column in columns)}}}",
            r"\toprule",
            f"{header} \\\\",
            r"\midrule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{adjustbox}",
            *_notes(table),
            r"\end{table}",
        ]
    )


class _Column:
    """A column of the table, which is one or two columns in LaTeX: its alignment, header, and cells."""

    def __init__(self, alignment: str, header: str, cells: list[str]) -> None:
        self.alignment, self.header, self.cells = alignment, header, cells


def _column(table: Table, index: int) -> _Column:
    cells = [row[index] for row in table.rows]
    header = escaped(table.header[index])
    scores = [cell for cell in cells if isinstance(cell, Score)]
    if not scores:
        aligned = "r" if all(_NUMBER.fullmatch(str(cell)) for cell in cells) else "l"
        return _Column(aligned, f"{{{header}}}", [_text(str(cell)) for cell in cells])
    alignment = "S[table-format=1.3(3), separate-uncertainty]" if _has_std(scores) else "S[table-format=1.3]"
    best = _best(scores, lower_is_better=table.header[index] in _LOWER_IS_BETTER)
    values = [_number(cell, best) for cell in cells]
    if all(score.interval[0] is None for score in scores):
        return _Column(alignment, f"{{{header}}}", values)
    pairs = [f"{value} & {_interval(cell)}" for value, cell in zip(values, cells, strict=True)]
    return _Column(alignment + r"@{\ }l", rf"\multicolumn{{2}}{{c}}{{{header}}}", pairs)


def _has_std(scores: Sequence[Score]) -> bool:
    return any(score.std is not None for score in scores)


def _best(scores: Sequence[Score], *, lower_is_better: bool) -> str | None:
    """The best value as it is shown, so that ties are all bold; None if there is nothing to compare."""
    values = [score.value for score in scores if score.value is not None]
    return number((min if lower_is_better else max)(values)) if len(values) > 1 else None


def _number(cell: Cell, best: str | None) -> str:
    """A number for an S column, with the standard deviation in units of the last digit; other text in braces."""
    if not isinstance(cell, Score) or cell.value is None:
        return f"{{{escaped(str(cell))}}}"
    value = number(cell.value)
    spread = "" if cell.std is None else f"({round(cell.std * 1000)})"
    return (r"\bfseries " if value == best else "") + value + spread


def _interval(cell: Cell) -> str:
    low, high = cell.interval if isinstance(cell, Score) else (None, None)
    return "" if low is None else f"{{\\footnotesize [{number(low)}, {number(high)}]}}"


def _text(cell: str) -> str:
    """A cell of text; a star does not take part in the alignment."""
    star = r"\rlap{*}" if _NUMBER.fullmatch(cell) and cell.endswith(SIGNIFICANT) else ""
    return _protected(escaped(cell.removesuffix(SIGNIFICANT) if star else cell) + star)


def _name(table: Table, row: int) -> str:
    marks = table.marks.get(row)
    raised = rf"\textsuperscript{{{','.join(marks)}}}" if marks else ""
    return _protected(escaped(str(table.rows[row][0])) + raised)


def _protected(cell: str) -> str:
    r"""Hide a leading bracket or star, which would be an argument of `\\` or `\midrule`."""
    return re.sub(r"^([\[*])", r"{\1}", cell)


def _notes(table: Table) -> list[str]:
    marked = [
        (rf"\textsuperscript{{{mark}}}" if mark else "") + escaped(sentence)
        for mark, sentence in [*table.notes, *(("", sentence) for sentence in table.explanations)]
    ]
    if not marked:
        return []
    return [
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
        "\n".join(marked),
        r"\end{minipage}",
    ]


def _comment(table: Table) -> str:
    sentences = [table.title + ":", table.caption, *(sentence for _, sentence in table.notes)]
    return f"% {escaped(' '.join(filter(None, sentences)))}"


def escaped(text: str) -> str:
    """Escape text for LaTeX, in text mode."""
    return "".join(_SYMBOLS.get(c) or LATEX_ESCAPE_RULES.get(c, c) for c in text)
