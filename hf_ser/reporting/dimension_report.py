"""The folder of a run that predicts dimensions: predictions, figures, report.md and results.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser import markdown
from hf_ser.reporting.run_report import (
    FIGURES,
    begin_run,
    figures_section,
    finish_run,
    report_opening,
    versions_section,
)
from hf_ser.reporting.run_titles import SYNTHETIC, protocol_title, run_title, with_synthetic
from hf_ser.results_file import bounds, clips_and_speakers, number
from hf_ser.scoring.dimension_scores import DimensionPredictions

CURVES, CONCORDANCE = "training_curves", "concordance_{}"  # names of figures; {} is the split


def write_dimension_run(
    folder: Path,
    results: dict[str, Any],
    predictions: Mapping[str, Sequence[DimensionPredictions]],
    *,
    history: Sequence[Mapping[str, Any]] = (),
    figures: bool = True,
) -> None:
    """Write predictions, figures, report.md and results.json, and then move the run's model into the folder.

    Args:
        folder: the run's folder.
        results: the content of results.json; `dimensions` has the scores.
        predictions: split -> predictions, one per seed, in the order of the split's files.
        history: the Trainer's log history, for the training curves.
        figures: whether to draw figures.
    """
    begin_run(folder)
    for split, runs in predictions.items():
        for name, run in zip(results["dimensions"][split]["predictions"], runs, strict=True):
            run.write(folder / name)
    drawn = draw_dimension_figures(folder / FIGURES, results, predictions, history) if figures else {}
    finish_run(folder, results, render_dimension_report(results, drawn))


def draw_dimension_figures(
    folder: Path,
    results: Mapping[str, Any],
    predictions: Mapping[str, Sequence[DimensionPredictions]],
    history: Sequence[Mapping[str, Any]] = (),
) -> dict[str, str]:
    """Draw a run's figures.

    Args:
        folder: for the figures.
        results: as in `write_dimension_run`, like the arguments below.
        predictions: split -> predictions, one per seed.
        history: the Trainer's log history.

    Returns:
        Name of each figure -> caption.
    """
    from hf_ser.reporting import plots  # here: it brings matplotlib

    seeds = f", {len(results['seeds'])} seeds" if len(results["seeds"]) > 1 else ""
    title = run_title(results["model_type"], results["dataset"], results["protocol"]) + seeds
    drawn = {}
    if history:
        plots.plot_dimension_curves(history, folder / CURVES, title, results["training"]["loss"])
        drawn[CURVES] = "Training and validation loss, and concordance on validation"
    for split, runs in predictions.items():
        true, predicted = (np.concatenate([getattr(run, name) for run in runs]) for name in ("true", "predicted"))
        coefficients = {name: each["ccc"] for name, each in results["dimensions"][split]["per_dimension"].items()}
        name = CONCORDANCE.format(split)
        plots.plot_concordance(true, predicted, coefficients, folder / name, f"{title}, {split}")
        drawn[name] = f"Predicted against annotated values ({split})"
    return drawn


def render_dimension_report(results: Mapping[str, Any], figures: Mapping[str, str] | None = None) -> str:
    """The report as Markdown; its numbers come from `results`.

    Args:
        results: the content of results.json.
        figures: name of each figure -> caption.
    """
    parts = report_opening(results)
    protocol = with_synthetic(protocol_title(results["protocol"]), results["dataset"])
    for split in sorted(results["dimensions"], key=lambda split: split != "test"):  # the test scores first
        parts += _section(split, results["dimensions"][split], results["seeds"], protocol)
    if results.get("runs"):
        parts += _runs_section(results, protocol)
    parts += [*figures_section(figures or {}), versions_section(results)]
    return "\n\n".join(parts) + "\n"


def _section(split: str, scored: Mapping[str, Any], seeds: Sequence[int], protocol: str) -> list[str]:
    intervals, std = scored["intervals"], scored.get("std")
    header = (
        "dimension",
        "CCC",
        *(("over seeds",) if std else ()),
        *(f"95 % interval, {interval['method']}" for interval in intervals),
        "root mean square error",
    )
    rows = []
    for name, values in scored["per_dimension"].items():
        spread = (f"± {number(std['per_dimension'][name]['ccc'])}",) if std else ()
        ends = [bounds(interval["per_dimension"][name]) for interval in intervals]
        rows.append((name, number(values["ccc"]), *spread, *ends, number(values["rmse"])))
    spread = (f"± {number(std['ccc'])}",) if std else ()
    rows.append(("mean", number(scored["ccc"]), *spread, *(bounds(interval["ccc"]) for interval in intervals), ""))
    text = f"{clips_and_speakers(scored['clips'], scored['speakers'])}."
    text += f" Mean and standard deviation over {len(seeds)} seeds." if std else ""
    text += f" Computed in {scored['precision']}." if scored["precision"] else ""
    return [
        f"## Concordance on {split} ({protocol})",
        f"{text} CCC is the concordance correlation coefficient.",
        markdown.table(header, rows),
    ]


def _runs_section(results: Mapping[str, Any], protocol: str) -> list[str]:
    """The concordance of each training of a cross-validation, and its spread."""
    names = list(results["dimensions"]["test"]["per_dimension"])
    keys = {"ccc": "mean CCC"} | {f"ccc_{name}": f"CCC of {name}" for name in names}
    rows = [
        (
            run["fold"] or "-",
            run["fold_name"] or "-",
            run["seed"],
            run["clips"],
            *(number((run["test"] or {}).get(key)) for key in keys),
        )
        for run in results["runs"]
    ]
    parts = [f"## Runs ({protocol})", markdown.table(("fold", "name", "seed", "clips", *keys.values()), rows)]
    over = results.get("over_folds")
    if over:
        row = [f"{number(over['mean'][key])} ± {number(over['std'][key])}" for key in keys]
        parts += [
            "Mean and standard deviation over these runs. CCC depends on how much the annotated values of the clips "
            "vary, so that it may differ from that of all clips together:",
            markdown.table(tuple(keys.values()), [row]),
        ]
    return parts


def dimension_summary(results: Mapping[str, Any]) -> str:
    """A line per split for the terminal."""
    protocol = with_synthetic(protocol_title(results["protocol"]), results["dataset"])
    lines = [SYNTHETIC] if results["dataset"]["synthetic"] else []
    for split, scored in results["dimensions"].items():
        each = ", ".join(f"{name} {values['ccc']:.3f}" for name, values in scored["per_dimension"].items())
        counted = clips_and_speakers(scored["clips"], scored["speakers"])
        interval = bounds(scored["intervals"][0]["ccc"])
        spread = f" ± {scored['std']['ccc']:.3f} over seeds" if scored.get("std") else ""
        lines.append(
            f"{split} ({protocol}): {counted}, mean CCC {scored['ccc']:.3f}{spread} (95 % {interval}), {each}"
        )
    return "\n".join(lines)
