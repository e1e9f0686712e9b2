"""Scores of a trained audio classifier of any origin, or of a table of predictions."""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from hf_ser.arguments import ConfigError
from hf_ser.data.protocols import SPLITS
from hf_ser.data.seen import Marks
from hf_ser.data.splits import SPLITS_FILE, DataArguments, SplitData, load_splits
from hf_ser.evaluation.clip_predictor import (
    ClipPredictor,
    chosen_precision,
    classes_of_model,
    refuse_seen,
    with_preprocessing,
)
from hf_ser.evaluation.clip_sources import Clips, clips_of_csv, clips_of_folder, clips_of_split, listed_marks
from hf_ser.evaluation.split_scores import fit_calibration
from hf_ser.inference import (
    CheckpointError,
    load_classifier,
    resolve_precision,
)
from hf_ser.labels import EMOTIONS, in_order
from hf_ser.local_or_hub import refuse_missing
from hf_ser.model_draft import new_draft, publish
from hf_ser.remote_code.preprocessing import file_beside
from hf_ser.reporting.run_report import ReportArguments, write_run
from hf_ser.results_file import RESULTS, model_results
from hf_ser.run_folder import held, is_finished
from hf_ser.scoring.abstention import (
    AbstentionArguments,
    describe_abstention,
    store_threshold,
    stored_threshold,
)
from hf_ser.scoring.calibration import store_temperature, stored_temperature
from hf_ser.scoring.predictions import LANGUAGE, Predictions, read_predictions, read_table
from hf_ser.scoring.results import (
    SCHEMA_VERSION,
    describe_dataset,
    describe_protocol,
    score_split,
    versions,
)

logger = logging.getLogger(__name__)
PREDICTIONS = "predictions.parquet"
MODEL = "model"  # subfolder of output_dir for the calibrated model
_FOR_MODELS = ("calibrate", "embeddings", "label_mapping")


@dataclass
class EvaluateArguments(AbstentionArguments, ReportArguments):
    """The model or predictions to score, and the clips.

    >>> EvaluateArguments("runs/scored", model="runs/audio_cnn", figures=False).split
    'test'
    """

    output_dir: str = field(metadata={"help": "folder for predictions, results, report and figures"})
    model: str | None = field(default=None, metadata={"help": "model folder or Hub id of an audio classifier"})
    revision: str = field(default="main", metadata={"help": "revision of the model on the Hub"})
    label_mapping: dict | str | None = field(
        default=None, metadata={"help": "maps the model's labels to classes of the dataset or null; YAML only"}
    )
    predictions: str | None = field(
        default=None, metadata={"help": "score this table of predictions (Parquet) instead of a model"}
    )
    split: str = field(default="test", metadata={"help": "split of the dataset to score"})
    recordings: str | None = field(
        default=None, metadata={"help": "score a folder of recordings that are named as in one of the corpora"}
    )
    csv: str | None = field(
        default=None,
        metadata={"help": "score the recordings in a CSV file with the columns path and label, and optional metadata"},
    )
    batch_size: int = field(default=8, metadata={"help": "clips per forward pass"})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; default: a GPU if available"})
    precision: str = field(
        default="auto",
        metadata={"help": "bf16, fp16 or fp32; auto: bf16 if the hardware supports it, else fp16 on CUDA, else fp32"},
    )
    calibrate: bool = field(
        default=False,
        metadata={
            "help": "fit temperature and abstention threshold on validation; the calibrated model is written to "
            "output_dir/model"
        },
    )
    embeddings: bool = field(default=False, metadata={"help": "draw a projection of the embeddings"})
    allow_seen: bool = field(default=False, metadata={"help": "also score clips that the model was trained on"})
    name: str | None = field(default=None, metadata={"help": "name in reports; default: that of the model"})
    overwrite: bool = field(default=False, metadata={"help": "replace an earlier run in output_dir"})

    def __post_init__(self) -> None:
        self.check_figures()
        self.check_abstention()
        if self.split not in SPLITS:
            raise ConfigError(f"split is {self.split!r}; expected one of {', '.join(SPLITS)}.")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; expected at least 1.")
        if isinstance(self.label_mapping, str):
            raise ConfigError("label_mapping is a string; expected a mapping of labels to classes, in the YAML file.")
        if self.recordings is not None and self.csv is not None:
            raise ConfigError("got both recordings and csv; pass one of them.")
        if self.calibrate and self.label_mapping is not None:
            raise ConfigError("calibrate does not support label_mapping; leave one out.")
        if self.predictions is not None:
            self._refuse(_FOR_MODELS, "predictions")
        resolve_precision(self.precision, self.device)  # raises if it is not available
        output = Path(self.output_dir)
        if self.model is not None and output.exists() and Path(self.model).exists() and output.samefile(self.model):
            raise ConfigError(f"--output_dir {output} is the folder of the model; choose another.")

    def refuse_model_options(self) -> None:
        """Reject options for a trained model or a table; cross-validation calls this."""
        self._refuse(("model", "predictions", "recordings", "csv", "name", "allow_seen", *_FOR_MODELS), "model_recipe")
        if self.precision != "auto":
            said = f"precision={self.precision}"
            raise ConfigError(f"got precision together with model_recipe; use --recipe_overrides {said} instead.")
        if self.split != "test":
            raise ConfigError(
                "got split together with model_recipe, which scores the test split of every fold; leave split out."
            )

    def _refuse(self, names: tuple[str, ...], beside: str) -> None:
        for name in names:
            if getattr(self, name):
                raise ConfigError(f"got {name} together with {beside}; leave one out.")


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
            table = read_predictions(Path(args.predictions), clips.columns if clips is not None else None)
            outcome = _Outcome(table, {}, "predictions of unknown origin", None, None)
            return _write(args, data_args, data, clips, None, outcome)
        assert args.model is not None
        model, extractor = load_classifier(args.model, args.revision)
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
            ),
        )
        return _write(args, data_args, data, clips, own, scorer.score(clips))


@dataclass
class _Outcome:
    predictions: Predictions
    left_out: dict[str, int]
    model_type: str
    parameters: int | None
    temperature: float | None
    abstention: dict[str, Any] | None = None
    precision: str | None = None
    embeddings: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


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
    if args.calibrate:
        raise ConfigError(
            f"calibrate needs the validation split of a dataset and does not support {beside}; leave one out."
        )
    if args.model is not None:
        refuse_missing(args.model, "--model", CheckpointError)
    marks = listed_marks(args.csv, args.recordings, data_args.channel, _known_classes(args))
    if args.model is not None and not args.allow_seen:
        _refuse_seen(args, marks)  # by name; the samples are compared once they are decoded


def _known_classes(args: EvaluateArguments) -> tuple[str, ...]:
    """The classes that clips may have without a dataset: those of the model or table, and the default label set."""
    if args.predictions is not None:
        own: Sequence[str | None] = read_table(Path(args.predictions))[2]
    elif isinstance(args.label_mapping, dict):
        own = list(args.label_mapping.values())
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
    data = load_splits(data_args, needed=(args.split, "validation") if args.calibrate else (args.split,))
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
        )

    def _abstention(self, predictions: Predictions) -> dict[str, Any] | None:
        """Coverage and accuracy at the threshold of the model; None if it has none.

        The pipeline compares the top probability of the model's own labels, so mapped labels are not described.
        """
        threshold = stored_threshold(self.model.config)
        if self.args.label_mapping is not None or (threshold is None and not self.args.calibrate):
            return None
        return describe_abstention(
            [predictions], [threshold], self.args.abstention_rule if self.args.calibrate else None
        )

    def _calibrate(self) -> tuple[float, list[str]]:
        """Fit temperature and threshold on validation; write the calibrated model, its splits.csv and results.json.

        Returns:
            The temperature, and notes on the validation clips.
        """
        assert self.predictor.data is not None  # _source rejects calibrate without a dataset
        validation = clips_of_split(self.predictor.data.splits["validation"])
        notes = _refuse_seen(self.args, validation.marks, "the {} calibration clips")
        fitted, _ = self.predictor.predict(validation)
        factor, threshold = fit_calibration(fitted.probabilities, fitted.label_ids, self.args.abstention_rule)
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
    known = ("train_clips", "train_speakers", "train_classes")
    results = {
        "schema_version": SCHEMA_VERSION,
        "kind": "evaluation",
        "name": args.name or (own["name"] if own else Path(str(args.model or args.predictions)).name),
        "model_type": outcome.model_type,
        "parameters": outcome.parameters,
        "dataset": dataset | {key: own["dataset"][key] if own else None for key in known},
        "protocol": protocol,
        "preprocessing": (data.args if data is not None else data_args).preprocessing,
        "label_mapping": args.label_mapping,
        "training": own["training"] if own else None,
        "seeds": own["seeds"] if own else [],
        "versions": versions(),
        "splits": {
            split: score_split(
                outcome.predictions,
                files=[PREDICTIONS],
                temperature=outcome.temperature,
                left_out=outcome.left_out,
                precision=outcome.precision,
                abstention=outcome.abstention,
            )
        },
    }
    output = Path(args.output_dir)
    if not args.calibrate:
        shutil.rmtree(output / MODEL, ignore_errors=True)  # left by an earlier run
    embeddings = {} if outcome.embeddings is None else {split: outcome.embeddings}
    write_run(output, results, {split: [outcome.predictions]}, embeddings=embeddings, figures=args.figures)
    return results
