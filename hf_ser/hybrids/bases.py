"""The models that a stack is made of: their probabilities by clip id, and which clips they were taught."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import cached_file
from transformers.utils.hub import extract_commit_hash

from hf_ser.arguments import ConfigError
from hf_ser.audio import Preprocessing
from hf_ser.data.protocols import Assignment
from hf_ser.data.seen import Marks, Record, find_seen, marks_of_split, some, unchecked
from hf_ser.data.splits import SPLITS_FILE, DataArguments, SplitData
from hf_ser.errors import SerError
from hf_ser.evaluation import predict_logits
from hf_ser.evaluation.clip_sources import clip_columns, clips_of_split
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.hybrids.places import name_and_place
from hf_ser.inference import choose_device, label_names, load_classifier
from hf_ser.local_or_hub import refuse_missing
from hf_ser.models.preprocessing import file_beside, stored_preprocessing
from hf_ser.results_file import model_results
from hf_ser.scoring import Predictions, softmax
from hf_ser.scoring.predictions import PredictionsError, read_table

logger = logging.getLogger(__name__)
_SEVERITY = ("test", "validation", "train")


class StackError(SerError):
    """A base that cannot be stacked, or clips that a stack must not be fitted or tested on."""


@dataclass(frozen=True)
class Base:
    """A model, or a table of somebody's probabilities.

    Args:
        name: in the columns and reports.
        place: where it lies, for messages.
        tables: Parquet files of its stored predictions.
        splits: clip id -> split of its training; None where nothing tells.
        hashes: clip id -> SHA-256 of its samples, where its splits.csv tells.
        model: folder or Hub id, which is asked for what no table holds; None for tables alone.
        commit: of the model on the Hub; None for folders.
        parameters: of the model; None where nothing tells.
        preprocessing: what its folder says is done to recordings; None where nothing tells.
        precision: in which its stored predictions were computed; None where nothing tells.
    """

    name: str
    place: str
    tables: tuple[Path, ...]
    splits: dict[str, str] | None
    model: str | None = None
    commit: str | None = None
    parameters: int | None = None
    preprocessing: Preprocessing | None = None
    precision: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def record(self) -> Record | None:
        """What tells of its training, by which clips are recognised; None where nothing does."""
        return None if self.splits is None else Record(self.splits, self.hashes)

    @property
    def splits_hash(self) -> str | None:
        """Hash of the split assignment that it was trained under; None where nothing tells."""
        return None if self.splits is None else Assignment("", None, 0, (0, 0, 0), self.splits).hash

    @property
    def revision(self) -> str:
        """What from_pretrained is to be asked for."""
        return self.commit or "main"

    def steps(self, data_args: DataArguments) -> Preprocessing:
        """What is done to its clips: as its folder says, or as the arguments do where nothing tells."""
        return data_args.steps if self.preprocessing is None else self.preprocessing


def open_bases(args: HybridArguments, data_args: DataArguments) -> list[Base]:
    """Find the bases and what they tell of their training, in the order given, models before tables.

    Raises:
        ConfigError: no base, names that stand twice, or places with unknown or empty placeholders.
        StackError: no such folder or file, or a base that does not tell what it was trained on.
    """
    if not args.bases and not args.predictions:
        raise ConfigError("got no base; expected at least one in bases (or predictions, for a stack).")
    bases = [_open_model(*name_and_place(its, data_args)) for its in args.bases]
    files: dict[str, list[str]] = {}
    for its in args.predictions:
        name, place = name_and_place(its, data_args)
        files.setdefault(name, []).append(place)
    bases += [_open_tables(name, places) for name, places in files.items()]
    names = [base.name for base in bases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"got {', '.join(twice)} several times as the name of a base; give NAME=FOLDER to each.")
    untold = [base for base in bases if base.splits is None]
    if untold and not args.trust_bases:
        raise StackError(
            f"base {untold[0].name} ({untold[0].place}) has no {SPLITS_FILE} and does not tell which clips it was "
            "trained on; where you know that none of the fitted and tested ones was, pass --trust_bases true."
        )
    return bases


def _open_model(name: str, place: str) -> Base:
    model, commit = (place, None) if Path(place).is_dir() else _find_on_hub(name, place)
    revision = commit or "main"
    results = model_results(model, revision) or {"kind": None, "splits": {}, "parameters": None}
    if results["kind"] == "cross_validation":
        raise StackError(
            f"base {name}: {place} is a cross-validation; expected one of its runs, such as seed_{{protocol_seed}} "
            "below it (and fold_{fold} below that where there are folds)."
        )
    stored = [file_beside(model, file, revision) for its in results["splits"].values() for file in its["predictions"]]
    splits = file_beside(model, SPLITS_FILE, revision)
    record = Record.read(splits) if splits is not None else None
    return Base(
        name,
        place,
        tuple(path for path in stored if path is not None),
        None if record is None else dict(record.splits),
        model,
        commit,
        results["parameters"],
        stored_preprocessing(model, revision),
        one_of({split.get("precision") for split in results["splits"].values()}),
        hashes={} if record is None else dict(record.hashes),
    )


def one_of(precisions: set[str | None]) -> str | None:
    """The only one there is; None for several, and for none."""
    return next(iter(precisions)) if len(precisions) == 1 else None


def _find_on_hub(name: str, place: str) -> tuple[str, str]:
    """Repository and commit of owner/name or owner/name@revision."""
    repository, _, revision = place.partition("@")
    refuse_missing(repository, f"base {name}:", StackError)
    try:
        commit = extract_commit_hash(cached_file(repository, "config.json", revision=revision or "main"), None)
    except OSError as error:
        raise StackError(
            f"base {name}: {place} is no folder, and the Hub does not give it ({' '.join(str(error).split())}); "
            "expected the folder of a trained model, or owner/name@revision."
        ) from error
    assert commit is not None  # what was downloaded lies below its commit
    return repository, commit


def _open_tables(name: str, places: Sequence[str]) -> Base:
    """Tables tell their training where the assignment lies beside them, as the recipes leave it."""
    files = tuple(Path(place) for place in places)
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise StackError(f"base {name}: {missing[0]} is no file; expected a Parquet file of predictions.")
    beside = sorted({file.parent / SPLITS_FILE for file in files})
    splits: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for path in beside if all(path.is_file() for path in beside) else ():
        record = Record.read(path)
        hashes |= record.hashes
        for clip, split in record.splits.items():
            splits[clip] = max(split, splits.get(clip, "test"), key=_SEVERITY.index)
    return Base(name, ", ".join(places), files, splits or None, hashes=hashes)


def describe_bases(bases: Sequence[Base]) -> list[dict[str, Any]]:
    """What results.json tells of them."""
    return [{"name": base.name, "splits_hash": base.splits_hash} for base in bases]


def untold(bases: Sequence[Base], what: str) -> list[str]:
    """The note on bases whose training nothing tells of, for what was fitted on them; empty where there are none."""
    names = ", ".join(base.name for base in bases if base.splits is None)
    its = f"nothing tells which clips were trained on by {names}; the person who fitted the {what} vouches"
    return [its] if names else []


def check_leaks(base: Base, fitted: Marks, tested: Marks, allow_fitted: bool) -> None:
    """Refuse clips whose answers by this base say more than its answers to new clips would, whatever they are called.

    Args:
        base: what is stacked.
        fitted: the clips that the stack is fitted on.
        tested: the clips that it is tested on. Those that validated the base chose its checkpoint and temperature, so
            that they are refused as well.
        allow_fitted: whether it may be fitted on what the base was trained on.

    Raises:
        StackError: with the clips counted and the first of them named.
    """
    if base.record is None:
        return
    cases = [] if allow_fitted else [("fitting", fitted, "train", "was trained on")]
    cases += [("test", tested, "train", "was trained on"), ("test", tested, "validation", "was chosen on")]
    for what, marks, split, did in cases:
        seen = find_seen(base.record, marks, split)
        if seen:
            raise StackError(
                f"base {base.name} ({base.place}) {did} {len(seen)} of the {len(marks.ids)} {what} clips "
                f"({some(seen)}); expected clips that were not in its training. Pass the protocol, fold and seed of "
                "its training, which are in its results.json."
            )


def checked_by_name(bases: Sequence[Base], data: SplitData) -> list[str]:
    """The notes on bases whose training clips could be recognised by name only; `untold` is about the others."""
    known = [base for base in bases if base.record is not None]
    parts = [marks_of_split(data.splits[split]) for split in ("validation", "test") if len(data.splits[split])]
    notes = [note for base in known for part in parts for note in unchecked(base.record, part, f"base {base.name}")]
    return list(dict.fromkeys(notes))


def probabilities(
    base: Base, split: Any, labels: tuple[str, ...], classes: Sequence[int], data_args: DataArguments, args: Any
) -> np.ndarray:
    """What a base says of clips: as stored in its tables, and as its model answers where they hold nothing.

    Args:
        base: what is asked.
        split: a prepared dataset's split.
        labels: the dataset's classes, which must be the base's, in this order.
        classes: ids of the classes that the stack knows; the probabilities of others are left out.
        data_args: how clips are cut; the base's own training decides where it tells.
        args: batch_size, device and precision.

    Returns:
        (clips, classes), rows that sum to 1, in the order of the split.

    Raises:
        StackError: another label set or order, or clips that the base says nothing of and has no model for.
        PredictionsError: rows that are no probabilities, or clips under other labels than the dataset's.
    """
    clips = clip_columns(split)
    whole = np.full((len(split), len(labels)), np.nan)
    for path in base.tables:
        _take_stored(base, path, clips, labels, classes, whole)
    missing = np.flatnonzero(np.isnan(whole[:, 0]))
    if len(missing):
        ids = [clips["id"][row] for row in missing]
        if base.model is None or file_beside(base.model, "config.json", base.revision) is None:
            raise StackError(
                f"base {base.name} ({base.place}) has no probabilities for {len(ids)} of {len(split)} clips "
                f"({_some(ids)}) and no model to ask; expected a row for each in its tables."
            )
        logger.info("Asking %s about %d clips that it has no stored predictions for", base.name, len(ids))
        whole[missing] = _ask(base, split.select(missing), labels, data_args, args)
    values = Predictions(clips, whole, labels).probabilities[:, list(classes)]
    if len(classes) == len(labels):
        return values
    # Logarithms, so that a row whose kept classes are all but impossible does not divide 0 by 0.
    return softmax(np.log(np.maximum(values, 1e-300)))


def _take_stored(
    base: Base, path: Path, clips: dict[str, list[Any]], labels: tuple[str, ...], classes: Sequence[int], into: Any
) -> None:
    """Put the rows of a table where they belong; other clips' rows are passed over.

    Tables hold the classes that were scored. Where a folder's lacks some that the stack knows, its model is asked.
    """
    table, values, names = read_table(path)
    if tuple(label for label in labels if label in names) != names:
        raise StackError(f"base {base.name} ({path}) has the classes {', '.join(names)}; expected {_order(labels)}.")
    lacking = [labels[index] for index in classes if labels[index] not in names]
    if lacking:
        if base.model is None:
            raise StackError(f"base {base.name}: {path} has no column for {', '.join(lacking)}; expected every class.")
        return
    row_of = {clip: row for row, clip in enumerate(table["id"])}
    if len(row_of) != len(table["id"]):
        raise PredictionsError(f"{path} names {len(table['id']) - len(row_of)} clips twice; expected each clip once.")
    columns = [labels.index(name) for name in names]
    for row, clip in enumerate(clips["id"]):
        if clip in row_of:
            its, label = row_of[clip], labels[clips["label"][row]]
            if "label" in table and table["label"][its] != label:
                raise PredictionsError(f"{path}: {clip} is {table['label'][its]}, in the dataset it is {label}.")
            into[row] = 0.0
            into[row, columns] = values[its]


def _ask(base: Base, split: Any, labels: tuple[str, ...], data_args: DataArguments, args: Any) -> np.ndarray:
    model, extractor = load_classifier(str(base.model), base.revision)
    names = label_names(model.config)
    if names != list(labels):
        raise StackError(
            f"base {base.name} ({base.place}) has the classes {', '.join(names)}; expected {_order(labels)}."
        )
    base.steps(data_args).store(extractor)
    clips = clips_of_split(split)
    device = choose_device(args.device)
    rows, logits = predict_logits(
        model,
        extractor,
        clips.durations,
        clips.decode,
        batch_size=args.batch_size,
        device=device,
        precision=args.computed_in,
    )
    return softmax(logits[np.argsort(rows)])


def _order(labels: Sequence[str]) -> str:
    return f"{', '.join(labels)}, in this order"


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
