"""Stream the training clips of a prepared dataset, without copying them to the cache."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_ser.data.literal_paths import files_of, is_pattern, load_literal, open_files

if TYPE_CHECKING:
    import datasets

# Read-ahead of each read from the Hub. The default of 5 MiB is larger than a row group of a prepared dataset, and
# pyarrow already requests what it needs in one piece. The setting of the last Parquet files that `datasets` opened
# applies to all of them, so read a stream before opening others, or open it last.
_READ_AHEAD = {"hf": {"block_size": 2**16}}


def load_streamed(
    dataset: str, configuration: str, columns: Sequence[str]
) -> "tuple[datasets.DatasetDict, datasets.IterableDataset]":
    """Load a configuration with only the metadata of its training clips, and open these clips as a stream.

    `datasets.load_dataset` prepares all splits of a configuration, even if only one is requested. This function lists
    the files of the configuration and loads each split from its files instead.

    Args:
        dataset: folder or Hub id of a dataset of Parquet files.
        configuration: all, ravdess, all-random, ...
        columns: columns of the training clips to load into memory, if they exist.

    Returns:
        The splits, with train lacking `audio`; and the training clips (id and encoded audio), one shard per row group.

    Raises:
        ValueError: if the configuration does not exist, has no training clips or no audio, or is not in Parquet files.
    """
    import datasets

    literal = is_pattern(dataset)
    files = files_of(dataset, configuration) if literal else _listed(dataset, configuration)
    if "train" not in files:
        raise ValueError("has no train split to stream. Choose another configuration.")
    own = {"train": files.pop("train")}

    def stream(columns: Sequence[str] | None = None) -> Any:
        wanted = None if columns is None else list(columns)
        if literal:
            return open_files(own, columns=wanted).as_streaming_dataset(split="train")
        return datasets.load_dataset(
            "parquet", data_files=own, split="train", streaming=True, columns=wanted, storage_options=_READ_AHEAD
        )

    stored = stream().features
    if "audio" not in stored:
        raise ValueError("has no audio column in train; expected a prepared dataset.")
    metadata = stream([name for name in columns if name in stored])  # Parquet: the other columns are not read
    train = datasets.Dataset.from_dict(metadata.to_dict(), features=metadata.features)
    loaded = datasets.DatasetDict()
    if files:
        loaded = load_literal(files) if literal else datasets.load_dataset("parquet", data_files=files)
    # Row groups are shuffled. Shuffling whole files would mix less, since each file holds one corpus and split.
    return datasets.DatasetDict({"train": train, **loaded}), stream(["id", "audio"]).reshard()


def _listed(dataset: str, configuration: str) -> dict[str, list[str]]:
    """The files of a configuration by split, as `datasets` finds them in a folder or on the Hub."""
    import datasets

    builder = datasets.load_dataset_builder(dataset, configuration)
    if not builder.config.data_files or builder.name != "parquet":
        raise ValueError(f"has {builder.name} files; streaming needs Parquet. Remove streaming.")
    return {str(split): list(paths) for split, paths in builder.config.data_files.items()}
