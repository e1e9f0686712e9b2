"""Training clips as a stream are those that loading gives, and nothing else of train is loaded."""

import datasets
import pytest

from hf_ser.arguments import ConfigError
from hf_ser.data.class_labels import ClassLabelError
from hf_ser.data.dataset_error import DatasetError
from hf_ser.data.splits import DataArguments, load_splits
from hf_ser.labels import EMOTIONS


def _both(dataset_dir, configuration="all", **changes):
    args = {"dataset": str(dataset_dir), "configuration": configuration, **changes}
    return load_splits(DataArguments(**args)), load_splits(DataArguments(**args, streaming=True))


@pytest.fixture(scope="module")
def with_songs(dataset_dir, tmp_path_factory):
    """The small dataset with every third clip a song."""
    folder = tmp_path_factory.mktemp("songs")
    for split, part in datasets.load_dataset(str(dataset_dir), "all").items():
        channels = ["song" if number % 3 == 0 else "speech" for number in range(len(part))]
        part.remove_columns("channel").add_column("channel", channels).to_parquet(folder / f"{split}.parquet")
    (folder / "README.md").write_text("# songs\n")
    return folder


@pytest.mark.parametrize("configuration", ["all", "all-random", "ravdess"])
def test_a_stream_has_the_clips_that_loading_gives(dataset_dir, configuration):
    loaded, streamed = _both(dataset_dir, configuration)
    assert loaded.stream is None and streamed.stream is not None
    train, metadata = loaded.splits["train"], streamed.splits["train"]
    kept = [name for name in train.column_names if name in metadata.column_names]
    assert "audio" not in kept and set(metadata.column_names) == set(kept) and len(kept) == 10
    assert metadata.to_dict() == {name: train[name][:] for name in metadata.column_names}
    assert metadata.features["label"] == train.features["label"]
    assert list(streamed.stream) == train.select_columns(["id", "audio"]).to_list()
    for split in ("validation", "test"):
        assert streamed.splits[split].to_list() == loaded.splits[split].to_list()
        assert streamed.splits[split].features == loaded.splits[split].features
    assert streamed.assignment.hash == loaded.assignment.hash and streamed.protocol == loaded.protocol
    assert streamed.scored_classes("test") == loaded.scored_classes("test")
    assert (streamed.labels, streamed.synthetic) == (loaded.labels, loaded.synthetic)


def test_training_clips_are_not_copied_into_the_cache(dataset_dir):
    data = load_splits(DataArguments(str(dataset_dir), streaming=True))
    assert not any("train" in file["filename"] for part in data.splits.values() for file in part.cache_files)
    assert any("validation" in file["filename"] for file in data.splits["validation"].cache_files)
    assert data.stream.num_shards > 1  # row groups


def test_calm_is_merged_and_a_channel_chosen(with_songs):
    loaded, streamed = _both(with_songs, "default", merge_calm=True, channel="song")
    train, metadata = loaded.splits["train"], streamed.splits["train"]
    assert set(metadata["channel"]) == {"song"} and 0 < len(metadata) < len(list(streamed.stream))
    assert metadata["id"][:] == train["id"][:] and metadata["label"][:] == train["label"][:]
    assert streamed.labels == loaded.labels and len(streamed.labels) == 7
    assert [len(streamed.splits[name]) for name in loaded.splits] == [len(part) for part in loaded.splits.values()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "random"}, "protocol is 'random' and streaming is true; .* Remove protocol or streaming"),
        ({"stream_buffer": 0}, "stream_buffer is 0; expected at least 1 clip"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        DataArguments("x", streaming=True, **changes)


def _folder(path, part, **files):
    for name, columns in files.items():
        part.select_columns(columns).to_parquet(path / f"{name}.parquet")
    (path / "README.md").write_text("# other\n")
    return DataArguments(str(path), "default", streaming=True)


def test_other_datasets_are_refused(tmp_path_factory, dataset_dir):
    part = datasets.load_dataset(str(dataset_dir), "ravdess", split="train")
    every = part.column_names
    cases = {
        "no train split": {"validation": every},
        "no audio column": {"train": [name for name in every if name != "audio"]},
        r"\(train\) lacks the columns speaker": {
            "train": [name for name in every if name != "speaker"],
            "validation": every,
        },
    }
    for message, files in cases.items():
        with pytest.raises(DatasetError, match=message):
            load_splits(_folder(tmp_path_factory.mktemp("other"), part, **files))
    names = [EMOTIONS[label] for label in part["label"]]
    as_text = part.remove_columns("label").add_column("label", names)
    with pytest.raises(ClassLabelError, match="labels of type string; expected a ClassLabel"):
        load_splits(_folder(tmp_path_factory.mktemp("other"), as_text, train=every))
    folder = tmp_path_factory.mktemp("json")
    (folder / "train.jsonl").write_text('{"id": "a"}\n')
    (folder / "README.md").write_text("# other\n")
    with pytest.raises(DatasetError, match="has json files; streaming needs Parquet"):
        load_splits(DataArguments(str(folder), "default", streaming=True))
