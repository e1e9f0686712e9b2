"""The clips of a prepared dataset under a protocol, decoded on access."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ser.arguments import ConfigError
from hf_ser.audio import SAMPLING_RATE, Preprocessing, load_audio
from hf_ser.console import progress_bar
from hf_ser.data.auxiliary import add_auxiliary, assign_with_auxiliary, check_auxiliary
from hf_ser.data.class_labels import class_names, merged, without_calm
from hf_ser.data.dataset_card import DEFAULT_PROTOCOL
from hf_ser.data.dataset_error import DatasetError
from hf_ser.data.literal_paths import files_of, is_pattern, load_literal
from hf_ser.data.nested import nested
from hf_ser.data.prepare import SUMMARY
from hf_ser.data.protocols import CROSS_CORPUS, PROTOCOLS, SPLITS, Assignment, Row
from hf_ser.data.splits_file import PRETRAINING, write_assignment
from hf_ser.data.streaming import load_streamed
from hf_ser.local_or_hub import refuse_missing
from hf_ser.remote_code.dimensions import DIMENSIONS
from hf_ser.remote_code.preprocessing import MERGED_CALM

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

_COLUMNS = ("id", "audio", "label", "corpus", "speaker", "gender", "intensity", "channel", "duration")
_WHOLE = Preprocessing()  # no preprocessing


@dataclass
class DataArguments:
    """Clips to use, how they are split and how they are preprocessed.

    >>> DataArguments("data/emotions", "ravdess", protocol="random", duration_s=3.0).steps
    Preprocessing(trim_db=None, normalize=False, duration_s=3.0)
    """

    dataset: str | None = field(default=None, metadata={"help": "prepared dataset: folder or Hub id"})
    configuration: str = field(
        default="all", metadata={"help": "dataset configuration: all, ravdess, all-random, ..."}
    )
    protocol: str | None = field(
        default=None, metadata={"help": "split protocol; default: the stored splits of the configuration"}
    )
    fold: int | None = field(default=None, metadata={"help": "fold of the protocol, from 1"})
    protocol_seed: int = field(default=0, metadata={"help": "random seed of the protocol"})
    auxiliary_corpora: list[str] = field(
        default_factory=list, metadata={"help": "corpora of the configuration whose clips are used for training only"}
    )
    nested_fold: int | None = field(
        default=None,
        metadata={"help": "test on this part of the protocol's training clips, from 1, and train on the others"},
    )
    nested_folds: int = field(default=4, metadata={"help": "number of parts for nested_fold, by speaker"})
    channel: str | None = field(default=None, metadata={"help": "vocal channel: speech or song; default: both"})
    merge_calm: bool = field(default=False, metadata={"help": "merge calm into neutral, if the dataset has calm"})
    duration_s: float | None = field(
        default=None, metadata={"help": "pad or crop each clip to this duration in seconds; default: no change"}
    )
    trim_db: float | None = field(
        default=None,
        metadata={"help": "trim leading and trailing audio this many dB below the loudest frame, such as 20"},
    )
    normalize: bool = field(default=False, metadata={"help": "scale each clip to a peak of 1"})
    streaming: bool = field(default=False, metadata={"help": "stream the training clips instead of downloading them"})
    stream_buffer: int = field(
        default=256, metadata={"help": "size of the shuffle buffer for streaming, in encoded clips"}
    )

    def __post_init__(self) -> None:
        if self.protocol is not None and self.protocol not in PROTOCOLS:
            raise ConfigError(f"protocol is {self.protocol!r}; expected one of {', '.join(PROTOCOLS)}.")
        if self.fold is not None and self.protocol is None:
            raise ConfigError(f"fold is {self.fold} but protocol is not given. Pass a protocol that has folds.")
        if self.nested_fold is not None and self.protocol is None:
            raise ConfigError(f"nested_fold is {self.nested_fold} but protocol is not given. Pass a protocol.")
        if self.nested_fold is not None and self.auxiliary_corpora:
            raise ConfigError("nested_fold and auxiliary_corpora are both given; expected one of them.")
        if self.channel not in (None, "speech", "song"):
            raise ConfigError(f"channel is {self.channel!r}; expected speech or song.")
        if self.streaming and self.protocol is not None:
            raise ConfigError(
                f"protocol is {self.protocol!r} and streaming is true; streaming uses the stored splits of the "
                "configuration, such as all, all-random or ravdess. Remove protocol or streaming."
            )
        check_auxiliary(self.auxiliary_corpora, self.protocol, self.streaming)
        if self.stream_buffer < 1:
            raise ConfigError(f"stream_buffer is {self.stream_buffer}; expected at least 1 clip, such as 256.")

    def refuse_streaming(self, what: str) -> None:
        """Raise `ConfigError` if streaming is set, which `what` (a singular noun) does not support."""
        if self.streaming:
            raise ConfigError(f"streaming is true, but {what} does not support it. Remove streaming.")

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Preprocessing of clips and classes, for results.json."""
        return asdict(self.steps) | {"merge_calm": self.merge_calm, "channel": self.channel}

    @property
    def steps(self) -> Preprocessing:
        """Preprocessing of a clip before it is passed to a model."""
        return Preprocessing(self.trim_db, self.normalize, self.duration_s)

    def with_steps(self, steps: Preprocessing) -> "DataArguments":
        """The same clips with other preprocessing, such as that of a model folder."""
        return replace(self, **asdict(steps))


@dataclass(frozen=True)
class SplitData:
    """The train, validation and test splits of a run.

    With streaming, train contains metadata only (no audio), and the stream contains the id and encoded audio of these
    clips. The stream may also contain other clips, such as those of another channel.

    Args:
        splits: train, validation and test.
        labels: names of the classes, by id.
        assignment: clip id -> split, and the protocol that assigned it.
        synthetic: corpora with generated recordings.
        stream: stream of the training clips; None without streaming.
        args: the dataset arguments, including preprocessing.
        summary: contents of preparation.json; empty if the dataset has no such file.
        pretraining: clips on which the encoder was pretrained: id -> SHA-256 of the samples, empty if unknown.

    >>> data = load_splits(DataArguments("data/emotions", "ravdess", duration_s=0.5))
    >>> data.protocol, data.lengths("test")[:2]
    ('speaker_disjoint', [8000, 8000])
    >>> item = data.decoded("test")[0]
    >>> item["waveform"].shape, data.labels[item["label"]]
    ((8000,), 'neutral')
    """

    splits: "dict[str, datasets.Dataset]"
    labels: tuple[str, ...]
    assignment: Assignment
    synthetic: tuple[str, ...]
    stream: "datasets.IterableDataset | None" = None
    args: DataArguments = field(default_factory=DataArguments)
    summary: Mapping[str, Any] = field(default_factory=dict)
    pretraining: Mapping[str, str] = field(default_factory=dict)

    def with_steps(self, steps: Preprocessing) -> "SplitData":
        """The same clips with other preprocessing, such as that of a checkpoint."""
        return replace(self, args=self.args.with_steps(steps))

    def with_steps_of(self, extractor: Any) -> "SplitData":
        """The same clips with the preprocessing of a checkpoint's feature extractor; the arguments take precedence."""
        stored = Preprocessing.of(extractor)
        steps = replace(stored, **self.args.steps.steps)
        if stored.steps:
            logger.info("Recordings are preprocessed as configured in the checkpoint: %s", steps.steps)
        return self.with_steps(steps)

    def decoded(self, split: str) -> "datasets.Dataset":
        """The clips of a split, decoded and preprocessed on access.

        Returns:
            Items {"waveform": (samples,) float32 at 16 kHz, "label": class id}.
        """
        return decoded(self.splits[split], self.args.steps)

    def lengths(self, split: str) -> list[int]:
        """Number of samples of each clip of a split after preprocessing. With `trim_db`, the clips are decoded."""
        clips, steps = self.splits[split], self.args.steps
        if steps.duration_s is not None:
            return [round(steps.duration_s * SAMPLING_RATE)] * len(clips)
        if steps.trim_db is None:
            return [round(duration * SAMPLING_RATE) for duration in clips["duration"]]
        items = self.decoded(split)
        starts = progress_bar(range(0, len(items), 64), desc="Measuring clips", unit="batches", leave=False)
        return [len(waveform) for start in starts for waveform in items[start : start + 64]["waveform"]]

    @property
    def label_mapping(self) -> dict[str, str | None] | None:
        """The labels of the recordings that preparation renamed, or dropped with None; None if there are none."""
        mapping = self.summary.get("label_mapping") or {}
        return {label: name for label, name in sorted(mapping.items()) if name != label} or None

    def store_labels(self, config: Any) -> None:
        """Record in a model's configuration what happened to the labels before training, beside its id2label."""
        merged_classes = dict(MERGED_CALM) if self.args.merge_calm else None
        for name, value in (("merged_labels", merged_classes), ("label_mapping", self.label_mapping)):
            vars(config).pop(name, None)  # of the checkpoint that the model was loaded from
            if value is not None:
                setattr(config, name, value)

    @property
    def languages(self) -> list[str]:
        """Languages of the clips as BCP 47 tags, sorted; empty if they are unknown."""
        parts = [part for part in self.splits.values() if "language" in part.column_names]
        return sorted({language for part in parts for language in part["language"] if language})

    @property
    def protocol(self) -> str:
        """Name of the protocol that assigned the splits."""
        return self.assignment.protocol

    @property
    def hashes(self) -> dict[str, str]:
        """Clip id -> SHA-256 of its samples; clips without a hash are absent."""
        with_hashes = [part for part in self.splits.values() if "sha256" in part.column_names]
        pairs = [pair for part in with_hashes for pair in zip(part["id"], part["sha256"], strict=True)]
        return {clip: sha256 for clip, sha256 in pairs if sha256}

    def write_record(self, path: Path) -> None:
        """Write splits.csv: the split of each clip, and the clips on which the encoder was pretrained."""
        splits = {**dict.fromkeys(self.pretraining, PRETRAINING), **self.assignment.splits}
        write_assignment(path, replace(self.assignment, splits=splits), {**self.pretraining, **self.hashes})

    def scored_classes(self, split: str) -> tuple[str, ...]:
        """The classes to score a split on: those in train or the split; across corpora, those in both."""
        train, present = self.splits["train"], set(self.splits[split]["label"])
        auxiliary = self.assignment.auxiliary  # without their classes, so that runs with and without compare
        pairs = zip(train["corpus"], train["label"], strict=True)
        trained_on = {label for corpus, label in pairs if corpus not in auxiliary}
        scored = trained_on & present if self.protocol in CROSS_CORPUS else trained_on | present
        return tuple(label for index, label in enumerate(self.labels) if index in scored)


def load_splits(args: DataArguments, needed: Sequence[str] = ("train", "validation")) -> SplitData:
    """Load a configuration of a prepared dataset and assign its clips to splits.

    Args:
        args: the dataset and its split.
        needed: splits that must not be empty.

    Raises:
        DatasetError: if the dataset or configuration does not exist, columns are missing, or a needed split is empty.
        ClassLabelError: if the labels are not class labels, or calm cannot be merged.
        ProtocolError: if the protocol cannot be applied to the clips.

    >>> data = load_splits(DataArguments("data/emotions", "ravdess", protocol="random"))
    >>> {split: len(clips) for split, clips in data.splits.items()}
    {'train': 128, 'validation': 32, 'test': 32}
    """
    loaded, whole, stream = _load_whole(args)
    summary = _summary(str(args.dataset))
    if args.protocol is None:
        name = _stored_protocol(args.configuration, summary)
        kept = set(whole["id"])
        given = {clip: split for split, part in loaded.items() for clip in part["id"] if clip in kept}
        made = summary.get("protocols", {}).get(name, {})
        seed, notes = made.get("seed", args.protocol_seed), tuple(made.get("notes", ()))
        assignment = Assignment(name, None, seed, made.get("ratios", ()), given, notes)
        if args.auxiliary_corpora:
            assignment = add_auxiliary(assignment, rows(whole), args.auxiliary_corpora)
    else:
        seed, fold = args.protocol_seed, args.fold
        assignment = assign_with_auxiliary(rows(whole), args.protocol, args.auxiliary_corpora, seed=seed, fold=fold)
        if args.nested_fold is not None:
            assignment = nested(rows(whole), assignment, args.nested_fold, args.nested_folds)
    ids = np.asarray(whole["id"])
    of_clip = np.asarray([assignment.splits.get(clip, "") for clip in ids])
    parts = {split: whole.select(np.flatnonzero(of_clip == split)) for split in SPLITS}
    if stream is not None:
        parts["train"] = parts["train"].select_columns(loaded["train"].column_names)  # the others are empty there
    for split in needed:
        if len(parts[split]) == 0:
            raise DatasetError(
                f"{args.dataset} ({args.configuration}, {assignment.protocol}) has no clips in {split}; expected at "
                "least 1. Choose another configuration or protocol."
            )
    labels = tuple(whole.features["label"].names)
    if args.merge_calm and "calm" not in labels:
        logger.info("%s has no class calm: merge_calm changes nothing", args.dataset)
        args = replace(args, merge_calm=False)
    if args.merge_calm:
        labels = without_calm(labels, str(args.dataset))
        parts = {split: merged(part, labels) for split, part in parts.items()}
    return SplitData(parts, labels, assignment, tuple(summary.get("synthetic", ())), stream, args, summary)


def _stored_protocol(configuration: str, summary: Mapping[str, Any]) -> str:
    """The protocol of a configuration's stored splits, by its name: all or ravdess (the default), or all-random."""
    named = (name for name in PROTOCOLS if configuration.endswith(f"-{name}"))
    return next(named, summary.get("default_protocol") or DEFAULT_PROTOCOL)


def rows(dataset: "datasets.Dataset") -> list[Row]:
    """The metadata of the clips of a prepared dataset, for protocols."""
    names = dataset.features["label"].names
    columns = [dataset[name] for name in ("id", "corpus", "speaker", "label", "gender", "text", "channel", "sha256")]
    return [
        Row(clip, corpus, speaker or "", names[label], gender or "", text or "", channel or "speech", sha256)
        for clip, corpus, speaker, label, gender, text, channel, sha256 in zip(*columns, strict=True)
    ]


def load_rows(args: DataArguments) -> list[Row]:
    """The metadata of the clips of a configuration of a prepared dataset, limited to a channel if one is set.

    Raises:
        DatasetError: if the dataset or configuration does not exist, or columns are missing.
        ClassLabelError: if the labels are not class labels.

    >>> clips = load_rows(DataArguments("data/emotions", "ravdess"))
    >>> len(clips), sorted({clip.speaker for clip in clips})[:2]
    (192, ['ravdess_01', 'ravdess_02'])
    """
    return rows(_load_whole(args)[1])


def _load_whole(
    args: DataArguments,
) -> "tuple[datasets.DatasetDict, datasets.Dataset, datasets.IterableDataset | None]":
    """The stored splits of the configuration, all their clips of the requested channel together, and the stream."""
    import datasets

    loaded, stream = _load(args)
    for split, dataset in loaded.items():
        _check_columns(dataset, split, args)
    class_names(loaded, str(args.dataset))
    whole = datasets.concatenate_datasets(list(loaded.values()))
    if args.channel is not None:
        whole = whole.filter(
            lambda channel: channel == args.channel, input_columns="channel", desc="Choosing a channel"
        )
    return loaded, whole, stream


def _load(args: DataArguments) -> "tuple[datasets.DatasetDict, datasets.IterableDataset | None]":
    if args.dataset is None:
        raise ConfigError("dataset is not given; expected a folder written by recipes/prepare.py, or a Hub id.")
    path = Path(args.dataset)
    if path.exists() and not (path / "README.md").is_file():
        raise DatasetError(f"--dataset {path} has no dataset card; expected a folder written by recipes/prepare.py.")
    refuse_missing(args.dataset, "--dataset", DatasetError, "a folder written by recipes/prepare.py")
    try:
        if args.streaming:
            columns = [*(name for name in _COLUMNS if name != "audio"), "language", "sha256", *DIMENSIONS]
            return load_streamed(args.dataset, args.configuration, columns)
        # `datasets` caches a folder by its name and card: another one of the same name, or a new version, would not be
        # read. The files themselves are part of the key where they are passed.
        if is_pattern(path) or (path / SUMMARY).is_file():
            return load_literal(files_of(args.dataset, args.configuration)), None
        from datasets import load_dataset  # here: it takes long to import

        return load_dataset(args.dataset, args.configuration), None
    except (FileNotFoundError, ConnectionError) as error:
        raise DatasetError(
            f"--dataset {args.dataset}: no such folder, and it cannot be loaded from the Hub ({error}). Prepare it "
            "with recipes/prepare.py."
        ) from error
    except ValueError as error:  # the message of datasets lists the available configurations
        raise DatasetError(f"--configuration {args.configuration} of {args.dataset}: {error}") from error


def _check_columns(dataset: "datasets.Dataset", split: str, args: DataArguments) -> None:
    elsewhere = {"audio"} if args.streaming and split == "train" else set()  # in the stream
    missing = [name for name in _COLUMNS if name not in dataset.column_names and name not in elsewhere]
    if missing:
        raise DatasetError(
            f"{args.dataset} ({split}) lacks the columns {', '.join(missing)}; expected a dataset prepared by "
            "recipes/prepare.py."
        )


def _summary(dataset: str) -> dict[str, Any]:
    """The summary that preparation wrote, of a folder or a dataset on the Hub; empty for other datasets."""
    path = Path(dataset) / SUMMARY
    if not path.is_file() and not Path(dataset).exists():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            path = Path(hf_hub_download(dataset, SUMMARY, repo_type="dataset"))
        except (EntryNotFoundError, OSError):  # no such file, or no network and none in the cache
            return {}
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


@dataclass(frozen=True)
class _Decode:
    """Decode and preprocess the encoded audio of a batch; a class, so that it can be pickled for workers."""

    steps: Preprocessing

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        waveforms = [self.steps(load_audio(audio)) for audio in batch["audio"]]
        return {"waveform": waveforms, "label": batch["label"]}


def decoded(dataset: "datasets.Dataset", steps: Preprocessing = _WHOLE) -> "datasets.Dataset":
    """Decode clips on access: items become `{"waveform": (samples,) float32 at 16 kHz, "label": id}`.

    >>> clips = load_splits(DataArguments("data/emotions", "ravdess")).splits["test"]
    >>> decoded(clips)[0]["waveform"].dtype
    dtype('float32')
    """
    return dataset.select_columns(["audio", "label"]).with_transform(_Decode(steps))
