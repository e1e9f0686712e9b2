"""Base models of a hybrid: their locations, their probabilities by clip id, and their training clips."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.utils import cached_file
from transformers.utils.hub import extract_commit_hash

from hf_ser.arguments import ConfigError
from hf_ser.audio import Preprocessing
from hf_ser.data.protocols import Assignment
from hf_ser.data.run_locations import fill_in_location
from hf_ser.data.seen import Marks, Record, find_seen, marks_of_split, some, unchecked
from hf_ser.data.splits import DataArguments, SplitData
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.errors import SerError
from hf_ser.evaluation.clip_sources import clip_columns, predict_split
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.inference import choose_device, label_names, load_classifier
from hf_ser.local_or_hub import id_and_revision, refuse_missing
from hf_ser.remote_code.preprocessing import file_beside, stored_preprocessing
from hf_ser.results_file import model_results
from hf_ser.run_folder import refuse_unfinished
from hf_ser.scoring import Predictions, softmax
from hf_ser.scoring.predictions import PredictionsError, read_table
from hf_ser.scoring.results import only_one

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)
_SEVERITY = ("test", "validation", "train")


class StackError(SerError):
    """A base model cannot be stacked, or clips must not be used to fit or test a hybrid."""


@dataclass(frozen=True)
class BaseModel:
    """A model, or tables of stored probabilities.

    Args:
        name: name used for features and in reports.
        location: folder, Hub id or files, for messages.
        tables: Parquet files with stored predictions.
        splits: clip id -> split in the training of the model; None if unknown.
        hashes: clip id -> SHA-256 of the samples, for clips with a hash in splits.csv.
        model: folder or Hub id of the model, which predicts clips that are not in the tables; None for tables only.
        commit: commit of the model on the Hub; None for folders.
        parameters: number of parameters; None if unknown.
        preprocessing: preprocessing stored in the model's folder; None if it stores none.
        precision: precision of the stored predictions; None if unknown.
    """

    name: str
    location: str
    tables: tuple[Path, ...]
    splits: dict[str, str] | None
    model: str | None = None
    commit: str | None = None
    parameters: int | None = None
    preprocessing: Preprocessing | None = None
    precision: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"base {self.name} ({self.location})"

    @property
    def record(self) -> Record | None:
        """Record of the training clips, to compare other clips with; None if unknown."""
        return None if self.splits is None else Record(self.splits, self.hashes)

    @property
    def splits_hash(self) -> str | None:
        """Hash of the split assignment in training; None if unknown."""
        return None if self.splits is None else Assignment("", None, 0, (0, 0, 0), self.splits).hash

    @property
    def revision(self) -> str:
        """Revision for from_pretrained."""
        return self.commit or "main"

    def steps(self, data: SplitData) -> Preprocessing:
        """Preprocessing of clips for this model: from its folder, or else from the dataset's arguments."""
        return data.args.steps if self.preprocessing is None else self.preprocessing


def open_base_models(args: HybridArguments, data_args: DataArguments) -> list[BaseModel]:
    """Find the base models and the records of their training clips, in the given order, models before tables.

    Raises:
        ConfigError: there is no base model, a name occurs twice, or a placeholder is unknown or has no value.
        StackError: a folder or file does not exist, or a base model has no record of its training clips.
    """
    if not args.bases and not args.predictions:
        raise ConfigError("bases is empty; expected at least one base model (or predictions, for a stack).")
    base_models = [_open_model(*name_and_location(text, data_args)) for text in args.bases]
    files: dict[str, list[str]] = {}
    for text in args.predictions:
        name, location = name_and_location(text, data_args)
        files.setdefault(name, []).append(location)
    base_models += [_open_tables(name, locations) for name, locations in files.items()]
    names = [base_model.name for base_model in base_models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"Several base models have the name {', '.join(twice)}. Name each of them with NAME=FOLDER.")
    unknown = [base_model for base_model in base_models if base_model.splits is None]
    if unknown and not args.trust_bases:
        raise StackError(
            f"{unknown[0]} has no {SPLITS_FILE}, so its training clips are unknown. If you know that it was not "
            "trained on any fitting or test clip, pass --trust_bases true."
        )
    return base_models


def name_and_location(text: str, args: DataArguments) -> tuple[str, str]:
    """Split NAME=LOCATION or LOCATION into name and location.

    The placeholders `{protocol}`, `{protocol_seed}` and `{fold}` of the location are replaced. If it is a folder of
    folds, the fold of the arguments is used. Without NAME, the name is the last part of the location that is not a
    seed or fold.

    Raises:
        ConfigError: a placeholder is unknown, or its argument is not given.
    """
    name, equals, location = text.partition("=")
    location = fill_in_location(location if equals else text, args, "base")
    if not equals:
        parts = Path(id_and_revision(location)[0]).parts
        own = [part for part in parts if not re.match(r"(seed|fold)_", part) and part.strip("/.")]
        name = own[-1] if own else "base"
    return re.sub(r"[^\w.-]+", "_", name), location


def _open_model(name: str, location: str) -> BaseModel:
    model, commit = (location, None) if Path(location).is_dir() else _find_on_hub(name, location)
    revision = commit or "main"
    run = _run_of(model)
    refuse_unfinished(run, f"base {name}:")
    results = model_results(run, revision) or {"kind": None, "splits": {}, "parameters": None}
    if results["kind"] == "cross_validation":
        raise StackError(
            f"base {name}: {location} is a cross-validation; expected one of its runs, such as "
            "seed_{protocol_seed} or seed_{protocol_seed}/fold_{fold} in this folder."
        )
    # The stored predictions of a run are those of its best checkpoint.
    scored = results["splits"].values() if run == model else []
    stored = [file_beside(model, file, revision) for split in scored for file in split["predictions"]]
    splits = file_beside(run, SPLITS_FILE, revision)
    record = Record.read(splits) if splits is not None else None
    return BaseModel(
        name,
        location,
        tuple(path for path in stored if path is not None),
        None if record is None else dict(record.splits),
        model,
        commit,
        results["parameters"],
        stored_preprocessing(model, revision),
        only_one({split.get("precision") for split in scored}),
        hashes={} if record is None else dict(record.hashes),
    )


def _run_of(model: str) -> str:
    """The folder with the record of a model's training clips: for a checkpoint, its run's folder."""
    path = Path(model)
    return str(path.parent) if path.is_dir() and re.fullmatch(r"checkpoint-\d+", path.name) else model


def _find_on_hub(name: str, location: str) -> tuple[str, str]:
    """Find the repository and commit of owner/name or owner/name@revision."""
    repository, revision = id_and_revision(location)
    refuse_missing(repository, f"base {name}:", StackError)
    try:
        commit = extract_commit_hash(cached_file(repository, "config.json", revision=revision), None)
    except OSError as error:
        raise StackError(
            f"base {name}: {location} is not a folder, and cannot be loaded from the Hub "
            f"({' '.join(str(error).split())}); expected the folder of a trained model, or owner/name@revision."
        ) from error
    assert commit is not None  # the path of a downloaded file contains the commit
    return repository, commit


def _open_tables(name: str, locations: Sequence[str]) -> BaseModel:
    """Open tables; their training clips are known if splits.csv is next to them, as the recipes write it."""
    files = tuple(map(Path, locations))
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise StackError(f"base {name}: {missing[0]} is not a file; expected a Parquet file of predictions.")
    beside = sorted({file.parent / SPLITS_FILE for file in files})
    splits: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for path in beside if all(path.is_file() for path in beside) else ():
        record = Record.read(path)
        hashes |= record.hashes
        for clip, split in record.splits.items():
            splits[clip] = max(split, splits.get(clip, "test"), key=_SEVERITY.index)
    return BaseModel(name, ", ".join(locations), files, splits or None, hashes=hashes)


def describe_base_models(base_models: Sequence[BaseModel]) -> list[dict[str, Any]]:
    """Entries of base models in results.json: name, hash of the splits, and the repository of those on the Hub."""
    return [
        {"name": base_model.name, "splits_hash": base_model.splits_hash}
        | ({"repository": base_model.model, "revision": base_model.commit} if base_model.commit else {})
        for base_model in base_models
    ]


def training_notes(base_models: Sequence[BaseModel], data: SplitData, what: str) -> list[str]:
    """Notes on base models whose training clips are unknown, or can be compared by name only.

    Args:
        base_models: base models of the hybrid.
        data: dataset whose validation and test clips are compared.
        what: kind of model that is fitted, for the note.
    """
    unknown = ", ".join(base_model.name for base_model in base_models if base_model.record is None)
    notes = [f"the training clips of {unknown} are unknown; the {what} was fitted with trust_bases"]
    parts = [marks_of_split(data.splits[split]) for split in ("validation", "test") if len(data.splits[split])]
    by_name = [
        note
        for base_model in base_models
        if base_model.record is not None
        for part in parts
        for note in unchecked(base_model.record, part, f"base {base_model.name}")
    ]
    return list(dict.fromkeys(notes * bool(unknown) + by_name))


def check_leaks(base_model: BaseModel, fitted: Marks, tested: Marks, allow_fitted: bool) -> None:
    """Reject clips that the base model was trained or selected on, even under other ids.

    Args:
        base_model: base model of the hybrid.
        fitted: clips that the hybrid is fitted on.
        tested: clips that the hybrid is tested on. The base model's checkpoint and temperature were selected on its
            validation clips, so these are rejected as well.
        allow_fitted: whether the hybrid may be fitted on the base model's training clips.

    Raises:
        StackError: there are such clips; the message has their number and the first of them.
    """
    if base_model.record is None:
        return
    cases = [] if allow_fitted else [("fitting", fitted, "train", "was trained on")]
    cases += [("test", tested, "train", "was trained on"), ("test", tested, "validation", "was selected on")]
    for what, marks, split, did in cases:
        seen = find_seen(base_model.record, marks, split)
        if seen:
            raise StackError(
                f"{base_model} {did} {len(seen)} of the {len(marks.ids)} {what} clips "
                f"({some(seen)}); expected clips that were not used in its training. Pass the protocol, fold and seed "
                "of its training, which are in its results.json."
            )


def probabilities(
    base_model: BaseModel, data: SplitData, split: str, classes: Sequence[int], args: HybridArguments
) -> np.ndarray:
    """Probabilities of a split's clips, from the base model's tables if they are stored, else from its model.

    Args:
        base_model: model or tables with the class names of the dataset, in the same order.
        data: the dataset; its preprocessing applies if the base model's folder stores none.
        split: train, validation or test.
        classes: ids of the classes to keep.
        args: batch_size, device and precision.

    Returns:
        (clips, classes), with rows that sum to 1, in the order of the split.

    Raises:
        StackError: the labels or their order differ, or clips have no stored probabilities and there is no model.
        PredictionsError: rows are not probabilities, or the labels of clips differ from the dataset's.
    """
    part, labels = data.splits[split], data.labels
    clips = clip_columns(part)
    whole = np.full((len(part), len(labels)), np.nan)
    for path in base_model.tables:
        _take_stored(base_model, path, clips, labels, classes, whole)
    missing = np.flatnonzero(np.isnan(whole[:, 0]))
    if len(missing):
        ids = [clips["id"][row] for row in missing]
        if base_model.model is None or file_beside(base_model.model, "config.json", base_model.revision) is None:
            raise StackError(
                f"{base_model} has no probabilities for {len(ids)} of {len(part)} "
                f"clips ({_some(ids)}), and no model to predict them; expected a row for each clip in its tables."
            )
        logger.info("Predicting %d clips without stored probabilities with %s", len(ids), base_model.name)
        whole[missing] = _predict(base_model, data, part.select(missing), args)
    values = Predictions(clips, whole, labels).probabilities[:, list(classes)]
    if len(classes) == len(labels):
        return values
    # In logarithms, because the probabilities of all kept classes may be close to 0.
    return softmax(np.log(np.maximum(values, 1e-300)))


def _take_stored(
    base_model: BaseModel,
    path: Path,
    clips: dict[str, list[Any]],
    labels: Sequence[str],
    classes: Sequence[int],
    into: np.ndarray,
) -> None:
    """Copy a table's rows of these clips into the array (clips, labels); rows of other clips are ignored.

    Tables contain the scored classes. If a folder's table lacks some of `classes`, the model is used instead.
    """
    table, values, names = read_table(path)
    if tuple(label for label in labels if label in names) != names:
        raise StackError(
            f"base {base_model.name} ({path}) has the classes {', '.join(names)}; expected {_order(labels)}."
        )
    lacking = ", ".join(labels[index] for index in classes if labels[index] not in names)
    if lacking:
        if base_model.model is None:
            raise StackError(
                f"base {base_model.name}: {path} has no column for {lacking}; expected a column for every class."
            )
        return
    row_of = {clip: row for row, clip in enumerate(table["id"])}
    if len(row_of) != len(table["id"]):
        raise PredictionsError(
            f"{path} contains {len(table['id']) - len(row_of)} clips twice; expected each clip once."
        )
    columns = [labels.index(name) for name in names]
    for row, clip in enumerate(clips["id"]):
        if clip in row_of:
            stored, label = row_of[clip], labels[clips["label"][row]]
            if "label" in table and table["label"][stored] != label:
                raise PredictionsError(
                    f"{path}: {clip} has the label {table['label'][stored]}; expected {label}, as in the dataset."
                )
            into[row] = 0.0
            into[row, columns] = values[stored]


def _predict(base_model: BaseModel, data: SplitData, part: "datasets.Dataset", args: HybridArguments) -> np.ndarray:
    model, extractor = load_classifier(str(base_model.model), base_model.revision)
    names = label_names(model.config)
    if names != list(data.labels):
        raise StackError(f"{base_model} has the classes {', '.join(names)}; expected {_order(data.labels)}.")
    base_model.steps(data).store(extractor)
    return predict_split(
        model,
        extractor,
        part,
        batch_size=args.batch_size,
        device=choose_device(args.device),
        precision=args.computed_in,
    )


def _order(labels: Sequence[str]) -> str:
    return f"{', '.join(labels)}, in this order"


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
