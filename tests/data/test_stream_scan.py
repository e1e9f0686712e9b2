"""Datasets in folders as sources of recordings: Parquet and audio folders, read by `datasets` as streams."""

import io
import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from hf_ser.corpora.listing import ListingError
from hf_ser.data import PrepareArguments, hub_source, prepare
from hf_ser.data.examination import Limits, ScanError
from hf_ser.data.found_recordings import found_listing
from hf_ser.data.hub_source import HubSource, open_dataset, read_metadata
from hf_ser.data.stream_scan import examine_streams, without_streams

EMOTIONS = ["angry", "happy", "neutral"]
FEATURES = datasets.Features(
    {
        "audio": datasets.Audio(),
        "label": datasets.ClassLabel(names=EMOTIONS),
        "speaker": datasets.Value("int64"),
        "start": datasets.Value("float64"),
    }
)


def rows_of(noise, encode, number, seed=0):
    return [
        {
            "audio": {"bytes": encode(noise(seed + row)), "path": None},
            "label": row % 3,
            "speaker": row % 4,
            "start": 100.0,
        }
        for row in range(number)
    ]


def write(path, rows, features=FEATURES):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), path, row_group_size=16)


@pytest.fixture
def calls(tmp_path, noise, encode):
    """A dataset of 70 training and 20 test clips, in Parquet files with row groups of 16."""
    folder = tmp_path / "calls"
    write(folder / "data/train-00000-of-00001.parquet", rows_of(noise, encode, 70))
    write(folder / "data/test-00000-of-00001.parquet", rows_of(noise, encode, 20, seed=500))
    return folder


def make(tmp_path, dataset, **options):
    arguments = PrepareArguments(
        str(tmp_path / "out"), hub_dataset=str(dataset), **{"num_proc": 1, "labels": EMOTIONS, **options}
    )
    folder = prepare(arguments, progress=False).folder
    rows = [row for path in sorted(folder.glob("data/*")) for row in pq.ParquetFile(path).read().to_pylist()]
    return {row["id"]: row for row in rows}, json.loads((folder / "preparation.json").read_text(encoding="utf-8"))


def test_the_clips_are_those_of_the_dataset(calls, noise, tmp_path):
    rows, summary = make(tmp_path, calls)
    assert rows.keys() == {
        f"calls/{split}/{n:06d}" for split, size in (("train", 70), ("test", 20)) for n in range(size)
    }
    assert summary["labels"] == ["neutral", "happy", "angry"]
    for split, seed in (("train", 0), ("test", 500)):
        for number in (0, 15, 16, 19):
            row = rows[f"calls/{split}/{number:06d}"]
            samples, _ = sf.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16")
            np.testing.assert_array_equal(samples, noise(seed + number))
            assert summary["labels"][row["label"]] == EMOTIONS[number % 3]
            assert row["speaker"] == f"calls_{number % 4}"


def test_one_process_equals_two(calls, tmp_path):
    one, _ = make(tmp_path / "one", calls)
    two, _ = make(tmp_path / "two", calls, num_proc=2)
    assert one == two


def test_the_splits_of_the_dataset_are_a_protocol_if_they_are_the_usual_ones(calls, noise, encode, tmp_path):
    write(calls / "data/validation-00000-of-00001.parquet", rows_of(noise, encode, 10, seed=900))
    _, summary = make(tmp_path / "three", calls)
    assert summary["default_protocol"] == "given"
    _, summary = make(tmp_path / "one", calls, hub_split=["train"])
    assert summary["default_protocol"] == "speaker_disjoint" and summary["clips"] == 70


def test_unusual_splits_are_noted(calls, tmp_path):
    (calls / "data/train-00000-of-00001.parquet").rename(calls / "data/fold1.parquet")
    (calls / "data/test-00000-of-00001.parquet").rename(calls / "data/fold2.parquet")
    names = "configs:\n- config_name: default\n  data_files:\n"
    names += "".join(f"  - split: {name}\n    path: data/{name}.parquet\n" for name in ("fold1", "fold2"))
    (calls / "README.md").write_text(f"---\n{names}---\n")
    listing = read_metadata(open_dataset(str(calls)))
    assert any("its splits fold1, fold2 are not used" in note for note in listing.notes)
    assert {utterance.split for utterance in listing.utterances} == {""}


def test_metadata_is_read_without_the_audio(calls, monkeypatch):
    read = []
    builder = hub_source._builder

    def recorded(*args, **options):
        read.append(options.get("columns"))
        return builder(*args, **options)

    monkeypatch.setattr(hub_source, "_builder", recorded)
    source = open_dataset(str(calls))
    assert len(read_metadata(source).utterances) == 90
    assert [columns for columns in read if columns] == [["label", "speaker"]] * 2


def test_finished_packs_are_not_streamed_again(calls, tmp_path, monkeypatch):
    source = open_dataset(str(calls))
    found = found_listing(read_metadata(source), source)
    assert without_streams(found).copies == []
    asked = []
    stream_audio = HubSource.stream_audio

    def interrupted(self, wanted):
        asked.append({split: (numbers[0], len(numbers)) for split, numbers in wanted.items()})
        for number, item in enumerate(stream_audio(self, wanted)):
            if len(asked) == 1 and number == 40:
                raise OSError("connection lost")
            yield item

    monkeypatch.setattr(HubSource, "stream_audio", interrupted)
    options = {"limits": Limits(), "num_proc": 1, "progress": False}
    with pytest.raises(ScanError, match="/train/000032: the stream was interrupted: connection lost .*finished clips"):
        list(examine_streams(found, tmp_path / "packs", **options))
    checked = list(examine_streams(found, tmp_path / "packs", **options))
    assert asked == [{"train": (0, 70), "test": (0, 20)}, {"train": (32, 38), "test": (0, 20)}]
    assert sum(len(clips) for clips, _ in checked) == 90
    assert list(examine_streams(found, tmp_path / "packs", **options)) == checked and len(asked) == 2


def test_a_dataset_that_changes_is_read_again(calls, noise, encode, tmp_path):
    before = open_dataset(str(calls)).folder
    path = calls / "data/test-00000-of-00001.parquet"
    write(path, rows_of(noise, encode, 20, seed=700))
    assert open_dataset(str(calls)).folder != before


def test_clips_without_audio_are_quarantined(calls, noise, encode, tmp_path):
    rows = rows_of(noise, encode, 70)
    rows[3]["audio"] = {"bytes": b"", "path": None}
    rows[5]["audio"] = None
    rows[7]["audio"] = {"bytes": b"RIFF of nothing", "path": None}
    write(calls / "data/train-00000-of-00001.parquet", rows)
    kept, summary = make(tmp_path, calls)
    assert len(kept) == 87 and sum(summary["quarantined"]["calls"].values()) == 3
    table = (tmp_path / "out/quarantine.csv").read_text(encoding="utf-8")
    assert all(f"calls,train/{row:06d}," in table for row in (3, 5, 7))


def test_rows_without_a_label_are_an_error(calls, noise, encode):
    rows = rows_of(noise, encode, 70)
    rows[4]["label"], rows[9]["label"] = -1, None
    write(calls / "data/train-00000-of-00001.parquet", rows)
    with pytest.raises(ListingError, match="calls: 2 rows cannot be used .train row 4: label is empty; train row 9"):
        read_metadata(open_dataset(str(calls)))


def test_a_prepared_dataset_keeps_its_ids_and_speakers(prepared, read_rows, tmp_path):
    again, summary = make(tmp_path, prepared, hub_configuration="all", labels=None)
    before = {row["id"]: row for row in read_rows(prepared)}
    assert again.keys() == before.keys()
    assert sorted(summary["synthetic"]) == ["crema_d", "ravdess", "savee", "tess"]
    own = ("sha256", "duration")  # of the recordings at their original sampling rate
    for name, row in again.items():
        assert {key: row[key] for key in row if key not in own} == {
            key: before[name][key] for key in before[name] if key not in own
        }
    assert summary["default_protocol"] == "given"


def test_an_audio_folder(tmp_path, noise, encode, put):
    for number in range(12):
        put(tmp_path / f"clips/{EMOTIONS[number % 3]}/{number}.wav", encode(noise(number)))
    rows, summary = make(tmp_path, tmp_path / "clips")
    assert len(rows) == 12 and summary["default_protocol"] == "random" and not summary["speakers_known"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": ["dev"]}, "--hub_split dev: no such split of .*; expected any of train, test"),
        ({"configuration": "en"}, "cannot be opened: BuilderConfig 'en' not found"),
        ({"revision": "v1"}, "--hub_revision is v1 but .* is a folder; expected a dataset on the Hub"),
        ({"columns": {"audio": "wav"}}, "has no column wav of audio; its columns are audio, label, speaker, start"),
        ({"columns": {"audio": "label"}}, "has no column label of audio"),
        ({"columns": {"label": "emotion"}}, "has no column emotion; its columns are audio, label, speaker"),
        ({"columns": {"lable": "label"}}, "--columns.lable: no such field .did you mean label"),
    ],
)
def test_what_does_not_exist_is_an_error(calls, options, message):
    with pytest.raises(ListingError, match=message):
        open_dataset(str(calls), **options)


def test_folders_that_are_no_dataset_are_errors(tmp_path):
    with pytest.raises(ListingError, match="--hub_dataset nowhere: no such folder; expected the folder of a dataset"):
        open_dataset("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ListingError, match="cannot be opened"):
        open_dataset(str(tmp_path / "empty"))


def test_a_dataset_without_audio_is_an_error(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=EMOTIONS)})
    write(tmp_path / "texts/train.parquet", [{"text": "a", "label": 0}], features)
    with pytest.raises(ListingError, match="has no column of audio; its columns are text, label. .*--columns.audio"):
        open_dataset(str(tmp_path / "texts"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hub_revision": "main"}, "--hub_revision is given but --hub_dataset is not"),
        ({"hub_split": ["train"]}, "--hub_split is given but --hub_dataset is not"),
        ({"audformat_tables": ["gold"]}, "--audformat_tables is given but --audformat is not"),
    ],
)
def test_options_without_their_source_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        PrepareArguments("out", csv=["a.csv"], **options)
