"""The files of a search: trials.csv, report.md with a table and a figure, and best.yaml."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hf_ser import markdown
from hf_ser.data.splits import SplitData
from hf_ser.reporting.run_report import REPORT
from hf_ser.reporting.run_titles import run_title
from hf_ser.results_file import clips_and_speakers
from hf_ser.scoring.predictions import count_speakers
from hf_ser.scoring.results import describe_dataset, describe_protocol, versions, write_text
from hf_ser.search.search_space import Space, with_values
from hf_ser.training.training_arguments import SerTrainingArguments

BEST, TRIALS, FIGURE = "best.yaml", "trials.csv", "trials"
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def write_search(
    folder: Path,
    study: Any,
    space: Space,
    settings: Mapping[str, Any],
    args: SerTrainingArguments,
    data: SplitData,
    n_trials: int,
) -> str:
    """Write the table, the figure, the report and, if a trial is complete, best.yaml.

    Args:
        folder: the search's folder.
        study: the Optuna study.
        space: the search space.
        settings: fixed settings of all trials.
        args: training arguments of all trials.
        data: training and validation clips.
        n_trials: requested number of trials.

    Returns:
        The table as text, best trial first, with the protocol, failed trials, and the number of remaining trials.
    """
    trials = [_describe(trial) for trial in study.trials if trial.state.name in _STATES]
    names = [dimension.name for dimension in space]
    write_text(folder / TRIALS, _csv(trials, names))
    metric = str(args.metric_for_best_model)
    greater = bool(args.greater_is_better)
    if args.figures:
        title = f"{run_title(_model(settings), describe_dataset(data), describe_protocol(data))}, validation"
        _draw(folder / "figures", trials, space, title, metric, greater)
    ranked = _ranked(trials, greater)
    table = "\n\n".join([_table(ranked, names, metric), *_remarks(trials, n_trials)])
    facts = _facts(trials, settings, args, data, n_trials)
    write_text(folder / REPORT, _report(table, facts, data, args))
    scored = f"Scores on validation, protocol {data.protocol}"
    scored += ", of synthetic recordings: they say nothing about real speech." if data.synthetic else "."
    if ranked and ranked[0]["state"] == "complete":
        best = with_values(settings, ranked[0]["params"]) | {"output_dir": str(folder / "best")}
        number, value = ranked[0]["number"], ranked[0]["value"]
        head = f"# Trial {number} of the search in {folder}: {metric} {value:.4f} on validation"
        head += f", protocol {data.protocol}.\n"
        write_text(folder / BEST, head + yaml.safe_dump(best, sort_keys=False, allow_unicode=True))
    return f"{scored}\n\n{table}"


def _draw(
    figures: Path, trials: Sequence[dict[str, Any]], space: Space, title: str, metric: str, greater_is_better: bool
) -> None:
    """Draw the trials, then replace the earlier figure."""
    from hf_ser.reporting.plots import plot_trials

    plot_trials(
        trials,
        {dimension.name: dimension.choices for dimension in space},
        figures / f"{FIGURE}.part",
        title,
        logarithmic=[dimension.name for dimension in space if dimension.log],
        score=metric,
        greater_is_better=greater_is_better,
    )
    for suffix in ("png", "svg"):
        os.replace(figures / f"{FIGURE}.part.{suffix}", figures / f"{FIGURE}.{suffix}")


def _counted(split: Any) -> str:
    return clips_and_speakers(len(split), count_speakers(split["speaker"]))


def _model(settings: Mapping[str, Any]) -> str:
    return str(settings.get("model_name_or_path") or settings["model_config"].get("model_type"))


def _describe(trial: Any) -> dict[str, Any]:
    state = _STATES[trial.state.name]
    failure = trial.user_attrs.get("failure")
    if state == "failed":
        state = f"failed: {failure}" if failure else "interrupted"
    # A killed process has no end time.
    timed = state != "interrupted" and trial.duration is not None
    return {
        "number": trial.number,
        "state": state,
        "value": trial.value,
        "params": trial.params,
        "seconds": round(trial.duration.total_seconds(), 1) if timed else None,
    }


def _ranked(trials: Sequence[Mapping[str, Any]], greater_is_better: bool) -> list[Mapping[str, Any]]:
    """Sort complete trials by value, then pruned trials by value, then the others by number."""

    def key(trial: Mapping[str, Any]) -> tuple[int, float]:
        order = {"complete": 0, "pruned": 1}.get(trial["state"], 2)
        value = 0.0 if trial["value"] is None else trial["value"]
        return order, -value if greater_is_better else value

    return sorted(trials, key=key)


def _csv(trials: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "value", *names, "seconds"])
    for trial in trials:
        values = [trial["params"].get(name, "") for name in names]
        writer.writerow([trial["number"], trial["state"], trial["value"], *values, trial["seconds"]])
    return text.getvalue()


def _table(trials: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str) -> str:
    rows = [
        (
            trial["number"],
            trial["state"].partition(":")[0],
            "-" if trial["value"] is None else f"{trial['value']:.4f}",
            *(_shown(trial["params"].get(name, "-")) for name in names),
            "-" if trial["seconds"] is None else f"{trial['seconds']:.0f}",
        )
        for trial in trials
    ]
    return markdown.table(("trial", "state", metric, *names, "seconds"), rows)


def _remarks(trials: Sequence[Mapping[str, Any]], n_trials: int) -> list[str]:
    """Why trials failed, and how many remain."""
    failed = [trial for trial in trials if trial["state"].startswith("failed")]
    remarks = ["\n".join(f"- Trial {trial['number']} {trial['state']}" for trial in failed)] if failed else []
    left = n_trials - sum(trial["state"] in ("complete", "pruned") for trial in trials)
    if left > 0:
        remarks.append(f"{left} of {n_trials} trials are left; the same command continues with them.")
    return remarks


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _facts(
    trials: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    args: SerTrainingArguments,
    data: SplitData,
    n_trials: int,
) -> list[tuple[str, str]]:
    dataset, protocol, validation = describe_dataset(data), describe_protocol(data), data.splits["validation"]
    states = [trial["state"].partition(":")[0] for trial in trials]
    counted = [f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed", "interrupted")]
    better = "larger" if args.greater_is_better else "smaller"
    fold = f", fold {protocol['fold']}" if protocol["fold"] else ""
    return [
        ("model", _model(settings)),
        ("dataset", f"{dataset['name']}, configuration {dataset['configuration']}"),
        ("protocol", f"{protocol['name']}{fold}, assignment hash {protocol['hash'][:16]}"),
        ("trained on", _counted(data.splits["train"])),
        ("validated on", _counted(validation)),
        (
            "value",
            f"{args.metric_for_best_model} on validation ({better} is better), the best of a trial's evaluations",
        ),
        ("trials", f"{', '.join(text for text in counted if text[0] != '0')} ({n_trials} requested)"),
    ]


def _report(table: str, facts: Sequence[tuple[str, str]], data: SplitData, args: SerTrainingArguments) -> str:
    import optuna

    synthetic = ["**Synthetic recordings: these scores say nothing about real speech.**"] if data.synthetic else []
    used = versions() | {"optuna": optuna.__version__}
    figure = f"Value of each trial, and against each parameter:\n\n![Trials](figures/{FIGURE}.png)"
    parts = [
        "# Hyperparameter search",
        *synthetic,
        markdown.table(("", ""), facts),
        "Trials are compared on validation; the test split was not read. The best "
        f"{args.metric_for_best_model} of many trials is an optimistic estimate for other clips.",
        "## Trials",
        table,
        *(["## Figures", figure] if args.figures else []),
        "## Versions\n\n" + ", ".join(f"{name} {version}" for name, version in used.items()),
    ]
    return "\n\n".join(parts) + "\n"
