"""Markdown for cards and reports."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from hf_ser.errors import SerError

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


def around_part(page: str, begin: str, end: str, name: str) -> tuple[str, str]:
    """Return the text of a page up to a marker, and from another marker on; what is between them can be replaced.

    Args:
        page: the text of the page.
        begin: marker before the part.
        end: marker after it.
        name: name of the page, for errors.

    Raises:
        SerError: the page does not have both markers once.

    >>> around_part("a <b> old <e> c", "<b>", "<e>", "page.md")
    ('a <b>', '<e> c')
    """
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SerError(f"{name}: expected {begin} and {end} once each.")
    return page.partition(begin)[0] + begin, end + page.partition(end)[2]
