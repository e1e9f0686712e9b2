"""`load_dataset(folder, configuration)` in a process that knows nothing of this package and has no network."""

import json
import os
import subprocess
import sys
from collections import Counter

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from hf_ser.corpora import synthetic
from hf_ser.data import DataArguments, PrepareArguments, Row, assign, load_splits, prepare
from hf_ser.labels import EMOTIONS

# The default, every corpus and all together, each under both protocols that are materialised.
NAMES = ("all", "crema_d", "ravdess", "savee", "tess")
CONFIGURATIONS = (*NAMES, *(f"{name}-random" for name in NAMES))
SPLITS = ("train", "validation", "test")

READER = """
import hashlib, io, json, sys
import numpy as np
import soundfile as sf
from datasets import get_dataset_config_names, load_dataset

folder = sys.argv[1]
result = {"names": get_dataset_config_names(folder), "loaded": {}, "audio": {}, "rows": []}
for name in [None, *result["names"]]:
    for streaming in (False, True):
        dataset = load_dataset(folder, name, streaming=streaming)
        result["loaded"][f"{name} {'streaming' if streaming else 'in memory'}"] = {
            "features": {split: repr(rows.features) for split, rows in dataset.items()},
            "ids": {split: [row["id"] for row in rows] for split, rows in dataset.items()},
        }
for streaming in (False, True):
    for split, rows in load_dataset(folder, "all", streaming=streaming).items():
        for row in rows:
            audio = row.pop("audio")
            samples, rate = sf.read(io.BytesIO(audio["bytes"]), dtype="int16", always_2d=True)
            facts = {
                "rate": rate,
                "channels": samples.shape[1],
                "duration_error": abs(len(samples) / rate - row["duration"]),
                "peak": int(np.abs(samples.astype(int)).max()),
                "format": sf.info(io.BytesIO(audio["bytes"])).format,
                "path": audio["path"],
                "sha256": hashlib.sha256(audio["bytes"]).hexdigest(),
            }
            result["audio"].setdefault(row["id"], []).append(facts)
            if not streaming:
                result["rows"].append(row)
assert not any(module.split(".")[0] == "hf_ser" for module in sys.modules), "hf_ser was imported"
assert "torchcodec" not in sys.modules
with open(sys.argv[2], "w") as file:
    json.dump(result, file)
"""


@pytest.fixture(scope="module")
def loaded(prepared, tmp_path_factory) -> dict:
    """What a fresh process reads from the dataset folder."""
    folder = tmp_path_factory.mktemp("loaded")
    cache = str(folder / "cache")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": cache, "HF_DATASETS_CACHE": cache, "PYTHONPATH": ""}
    command = [sys.executable, "-c", READER, str(prepared), str(folder / "result.json")]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def splits(loaded) -> dict[str, dict[str, str]]:
    """Protocol -> clip id -> split, from the columns that were read."""
    rows = [
        Row(
            **{key: row[key] for key in ("id", "corpus", "speaker", "gender", "sha256")},
            vocal_channel=row["channel"],
            emotion=EMOTIONS[row["label"]],
            text=row["text"] or "",
        )
        for row in loaded["rows"]
    ]
    assert len(rows) == 160
    with pytest.warns(UserWarning, match="train and test share speakers"):
        return {protocol: assign(rows, protocol).splits for protocol in ("speaker_disjoint", "random")}


def test_the_configurations_are_there(loaded):
    assert sorted(loaded["names"]) == sorted(CONFIGURATIONS)


@pytest.mark.parametrize("how", ["in memory", "streaming"])
@pytest.mark.parametrize("configuration", [None, *CONFIGURATIONS])
def test_a_configuration_gives_the_clips_of_its_protocol(loaded, splits, configuration, how):
    ids = loaded["loaded"][f"{configuration} {how}"]["ids"]
    corpus, _, protocol = (configuration or "all").partition("-")
    expected = {
        split: sorted(
            clip
            for clip, given in splits[protocol or "speaker_disjoint"].items()
            if given == split and (corpus == "all" or clip.startswith(f"{corpus}/"))
        )
        for split in SPLITS
    }
    assert list(ids) == list(SPLITS)
    assert {split: sorted(clips) for split, clips in ids.items()} == expected
    assert all(expected.values())
    assert ids == loaded["loaded"][f"{configuration} in memory"]["ids"]  # and in the same order


def test_the_sizes_of_the_splits(loaded):
    def sizes(configuration: str) -> tuple[int, ...]:
        ids = loaded["loaded"][f"{configuration} in memory"]["ids"]
        return tuple(len(ids[split]) for split in SPLITS)

    # Three speakers each, one for a split; TESS has two: one tests, the other's two words train and validate.
    assert {name: sizes(name) for name in NAMES} == {
        **{"all": (51, 51, 58), "crema_d": (12, 12, 12), "ravdess": (16, 16, 16)},
        **{"savee": (16, 16, 16), "tess": (7, 7, 14)},
    }
    # Six clips of a class give 4 + 1 + 1, SAVEE's twelve neutral ones 8 + 2 + 2, TESS's four 2 + 1 + 1.
    assert {name: sizes(f"{name}-random") for name in NAMES} == {
        **{"all": (102, 29, 29), "crema_d": (24, 6, 6), "ravdess": (32, 8, 8)},
        **{"savee": (32, 8, 8), "tess": (14, 7, 7)},
    }


def test_every_configuration_has_the_same_columns(loaded):
    features = {text for given in loaded["loaded"].values() for text in given["features"].values()}
    (text,) = features
    names = ", ".join(repr(emotion) for emotion in EMOTIONS)
    assert f"'label': ClassLabel(names=[{names}])" in text
    assert "'audio': Audio(sampling_rate=16000, decode=False" in text
    for column in ("id", "corpus", "speaker", "gender", "intensity", "channel", "text", "sha256"):
        assert f"'{column}': Value('string')" in text
    assert "'age': Value('int32')" in text and "'duration': Value('float32')" in text


def test_audio_decodes_with_soundfile_to_16_khz_mono(loaded):
    assert len(loaded["audio"]) == 160
    for clip, (in_memory, streamed) in loaded["audio"].items():
        assert in_memory == streamed
        assert (in_memory["rate"], in_memory["channels"], in_memory["format"]) == (16_000, 1, "FLAC")
        assert in_memory["duration_error"] <= 1 / 16_000
        assert in_memory["peak"] > 100
        assert in_memory["path"] == f"{clip.partition('/')[2]}.flac"
    assert len({facts[0]["sha256"] for facts in loaded["audio"].values()}) == 160


def test_columns_are_read_back(loaded, sizes):
    rows = {row["id"]: row for row in loaded["rows"]}
    assert Counter(row["corpus"] for row in rows.values()) == sizes
    row = dict(rows["ravdess/03-01-08-01-01-01-02"])
    assert len(row.pop("sha256")) == 64 and 0.5 <= row.pop("duration") <= 0.6
    assert row == {
        **{"id": "ravdess/03-01-08-01-01-01-02", "label": 7, "corpus": "ravdess", "speaker": "ravdess_02"},
        **{"gender": "female", "age": None, "intensity": "normal", "channel": "speech"},
        **{"text": "Kids are talking by the door", "language": "en"},
    }
    row = rows["crema_d/1001_IEO_HAP_HI"]
    assert (row["age"], row["gender"], row["intensity"], row["label"]) == (51, "male", "high", 2)


@pytest.mark.parametrize("by", ["load_dataset", "load_splits", "streaming"])
def test_no_old_cache_of_the_same_name_is_read(tmp_path, monkeypatch, by):
    """`datasets` caches a folder by its name and card: another folder of the name, and the same one prepared anew."""

    def loaded():
        if by == "load_dataset":
            splits = load_dataset("dataset", "ravdess-random")
        else:
            splits = load_splits(DataArguments("dataset", "ravdess-random", streaming=by == "streaming")).splits
        return {str(split): sorted(rows["id"]) for split, rows in splits.items()}

    seen = []
    for place, speakers, seeds in (("one", 3, [0]), ("two", 4, [0, 1])):
        root = tmp_path / place
        folders = synthetic.generate(
            root / "corpora", corpora=("ravdess",), clips_per_class=1, speakers_per_corpus=speakers
        )
        monkeypatch.chdir(root)
        for seed in seeds:
            args = PrepareArguments("dataset", ravdess=str(folders["ravdess"]), num_proc=1, seed=seed, overwrite=True)
            prepare(args, progress=False)
            stored = pq.read_table("dataset/data", columns=["id"])
            splits = loaded()
            assert sorted(sum(splits.values(), [])) == sorted(stored["id"].to_pylist())
            seen.append(splits)
    assert seen[1] != seen[2]  # another seed, another assignment of the same clips
