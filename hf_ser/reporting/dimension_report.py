"""The folder of a run that predicts dimensions: predictions, report.md and results.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_ser import markdown
from hf_ser.model_draft import publish
from hf_ser.reporting.run_report import REPORT, run_facts
from hf_ser.reporting.run_titles import SYNTHETIC, protocol_title, with_synthetic
from hf_ser.results_file import RESULTS, bounds, clips_and_speakers, number
from hf_ser.scoring.dimension_scores import DimensionPredictions
from hf_ser.scoring.results import write_results, write_text


def write_dimension_run(
    folder: Path, results: dict[str, Any], predictions: Mapping[str, DimensionPredictions]
) -> None:
    """Write predictions, report.md and results.json, and then move the run's model into the folder.

    Args:
        folder: the run's folder.
        results: the content of results.json; `dimensions` has the scores.
        predictions: split -> predictions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULTS).unlink(missing_ok=True)  # the folder holds no finished run until everything is written
    for split, table in predictions.items():
        table.write(folder / results["dimensions"][split]["predictions"][0])
    write_text(folder / REPORT, render_dimension_report(results))
    write_results(folder, results)
    publish(folder)


def render_dimension_report(results: Mapping[str, Any]) -> str:
    """The report as Markdown; its numbers come from `results`."""
    synthetic = [f"**{SYNTHETIC}**"] if results["dataset"]["synthetic"] else []
    parts = [f"# {results['name']}", *synthetic, markdown.table(("", ""), run_facts(results))]
    parts += [f"- {note}" for note in results["protocol"]["notes"]]
    protocol = with_synthetic(protocol_title(results["protocol"]), results["dataset"])
    for split in sorted(results["dimensions"], key=lambda split: split != "test"):  # the test scores first
        parts += _section(split, results["dimensions"][split], protocol)
    parts.append("## Versions\n\n" + ", ".join(f"{name} {version}" for name, version in results["versions"].items()))
    return "\n\n".join(parts) + "\n"


def _section(split: str, scored: Mapping[str, Any], protocol: str) -> list[str]:
    header = (
        "dimension",
        "CCC",
        *(f"95 % interval, {interval['method']}" for interval in scored["intervals"]),
        "root mean square error",
    )
    rows = [
        (
            name,
            number(values["ccc"]),
            *(bounds(interval["per_dimension"][name]) for interval in scored["intervals"]),
            number(values["rmse"]),
        )
        for name, values in scored["per_dimension"].items()
    ]
    rows.append(("mean", number(scored["ccc"]), *(bounds(interval["ccc"]) for interval in scored["intervals"]), ""))
    counted = clips_and_speakers(scored["clips"], scored["speakers"])
    return [
        f"## Concordance on {split} ({protocol})",
        f"{counted}. Computed in {scored['precision']}. CCC is the concordance correlation coefficient.",
        markdown.table(header, rows),
    ]


def dimension_summary(results: Mapping[str, Any]) -> str:
    """A line per split for the terminal."""
    protocol = with_synthetic(protocol_title(results["protocol"]), results["dataset"])
    lines = [SYNTHETIC] if results["dataset"]["synthetic"] else []
    for split, scored in results["dimensions"].items():
        each = ", ".join(f"{name} {values['ccc']:.3f}" for name, values in scored["per_dimension"].items())
        counted = clips_and_speakers(scored["clips"], scored["speakers"])
        interval = bounds(scored["intervals"][0]["ccc"])
        lines.append(f"{split} ({protocol}): {counted}, mean CCC {scored['ccc']:.3f} (95 % {interval}), {each}")
    return "\n".join(lines)
