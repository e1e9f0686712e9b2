"""Small synthetic corpora, generated and prepared once per test process, and helpers to write odd recordings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hf_ser.corpora.synthetic import generate
from hf_ser.data import PrepareArguments, prepare

# Clips in `corpora`: RAVDESS 8 classes x 2 clips x 3 speakers, CREMA-D 6 x 2 x 3, TESS 7 x 2 x 2 speakers, SAVEE
# (6 x 2 + 4 neutral) x 3.
SIZES = {"ravdess": 48, "crema_d": 36, "tess": 28, "savee": 48}


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Corpus -> folder; 160 clips in all. Read only: a test that changes a file copies the folder first."""
    folder = tmp_path_factory.mktemp("corpora")
    return generate(folder, clips_per_class=2, speakers_per_corpus=3, duration_s=(0.5, 0.6))


@pytest.fixture(scope="session")
def sizes() -> dict[str, int]:
    """Corpus -> clips in `corpora`."""
    return dict(SIZES)


@pytest.fixture(scope="session")
def arguments() -> Callable[..., PrepareArguments]:
    """Make `PrepareArguments` from the folders of corpora and an output folder."""

    def make(folders: dict[str, Path], output: Path, **changes: Any) -> PrepareArguments:
        given = {name: str(folder) for name, folder in folders.items()}
        return PrepareArguments(output_dir=str(output), **{"num_proc": 1, **given, **changes})

    return make


@pytest.fixture(scope="session")
def prepared(corpora, arguments, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset prepared from `corpora` in one uninterrupted run. Read only."""
    output = tmp_path_factory.mktemp("prepared") / "emotions"
    return prepare(arguments(corpora, output), progress=False).folder


@pytest.fixture(scope="session")
def read_rows() -> Callable[[Path], list[dict[str, Any]]]:
    """Read the rows of a dataset folder, or of one Parquet file, in file order."""

    def read(path: Path) -> list[dict[str, Any]]:
        files = sorted(path.glob("data/*.parquet")) if path.is_dir() else [path]
        return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]

    return read


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """Make int16 noise of shape (samples,), or (samples, channels) if `channels` is set."""

    def make(seed: int, num_samples: int = 8000, channels: int | None = None, amplitude: int = 8000) -> np.ndarray:
        shape = num_samples if channels is None else (num_samples, channels)
        return np.random.default_rng(seed).integers(-amplitude, amplitude, shape, dtype=np.int16)

    return make


@pytest.fixture(scope="session")
def put() -> Callable[[Path, bytes], Path]:
    """Write a file and create its folders."""

    def write(path: Path, content: bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write
