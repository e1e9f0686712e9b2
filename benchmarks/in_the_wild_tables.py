"""The tables of docs/in_the_wild.md, from the file that benchmarks/in_the_wild.py writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_ser import markdown
from hf_ser.results_file import number
from hf_ser.scoring.results import write_text

BEGIN, END = "<!-- in_the_wild:begin -->", "<!-- in_the_wild:end -->"
NOT_MEASURED = "No model has been measured yet."
_MOST_FREQUENT = 3  # labels in a cell


def render(results: Mapping[str, Any] | None) -> str:
    """The text between the markers; `NOT_MEASURED` without results."""
    if results is None:
        return NOT_MEASURED
    threshold = results["threshold"]
    said = "no abstention threshold" if threshold is None else f"an abstention threshold of {threshold:.3f}"
    parts = [f"The model `{results['model']}` has {said}."]
    titles = {
        "speech": "Speech that the model was not trained on",
        "altered speech": "Test clips through bad channels",
        "no speech": "Sounds without speech",
    }
    for kind, title in titles.items():
        rows = [one for one in results["conditions"] if one["kind"] == kind]
        if rows:
            parts += [f"### {title}", _sounds(rows) if kind == "no speech" else _speech(rows)]
    return "\n\n".join(parts)


def fill(page: Path, results: Mapping[str, Any]) -> None:
    """Replace the text between the markers of a page.

    Raises:
        SerError: the page does not have both markers once.
    """
    before, after = markdown.around_part(page.read_text(encoding="utf-8"), BEGIN, END, str(page))
    write_text(page, f"{before}\n\n{render(results)}\n\n{after}")


def _speech(rows: list[dict[str, Any]]) -> str:
    header = ("clips of", "clips", "speakers", "accuracy", "UAR", "ECE", "answered", "accuracy on answered")
    cells = []
    for row in rows:
        scores = row["scores"]
        if scores is None:
            cells.append((row["name"], row["clips"], *["-"] * 6))
            continue
        cells.append(
            (
                row["name"],
                f"{row['clips']:,}",
                scores["speakers"],
                _with(scores["accuracy"], scores["accuracy_interval"]),
                _with(scores["uar"], scores["uar_interval"]),
                number(scores["ece"]),
                _with(row["answered"], scores["answered_interval"]),
                _with(scores["accuracy_on_answered"], scores["accuracy_on_answered_interval"]),
            )
        )
    text = markdown.table(header, cells)
    left = [f"{row['name']}: {n} {label}" for row in rows for label, n in row["left_out"].items()]
    return text + (f"\n\nLeft out because the model has no such class: {'; '.join(left)}." if left else "")


def _sounds(rows: list[dict[str, Any]]) -> str:
    header = ("sound", "clips", "errors", "mean top probability", "answered", "most frequent labels")
    return markdown.table(
        header,
        [
            (
                row["name"],
                row["clips"],
                ", ".join(f"{n} {reason}" for reason, n in row["errors"].items()) or "none",
                number(row["mean_top_probability"]),
                number(row["answered"]),
                _labels(row["predicted"]),
            )
            for row in rows
        ],
    )


def _labels(predicted: Mapping[str, float]) -> str:
    ranked = sorted(predicted, key=lambda label: -predicted[label])[:_MOST_FREQUENT]
    return ", ".join(f"{label} {100 * predicted[label]:.0f} %" for label in ranked) or "-"


def _with(value: float | None, bounds: list[float | None]) -> str:
    if value is None or bounds[0] is None:
        return number(value)
    return f"{number(value)} [{number(bounds[0])}, {number(bounds[1])}]"
