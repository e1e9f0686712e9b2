"""Stream a dataset on the Hub, or one in a folder: metadata first, then the audio of the clips that are used.

Nothing is copied to the cache of `datasets`: from Parquet files, the metadata is read without the audio, and then the
audio once. Audio stays undecoded, so that neither torchcodec nor FFmpeg is needed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ser.corpora.listing import (
    SPLIT_NAMES,
    Listing,
    ListingError,
    corpus_name,
    ignored_columns,
    make_listing,
    name_columns,
)
from hf_ser.extras import needs_extra
from hf_ser.local_or_hub import refuse_missing

if TYPE_CHECKING:  # importing datasets takes about as long as the rest of this package
    import datasets

_ROW = "{split}/{row:06d}"
# Columns of these names are usually of the recording that a clip was cut from, so they are not read.
_IGNORED = ("start", "end")


@dataclass(frozen=True)
class HubSource:
    """An opened dataset.

    Args:
        name: Hub id or folder.
        configuration: name of the configuration, or None for the only one.
        revision: commit of the dataset on the Hub; None for a folder.
        splits: names of the splits that are read.
        columns: field of `COLUMNS` -> name of its column; `path` is the audio.
        features: all columns of the dataset.
        folder: name and version of the dataset as a path; the paths of its clips are below.
        licence: the licence on its card, if there is one.
        synthetic: whether its card has the tag of generated recordings.
    """

    name: str
    configuration: str | None
    revision: str | None
    splits: tuple[str, ...]
    columns: Mapping[str, str]
    features: Mapping[str, Any]
    folder: Path
    licence: str | None = None
    synthetic: bool = False

    def stream_audio(self, wanted: Mapping[str, Sequence[int]]) -> Iterator[tuple[Path, bytes]]:
        """Read the audio of some rows, in order.

        Args:
            wanted: split -> sorted row numbers, from 0.

        Yields:
            Path of the clip, as in its utterance, and the content of its audio file; empty if it cannot be read.
        """
        audio = self.columns["path"]
        for split, numbers in wanted.items():
            if not numbers:
                continue
            stream = _stream(self, split, [audio])
            rows = set(numbers)
            for row, values in enumerate(stream.skip(numbers[0]), numbers[0]):
                if row in rows:  # others are skipped to the end: stopping early can abort the process at its exit
                    yield self.folder / _ROW.format(split=split, row=row), _content(values[audio])


def open_dataset(
    name: str,
    *,
    configuration: str | None = None,
    revision: str | None = None,
    splits: Sequence[str] | None = None,
    columns: Mapping[str, Any] | None = None,
) -> HubSource:
    """Find the files and columns of a dataset.

    Args:
        name: Hub id, or folder of a dataset that `datasets.load_dataset` loads.
        configuration: name of the configuration; None for the only one.
        revision: branch, tag or commit on the Hub.
        splits: names of the splits; None for all.
        columns: field -> name of its column, or None to ignore it; `audio` is the audio.

    Raises:
        ListingError: there is no such dataset, configuration, revision, split or column, or it cannot be streamed.
    """
    refuse_missing(name, "--hub_dataset", ListingError, "the folder of a dataset")
    local = Path(name).is_dir()
    if local and revision is not None:
        raise ListingError(f"--hub_revision is {revision} but {name} is a folder; expected a dataset on the Hub.")
    commit, card = (None, _local_card(Path(name))) if local else _commit(name, revision)
    builder = _builder(name, configuration, commit)
    try:
        streams = builder.as_streaming_dataset()
    except Exception as error:  # of the builder of any format
        raise ListingError(f"--hub_dataset {name} cannot be streamed: {error}") from error
    absent = [split for split in splits or () if split not in streams]
    if absent:
        raise ListingError(f"--hub_split {absent[0]}: no such split of {name}; expected any of {', '.join(streams)}.")
    chosen = tuple(splits or streams)
    features = streams[chosen[0]].features
    if not features:
        raise ListingError(f"--hub_dataset {name} has no known columns; expected a dataset with a column of audio.")
    version = hashlib.sha256(repr([builder.name, sorted(_origins(builder))]).encode()).hexdigest()
    place = f"{Path(name).resolve() if local else name}@{commit or version}"
    found = _columns(name, features, columns or {})
    return HubSource(name, configuration, commit, chosen, found, dict(features), Path(place), **_from_card(card))


def read_metadata(source: HubSource) -> Listing:
    """Read the metadata of all clips, without their audio.

    Raises:
        ListingError: rows that cannot be used, see `make_listing`.
    """
    fields = {name: column for name, column in source.columns.items() if name != "path"}
    given = _given_splits(source)
    corpus = corpus_name(Path(source.name).resolve().name)

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        for split in source.splits:
            for row, values in enumerate(_stream(source, split, sorted(set(fields.values())))):
                texts = {name: _text(values[column], source.features[column]) for name, column in fields.items()}
                texts = {"split": given.get(split, ""), **_without_corpus(texts, corpus)}
                yield f"{split} row {row}", {**texts, "path": _ROW.format(split=split, row=row)}

    notes = ignored_columns(list(source.features), source.columns)
    notes += (f"commit {source.revision}",) if source.revision else ()
    notes += (f"its licence is {source.licence}",) if source.licence else ()
    if len(source.splits) > 1 and not given and "split" not in fields:
        names = ", ".join(source.splits)
        notes = (*notes, f"its splits {names} are not used, since they are not train, validation and test")
    title = source.name if source.revision else Path(source.name).name
    return make_listing(rows(), source.folder, source=title, corpus=corpus, notes=notes, in_files=False)


def _commit(name: str, revision: str | None) -> tuple[str, Mapping[str, Any]]:
    """The commit of a revision, and the metadata of the card."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        info = HfApi().dataset_info(name, revision=revision)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        at = f" at revision {revision}" if revision else ""
        raise ListingError(
            f"--hub_dataset {name}{at} cannot be read from the Hub: {reason} Check the name, the revision and, for a "
            "private dataset, HF_TOKEN."
        ) from error
    return str(info.sha), info.card_data.to_dict() if info.card_data else {}


def _local_card(folder: Path) -> Mapping[str, Any]:
    from huggingface_hub import DatasetCard

    try:
        return DatasetCard.load(folder / "README.md").data.to_dict()
    except (OSError, ValueError):  # none, or not one of a dataset
        return {}


def _from_card(card: Mapping[str, Any]) -> dict[str, Any]:
    licence = card.get("license")
    named = ", ".join(map(str, licence)) if isinstance(licence, list) else licence
    return {"licence": named, "synthetic": "synthetic" in (card.get("tags") or ())}


def _builder(name: str, configuration: str | None, commit: str | None, **options: Any) -> Any:
    with needs_extra("train"):
        import datasets

    try:
        builder = datasets.load_dataset_builder(name, configuration, revision=commit, **options)
    except (ValueError, FileNotFoundError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())
        raise ListingError(f"--hub_dataset {name} cannot be opened: {reason}") from error
    if hasattr(builder.config, "decode_num_threads"):  # threads that decode audio folders on the Hub, with torchcodec
        builder.config.decode_num_threads = 0
    return builder


def _origins(builder: Any) -> list[str]:
    """The version of each data file: path and time, or repository and commit."""
    files = builder.config.data_files or {}
    return [repr(origin) for part in files.values() for origin in part.origin_metadata]


def _stream(source: HubSource, split: str, columns: Sequence[str]) -> "datasets.IterableDataset":
    import datasets

    from hf_ser.data.builder import EncodedAudio

    builder = _builder(source.name, source.configuration, source.revision)
    if builder.name == "parquet":  # the other columns are not read
        builder = _builder(source.name, source.configuration, source.revision, columns=list(columns))
    stream = builder.as_streaming_dataset(split=split)
    for name, kind in source.features.items():
        if isinstance(kind, datasets.Audio) and name in stream.features:
            stream = stream.cast_column(name, EncodedAudio(decode=False))
    return stream.select_columns(list(columns))


def _columns(name: str, features: Mapping[str, Any], columns: Mapping[str, Any]) -> dict[str, str]:
    import datasets

    renamed = {field: column for field, column in columns.items() if field not in ("audio", "path", *_IGNORED)}
    audio = columns.get("audio")
    if audio is None:
        audio = next((column for column, kind in features.items() if isinstance(kind, datasets.Audio)), None)
    if audio is None or audio not in features or not _holds_audio(features[audio]):
        what = "no column of audio" if audio is None else f"no column {audio} of audio"
        raise ListingError(
            f"{name} has {what}; its columns are {', '.join(features)}. Pass the name of the column with "
            "--columns.audio."
        )
    header = [column for column in features if column == audio or column.lower() not in ("path", *_IGNORED)]
    return name_columns(header, {**renamed, "path": audio}, name)


def _holds_audio(kind: Any) -> bool:
    import datasets

    return isinstance(kind, datasets.Audio) or (isinstance(kind, dict) and "bytes" in kind)


def _given_splits(source: HubSource) -> dict[str, str]:
    """Split of the dataset -> train, validation or test; empty for one split, which assigns nothing."""
    named = {split: SPLIT_NAMES.get(split.lower(), "") for split in source.splits}
    return named if len(named) > 1 and all(named.values()) else {}


def _text(value: Any, kind: Any) -> str:
    """A value of a column as text; the name of a class."""
    import datasets

    if value is None or (isinstance(kind, datasets.ClassLabel) and value == -1):  # -1: without a label
        return ""
    if isinstance(kind, datasets.ClassLabel):
        return str(kind.int2str(value))
    if isinstance(value, list):  # votes, as a prepared dataset has them
        return json.dumps({item["label"]: item["count"] for item in value}) if value else ""
    return str(value)


def _without_corpus(texts: Mapping[str, str], corpus: str) -> dict[str, str]:
    """Remove the corpus from ids and speakers of a prepared dataset, since it is added again."""
    name = corpus_name(texts.get("corpus") or corpus)
    own = dict(texts)
    own["id"] = own.get("id", "").removeprefix(f"{name}/")
    own["speaker"] = own.get("speaker", "").removeprefix(f"{name}_")
    return own


def _content(value: Any) -> bytes:
    """The bytes of an audio file, which a row has itself or names by a path."""
    from datasets.utils.file_utils import xopen

    named: dict[str, Any] = {"path": value} if isinstance(value, str) else value or {}
    if named.get("bytes") is not None:
        return bytes(named["bytes"])
    if named.get("path"):
        with xopen(named["path"], "rb") as file:
            return bytes(file.read())
    return b""
