"""From a prepared dataset to batches: splits under a protocol, decoding on access, dynamic padding."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch

from hf_ser.audio import SAMPLING_RATE, load_audio
from hf_ser.data.card import DEFAULT_PROTOCOL
from hf_ser.data.prepare import SUMMARY
from hf_ser.data.protocols import SPLITS, Assignment, Row, assign
from hf_ser.errors import SerError
from hf_ser.labels import EMOTIONS, EMOTIONS_WITHOUT_CALM, merge_calm
from hf_ser.training.arguments import DataArguments

_COLUMNS = ("id", "audio", "label", "corpus", "speaker", "gender", "channel")


class DatasetError(SerError):
    """A dataset that cannot be loaded or lacks what training needs."""


@dataclass(frozen=True)
class SplitData:
    """The splits that a run trains, validates and tests on, and what identifies them."""

    splits: dict[str, datasets.Dataset]
    labels: tuple[str, ...]
    assignment: Assignment
    synthetic: tuple[str, ...]  # corpora whose recordings are generated

    @property
    def protocol(self) -> str:
        """Name of the protocol that made the splits."""
        return self.assignment.protocol


def load_splits(args: DataArguments) -> SplitData:
    """Load a prepared dataset's configuration and assign its clips to splits.

    Raises:
        DatasetError: no such dataset or configuration, missing columns, other labels, or an empty split.
        ProtocolError: the protocol cannot be applied to these clips.
    """
    loaded = _load(args)
    summary = _summary(args.dataset)
    for split, dataset in loaded.items():
        _check_columns(dataset, split, args)
    whole = datasets.concatenate_datasets(list(loaded.values()))
    if args.channel is not None:
        whole = whole.filter(
            lambda channel: channel == args.channel, input_columns="channel", desc="Choosing a channel"
        )
    if args.protocol is None:
        name = args.configuration.partition("-")[2] or DEFAULT_PROTOCOL  # the reverse of card.config_name
        kept = set(whole["id"])
        given = {clip: split for split, part in loaded.items() for clip in part["id"] if clip in kept}
        made = summary.get("protocols", {}).get(name, {})
        seed, notes = made.get("seed", args.protocol_seed), tuple(made.get("notes", ()))
        assignment = Assignment(name, None, seed, made.get("ratios", ()), given, notes)
    else:
        assignment = assign(rows(whole), args.protocol, seed=args.protocol_seed, fold=args.fold)
    ids = np.asarray(whole["id"])
    of_clip = np.asarray([assignment.splits.get(clip, "") for clip in ids])
    parts = {split: whole.select(np.flatnonzero(of_clip == split)) for split in SPLITS}
    for split in ("train", "validation"):
        if len(parts[split]) == 0:
            raise DatasetError(
                f"{args.dataset} ({args.configuration}, {assignment.protocol}) has no clip in {split}; training needs "
                "it."
            )
    labels: tuple[str, ...] = EMOTIONS
    if args.merge_calm:
        labels = EMOTIONS_WITHOUT_CALM
        parts = {split: _merge_calm(part) for split, part in parts.items()}
    return SplitData(parts, labels, assignment, tuple(summary.get("synthetic", ())))


def rows(dataset: datasets.Dataset) -> list[Row]:
    """The metadata of a prepared dataset's clips, for protocols."""
    names = dataset.features["label"].names
    columns = [dataset[name] for name in ("id", "corpus", "speaker", "label", "gender", "text", "channel", "sha256")]
    return [
        Row(clip, corpus, speaker, names[label], gender or "", text or "", channel, sha256)
        for clip, corpus, speaker, label, gender, text, channel, sha256 in zip(*columns, strict=True)
    ]


def _load(args: DataArguments) -> datasets.DatasetDict:
    path = Path(args.dataset)
    if path.exists() and not (path / "README.md").is_file():
        raise DatasetError(f"--dataset {path} holds no dataset card; expected a folder made by recipes/prepare.py.")
    try:
        return datasets.load_dataset(args.dataset, args.configuration)
    except (FileNotFoundError, ConnectionError) as error:
        raise DatasetError(
            f"--dataset {args.dataset}: no such folder, and the Hub does not give it ({error}); make it with "
            "recipes/prepare.py."
        ) from error
    except ValueError as error:  # datasets names the configurations that there are
        raise DatasetError(f"--configuration {args.configuration} of {args.dataset}: {error}") from error


def _check_columns(dataset: datasets.Dataset, split: str, args: DataArguments) -> None:
    missing = [name for name in _COLUMNS if name not in dataset.column_names]
    if missing:
        raise DatasetError(f"{args.dataset}, {split}: no column {', '.join(missing)}; expected a prepared dataset.")
    feature = dataset.features["label"]
    names = getattr(feature, "names", None)
    if names != list(EMOTIONS):
        raise DatasetError(f"{args.dataset}: labels are {names}; expected {list(EMOTIONS)} in this order.")


def _merge_calm(dataset: datasets.Dataset) -> datasets.Dataset:
    ids = [EMOTIONS_WITHOUT_CALM.index(merge_calm(EMOTIONS[label])) for label in dataset["label"]]
    feature = datasets.ClassLabel(names=list(EMOTIONS_WITHOUT_CALM))
    return dataset.remove_columns("label").add_column("label", ids, feature=feature)


def _summary(dataset: str) -> dict[str, Any]:
    """What preparation wrote beside the data; empty for datasets of other origin."""
    summary = Path(dataset) / SUMMARY
    return json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {}


def decoded(dataset: datasets.Dataset, args: DataArguments) -> datasets.Dataset:
    """Decode clips when they are read: items become `{"waveform": (samples,) float32 at 16 kHz, "label": id}`."""

    def decode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        waveforms = [
            load_audio(audio, trim_db=args.trim_db, normalize=args.normalize, duration_s=args.duration_s)
            for audio in batch["audio"]
        ]
        return {"waveform": waveforms, "label": batch["label"]}

    return dataset.select_columns(["audio", "label"]).with_transform(decode)


class AudioCollator:
    """Waveforms -> padded batch through the model's feature extractor, which also decides about the mask.

    Args:
        feature_extractor: the model's own.
        min_samples: shorter clips are padded with zeros to this length (see `modeling.min_samples`).
    """

    def __init__(self, feature_extractor: Any, min_samples: int) -> None:
        self.feature_extractor, self.min_samples = feature_extractor, min_samples

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_values (batch, samples), attention_mask where the model takes one, and labels (batch,)."""
        waveforms = [
            np.pad(example["waveform"], (0, max(0, self.min_samples - len(example["waveform"]))))
            for example in examples
        ]
        batch = self.feature_extractor(waveforms, sampling_rate=SAMPLING_RATE, padding=True, return_tensors="pt")
        labels = torch.tensor([example["label"] for example in examples], dtype=torch.long)
        return {**batch, "labels": labels}
