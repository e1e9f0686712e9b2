"""A dataset on the Hub as a source of recordings: streamed at one commit, without a copy in the cache."""

import io
import json
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

PREPARE = Path(__file__).parents[2] / "recipes" / "prepare.py"
EMOTIONS = ["angry", "happy", "neutral", "unclear"]
COLUMNS = ["--columns.audio", "recording", "--columns.label", "feeling", "--columns.speaker", "caller"]


def wav(seed):
    buffer = io.BytesIO()
    samples = np.random.default_rng(seed).integers(-8000, 8000, 9_000, dtype=np.int16)
    sf.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()


def table(split, clips):
    """A Parquet file as `push_to_hub` writes it: class names and speakers under names of their own."""
    features = datasets.Features(
        {
            "recording": datasets.Audio(),
            "feeling": datasets.ClassLabel(names=EMOTIONS),
            "caller": datasets.Value("string"),
            "path": datasets.Value("string"),
        }
    )
    rows = [
        {
            "recording": {"bytes": wav(1000 * len(split) + number), "path": f"{number}.wav"},
            "feeling": number % 3,
            "caller": f"{split}-{number % 5}",
            "path": "of another machine",
        }
        for number in range(clips)
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), buffer, row_group_size=10)
    return buffer.getvalue()


@pytest.fixture
def upload(hub):
    """Commit files to a dataset on the Hub; return the commit."""

    def commit(name, files):
        from huggingface_hub import CommitOperationAdd

        api = hub.api("hf_owner")
        api.create_repo(name, repo_type="dataset", exist_ok=True)
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        return api.create_commit(name, operations, commit_message="add", repo_type="dataset").oid

    return commit


@pytest.fixture
def prepare(hub, tmp_path):
    """Run recipes/prepare.py in a process that may talk to the Hub."""

    def run(*words):
        environment = hub.environment(token="hf_reader") | {"PYTHONPATH": str(PREPARE.parents[1])}
        environment |= {"HF_DATASETS_CACHE": str(tmp_path / "datasets_cache")}
        command = [sys.executable, str(PREPARE), "--output_dir", str(tmp_path / "out"), "--num_proc", "1"]
        return subprocess.run(
            [*command, *map(str, words)], env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path
        )

    return run


def rows_of(folder):
    return [row for path in sorted(folder.glob("data/*")) for row in pq.ParquetFile(path).read().to_pylist()]


def cached_audio(tmp_path):
    return [path for path in (tmp_path / "datasets_cache").rglob("*") if path.suffix in (".arrow", ".parquet", ".wav")]


def test_a_dataset_is_streamed_at_one_commit(hub, upload, prepare, tmp_path):
    files = {
        f"data/{split}-00000-of-00001.parquet": table(split, clips) for split, clips in (("train", 45), ("test", 15))
    }
    commit = upload("owner/calls", files | {"README.md": b"---\nlicense: cc-by-4.0\n---\n"})
    upload("owner/calls", {name: b"not Parquet" for name in files})  # later, and not asked for
    words = [
        "--hub_dataset",
        "owner/calls",
        "--hub_revision",
        commit,
        *COLUMNS,
        "--labels",
        "angry",
        "neutral",
        "happy",
    ]
    done = prepare(*words, "--licence", "cc-by-4.0")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 60 and {row["corpus"] for row in rows} == {"calls"}
    by_id = {row["id"]: row for row in rows}
    row = by_id["calls/train/000017"]
    assert (row["speaker"], row["label"]) == ("calls_train-2", 0)  # happy, neutral, angry: in the order of emotions
    samples, _ = sf.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16")
    expected, _ = sf.read(io.BytesIO(wav(5017)), dtype="int16")
    np.testing.assert_array_equal(samples, expected)
    summary = json.loads((tmp_path / "out/preparation.json").read_text(encoding="utf-8"))
    assert summary["labels"] == ["neutral", "happy", "angry"] and summary["licence"] == "cc-by-4.0"
    assert f"commit {commit}" in done.stdout and "its licence is cc-by-4.0" in done.stdout
    assert cached_audio(tmp_path) == []
    again = prepare(*words, "--licence", "cc-by-4.0")
    assert again.returncode == 0 and "is up to date" in again.stdout


def test_an_audio_folder_on_the_hub(upload, prepare, tmp_path):
    files = {f"{EMOTIONS[number % 3]}/{number}.wav": wav(number) for number in range(12)}
    upload("owner/clips", files)
    done = prepare("--hub_dataset", "owner/clips", "--labels", "all")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 12
    stored = {sf.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16")[0].tobytes() for row in rows}
    assert stored == {sf.read(io.BytesIO(content), dtype="int16")[0].tobytes() for content in files.values()}
    assert cached_audio(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["owner/nothing"], "--hub_dataset owner/nothing cannot be read from the Hub: "),
        (
            ["owner/calls", "--hub_revision", "v9"],
            "--hub_dataset owner/calls at revision v9 cannot be read from the Hub",
        ),
        (
            ["owner/calls", "--hub_split", "dev"],
            "--hub_split dev: no such split of owner/calls; expected any of train",
        ),
        (["owner/calls"], "owner/calls has no column label; its columns are recording, feeling, caller"),
    ],
    ids=["dataset", "revision", "split", "column"],
)
def test_what_is_not_on_the_hub_is_one_line(upload, prepare, tmp_path, words, message):
    upload("owner/calls", {"data/train-00000-of-00001.parquet": table("train", 6)})
    done = prepare("--hub_dataset", *words)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and message in line and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_labels_outside_the_set_are_listed_before_audio_is_read(hub, upload, prepare):
    upload("owner/calls", {"data/train-00000-of-00001.parquet": table("train", 45)})
    done = prepare("--hub_dataset", "owner/calls", *COLUMNS, "--labels", "angry", "neutral")
    assert done.returncode == 2 and "labels outside the label set: happy (15)" in done.stderr
