"""Answers as rows: one mapping per recording for JSON, one line per recording and window for CSV and Parquet."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from hf_ser.batch.escaped_names import escaped_name, one_line
from hf_ser.remote_code.dimensions import DIMENSIONS, are_dimensions
from hf_ser.terminal import display_width

SYNTHETIC = "the model was trained on synthetic recordings; these scores say nothing about real speech"
_BAR_WIDTH = 24
_LABEL_WIDTH = 10  # at least


def answer_row(name: str, answer: Any, warning: str | None) -> dict[str, Any]:
    """Turn what the pipeline returns for one recording into a mapping for JSON, with the name first."""
    row: dict[str, Any] = {"file": escaped_name(name)}
    row |= answer if isinstance(answer, Mapping) else {"scores": answer}
    if "error" in row:
        row["error"] = one_line(row["error"])
    if warning:
        row["warning"] = warning
    return row


def json_text(row: Mapping[str, Any], *, ascii_only: bool = False, indent: int | None = None) -> str:
    """Format a row as JSON, in ASCII if the encoding of the output does not have every character."""
    return json.dumps(row, ensure_ascii=ascii_only, indent=indent)


def csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """Format rows of cells as CSV lines that end in a line feed."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def value_column(label: str) -> str:
    """Name of the column with the probability of a class, or the value of a dimension."""
    return one_line(label if are_dimensions([label]) else f"p_{label}")


def is_value_column(name: str) -> bool:
    """Whether a column holds probabilities or values of a dimension."""
    return name.startswith("p_") or name.casefold() in DIMENSIONS


def columns(labels: Sequence[str], abstains: bool = False) -> list[str]:
    """Return the names of the columns; `abstained` is one of them if the model abstains.

    Models of dimensions have no column emotion.
    """
    emotion = [] if are_dimensions(labels) else ["emotion"]
    values = [value_column(label) for label in labels]
    return ["file", "start", "end", *emotion, *values, *(["abstained"] if abstains else []), "error", "warning"]


def tabular(row: Mapping[str, Any], labels: Sequence[str], abstains: bool = False) -> list[dict[str, Any]]:
    """Return one mapping by column for the recording and one for each window; missing values are None."""
    lines, has_classes = [], not are_dimensions(labels)
    for part in ({"start": None, "end": None, **row}, *row.get("timeline", ())):
        scores = {score["label"]: score["score"] for score in part.get("scores") or ()}
        lines.append(
            {
                "file": row["file"],
                "start": part["start"],
                "end": part["end"],
                **({"emotion": _best(scores)} if has_classes else {}),
                **{value_column(label): scores.get(label) for label in labels},
                **({"abstained": part.get("abstained")} if abstains else {}),
                "error": part.get("error") or ("silence" if part.get("silent") else None),
                "warning": row.get("warning"),
            }
        )
    return lines


def _best(scores: Mapping[str, float]) -> str | None:
    return one_line(max(scores, key=lambda label: scores[label])) if scores else None


def csv_cells(line: Mapping[str, Any]) -> list[Any]:
    """Format probabilities with six digits, more would not be meaningful, and truth values as in JSON."""
    return [
        f"{value:.6f}"
        if is_value_column(name) and value is not None
        else str(value).lower()
        if isinstance(value, bool)
        else value
        for name, value in line.items()
    ]


@dataclass
class TextOutput:
    """Answers on the terminal or in a redirection, each written as soon as it is known."""

    format: str  # table, json, jsonl or csv
    labels: Sequence[str]
    warning: str | None
    stream: TextIO
    abstains: bool = False
    written: int = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one answer."""
        ascii_only = (self.stream.encoding or "").lower().replace("-", "") not in ("utf8", "utf16", "utf32")
        if self.format == "json":
            text = json_text(row, ascii_only=ascii_only, indent=1).replace("\n", "\n ")
            text = ("[" if self.written == 0 else ",") + f"\n {text}"
        elif self.format == "jsonl":
            text = json_text(row, ascii_only=ascii_only) + "\n"
        elif self.format == "csv":
            header = [columns(self.labels, self.abstains)] if self.written == 0 else []
            text = csv_text([*header, *(csv_cells(line) for line in tabular(row, self.labels, self.abstains))])
        else:
            text = table_text(row)
        self.written += 1
        self._put(text)

    def close(self, complete: bool) -> None:
        """Write what follows the last answer, also after an interruption."""
        if self.format == "json":
            self._put("\n]\n" if self.written else "[]\n")
        elif self.format == "csv" and self.written == 0:
            self._put(csv_text([columns(self.labels, self.abstains)]))
        elif self.format == "table" and self.warning and self.written:
            self._put(f"warning: {self.warning}\n")

    def _put(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def table_text(row: Mapping[str, Any]) -> str:
    """Format an answer for people: the name, "not sure" if the model abstains, a bar per class, a line per window."""
    lines, scores = [row["file"]], row.get("scores", ())
    if row.get("abstained"):
        best = one_line("{label} {score:.3f}".format(**scores[0]))
        lines.append(f"  not sure: the best class is {best}, below the threshold {row['threshold']:.3f}")
    width = max([_LABEL_WIDTH, *(display_width(one_line(score["label"])) for score in scores)])
    lines += [_bar(score, width) for score in scores] or ["  cannot be used"]
    for window in row.get("timeline", ()):
        best = "silence" if window["silent"] else _of_window(window["scores"])
        lines.append(f"  {window['start']:8.1f} to {window['end']:8.1f} s  {best}")
    return "\n".join(lines) + "\n"


def _of_window(scores: Sequence[Mapping[str, Any]]) -> str:
    shown = scores if are_dimensions(score["label"] for score in scores) else scores[:1]
    return ", ".join(one_line("{label} {score:.3f}".format(**score)) for score in shown)


def _bar(score: Mapping[str, Any], width: int) -> str:
    label = one_line(score["label"])
    padding = " " * (width - display_width(label))
    return f"  {label}{padding} {score['score']:.3f} {'#' * round(_BAR_WIDTH * score['score'])}".rstrip()
