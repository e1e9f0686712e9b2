"""A loaded classifier that predicts clips over the classes of the dataset, and the check of what it was trained on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from hf_ser.arguments import ConfigError
from hf_ser.audio import Preprocessing
from hf_ser.data.seen import Marks, Match, Record, find_seen, some, unchecked
from hf_ser.data.splits import DataArguments, SplitData
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.evaluation.clip_sources import Clips
from hf_ser.evaluation.mapped_dimensions import class_logits
from hf_ser.evaluation.predict import predict_logits
from hf_ser.inference import choose_device, label_names, labels_of_model
from hf_ser.labels import EMOTIONS, in_order, merge_calm
from hf_ser.remote_code.forward_precision import choose_precision
from hf_ser.remote_code.preprocessing import file_beside, merged_labels
from hf_ser.scoring.dimension_map import DimensionMap
from hf_ser.scoring.label_mapping import map_probabilities, resolve_mapping
from hf_ser.scoring.predictions import Predictions, PredictionsError, restrict

logger = logging.getLogger(__name__)


def with_preprocessing(args: DataArguments, model: PreTrainedModel, extractor: Any) -> DataArguments:
    """Use the preprocessing and classes of the model's folder; a model without preprocessing takes those of `args`.

    Raises:
        ConfigError: the preprocessing in `args` differs from the model's, which every other program applies.
    """
    own, given = Preprocessing.of(extractor), args.steps
    if given.steps and own.steps and given != own:
        raise ConfigError(
            f"got {given.steps}, but the model's preprocessing is {own.steps}; leave out trim_db, normalize and "
            "duration_s."
        )
    steps = own if own.steps else given
    steps.store(extractor)
    return replace(args.with_steps(steps), merge_calm=args.merge_calm or bool(merged_labels(model.config)))


def classes_of_model(model: str, revision: str) -> list[str]:
    """The classes of a model, those of the default label set in its spelling."""
    emotions = {label.casefold(): label for label in EMOTIONS}
    return [emotions.get(label.casefold(), label) for label in labels_of_model(model, revision)]


def chosen_precision(model: PreTrainedModel, precision: str, device: str | None) -> str:
    """Choose and log the precision of the model."""
    chosen = choose_precision(model, precision, choose_device(device))
    chosen.log(logger)
    return chosen.precision


def seen_clips(model: str, revision: str, marks: Marks) -> tuple[list[Match], list[str]]:
    """The clips that a model was trained on, by id and by content, and notes on what could not be checked."""
    path = file_beside(model, SPLITS_FILE, revision)
    record = Record.read(path) if path is not None else None
    return find_seen(record, marks) if record is not None else [], unchecked(record, marks)


def refuse_seen(
    model: str,
    revision: str,
    marks: Marks,
    *,
    allow: bool = False,
    which: str = "these {} clips",
    remedy: str = "Pass the protocol, fold and seed of its results.json",
) -> list[str]:
    """Reject clips that the model was trained on; return notes on the check.

    Args:
        model: folder or Hub id.
        revision: on the Hub.
        marks: identifiers of the clips.
        allow: note them instead.
        which: the clips in messages, with their number in braces.
        remedy: what to do, for the message.

    Raises:
        PredictionsError: names the first of them and the matching training clips.
    """
    seen, notes = seen_clips(model, revision, marks)
    if not seen:
        return notes
    counted = f"{len(seen)} of {which.format(len(marks.ids))} ({some(seen)})"
    if not allow:
        raise PredictionsError(
            f"{model} was trained on {counted}; expected clips that are not in its training data. {remedy}, or "
            "pass --allow_seen true."
        )
    return [f"the model was trained on {counted}: these scores say nothing about new recordings", *notes]


@dataclass
class ClipPredictor:
    """A loaded model with the settings of its predictions.

    Args:
        model: the classifier.
        extractor: its feature extractor.
        classes: those that clips may have.
        data_args: merge_calm.
        data: the dataset of the clips; None for recordings.
        own: the model's results.json; None if it has none.
        split: of the dataset.
        label_mapping: the model's labels -> classes.
        batch_size: clips per forward pass.
        device: of the computation; None for a GPU if there is one.
        precision: bf16, fp16 or fp32.
        dimension_map: turns the values of a model of dimensions into classes.
    """

    model: PreTrainedModel
    extractor: Any
    classes: Sequence[str]
    data_args: DataArguments
    data: SplitData | None
    own: Mapping[str, Any] | None
    split: str
    label_mapping: Mapping[str, str | None] | None
    batch_size: int
    device: str | None
    precision: str
    dimension_map: DimensionMap | None = None

    def predict(
        self, clips: Clips, embeddings: list[np.ndarray] | None = None, *, progress: bool = True
    ) -> tuple[Predictions, dict[str, int]]:
        """Predict clips; those of classes that the model was not trained on are left out and counted.

        Args:
            clips: to predict.
            embeddings: if given, the input of the last layer of each clip is appended, in the order of the clips.
            progress: whether to show a progress bar.
        """
        outputs = label_names(self.model.config)
        names = outputs if self.dimension_map is None else list(self.dimension_map.labels)
        mapping = resolve_mapping(names, self.label_mapping, self.classes)
        if self.data_args.merge_calm:
            mapping = {label: name and merge_calm(name) for label, name in mapping.items()}
        rows, logits = self.values(clips, embeddings, progress=progress)
        if self.dimension_map is not None:
            logits = class_logits(logits, outputs, self.dimension_map)
        order = np.argsort(rows)
        if embeddings is not None:
            embeddings[:] = [embeddings[index] for index in order]
        probabilities, known = map_probabilities(logits[order], names, mapping)
        every = in_order([*self.classes, *known, *clips.columns["label"]])
        whole = np.zeros((len(probabilities), len(every)))
        whole[:, [every.index(label) for label in known]] = probabilities
        columns = clips.columns | {"label": [every.index(label) for label in clips.columns["label"]]}
        return restrict(Predictions(columns, whole, every), self._scored_classes(known, mapping))

    def values(
        self, clips: Clips, embeddings: list[np.ndarray] | None = None, *, progress: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the clips (n,), and the model's outputs for them (n, outputs); arguments as in `predict`."""
        return predict_logits(
            self.model,
            self.extractor,
            clips.durations,
            clips.decode,
            batch_size=self.batch_size,
            device=choose_device(self.device),
            precision=self.precision,
            progress=progress,
            embeddings=embeddings,
        )

    def _scored_classes(self, known: tuple[str, ...], mapping: Mapping[str, str | None]) -> tuple[str, ...]:
        """The classes of the model that it was trained on, if that is recorded; else all its classes."""
        if self.own is None or self.own["dataset"]["train_classes"] is None:
            return known
        if self.data is not None and self.data.assignment.hash == self.own["protocol"]["hash"]:
            as_in_training = self.data.scored_classes(self.split)
            return tuple(label for label in as_in_training if label in known)  # a mapping may drop some
        trained_on = {mapping.get(label) for label in self.own["dataset"]["train_classes"]}
        return tuple(label for label in known if label in trained_on)
