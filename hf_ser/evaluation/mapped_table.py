"""A table of predictions whose labels are mapped to the classes of the clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_ser.scoring.label_mapping import convert_table
from hf_ser.scoring.predictions import Predictions, read_predictions, restrict


def read_mapped(
    path: Path,
    columns: Mapping[str, Sequence[Any]] | None,
    mapping: Mapping[str, str | None] | None,
    classes: Sequence[str],
) -> tuple[Predictions, dict[str, int]]:
    """Read a table of probabilities and map its labels.

    Args:
        path: of the table.
        columns: of the clips that it is joined to; None for the clips in the table.
        mapping: label -> class or None; None for labels that are classes already.
        classes: those of the clips.

    Returns:
        The predictions, and the number of clips per class that were left out since no label has the class.
    """
    if mapping is None:
        return read_predictions(path, columns), {}
    table = read_predictions(path, columns, lambda values, names: convert_table(values, names, mapping, classes))
    return restrict(table, [label for label in mapping.values() if label is not None])
