"""Markdown for cards and reports."""

from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table; cells are not reformatted.

    >>> print(table(["corpus", "clips"], [["tess", 2800]]))
    | corpus   | clips   |
    |----------|---------|
    | tess     | 2800    |
    """
    return tabulate([tuple(map(str, row)) for row in rows], header, tablefmt="github", disable_numparse=True)
