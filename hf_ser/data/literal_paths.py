"""Prepared datasets below folders with brackets, stars or question marks in their names.

`datasets` takes such a path for a pattern that matches something else. Here the files are found below the folder and
handed to the builder of `datasets` by name.
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
    """Whether `datasets` would take the path of what exists here for a pattern."""
    return Path(path).exists() and glob.has_magic(str(Path(path).resolve()))


def files_of(folder: str, configuration: str) -> dict[str, list[str]]:
    """The files of a configuration -> split -> paths, as the folder's card names them.

    Raises:
        ValueError: no card with configurations, no such configuration, or no file of it.
    """
    from datasets.data_files import sanitize_patterns
    from huggingface_hub import DatasetCard

    configs = DatasetCard.load(Path(folder) / "README.md").data.to_dict().get("configs") or []
    named = {config["config_name"]: config.get("data_files") for config in configs}
    if configuration not in named:
        raise ValueError(
            f"BuilderConfig {configuration!r} not found. Available: {list(named)}. `datasets` takes [, * and ? in the "
            "folder's path for a pattern, so that only configurations of its card can be loaded."
        )
    root = Path(folder).resolve()
    found = {
        str(split): sorted(str(root / path) for pattern in patterns for path in glob.glob(pattern, root_dir=root))
        for split, patterns in sanitize_patterns(named[configuration]).items()
    }
    missing = [split for split, paths in found.items() if not paths]
    others = [path for paths in found.values() for path in paths if not path.endswith(".parquet")]
    if missing or others:
        raise ValueError(f"has {others[0] if others else f'no file of {missing[0]}'}; expected Parquet files.")
    return found


def open_files(files: Mapping[str, Sequence[str]], **options: Any) -> "Parquet":
    """The builder of Parquet files by split, whose paths are taken as they are written."""
    import datasets
    from datasets.data_files import DataFilesDict, DataFilesList
    from datasets.packaged_modules.parquet.parquet import Parquet

    found = {
        datasets.NamedSplit(split): DataFilesList(list(paths), [(path, str(os.path.getmtime(path))) for path in paths])
        for split, paths in files.items()
    }
    return Parquet(dataset_name="local", data_files=DataFilesDict(found), **options)


def load_literal(files: Mapping[str, Sequence[str]]) -> "datasets.DatasetDict":
    """Load Parquet files by split, whose paths are taken as they are written."""
    import datasets

    builder = open_files(files)
    builder.download_and_prepare()
    return datasets.DatasetDict(builder.as_dataset())
