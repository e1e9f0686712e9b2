"""robustness.md and its figures, from robustness.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser import markdown
from hf_ser.conditions.condition_list import CONDITIONS
from hf_ser.reporting.run_titles import SYNTHETIC
from hf_ser.results_file import bounds, clips_and_speakers, number
from hf_ser.scoring import compare
from hf_ser.scoring.predictions import Predictions, read_predictions

PERCEPTION = (
    "The labels are those of the clean clips. Noise and other conditions can change the emotion that listeners "
    "perceive ([Jaiswal & Mower Provost 2021](https://arxiv.org/abs/2104.08806)), so a lower score is not an error of "
    "the model alone, and a model that keeps its answer is not always right to do so."
)
UAR_FIGURE = "robustness_uar"


@dataclass(frozen=True)
class OtherReport:
    """An earlier report, to show beside a new one."""

    report: Mapping[str, Any]
    folder: Path

    @cached_property
    def name(self) -> str:
        """Name of its model."""
        return str(self.report["name"])

    def predictions(self, condition: str, level: str) -> Predictions | None:
        """Its predictions under a condition; None if it does not have them."""
        found = _level(self.report, condition, level)
        path = self.folder / found["predictions"] if found else None
        return read_predictions(path) if path is not None and path.is_file() else None


# --- figures ----------------------------------------------------------------------------------------------------


def draw_report(folder: Path, report: Mapping[str, Any], others: Sequence[OtherReport]) -> dict[str, str]:
    """Draw all figures into a folder; return their captions by name."""
    from hf_ser.reporting import plots

    title = f"{report['name']}, {report['dataset']['name']}" + (
        ", synthetic" if report["dataset"]["synthetic"] else ""
    )
    if report["quick"]:
        title += ", quick report"
    reports = named_reports(report, others)
    chance = ("chance", 1 / len(report["clean"]["recalls"]))
    names = list(dict.fromkeys(one["name"] for each in reports.values() for one in each["conditions"]))
    every = [_panel(name, reports, {"": _uar}) for name in names]
    plots.plot_levels(every, folder / UAR_FIGURE, title if len(reports) == 1 else "", "UAR", chance)
    own = {"": report}
    mine = [one["name"] for one in report["conditions"]]
    calibration = {"accuracy": _accuracy, "mean confidence": _confidence}
    plots.plot_levels(
        [_panel(name, own, calibration) for name in mine], folder / "robustness_calibration", title, "share"
    )
    flips = {
        "all changes": _flipped,
        "right to wrong": _part("right_to_wrong"),
        "wrong to right": _part("wrong_to_right"),
    }
    plots.plot_levels(
        [_panel(name, own, flips) for name in mine], folder / "robustness_flips", title, "share of clips"
    )
    counts = report["flips_per_clip"]["counts"]
    plots.plot_flips(
        {name.replace("_", " "): clips for name, clips in counts.items()}, folder / "flips_per_clip", title
    )
    return {
        UAR_FIGURE: "UAR under each condition, with 95 % intervals",
        "robustness_calibration": "Accuracy and mean confidence under each condition: equal if calibrated",
        "robustness_flips": "Share of clips whose predicted class differs from that of the clean clip",
        "flips_per_clip": "Number of conditions in which the predicted class of a clip changes",
    }


def named_reports(report: Mapping[str, Any], others: Sequence[OtherReport]) -> dict[str, Mapping[str, Any]]:
    """Reports by name; a repeated name gets a number."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, each in [(str(report["name"]), report), *((other.name, other.report) for other in others)]:
        count = sum(known == name or known.startswith(f"{name} (") for known in found)
        found[f"{name} ({count + 1})" if count else name] = each
    return found


def _panel(name: str, reports: Mapping[str, Mapping[str, Any]], series: Mapping[str, Any]) -> Any:
    """A panel with a curve per report and series; clean clips are where a level without effect would be."""
    from hf_ser.reporting import plots

    condition = CONDITIONS[name]
    levels = ordered_levels(name, [level for report in reports.values() for level in _levels_of(report, name)])
    before = [level for level in levels if condition.neutral is not None and float(level) < condition.neutral]
    places = [*before, None, *levels[len(before) :]]
    curves = {}
    for title, report in reports.items():
        if not _levels_of(report, name):
            continue
        for part, reading in series.items():
            found = [report["clean"] if level is None else _level(report, name, level) for level in places]
            read = [(None, None, None) if one is None else reading(one) for one in found]
            values, low, high = zip(*read, strict=True)
            curves[", ".join(text for text in (title, part) if text)] = plots.LevelCurve(values, low, high)
    unit = f" ({condition.unit})" if condition.unit else ""
    ticks = ["clean" if level is None else level for level in places]
    return plots.LevelPanel(condition.title + unit, ticks, curves, ordered=condition.bounds is not None)


def _uar(scored: Mapping[str, Any]) -> tuple[Any, ...]:
    return scored["scores"]["uar"], *scored["intervals"]["uar"]


def _accuracy(scored: Mapping[str, Any]) -> tuple[Any, ...]:
    return scored["scores"]["accuracy"], *scored["intervals"]["accuracy"]


def _confidence(scored: Mapping[str, Any]) -> tuple[Any, ...]:
    return scored["mean_confidence"], None, None


def _flipped(scored: Mapping[str, Any]) -> tuple[Any, ...]:
    return (scored["flips"]["share"], *scored["flips"]["interval"]) if "flips" in scored else (0.0, 0.0, 0.0)


def _part(name: str) -> Any:
    return lambda scored: (scored["flips"][name] if "flips" in scored else 0.0, None, None)


def ordered_levels(name: str, levels: Sequence[str]) -> list[str]:
    """Different levels in the order of the condition: from mild to severe, or from low to high around a neutral one.

    >>> ordered_levels("white_noise", ["0", "10", "0"]), ordered_levels("gain", ["10", "-20"])
    (['10', '0'], ['-20', '10'])
    """
    different = list(dict.fromkeys(levels))
    condition = CONDITIONS[name]
    if condition.bounds is None:
        return sorted(different, key=condition.choices.index)
    first, last = condition.levels[0], condition.levels[-1]
    return sorted(different, key=float, reverse=float(first) > float(last))


def _levels_of(report: Mapping[str, Any], name: str) -> list[str]:
    return [level["level"] for one in report["conditions"] if one["name"] == name for level in one["levels"]]


def _level(report: Mapping[str, Any], name: str, level: str) -> Mapping[str, Any] | None:
    levels = [found for one in report["conditions"] if one["name"] == name for found in one["levels"]]
    return next((found for found in levels if found["level"] == level), None)


# --- text -------------------------------------------------------------------------------------------------------


def render_report(
    report: Mapping[str, Any], figures: Mapping[str, str], others: Sequence[OtherReport], folder: Path
) -> str:
    """The report as Markdown.

    Args:
        report: content of robustness.json.
        figures: captions by name.
        others: earlier reports.
        folder: of the report, with its predictions.
    """
    parts = [f"# Robustness of {report['name']}"]
    parts += [f"**{SYNTHETIC}**"] if report["dataset"]["synthetic"] else []
    parts += [_facts(report), PERCEPTION]
    parts += [f"- {note}" for note in report["notes"]]
    parts += ["## Overview", overview(report)]
    if others:
        parts += _beside_section(report, others, folder)
    for condition in report["conditions"]:
        parts += _condition_section(report, condition)
    parts += ["## Groups", _groups(report), *_flips_section(report["flips_per_clip"])]
    parts += ["## Figures"] if figures else []
    parts += [f"{caption}:\n\n![{caption}](figures/{name}.png)" for name, caption in figures.items()]
    parts.append("## Versions\n\n" + ", ".join(f"{name} {version}" for name, version in report["versions"].items()))
    return "\n\n".join(parts) + "\n"


def _facts(report: Mapping[str, Any]) -> str:
    models = report["models"]
    pooled = f" {len(models)} models, each on its own test clips, pooled." if len(models) > 1 else ""
    left = ", ".join(f"{count} {label}" for label, count in report["left_out"].items())
    without = f" Left out because the model does not have the class: {left}." if left else ""
    quick = " This is a quick report: few levels, and a part of the clips." if report["quick"] else ""
    method = report["clean"]["intervals"]["method"]
    return (
        f"{clips_and_speakers(report['clips'], report['speakers'])} of {report['dataset']['name']}, clean and under "
        f"{len(report['conditions'])} conditions, seed {report['seed']}.{pooled}{without}{quick} Intervals are 95 % "
        f"bootstrap intervals, {method}; differences to the clean clips are paired."
    )


def overview(report: Mapping[str, Any]) -> str:
    """A table of the worst level of each condition."""
    clean = report["clean"]
    rows = [
        (
            "clean",
            "-",
            _with(clean["scores"]["uar"], clean["intervals"]["uar"]),
            "-",
            "-",
            number(clean["scores"]["ece"]),
        )
    ]
    for condition in report["conditions"]:
        worst = min(condition["levels"], key=lambda level: level["scores"]["uar"])
        change = worst["degradation"]["uar"]
        rows.append(
            (
                condition["title"],
                f"{worst['level']} {condition['unit']}".strip(),
                _with(worst["scores"]["uar"], worst["intervals"]["uar"]),
                _with(change["difference"], change["interval"], signed=True),
                _percent(worst["flips"]["share"]),
                number(worst["scores"]["ece"]),
            )
        )
    return markdown.table(
        ("condition", "worst level", "UAR", "difference to clean", "answers that change", "ECE"), rows
    )


def _condition_section(report: Mapping[str, Any], condition: Mapping[str, Any]) -> list[str]:
    header = [
        "level",
        "UAR",
        "difference",
        "accuracy",
        "changed",
        "right to wrong",
        "wrong to right",
        "confidence",
        "ECE",
    ]
    answering = report["clean"]["abstention"] is not None
    header += ["answered", "accuracy on answered"] if answering else []
    rows = [_row("clean", report["clean"], answering)]
    rows += [_row(level["level"], level, answering) for level in condition["levels"]]
    unit = f" ({condition['unit']})" if condition["unit"] else ""
    title = condition["title"][0].upper() + condition["title"][1:]
    return [f"## {title}{unit}", markdown.table(header, rows)]


def _row(name: str, scored: Mapping[str, Any], answering: bool) -> list[str]:
    change, flips = scored.get("degradation"), scored.get("flips")
    cells = [
        name,
        _with(scored["scores"]["uar"], scored["intervals"]["uar"]),
        _with(change["uar"]["difference"], change["uar"]["interval"], signed=True) if change else "-",
        number(scored["scores"]["accuracy"]),
        *([_percent(flips[part]) for part in ("share", "right_to_wrong", "wrong_to_right")] if flips else ["-"] * 3),
        number(scored["mean_confidence"]),
        number(scored["scores"]["ece"]),
    ]
    if answering:
        cells += [_percent(scored["abstention"]["coverage"]), number(scored["abstention"]["accuracy"])]
    return cells


def _groups(report: Mapping[str, Any]) -> str:
    """UAR of each group, clean and at the worst level of each condition."""
    names = [(by, name) for by, groups in report["clean"]["groups"].items() for name in groups]
    header = ("condition", "level", *(name for _, name in names))
    rows = [("clean", "-", *(_group(report["clean"], by, name) for by, name in names))]
    for condition in report["conditions"]:
        worst = min(condition["levels"], key=lambda level: level["scores"]["uar"])
        rows.append((condition["title"], worst["level"], *(_group(worst, by, name) for by, name in names)))
    return "UAR; groups of one speaker have no interval.\n\n" + markdown.table(header, rows)


def _group(scored: Mapping[str, Any], by: str, name: str) -> str:
    group = scored["groups"][by].get(name)
    return "-" if group is None else _with(group["uar"], group["uar_interval"])


def _flips_section(flips: Mapping[str, Any]) -> list[str]:
    text = (
        f"On average, {flips['mean']:.1f} of {flips['conditions']} conditions with their levels change the predicted "
        f"class of a clip; {_percent(flips['never'])} of clips keep it under all. `flips.parquet` has every clip."
    )
    header = ("clip", "label", "predicted when clean", "changes")
    rows = [(one["id"], one["label"], one["predicted_when_clean"], one["flips"]) for one in flips["most"]]
    return ["## Changes per clip", text, *([markdown.table(header, rows)] if rows else [])]


def _beside_section(report: Mapping[str, Any], others: Sequence[OtherReport], folder: Path) -> list[str]:
    """UAR of all reports per condition and level, and paired differences where the clips are the same."""
    parts = [f"## Beside {', '.join(other.name for other in others)}"]
    header = ["condition", "level", report["name"]]
    same = [_is_paired(report, other.report) for other in others]
    for other, paired in zip(others, same, strict=True):
        header += [other.name, f"{report['name']} minus {other.name}"] if paired else [other.name]
    rows = [
        ["clean", "-", _uar_cell(report["clean"]), *_beside_cells(report["clean"], "clean", "", others, same, folder)]
    ]
    for condition in report["conditions"]:
        for level in condition["levels"]:
            cells = _beside_cells(level, condition["name"], level["level"], others, same, folder)
            rows.append([condition["title"], level["level"], _uar_cell(level), *cells])
    if not all(same):
        parts.append("Reports on other clips, or with another seed, have no paired differences.")
    return [*parts, "UAR with 95 % intervals.", markdown.table(header, rows)]


def _is_paired(report: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(report[name] == other[name] for name in ("clips_hash", "seed", "labels"))


def _beside_cells(
    scored: Mapping[str, Any],
    name: str,
    level: str,
    others: Sequence[OtherReport],
    same: Sequence[bool],
    folder: Path,
) -> list[str]:
    cells = []
    for other, paired in zip(others, same, strict=True):
        found = other.report["clean"] if name == "clean" else _level(other.report, name, level)
        cells.append("-" if found is None else _uar_cell(found))
        if paired:
            cells.append("-" if found is None else _difference(folder / scored["predictions"], other, found))
    return cells


def _difference(path: Path, other: OtherReport, found: Mapping[str, Any]) -> str:
    there = other.folder / found["predictions"]
    if not there.is_file():
        return "-"
    mine, theirs = read_predictions(path), read_predictions(there)
    row_of = {clip: row for row, clip in enumerate(theirs.clips["id"])}
    theirs = theirs.select(np.asarray([row_of[clip] for clip in mine.clips["id"]]))
    if len(set(mine.clusters)) < 2:
        return "-"
    tested = compare(mine.label_ids, mine.predicted, theirs.predicted, mine.clusters, len(mine.labels))["uar"]
    return _with(tested["difference"], tested["interval"], signed=True)


def _uar_cell(scored: Mapping[str, Any]) -> str:
    return _with(scored["scores"]["uar"], scored["intervals"]["uar"])


def _with(value: float | None, interval: Sequence[float | None] | None, signed: bool = False) -> str:
    if value is None:
        return "-"
    shown = f"{value:+.3f}" if signed else number(value)
    if interval is None or interval[0] is None or interval[1] is None:
        return shown
    ends = f"{interval[0]:+.3f}, {interval[1]:+.3f}" if signed else bounds(interval).replace(" to ", ", ")
    return f"{shown} [{ends}]"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"
