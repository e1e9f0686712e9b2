"""A run's folder: predictions, figures, report.md and results.json."""

import importlib.util
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser import markdown
from hf_ser.arguments import ConfigError
from hf_ser.extras import missing_extra
from hf_ser.model_draft import publish
from hf_ser.reporting.answered_clips import abstention_section
from hf_ser.reporting.run_titles import SYNTHETIC, protocol_title, run_title, with_synthetic
from hf_ser.reporting.selection_report import selection_section
from hf_ser.reporting.split_sections import (
    GROUPINGS,
    SCORES,
    by_corpus_section,
    calibration_section,
    fairness_section,
    group_section,
)
from hf_ser.reporting.vote_report import votes_section
from hf_ser.results_file import RESULTS, bounds, clips_and_speakers, number
from hf_ser.scoring.predictions import Predictions, write_predictions
from hf_ser.scoring.results import write_results, write_text

REPORT, FIGURES = "report.md", "figures"
_MORE = {
    "roc_auc_micro": "ROC AUC, micro",
    "roc_auc_macro": "ROC AUC, macro",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
}


@dataclass(kw_only=True)
class ReportArguments:
    """Arguments of every program that writes a report.

    >>> ReportArguments(figures=False).figures
    False
    """

    figures: bool = field(default=True, metadata={"help": "draw figures for the report; requires matplotlib"})

    def check_figures(self) -> None:
        """Reject figures without matplotlib before anything is computed.

        Raises:
            ConfigError: figures are requested and matplotlib is not installed.
        """
        if self.figures and importlib.util.find_spec("matplotlib") is None:
            raise ConfigError(f"{missing_extra(ModuleNotFoundError(name='matplotlib'))} or pass --figures false.")


@dataclass(frozen=True)
class Explanation:
    """The section of a report on how a model decides.

    Args:
        text: sections in Markdown, with headings of level 2 and below.
        draw: draws figures into a folder, given their title, and returns name -> caption.

    >>> Explanation("## Most important features", draw=lambda folder, title: {}).text
    '## Most important features'
    """

    text: str
    draw: Callable[[Path, str], dict[str, str]]


def write_run(
    folder: Path,
    results: dict[str, Any],
    predictions: Mapping[str, Sequence[Predictions]],
    *,
    history: Sequence[Mapping[str, Any]] = (),
    embeddings: Mapping[str, np.ndarray] | None = None,
    explanation: Explanation | None = None,
    figures: bool = True,
) -> None:
    """Write predictions, figures, report.md and results.json, and then move the run's model into the folder.

    Until then, the folder holds no run that any program could load.

    Args:
        folder: the run's folder.
        results: the content of results.json; `splits` names the predictions files.
        predictions: split -> predictions, one per seed, in the order of the split's files.
        history: the Trainer's log history, for the training curves.
        embeddings: split -> (clips, dim) of its first predictions, for a projection.
        explanation: a section on how the model decides.
        figures: whether to draw figures.

    >>> from hf_ser.scoring import read_predictions, read_results
    >>> results = read_results(Path("runs/audio_cnn"))
    >>> predictions = {split: [read_predictions(Path(f"runs/audio_cnn/predictions_{split}.parquet"))]
    ...                for split in results["splits"]}
    >>> write_run(Path("runs/again"), results, predictions, figures=False)
    >>> sorted(path.name for path in Path("runs/again").iterdir())
    ['predictions_test.parquet', 'predictions_validation.parquet', 'report.md', 'results.json']
    """
    begin_run(folder)
    for split, runs in predictions.items():
        for name, run in zip(results["splits"][split]["predictions"], runs, strict=True):
            write_predictions(folder / name, run)
    drawn = {}
    if figures:
        drawn = draw_figures(
            folder / FIGURES,
            results,
            predictions,
            history=history,
            embeddings=embeddings or {},
            explanation=explanation,
        )
    text = explanation.text if explanation else ""
    finish_run(folder, results, render_report(results, drawn, text))


def begin_run(folder: Path) -> None:
    """Make the folder, without the results and figures of an earlier run: until `finish_run`, it holds no run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULTS).unlink(missing_ok=True)
    shutil.rmtree(folder / FIGURES, ignore_errors=True)


def finish_run(folder: Path, results: dict[str, Any], report: str) -> None:
    """Write report.md and results.json, and then move the run's model into the folder."""
    write_text(folder / REPORT, report)
    write_results(folder, results)
    publish(folder)


def draw_figures(
    folder: Path,
    results: Mapping[str, Any],
    predictions: Mapping[str, Sequence[Predictions]],
    *,
    history: Sequence[Mapping[str, Any]] = (),
    embeddings: Mapping[str, np.ndarray] | None = None,
    explanation: Explanation | None = None,
) -> dict[str, str]:
    """Draw a run's figures.

    Args:
        folder: for the figures.
        results: as in `write_run`, like the arguments below.
        predictions: split -> predictions, one per seed.
        history: the Trainer's log history.
        embeddings: split -> (clips, dim) of its first predictions.
        explanation: its figures are drawn last.

    Returns:
        Name of each figure -> caption.
    """
    from hf_ser.reporting import plots  # here: it brings matplotlib and scikit-learn

    figures: dict[str, str] = {}
    seeds = f", {len(results['seeds'])} seeds" if len(results["seeds"]) > 1 else ""
    title = run_title(results["model_type"], results["dataset"], results["protocol"]) + seeds
    if history:
        plots.plot_training_curves({"": history}, folder / "training_curves", title)
        figures["training_curves"] = "Training and validation loss, and validation scores"
    if results.get("matrix"):
        matrix = results["matrix"]
        plots.plot_matrix(matrix["uar"], matrix["train"], matrix["test"], folder / "matrix", title)
        figures["matrix"] = "UAR of models trained on one corpus (rows) and tested on each (columns)"
    for split, scored in results["splits"].items():
        of_split = title if split == "all" else f"{title}, {split}"
        figures |= _draw_split(folder, split, scored, predictions[split], of_split)
        if embeddings and split in embeddings:
            points, label_ids = plots.project(embeddings[split]), predictions[split][0].label_ids.tolist()
            plots.plot_embeddings(points, label_ids, scored["labels"], folder / f"embeddings_{split}", of_split)
            figures[f"embeddings_{split}"] = f"Projection (t-SNE) of the embeddings ({split})"
    return figures | (explanation.draw(folder, title) if explanation else {})


def _draw_split(
    folder: Path, split: str, scored: Mapping[str, Any], runs: Sequence[Predictions], title: str
) -> dict[str, str]:
    """Draw what `scored` and the predictions of all seeds show; return the captions by figure."""
    from hf_ser.reporting import plots

    labels, confusion = scored["labels"], {"": scored["confusion"]}
    label_ids = np.concatenate([run.label_ids for run in runs])
    probabilities = np.concatenate([run.probabilities for run in runs])
    plots.plot_confusions(confusion, labels, folder / f"confusion_{split}", True, title)
    plots.plot_confusions(confusion, labels, folder / f"confusion_counts_{split}", False, title)
    plots.plot_roc(label_ids, probabilities, labels, folder / f"roc_{split}", title)
    plots.plot_reliability(_reliability_panels(scored["calibration"]), folder / f"reliability_{split}", title)
    return {
        f"confusion_{split}": f"Confusion matrix ({split}), per cent of the true class",
        f"confusion_counts_{split}": f"Confusion matrix ({split}), number of clips",
        f"roc_{split}": f"One-vs-rest ROC curves ({split})",
        f"reliability_{split}": f"Reliability diagram ({split})",
        **_draw_abstention(folder, split, scored, title),
        **plots.draw_votes(folder, split, scored, title),
    }


def _draw_abstention(folder: Path, split: str, scored: Mapping[str, Any], title: str) -> dict[str, str]:
    from hf_ser.reporting import plots

    if not scored.get("abstention"):
        return {}
    plots.plot_risk_coverage(scored["abstention"], folder / f"risk_coverage_{split}", title)
    return {f"risk_coverage_{split}": f"Accuracy on answered clips by coverage ({split})"}


def _reliability_panels(calibration: Mapping[str, Any]) -> dict[str, Any]:
    temperature = calibration["temperature"]
    if temperature is None:
        return {"without calibration": calibration["after"]}
    return {
        "before calibration": calibration["before"],
        f"after calibration, T = {temperature:.2f}": calibration["after"],
    }


def render_report(results: Mapping[str, Any], figures: Mapping[str, str], explanation: str = "") -> str:
    """The report as Markdown; its numbers come from `results`, except those in the explanation."""
    parts = report_opening(results)
    protocol = with_synthetic(protocol_title(results["protocol"]), results["dataset"])
    for split in sorted(results["splits"], key=lambda split: split != "test"):  # the test scores first
        parts += _split_section(split, results["splits"][split], results["seeds"], protocol)
    if results.get("runs"):
        header = ("fold", "name", "seed", "clips", *SCORES.values())
        parts += [f"## Runs ({protocol})", markdown.table(header, _runs(results))]
    if results.get("over_folds"):
        over = results["over_folds"]
        row = [f"{number(over['mean'][key])} ± {number(over['std'][key])}" for key in SCORES]
        parts += ["Mean and standard deviation over these runs:", markdown.table(tuple(SCORES.values()), [row])]
    parts += selection_section((results["training"] or {}).get("selection"))
    if results.get("matrix"):
        parts += _matrix_section(results["matrix"], protocol)
    if explanation:
        parts.append(explanation.strip())
    parts += [*figures_section(figures), versions_section(results)]
    return "\n\n".join(parts) + "\n"


def figures_section(figures: Mapping[str, str]) -> list[str]:
    """Heading and images, from the name and caption of each; empty without figures."""
    images = [f"{caption}:\n\n![{caption}]({FIGURES}/{name}.png)" for name, caption in figures.items()]
    return ["## Figures", *images] if images else []


def report_opening(results: Mapping[str, Any]) -> list[str]:
    """Heading, facts and notes of a report."""
    synthetic = [f"**{SYNTHETIC}**"] if results["dataset"]["synthetic"] else []
    parts = [f"# {results['name']}", *synthetic, markdown.table(("", ""), run_facts(results))]
    return parts + [f"- {note}" for note in results["protocol"]["notes"]]


def versions_section(results: Mapping[str, Any]) -> str:
    """The last section of a report."""
    return "## Versions\n\n" + ", ".join(f"{name} {version}" for name, version in results["versions"].items())


def run_facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows of the table at the top of a report."""
    dataset, protocol = results["dataset"], results["protocol"]
    parameters = results["parameters"]
    facts = [
        ("model", results["model_type"] + (f", {parameters:,} parameters" if parameters else "")),
        (
            "dataset",
            dataset["name"] + (f", configuration {dataset['configuration']}" if dataset["configuration"] else ""),
        ),
    ]
    if dataset["train_clips"]:
        facts.append(("trained on", clips_and_speakers(dataset["train_clips"], dataset["train_speakers"])))
    digest = f", assignment hash {protocol['hash'][:16]}" if protocol["hash"] else ""
    facts.append(("protocol", protocol_title(protocol) + digest))
    if protocol.get("auxiliary_corpora"):
        facts.append(("auxiliary corpora", ", ".join(protocol["auxiliary_corpora"])))
    facts.append(("seeds", ", ".join(map(str, results["seeds"])) or "unknown"))
    kept = {key: value for key, value in results["preprocessing"].items() if value not in (None, False)}
    facts.append(("preprocessing", ", ".join(f"{key} {value}" for key, value in kept.items()) or "none"))
    return facts


def _split_section(split: str, scored: Mapping[str, Any], seeds: Sequence[int], protocol: str) -> list[str]:
    intervals = {interval["method"]: interval for interval in scored["intervals"]}  # one if no speaker is known
    several = scored["std"] is not None
    parts = [f"## Scores on {_named(split, protocol)}", f"{clips_and_speakers(scored['clips'], scored['speakers'])}."]
    if several:
        parts[-1] += f" Mean and standard deviation over {len(seeds)} seeds."
    if scored["left_out"]:
        left = ", ".join(f"{count} {label}" for label, count in scored["left_out"].items())
        parts[-1] += f" Left out because training and test do not share the class: {left}."
    if scored.get("precision"):  # not recorded by earlier versions
        parts[-1] += f" Computed in {scored['precision']}."
    if scored["absent"]:
        parts[-1] += f" Without clips, and not in the averages: {', '.join(scored['absent'])}."
    over_seeds = ("over seeds",) if several else ()
    header = ("score", "value", *over_seeds, *(f"95 % interval, {method}" for method in intervals))
    rows = []
    for key, name in (SCORES | _MORE).items():
        spread = (f"± {number(scored['std'][key])}",) if several else ()
        ends = [bounds(interval.get(key)) for interval in intervals.values()]
        rows.append((name, number(scored["scores"][key]), *spread, *ends))
    chance = scored["chance"]["accuracy_of_the_largest_class"]
    pooled = ["### All clips together"] if scored.get("by_corpus") else []
    parts += [
        *by_corpus_section(scored.get("by_corpus")),
        *pooled,
        markdown.table(header, rows),
        f"Always predicting the largest class has an accuracy of {number(chance)}.",
    ]
    columns = ("precision", "recall", "f1", "roc_auc")
    classes = [
        (label, scores["support"], *(number(scores[column]) for column in columns))
        for label, scores in scored["per_class"].items()
    ]
    parts += ["### By class", markdown.table(("class", "clips", "precision", "recall", "F1", "ROC AUC"), classes)]
    for grouping, title in GROUPINGS.items():
        if grouping in scored["groups"]:
            parts += group_section(title, scored["groups"][grouping])
    parts += fairness_section(scored.get("fairness"))
    parts += [*calibration_section(scored["calibration"]), *abstention_section(scored.get("abstention"))]
    return parts + votes_section(scored.get("votes"))


def _named(split: str, protocol: str) -> str:
    """A split with its protocol; `all`, the clips of recordings or a table, has none."""
    return protocol if split == "all" else f"{split} ({protocol})"


def _runs(results: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (
            run["fold"] or "-",
            run["fold_name"] or "-",
            run["seed"],
            run["clips"],
            *(number(run["test"][key]) for key in SCORES),
        )
        for run in results["runs"]
    ]


def _matrix_section(matrix: Mapping[str, Any], protocol: str) -> list[str]:
    rows = [
        (train, *(f"{number(uar)} ({count} clips, {size} classes)" for uar, count, size in zip(*columns, strict=True)))
        for train, *columns in zip(matrix["train"], matrix["uar"], matrix["clips"], matrix["classes"], strict=True)
    ]
    return [
        f"## UAR across corpora ({protocol})",
        "UAR over the classes that both corpora share. The diagonal is on held-out speakers.",
        markdown.table(("trained on", *matrix["test"]), rows),
    ]


def brackets(interval: Sequence[float | None] | None) -> str:
    """An interval to print after its score; empty if there is none."""
    if interval is None or interval[0] is None:
        return ""
    return f" [{number(interval[0])}, {number(interval[1])}]"


def summary(results: dict[str, Any]) -> str:
    """A few lines for the terminal.

    >>> from hf_ser.scoring import read_results
    >>> print(summary(read_results(Path("runs/audio_cnn"))))
    Synthetic recordings: these scores say nothing about real speech.
    validation (random, synthetic recordings): ... clips of ... speakers, accuracy ..., UAR ... (largest class ...)
    test (random, synthetic recordings): ... clips of ... speakers, accuracy ..., UAR ... (largest class ...)
    """
    if results.get("dimensions"):
        from hf_ser.reporting.dimension_report import dimension_summary  # here: it imports this module

        return dimension_summary(results)
    lines, protocol = [], with_synthetic(protocol_title(results["protocol"]), results["dataset"])
    if results["dataset"]["synthetic"]:
        lines.append(SYNTHETIC)
    for split, scored in results["splits"].items():
        values, interval = scored["scores"], brackets(scored["intervals"][0]["uar"])
        by_corpus = scored.get("by_corpus")
        if by_corpus:
            lines.append(
                f"{_named(split, protocol)}: mean over {len(by_corpus['corpora'])} corpora, UAR "
                f"{number(by_corpus['scores']['uar'])}{brackets(by_corpus['intervals']['uar'])}; all clips together:"
            )
        lines.append(
            f"{_named(split, protocol)}: {clips_and_speakers(scored['clips'], scored['speakers'])}, "
            f"accuracy {values['accuracy']:.3f}, weighted F1 {values['f1_weighted']:.3f}, "
            f"UAR {values['uar']:.3f}{interval} "
            f"(largest class {scored['chance']['accuracy_of_the_largest_class']:.3f})"
        )
    return "\n".join(lines)
