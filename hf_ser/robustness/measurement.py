"""A robustness report: predict under every condition, resume where a run ended, score, and write."""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import hf_ser
from hf_ser.conditions.condition_list import CONDITIONS, VERSION, Level, check_installed, described_level, level_text
from hf_ser.console import progress_bar
from hf_ser.data.splits import DataArguments
from hf_ser.results_file import clips_and_speakers
from hf_ser.robustness.condition_report import OtherReport, draw_report, render_report
from hf_ser.robustness.condition_scores import describe_change, describe_scores, flips_per_clip, flips_table
from hf_ser.robustness.robustness_arguments import RobustnessArguments
from hf_ser.robustness.stored_conditions import (
    CLEAN,
    FOLDER,
    REPORT_FILE,
    StoredConditions,
    check_folder,
    check_report,
    file_name,
    read_report,
)
from hf_ser.robustness.tested_models import TestedModel, load_tested
from hf_ser.run_folder import held
from hf_ser.scoring.predictions import Predictions, concatenate, count_speakers
from hf_ser.scoring.results import versions, write_json, write_text

SCHEMA_VERSION = 1
REPORT = "robustness.md"
FLIPS = "flips.parquet"


def measure_robustness(args: RobustnessArguments, data_args: DataArguments) -> dict[str, Any]:
    """Score models on the same clips under conditions, and write robustness.json, robustness.md and figures.

    Predictions are stored per condition and level: after an interruption, the same command resumes.

    Args:
        args: models, clips and conditions.
        data_args: the dataset.

    Returns:
        The content of robustness.json.

    Raises:
        ConditionError: a package, an encoder or a level is missing, or a condition silences a clip; before any
            prediction.
        ConfigError, RobustnessError, PredictionsError: see `load_tested`; or the folder has another report.

    >>> args = RobustnessArguments("runs/robustness", ["runs/audio_cnn"], conditions=["hum"], levels=["hum=10,0"],
    ...                            device="cpu", figures=False)
    >>> report = measure_robustness(args, DataArguments("data/emotions", "ravdess"))
    >>> [level["level"] for level in report["conditions"][0]["levels"]]
    ['10', '0']
    """
    output = Path(args.output_dir)
    args.check_models()
    check_installed(args.chosen)
    check_folder(output)
    others = [OtherReport(read_report(Path(folder)), Path(folder)) for folder in args.beside]
    with held(output), tempfile.TemporaryDirectory() as packs:
        tested = load_tested(args, data_args, Path(packs))
        stored = StoredConditions(output, _settings(args, tested), overwrite=args.overwrite)
        predictions = _predict_all(stored, tested, args.chosen)
        report = _describe(args, data_args, tested, predictions)
        check_report(report, str(output / REPORT_FILE))
        _write_flips(output / FLIPS, predictions)
        drawn = draw_report(output / "figures", report, others) if args.figures else {}
        write_text(output / REPORT, render_report(report, drawn, others, output))
        write_json(output / REPORT_FILE, report)
    return report


def _settings(args: RobustnessArguments, tested: Sequence[TestedModel]) -> dict[str, Any]:
    """What stored predictions depend on."""
    return {
        "version": f"{hf_ser.__version__}, conditions {VERSION}",
        "models": [model.described() for model in tested],
        "clips": _hash(model.clips.ids for model in tested),
        "seed": args.seed,
        "precision": tested[0].predictor.precision,
        "room_responses": Path(args.room_responses).name if args.room_responses else None,
    }


def _hash(ids: Iterator[list[str]] | Any) -> str:
    return hashlib.sha256("\n".join(clip for part in ids for clip in part).encode()).hexdigest()


def _predict_all(
    stored: StoredConditions, tested: Sequence[TestedModel], chosen: Mapping[str, Sequence[Level]]
) -> dict[tuple[str, Level | None], Predictions]:
    """Predictions of the clean clips and under every condition, those that are stored included."""
    wanted: list[tuple[str, Level | None]] = [(CLEAN, None)]
    wanted += [(name, level) for name, levels in chosen.items() for level in levels]
    found = {}
    with progress_bar(total=len(wanted), desc="Conditions", unit="conditions") as bar:
        for name, level in wanted:
            made = stored.get(name, level)
            if made is None:
                made = concatenate([_predict(model, name, level) for model in tested])
                stored.put(name, level, made)
                made = stored.get(name, level)  # as a resumed run reads it
                assert made is not None
            found[name, level] = made
            bar.update()
    return found


def _predict(model: TestedModel, name: str, level: Level | None) -> Predictions:
    clips = model.clips.clean() if level is None else model.clips.under(name, level)
    return model.predictor.predict(clips, progress=False)[0]


def _describe(
    args: RobustnessArguments,
    data_args: DataArguments,
    tested: Sequence[TestedModel],
    predictions: Mapping[tuple[str, Level | None], Predictions],
) -> dict[str, Any]:
    clean = predictions[CLEAN, None]
    thresholds = _thresholds(tested, clean)
    changed = {f"{name}_{level_text(level)}": part for (name, level), part in predictions.items() if level is not None}
    first = tested[0]
    dataset = data_args.dataset or args.recordings or args.csv
    notes = list(dict.fromkeys(note for model in tested for note in model.notes))
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "robustness",
        "name": args.name or (first.own["name"] if first.own else first.described()["name"]),
        "models": [model.described() for model in tested],
        "dataset": {
            "name": Path(str(dataset)).name if Path(str(dataset)).exists() else dataset,
            "split": args.split if data_args.dataset else None,
            "synthetic": sorted({corpus for model in tested for corpus in model.synthetic}),
        },
        "quick": args.quick,
        "seed": args.seed,
        "clips": len(clean.clips["id"]),
        "speakers": count_speakers(clean.clips["speaker"]),
        "clips_hash": _hash([list(clean.clips["id"])]),
        "left_out": _left_out(tested, clean),
        "labels": list(clean.labels),
        "precision": first.predictor.precision,
        "notes": notes,
        "versions": versions(),
        "clean": {"predictions": f"{FOLDER}/{file_name(CLEAN, None)}", **describe_scores(clean, thresholds)},
        "conditions": [
            _described_condition(name, levels, predictions, thresholds) for name, levels in args.chosen.items()
        ],
        "flips_per_clip": flips_per_clip(clean, changed),
    }


def _described_condition(
    name: str,
    levels: Sequence[Level],
    predictions: Mapping[tuple[str, Level | None], Predictions],
    thresholds: np.ndarray | None,
) -> dict[str, Any]:
    clean = predictions[CLEAN, None]
    return {
        "name": name,
        "title": CONDITIONS[name].title,
        "unit": CONDITIONS[name].unit,
        "levels": [
            {
                "level": level_text(level),
                "predictions": f"{FOLDER}/{file_name(name, level)}",
                **describe_scores(predictions[name, level], thresholds),
                **describe_change(clean, predictions[name, level]),
            }
            for level in levels
        ],
    }


def _thresholds(tested: Sequence[TestedModel], clean: Predictions) -> np.ndarray | None:
    """The abstention threshold for each clip (clips,); None if a model has none."""
    if any(model.threshold is None for model in tested):
        return None
    of_clip = {clip: model.threshold for model in tested for clip in model.clips.ids}
    return np.asarray([of_clip[clip] for clip in clean.clips["id"]], dtype=float)


def _left_out(tested: Sequence[TestedModel], clean: Predictions) -> dict[str, int]:
    """Clips per class that were not scored, because the models do not have the class."""
    scored = set(clean.clips["id"])
    every = [row for model in tested for row in zip(model.clips.ids, model.clips.columns["label"], strict=True)]
    return dict(sorted(Counter(label for clip, label in every if clip not in scored).items()))


def _write_flips(path: Path, predictions: Mapping[tuple[str, Level | None], Predictions]) -> None:
    changed = {f"{name}_{level_text(level)}": part for (name, level), part in predictions.items() if level is not None}
    partial = path.with_suffix(".part")
    pq.write_table(pa.table(flips_table(predictions[CLEAN, None], changed)), partial)
    os.replace(partial, path)


def summary(report: Mapping[str, Any]) -> str:
    """A few lines for the terminal: the clean score, and the worst level of each condition.

    >>> print(summary({"clips": 2, "speakers": 1, "clean": {"scores": {"uar": 0.5}}, "conditions": []}))
    clean: UAR 0.500 (2 clips of 1 speaker)
    """
    of = clips_and_speakers(report["clips"], report["speakers"])
    lines = [f"clean: UAR {report['clean']['scores']['uar']:.3f} ({of})"]
    for condition in report["conditions"]:
        worst = min(condition["levels"], key=lambda level: level["scores"]["uar"])
        name, level = condition["name"], worst["level"]
        value: Level = level if CONDITIONS[name].bounds is None else float(level)
        lines.append(
            f"{described_level(name, value)}: UAR {worst['scores']['uar']:.3f} "
            f"({worst['degradation']['uar']['difference']:+.3f}), "
            f"{100 * worst['flips']['share']:.0f} % of answers change"
        )
    return "\n".join(lines)
