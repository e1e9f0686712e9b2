"""Markdown for cards and reports."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

_LONGEST = 1000  # characters of a text from a file
_MARKUP = str.maketrans({"<": "&lt;", ">": "&gt;", "`": "'", "[": "\\[", "]": "\\]"})


def plain(value: Any) -> Any:
    """Return nested values whose texts show as they are, on one line: without HTML, links, images or code.

    >>> plain({"name": "<script>", "clips": 3})
    {'name': '&lt;script&gt;', 'clips': 3}
    """
    if isinstance(value, str):
        return " ".join(value.split())[:_LONGEST].translate(_MARKUP)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table; cells are not reformatted, and bars in them are escaped.

    >>> print(table(["corpus", "clips"], [["tess", 2800]]))
    | corpus   | clips   |
    |----------|---------|
    | tess     | 2800    |
    """
    lines = [[str(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    return tabulate(lines[1:], lines[0], tablefmt="github", disable_numparse=True)
