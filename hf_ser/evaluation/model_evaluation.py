"""Scores of a trained audio classifier of any origin, or of a table of predictions."""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from hf_ser.arguments import ConfigError
from hf_ser.data.seen import Marks
from hf_ser.data.splits import DataArguments, SplitData, load_splits
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.evaluation.clip_predictor import (
    ClipPredictor,
    chosen_precision,
    classes_of_model,
    refuse_seen,
    with_preprocessing,
)
from hf_ser.evaluation.clip_sources import Clips, clips_of_csv, clips_of_folder, clips_of_split, listed_marks
from hf_ser.evaluation.dimension_predictions import check_dimension_source, compare_with_values
from hf_ser.evaluation.evaluate_arguments import EvaluateArguments
from hf_ser.evaluation.mapped_dimensions import FIT, chosen_map, fit_map
from hf_ser.evaluation.mapped_table import read_mapped
from hf_ser.evaluation.split_scores import fit_calibration
from hf_ser.inference import (
    CheckpointError,
    label_names,
    load_classifier,
)
from hf_ser.labels import EMOTIONS, in_order, merge_calm
from hf_ser.local_or_hub import refuse_missing
from hf_ser.model_draft import new_draft, publish
from hf_ser.remote_code.dimensions import is_dimensional
from hf_ser.remote_code.preprocessing import file_beside
from hf_ser.reporting.dimension_report import write_dimension_run
from hf_ser.reporting.run_report import write_run
from hf_ser.results_file import RESULTS, model_results
from hf_ser.run_folder import held, is_finished
from hf_ser.scoring.abstention import AbstentionRule, describe_abstention, store_threshold, stored_threshold
from hf_ser.scoring.calibration import store_temperature, stored_temperature
from hf_ser.scoring.dimension_map import DimensionMap, read_dimension_map
from hf_ser.scoring.dimension_scores import score_dimensions
from hf_ser.scoring.predictions import LANGUAGE, Predictions, read_table
from hf_ser.scoring.results import (
    SCHEMA_VERSION,
    describe_dataset,
    describe_protocol,
    score_split,
    versions,
)
from hf_ser.scoring.transductive import normalize_by_speaker, transductive_protocol

logger = logging.getLogger(__name__)
PREDICTIONS = "predictions.parquet"
MODEL = "model"  # subfolder of output_dir for the calibrated model


def evaluate(args: EvaluateArguments, data_args: DataArguments) -> dict[str, Any]:
    """Predict, score, and write predictions.parquet, results.json, report.md and figures.

    Returns:
        The content of results.json.

    Raises:
        ConfigError: invalid combination of arguments.
        PredictionsError: predictions that do not match the clips, or clips that the model was trained on.
        CheckpointError, DatasetError, SourceError: the model, dataset or recordings cannot be loaded.

    >>> args = EvaluateArguments("runs/scored", model="runs/audio_cnn", device="cpu", figures=False)
    >>> results = evaluate(args, DataArguments("data/emotions", "ravdess", protocol="random"))
    >>> results["kind"], results["splits"]["test"]["clips"] > 0
    ('evaluation', True)
    """
    if (args.model is None) == (args.predictions is None):
        raise ConfigError("expected either model or predictions (or model_recipe, to train and score every fold).")
    output = Path(args.output_dir)
    if is_finished(output) and not args.overwrite:
        raise ConfigError(f"--output_dir {output} holds a finished run; pass --overwrite true to replace it.")
    _check_source(args, data_args)
    with held(output), tempfile.TemporaryDirectory() as packs:
        if args.predictions is not None:
            data, clips = _source(args, data_args, packs)
            columns = clips.columns if clips is not None else None
            classes = data.labels if data is not None else _known_classes(args)
            mapping: Any = args.label_mapping
            table, left_out = read_mapped(Path(args.predictions), columns, mapping, classes)
            outcome = _Outcome(table, left_out, "predictions of unknown origin", None, None)
            return _write(args, data_args, data, clips, None, _normalized(args, outcome))
        assert args.model is not None
        model, extractor = load_classifier(args.model, args.revision, dimensions=True)
        scored_map = _given_map(args, data_args, model)
        own = model_results(args.model, args.revision)
        data_args = with_preprocessing(data_args, model, extractor)
        data, clips = _source(args, data_args, packs)
        assert clips is not None  # _check_source rejects a model without a source
        scorer = _Scorer(
            args,
            ClipPredictor(
                model,
                extractor,
                data.labels if data is not None else _known_classes(args),
                data_args,
                data,
                own,
                args.split,
                args.label_mapping,  # type: ignore[arg-type]
                args.batch_size,
                args.device,
                chosen_precision(model, args.precision, args.device),
                scored_map,
            ),
        )
        if is_dimensional(model.config) and args.dimension_map is None:
            return _score_dimensions(scorer, clips)
        return _write(args, data_args, data, clips, own, _normalized(args, scorer.score(clips)))


@dataclass
class _Outcome:
    predictions: Any  # probabilities, or values of dimensions
    left_out: dict[str, int]
    model_type: str
    parameters: int | None
    temperature: float | None
    abstention: dict[str, Any] | None = None
    precision: str | None = None
    embeddings: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    dimension_map: DimensionMap | None = None


def _given_map(args: EvaluateArguments, data_args: DataArguments, model: PreTrainedModel) -> DimensionMap | None:
    """The map of `dimension_map`; None without one, and for one that is fitted later."""
    names = label_names(model.config)
    if args.dimension_map is None:
        if is_dimensional(model.config):
            check_dimension_source(args, data_args, names)
        return None
    if not is_dimensional(model.config):
        raise ConfigError(
            f"dimension_map is given, but {args.model} is a classifier of {', '.join(names)}. Remove it."
        )
    return None if args.dimension_map == FIT else chosen_map(args.dimension_map, names)


def _normalized(args: EvaluateArguments, outcome: _Outcome) -> _Outcome:
    """Normalise by test speaker, if requested; temperature and threshold belong to other probabilities."""
    if not args.transductive_speaker_normalization:
        return outcome
    predictions = normalize_by_speaker(outcome.predictions)
    return replace(outcome, predictions=predictions, temperature=None, abstention=None)


def _check_source(args: EvaluateArguments, data_args: DataArguments) -> None:
    """Check, before anything is loaded, that exactly one source of clips is given and its listing can be scored."""
    data_args.refuse_streaming("the evaluation")
    beside = "recordings" if args.recordings else "csv" if args.csv else None
    if beside is None:
        if args.model is not None and data_args.dataset is None:
            raise ConfigError("got a model without clips; pass dataset, recordings or csv.")
        return
    for name, given in (("dataset", data_args.dataset), ("protocol", data_args.protocol)):
        if given is not None:
            raise ConfigError(f"got {name} together with {beside}; leave one out.")
    fits = "calibrate" if args.calibrate else "dimension_map fit" if args.dimension_map == FIT else None
    if fits is not None:
        raise ConfigError(
            f"{fits} needs the validation split of a dataset and does not support {beside}; leave one out."
        )
    if args.model is not None:
        refuse_missing(args.model, "--model", CheckpointError)
    marks = listed_marks(args.csv, args.recordings, data_args.channel, _known_classes(args))
    if args.model is not None and not args.allow_seen:
        _refuse_seen(args, marks)  # by name; the samples are compared once they are decoded


def _known_classes(args: EvaluateArguments) -> tuple[str, ...]:
    """The classes that clips may have without a dataset: those of the model or table, and the default label set."""
    if isinstance(args.label_mapping, dict):
        own: Sequence[str | None] = list(args.label_mapping.values())
    elif args.dimension_map is not None:
        own = read_dimension_map(Path(args.dimension_map)).labels
    elif args.predictions is not None:
        own = read_table(Path(args.predictions))[2]
    else:
        own = classes_of_model(str(args.model), args.revision)
    return in_order([*(str(label) for label in own if label is not None), *EMOTIONS])


def _source(args: EvaluateArguments, data_args: DataArguments, packs: str) -> tuple[SplitData | None, Clips | None]:
    if args.csv is not None:
        return None, clips_of_csv(Path(args.csv), data_args, _known_classes(args))
    if args.recordings is not None:
        return None, clips_of_folder(Path(args.recordings), data_args, Path(packs))
    if data_args.dataset is None:
        return None, None
    fits = args.calibrate or args.dimension_map == FIT
    data = load_splits(data_args, needed=(args.split, "validation") if fits else (args.split,))
    return data, clips_of_split(data.splits[args.split])


def _refuse_seen(args: EvaluateArguments, marks: Marks, which: str = "these {} clips") -> list[str]:
    """Reject clips that the model was trained on, by id and by content; return notes on the check."""
    listed = args.recordings is not None or args.csv is not None
    remedy = "Remove these clips" if listed else "Pass the protocol, fold and seed of its results.json"
    return refuse_seen(str(args.model), args.revision, marks, allow=args.allow_seen, which=which, remedy=remedy)


@dataclass
class _Scorer:
    """A loaded model with the settings that its predictions are scored by."""

    args: EvaluateArguments
    predictor: ClipPredictor
    rule: AbstentionRule | None = None  # set by the calibration

    @property
    def model(self) -> PreTrainedModel:
        return self.predictor.model

    def score(self, clips: Clips) -> _Outcome:
        """Calibrate if requested, and predict."""
        notes = _refuse_seen(self.args, clips.marks)
        temperature = stored_temperature(self.model.config)
        if self.args.calibrate:
            factor, more = self._calibrate()
            temperature *= factor
            notes += [note for note in more if note not in notes]
        if self.args.dimension_map == FIT:
            notes += [note for note in self._fit_map() if note not in notes]
        calibrated = self.args.calibrate or getattr(self.model.config, "calibration_temperature", None) is not None
        embeddings: list[np.ndarray] | None = [] if self.args.embeddings else None
        predictions, left_out = self.predictor.predict(clips, embeddings)
        kept = set(predictions.clips["id"])
        rows = [row for row, clip in enumerate(clips.columns["id"]) if clip in kept]
        return _Outcome(
            predictions,
            left_out,
            str(self.model.config.model_type),
            sum(parameter.numel() for parameter in self.model.parameters()),
            temperature if calibrated else None,
            self._abstention(predictions),
            self.predictor.precision,
            None if embeddings is None else np.stack(embeddings)[rows],
            notes,
            self.predictor.dimension_map,
        )

    def _fit_map(self) -> list[str]:
        """Fit the map on validation; return notes on the validation clips."""
        predictor = self.predictor
        assert predictor.data is not None  # _check_source rejects a map to fit without a dataset
        validation = clips_of_split(predictor.data.splits["validation"])
        notes = _refuse_seen(self.args, validation.marks, "the {} calibration clips")
        rows, values = predictor.values(validation)
        labels = validation.columns["label"]
        labels = [merge_calm(label) for label in labels] if predictor.data_args.merge_calm else labels
        names = label_names(self.model.config)
        predictor.dimension_map = fit_map(values[np.argsort(rows)], labels, names, Path(self.args.output_dir))
        return notes

    def _abstention(self, predictions: Predictions) -> dict[str, Any] | None:
        """Coverage and accuracy at the threshold of the model; None if it has none.

        The pipeline compares the top probability of the model's own labels, so mapped labels are not described.
        """
        threshold = stored_threshold(self.model.config)
        if self.args.label_mapping is not None or (threshold is None and not self.args.calibrate):
            return None
        return describe_abstention([predictions], [threshold], self.rule)

    def _calibrate(self) -> tuple[float, list[str]]:
        """Fit temperature and threshold on validation; write the calibrated model, its splits.csv and results.json.

        Returns:
            The temperature, and notes on the validation clips.
        """
        assert self.predictor.data is not None  # _source rejects calibrate without a dataset
        validation = clips_of_split(self.predictor.data.splits["validation"])
        notes = _refuse_seen(self.args, validation.marks, "the {} calibration clips")
        fitted, _ = self.predictor.predict(validation)
        corpora = fitted.clips["corpus"]
        factor, threshold, self.rule = fit_calibration(
            fitted.probabilities, fitted.label_ids, corpora, self.args.abstention_rule
        )
        store_temperature(self.model, factor)
        store_threshold(self.model, threshold)
        folder = Path(self.args.output_dir) / MODEL
        shutil.rmtree(folder, ignore_errors=True)
        draft = new_draft(folder)
        self.model.cpu().save_pretrained(draft)
        self.predictor.extractor.save_pretrained(draft)
        for name in (SPLITS_FILE, RESULTS):
            path = file_beside(str(self.args.model), name, self.args.revision)
            if path is not None:
                shutil.copyfile(path, draft / name)
        publish(folder)
        return factor, notes


def _write(
    args: EvaluateArguments,
    data_args: DataArguments,
    data: SplitData | None,
    clips: Clips | None,
    own: dict[str, Any] | None,
    outcome: _Outcome,
) -> dict[str, Any]:
    split = args.split if data is not None else "all"
    scores = score_split(
        outcome.predictions,
        files=[PREDICTIONS],
        temperature=outcome.temperature,
        left_out=outcome.left_out,
        precision=outcome.precision,
        abstention=outcome.abstention,
    )
    results = _head(args, data_args, data, clips, own, outcome) | {"splits": {split: scores}}
    output = Path(args.output_dir)
    if not args.calibrate:
        shutil.rmtree(output / MODEL, ignore_errors=True)  # left by an earlier run
    embeddings = {} if outcome.embeddings is None else {split: outcome.embeddings}
    write_run(output, results, {split: [outcome.predictions]}, embeddings=embeddings, figures=args.figures)
    return results


def _score_dimensions(scorer: _Scorer, clips: Clips) -> dict[str, Any]:
    """Score values of dimensions against those of a prepared dataset, and write the folder -> results.json."""
    args, predictor, model = scorer.args, scorer.predictor, scorer.model
    data, precision = predictor.data, predictor.precision
    assert data is not None  # check_dimension_source rejects other sources
    notes = _refuse_seen(args, clips.marks)
    rows, values = predictor.values(clips)
    part, names = data.splits[args.split], label_names(model.config)
    table, missing = compare_with_values(part, names, values[np.argsort(rows)])
    parameters = sum(parameter.numel() for parameter in model.parameters())
    outcome = _Outcome(table, {}, str(model.config.model_type), parameters, None, precision=precision)
    outcome.notes = [*notes, *([f"{missing} clips without values were left out"] if missing else [])]
    scores = score_dimensions(table, files=[PREDICTIONS], precision=precision)
    own: Any = predictor.own
    results = _head(args, predictor.data_args, data, clips, own, outcome)
    results |= {"splits": {}, "dimensions": {args.split: scores}}
    write_dimension_run(Path(args.output_dir), results, {args.split: [table]}, figures=args.figures)
    return results


def _head(
    args: EvaluateArguments,
    data_args: DataArguments,
    data: SplitData | None,
    clips: Clips | None,
    own: dict[str, Any] | None,
    outcome: _Outcome,
) -> dict[str, Any]:
    """The fields of results.json beside the scores."""
    source = Path(str(args.recordings or args.csv or args.predictions))
    notes: list[str] = []
    if data is not None:
        dataset, protocol = describe_dataset(data), describe_protocol(data)
    else:
        synthetic = list(clips.synthetic) if clips else []
        languages = sorted({language for language in outcome.predictions.clips.get(LANGUAGE, ()) if language})
        dataset = {"name": source.name, "configuration": None, "synthetic": synthetic, "languages": languages}
        protocol = {"name": "all_clips", "fold": None, "folds": None, "seed": None, "hash": None, "notes": notes}
        notes += clips.notes if clips else ()
    protocol["notes"] += outcome.notes
    if args.transductive_speaker_normalization:
        protocol = transductive_protocol(protocol)
    known = ("train_clips", "train_speakers", "train_classes")
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "evaluation",
        "name": args.name or (own["name"] if own else Path(str(args.model or args.predictions)).name),
        "model_type": outcome.model_type,
        "parameters": outcome.parameters,
        "dataset": dataset | {key: own["dataset"][key] if own else None for key in known},
        "protocol": protocol,
        "preprocessing": (data.args if data is not None else data_args).preprocessing,
        "label_mapping": args.label_mapping,
        **({} if outcome.dimension_map is None else {"dimension_map": outcome.dimension_map.describe()}),
        "training": own["training"] if own else None,
        "seeds": own["seeds"] if own else [],
        "versions": versions(),
    }
