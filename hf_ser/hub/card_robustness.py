"""The section of a model card on robustness, from a report that belongs to the weights in the folder."""

import shutil
from pathlib import Path

from hf_ser.markdown import plain
from hf_ser.results_file import clips_and_speakers
from hf_ser.robustness import read_report
from hf_ser.robustness.condition_report import PERCEPTION, UAR_FIGURE, overview
from hf_ser.robustness.stored_conditions import REPORT_FILE, model_digest
from hf_ser.scoring.results import write_json


def copy_robustness(folder: Path, report_folder: Path) -> None:
    """Copy robustness.json and its figure of UAR into a model's folder.

    Args:
        folder: of the model.
        report_folder: of the report.
    """
    write_json(folder / REPORT_FILE, read_report(report_folder))
    for suffix in (".png", ".svg"):
        drawn = report_folder / "figures" / f"{UAR_FIGURE}{suffix}"
        if drawn.is_file():
            (folder / "figures").mkdir(exist_ok=True)
            shutil.copyfile(drawn, folder / "figures" / drawn.name)


def robustness_section(folder: Path) -> str:
    """The section of the card as Markdown; empty without a report on exactly these weights."""
    if not (folder / REPORT_FILE).is_file():
        return ""
    report = plain(read_report(folder))
    if [model["weights"] for model in report["models"]] != [model_digest(folder)]:
        return ""  # the model was trained again
    parts = [
        "## Robustness",
        f"The same {clips_and_speakers(report['clips'], report['speakers'])} of {report['dataset']['name']}, clean "
        "and at the worst level of each condition. Brackets give 95 % intervals.",
        overview(report),
    ]
    if (folder / "figures" / f"{UAR_FIGURE}.png").is_file():
        parts.append(f"![UAR under each condition](figures/{UAR_FIGURE}.png)")
    return "\n\n".join([*parts, PERCEPTION])
