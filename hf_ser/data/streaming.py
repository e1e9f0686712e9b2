"""A prepared dataset whose training clips are read as they are needed, without a copy of them in the cache."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_ser.data.literal_paths import files_of, is_pattern, load_literal, open_files

if TYPE_CHECKING:
    import datasets

# From the Hub, whatever is read brings so much of the file behind it along. The default of 5 MiB is more than a row
# group of a prepared dataset; pyarrow itself asks for what it needs in one piece. Whichever Parquet files datasets
# opened last decide for all of them: a stream must be read before others are opened, or be opened last.
_READ_AHEAD = {"hf": {"block_size": 2**16}}


def load_streamed(
    dataset: str, configuration: str, columns: Sequence[str]
) -> "tuple[datasets.DatasetDict, datasets.IterableDataset]":
    """Load a configuration, of its training clips the metadata only, and open these clips as a stream.

    `datasets.load_dataset` prepares every split of a configuration, whichever is asked for. So the configuration is
    only asked which files it has, and each split is loaded from its own.

    Args:
        dataset: folder or Hub id, of Parquet files.
        configuration: all, ravdess, all-random, ...
        columns: what is read of the training clips into memory, as far as they have it.

    Returns:
        The splits, train without `audio`; and the training clips (id, audio as stored), one shard per row group.

    Raises:
        ValueError: no such configuration, no training clips or no audio in them, or files other than Parquet.
    """
    import datasets

    literal = is_pattern(dataset)
    files = files_of(dataset, configuration) if literal else _listed(dataset, configuration)
    if "train" not in files:
        raise ValueError("has no split train; expected one to stream. Choose another configuration.")
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
        raise ValueError("has no column audio in train; expected a prepared dataset.")
    metadata = stream([name for name in columns if name in stored])  # Parquet: the other columns are not read
    train = datasets.Dataset.from_dict(metadata.to_dict(), features=metadata.features)
    loaded = datasets.DatasetDict()
    if files:
        loaded = load_literal(files) if literal else datasets.load_dataset("parquet", data_files=files)
    # Row groups are shuffled, which mixes far better than whole files: these hold a corpus and split each.
    return datasets.DatasetDict({"train": train, **loaded}), stream(["id", "audio"]).reshard()


def _listed(dataset: str, configuration: str) -> dict[str, list[str]]:
    """The files of a configuration, by split, as `datasets` finds them in a folder or on the Hub."""
    import datasets

    builder = datasets.load_dataset_builder(dataset, configuration)
    if not builder.config.data_files or builder.name != "parquet":
        raise ValueError(f"has {builder.name} files; expected Parquet. Leave streaming out.")
    return {str(split): list(paths) for split, paths in builder.config.data_files.items()}
