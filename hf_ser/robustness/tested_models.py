"""The models of a robustness report, each with its own test clips: loaded and checked before anything is computed."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.arguments import ConfigError
from hf_ser.conditions.channels import responses_in
from hf_ser.data.protocols import PROTOCOLS
from hf_ser.data.seen import Record, find_seen
from hf_ser.data.splits import DataArguments, SplitData, load_splits
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.default_model import chosen_model
from hf_ser.errors import SerError
from hf_ser.evaluation.clip_predictor import (
    ClipPredictor,
    chosen_precision,
    classes_of_model,
    refuse_seen,
    with_preprocessing,
)
from hf_ser.evaluation.clip_sources import Clips, clips_of_csv, clips_of_folder, clips_of_split
from hf_ser.inference import CheckpointError, labels_of_model, load_classifier
from hf_ser.labels import EMOTIONS, in_order
from hf_ser.local_or_hub import refuse_missing
from hf_ser.remote_code.preprocessing import file_beside
from hf_ser.results_file import model_results
from hf_ser.robustness.altered_clips import AlteredClips, counted_groups, drawn_rows
from hf_ser.robustness.robustness_arguments import RobustnessArguments
from hf_ser.robustness.stored_conditions import model_digest
from hf_ser.scoring.abstention import stored_threshold

logger = logging.getLogger(__name__)


class RobustnessError(SerError):
    """Models or clips that no robustness report can be made of."""


@dataclass(frozen=True)
class TestedModel:
    """A model and the clips that it is tested on.

    Args:
        name: folder or Hub id.
        predictor: the loaded model.
        clips: its clips, clean or changed.
        data: the dataset; None for recordings.
        own: its results.json; None if it has none.
        notes: remarks for the report.
        synthetic: corpora with generated recordings.
    """

    name: str
    predictor: ClipPredictor
    clips: AlteredClips
    data: SplitData | None
    own: dict[str, Any] | None
    notes: tuple[str, ...]
    synthetic: tuple[str, ...]

    @property
    def threshold(self) -> float | None:
        """Abstention threshold of the model."""
        return stored_threshold(self.predictor.model.config)

    def described(self) -> dict[str, Any]:
        """The model for robustness.json, and to know whether stored predictions are those of the same model."""
        protocol = self.data.assignment if self.data is not None else None
        return {
            "name": Path(self.name).name if Path(self.name).exists() else self.name,
            "weights": model_digest(Path(self.name)),
            "protocol": protocol.protocol if protocol else None,
            "fold": protocol.fold if protocol else None,
            "seed": protocol.seed if protocol else None,
            "clips": len(self.clips.ids),
        }


def load_tested(args: RobustnessArguments, data_args: DataArguments, packs: Path) -> list[TestedModel]:
    """Load the models and select, decode and check their clips.

    Args:
        args: of the report.
        data_args: the dataset, and its protocol if that is not the one in the models' results.json.
        packs: temporary folder for recordings that are not in a dataset.

    Raises:
        ConfigError: no clips, or several sources of clips.
        RobustnessError: a clip that several models would be tested on, or models with different classes.
        ConditionError: clips that a condition leaves silent, or that babble cannot be made for.
        PredictionsError: clips that a model was trained on.
    """
    names = args.model_names or [chosen_model(None)]
    _check_source(args, data_args, names)
    for name in names:
        refuse_missing(name, "--models", CheckpointError)
    _check_classes(names, args.revision)
    responses = responses_in(Path(args.room_responses)) if args.room_responses else ()
    tested = [_load(name, len(names), args, data_args, packs, responses) for name in names]
    _check_disjoint(tested)
    _warn_of_single_speakers(tested)
    for model in tested:
        model.clips.check(args.chosen)
    return tested


def _check_source(args: RobustnessArguments, data_args: DataArguments, names: Sequence[str]) -> None:
    data_args.refuse_streaming("the robustness report")
    given = [name for name in ("recordings", "csv") if getattr(args, name)]
    given += ["dataset"] if data_args.dataset else []
    if len(given) != 1:
        raise ConfigError(
            f"got {' and '.join(given) or 'no clips'}; expected one of dataset, recordings and csv, such as --dataset "
            "data/emotions."
        )
    if len(names) > 1 and given != ["dataset"]:
        raise ConfigError(
            f"got {len(names)} models with {given[0]}; expected a dataset with test clips for each model."
        )
    if len(names) > 1 and data_args.fold is not None:
        raise ConfigError("got fold with several models; leave it out: each model's results.json has its own.")
    if given != ["dataset"] and data_args.protocol is not None:
        raise ConfigError(f"got protocol together with {given[0]}; leave one out.")


def _check_classes(names: Sequence[str], revision: str) -> None:
    classes = {name: labels_of_model(name, revision) for name in names}
    first = classes[names[0]]
    for name, labels in classes.items():
        if labels != first:
            raise RobustnessError(
                f"{name} has the classes {', '.join(labels)}, but {names[0]} has {', '.join(first)}; expected models "
                "with the same classes in the same order, such as the folds of one cross-validation."
            )


def _load(
    name: str,
    number: int,
    args: RobustnessArguments,
    data_args: DataArguments,
    packs: Path,
    responses: Sequence[np.ndarray],
) -> TestedModel:
    model, extractor = load_classifier(name, args.revision)
    own = model_results(name, args.revision)
    data_args = with_preprocessing(_own_split(data_args, own), model, extractor)
    data, clips, classes = _source(name, args, data_args, packs)
    rows, notes = _usable_rows(name, args, clips)
    most = None if args.most_clips is None else -(-args.most_clips // number)
    predictor = ClipPredictor(
        model,
        extractor,
        classes,
        data_args,
        data,
        own,
        args.split,
        None,
        args.batch_size,
        args.device,
        chosen_precision(model, args.precision, args.device),
    )
    altered = AlteredClips(clips, drawn_rows(clips, rows, most, args.seed), args.seed, responses)
    synthetic = data.synthetic if data is not None else clips.synthetic
    return TestedModel(name, predictor, altered, data, own, (*clips.notes, *notes), synthetic)


def _own_split(args: DataArguments, own: Mapping[str, Any] | None) -> DataArguments:
    """The split that a model was trained on, as in its results.json, unless a protocol is given."""
    if args.dataset is None or args.protocol is not None or own is None or own["protocol"]["name"] not in PROTOCOLS:
        return args
    protocol, trained = own["protocol"], own["dataset"]
    logger.info("Test clips of protocol %s, fold %s, as in results.json", protocol["name"], protocol["fold"])
    return replace(
        args,
        protocol=protocol["name"],
        fold=protocol["fold"],
        protocol_seed=protocol["seed"] or 0,
        configuration=trained["configuration"] or args.configuration
        if args.configuration == "all"
        else args.configuration,
        channel=args.channel or own["preprocessing"].get("channel"),
        auxiliary_corpora=list(args.auxiliary_corpora or protocol.get("auxiliary_corpora") or ()),
    )


def _source(
    name: str, args: RobustnessArguments, data_args: DataArguments, packs: Path
) -> tuple[SplitData | None, Clips, Sequence[str]]:
    """The dataset, the clips and the classes that they may have."""
    if data_args.dataset is not None:
        data = load_splits(data_args, needed=(args.split,))
        return data, clips_of_split(data.splits[args.split]), data.labels
    classes = in_order([*classes_of_model(name, args.revision), *EMOTIONS])
    if args.csv is not None:
        return None, clips_of_csv(Path(args.csv), data_args, classes), classes
    return None, clips_of_folder(Path(str(args.recordings)), data_args, packs), classes


def _usable_rows(name: str, args: RobustnessArguments, clips: Clips) -> tuple[list[int], list[str]]:
    """The clips that the model was not trained on, and notes."""
    ids = clips.columns["id"]
    path = file_beside(name, SPLITS_FILE, args.revision)
    if not args.skip_seen or path is None:
        remedy = "Pass --skip_seen true to leave these clips out"
        notes = refuse_seen(name, args.revision, clips.marks, allow=args.allow_seen, remedy=remedy)
        return list(range(len(ids))), notes
    record = Record.read(path)
    seen = {match.clip for part in ("train", "validation") for match in find_seen(record, clips.marks, part)}
    kept = [row for row, clip in enumerate(ids) if clip not in seen]
    if not kept:
        raise RobustnessError(
            f"{name} was trained or selected on all {len(ids)} clips; expected some that it was not."
        )
    return kept, [f"left out: {len(seen)} clips that {Path(name).name} was trained or selected on"] if seen else []


def _check_disjoint(tested: Sequence[TestedModel]) -> None:
    model_of: dict[str, str] = {}
    for model in tested:
        for clip in model.clips.ids:
            if clip in model_of:
                raise RobustnessError(
                    f"{model.name} and {model_of[clip]} have the test clip {clip} in common; expected models with "
                    "different test clips, such as the folds of one cross-validation with one seed."
                )
            model_of[clip] = model.name


def _warn_of_single_speakers(tested: Sequence[TestedModel]) -> None:
    """Say which intervals will be missing, before the work."""
    names = tested[0].clips.columns.keys()
    pooled = {name: [value for model in tested for value in model.clips.columns[name]] for name in names}
    if len(set(pooled["speaker"])) == 1 and pooled["speaker"][0]:
        logger.warning("All clips are by one speaker: there will be no intervals. Use clips of at least two speakers.")
    alone = [group for group, speakers in counted_groups(pooled).items() if speakers == 1]
    if alone:
        logger.warning("Scores without interval, because there is one speaker only: %s.", ", ".join(sorted(alone)))
