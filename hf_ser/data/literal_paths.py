"""Load the Parquet files of prepared datasets by their own names, whatever the path of the folder.

`datasets` treats a path with brackets, stars or question marks as a pattern, and caches a folder by its name and
card. This module lists the files itself and passes them to the builder of `datasets`, so that its cache depends on
their paths and times.
"""

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing datasets takes about as long as the rest of this package
    import datasets
    from datasets.packaged_modules.parquet.parquet import Parquet


def is_pattern(path: str | os.PathLike[str]) -> bool:
    """Whether the path exists and `datasets` would treat it as a glob pattern."""
    return Path(path).exists() and glob.has_magic(str(Path(path).resolve()))


def files_of(folder: str, configuration: str) -> dict[str, list[str]]:
    """The files of a configuration, as listed in the dataset card: split -> paths.

    Raises:
        ValueError: if the card has no such configuration, or files of the configuration are missing.
    """
    from datasets.data_files import sanitize_patterns
    from huggingface_hub import DatasetCard

    configs = DatasetCard.load(Path(folder) / "README.md").data.to_dict().get("configs") or []
    named = {config["config_name"]: config.get("data_files") for config in configs}
    if configuration not in named:
        raise ValueError(f"BuilderConfig {configuration!r} not found. Available: {list(named)}.")
    root = Path(folder).resolve()
    found = {
        str(split): sorted(str(root / path) for pattern in patterns for path in glob.glob(pattern, root_dir=root))
        for split, patterns in sanitize_patterns(named[configuration]).items()
    }
    missing = [split for split, paths in found.items() if not paths]
    others = [path for paths in found.values() for path in paths if not path.endswith(".parquet")]
    if missing or others:
        problem = f"contains {others[0]}" if others else f"has no files for {missing[0]}"
        raise ValueError(f"{problem}; expected Parquet files.")
    return found


def open_files(files: Mapping[str, Sequence[str]], **options: Any) -> "Parquet":
    """Return a builder for Parquet files by split, whose paths are taken literally."""
    import datasets
    from datasets.data_files import DataFilesDict, DataFilesList
    from datasets.packaged_modules.parquet.parquet import Parquet

    found = {
        datasets.NamedSplit(split): DataFilesList(list(paths), [(path, str(os.path.getmtime(path))) for path in paths])
        for split, paths in files.items()
    }
    return Parquet(dataset_name="local", data_files=DataFilesDict(found), **options)


def load_literal(files: Mapping[str, Sequence[str]]) -> "datasets.DatasetDict":
    """Load Parquet files by split, whose paths are taken literally."""
    import datasets

    builder = open_files(files)
    builder.download_and_prepare()
    return datasets.DatasetDict(builder.as_dataset())
