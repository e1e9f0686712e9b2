import json
import pickle
from dataclasses import replace

import datasets
import numpy as np
import pytest

from hf_ser.arguments import ConfigError
from hf_ser.audio import Preprocessing, load_audio
from hf_ser.data.protocols import ProtocolError, SpeakerLeakWarning
from hf_ser.data.splits import (
    DataArguments,
    DatasetError,
    decoded,
    load_splits,
    read_assignment,
    read_hashes,
    write_assignment,
)
from hf_ser.labels import EMOTIONS, EMOTIONS_WITHOUT_CALM
from hf_ser.models import make_feature_extractor


def test_splits_of_a_configuration(dataset_dir):
    data = load_splits(DataArguments(dataset=str(dataset_dir)))
    made = json.loads((dataset_dir / "preparation.json").read_text())["protocols"]["speaker_disjoint"]
    assert data.protocol == "speaker_disjoint"
    assert data.assignment.hash == made["hash"]
    assert data.labels == EMOTIONS
    assert set(data.synthetic) == {"ravdess", "crema_d"}
    speakers = {split: set(part["speaker"]) for split, part in data.splits.items()}
    assert (
        speakers["train"]
        and not speakers["train"] & speakers["test"]
        and not speakers["train"] & speakers["validation"]
    )


def test_a_protocol_assigns_anew(dataset_dir):
    with pytest.warns(SpeakerLeakWarning):
        random = load_splits(DataArguments(dataset=str(dataset_dir), protocol="random"))
    given = load_splits(DataArguments(dataset=str(dataset_dir), configuration="all-random"))
    assert random.assignment.hash == given.assignment.hash
    assert given.protocol == "random"
    fold = load_splits(DataArguments(dataset=str(dataset_dir), protocol="leave_one_speaker_out", fold=2))
    assert len(set(fold.splits["test"]["speaker"])) == 1
    with pytest.raises(ProtocolError, match="emobox"):
        load_splits(DataArguments(dataset=str(dataset_dir), configuration="ravdess", protocol="emobox", fold=1))


def test_calm_counts_as_neutral_when_merged(dataset_dir):
    args = {"dataset": str(dataset_dir), "configuration": "ravdess"}
    eight, seven = load_splits(DataArguments(**args)), load_splits(DataArguments(**args, merge_calm=True))
    assert seven.labels == EMOTIONS_WITHOUT_CALM
    for before, after in zip(eight.splits["train"], seven.splits["train"], strict=True):
        emotion = EMOTIONS[before["label"]]
        assert seven.labels[after["label"]] == ("neutral" if emotion == "calm" else emotion)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"configuration": "tess"}, "tess"),
        ({"dataset": "no/such/folder"}, "no such folder"),
        ({"channel": "song"}, "no clips in train"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_unusable_datasets_are_refused(dataset_dir, changes, message, streaming):
    with pytest.raises(DatasetError, match=message):
        load_splits(DataArguments(**{"dataset": str(dataset_dir), "streaming": streaming, **changes}))


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no dataset card"):
        load_splits(DataArguments(dataset=str(tmp_path)))


def test_other_labels_are_refused(tmp_path, dataset_dir):
    part = datasets.load_dataset(str(dataset_dir), "ravdess", split="train")
    names = list(reversed(EMOTIONS))
    part = part.cast_column("label", datasets.ClassLabel(names=names))
    for split in ("train", "validation", "test"):
        part.to_parquet(tmp_path / f"{split}.parquet")
    (tmp_path / "README.md").write_text("# other\n")
    with pytest.raises(DatasetError, match="labels are"):
        load_splits(DataArguments(dataset=str(tmp_path), configuration="default"))


def test_items_are_the_stored_recordings(dataset_dir):
    clips = load_splits(DataArguments(dataset=str(dataset_dir))).splits["validation"]
    for item, row in zip(decoded(clips), clips, strict=True):
        np.testing.assert_array_equal(item["waveform"], load_audio(row["audio"]))
        assert item["label"] == row["label"]
    fixed = DataArguments(dataset=str(dataset_dir), duration_s=0.25, normalize=True)
    for item in decoded(clips, fixed.steps):
        assert len(item["waveform"]) == 4000 and np.abs(item["waveform"]).max() <= 1


def test_lengths_are_those_of_the_waveforms(dataset_dir):
    data = load_splits(DataArguments(dataset=str(dataset_dir)))
    for changes in ({}, {"trim_db": 20.0}, {"duration_s": 0.25}):
        cut = data.with_steps(Preprocessing(**changes))
        assert cut.lengths("test") == [len(item["waveform"]) for item in cut.decoded("test")]


def test_a_checkpoint_decides_on_preprocessing_that_the_arguments_leave_open(dataset_dir):
    extractor = make_feature_extractor(16_000)
    Preprocessing(trim_db=20.0, duration_s=0.3).store(extractor)
    data = load_splits(DataArguments(dataset=str(dataset_dir), duration_s=0.25))
    assert data.with_steps_of(extractor).args.steps == Preprocessing(trim_db=20.0, duration_s=0.25)
    assert data.with_steps_of(make_feature_extractor(16_000)).args == data.args


@pytest.mark.parametrize("steps", [Preprocessing(), Preprocessing(trim_db=20.0, normalize=True, duration_s=0.25)])
def test_decoded_clips_reach_workers_of_any_start_method(dataset_dir, steps):
    clips = decoded(load_splits(DataArguments(dataset=str(dataset_dir))).splits["validation"], steps)
    again = pickle.loads(pickle.dumps(clips))
    np.testing.assert_array_equal(again[0]["waveform"], clips[0]["waveform"])


@pytest.mark.parametrize("streaming", [False, True])
def test_an_assignment_is_read_back_with_its_hashes(dataset_dir, tmp_path, streaming):
    data = load_splits(DataArguments(dataset=str(dataset_dir), streaming=streaming))
    assert data.hashes.keys() == data.assignment.splits.keys()
    write_assignment(tmp_path / "splits.csv", data.assignment, data.hashes)
    assert read_assignment(tmp_path / "splits.csv") == data.assignment.splits
    assert read_hashes(tmp_path / "splits.csv") == data.hashes
    stored = {row["id"]: row["sha256"] for part in data.splits.values() for row in part.remove_columns("label")}
    assert data.hashes == stored


def test_a_dataset_without_hashes_gives_none(dataset_dir, tmp_path):
    data = load_splits(DataArguments(dataset=str(dataset_dir)))
    data = replace(data, splits={split: part.remove_columns("sha256") for split, part in data.splits.items()})
    write_assignment(tmp_path / "splits.csv", data.assignment, data.hashes)
    assert read_assignment(tmp_path / "splits.csv") == data.assignment.splits
    assert read_hashes(tmp_path / "splits.csv") == data.hashes == {}


def test_an_assignment_of_an_earlier_version_is_read(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("id,split\nx/a, the first,train\nx/b,test\n")
    assert read_assignment(path) == {"x/a, the first": "train", "x/b": "test"} and read_hashes(path) == {}
    path.write_text("id,split,sha256\nx/a, the first,train,00ff\nx/b,test,\n")
    assert read_assignment(path) == {"x/a, the first": "train", "x/b": "test"}
    assert read_hashes(path) == {"x/a, the first": "00ff"}
    path.write_text("id,split,sha256\nx/a,train\n")
    with pytest.raises(DatasetError, match="line 2 has too few columns; expected id,split,sha256"):
        read_hashes(path)


def test_across_corpora_only_shared_classes_are_scored(dataset_dir):
    args = {"dataset": str(dataset_dir), "protocol": "leave_one_corpus_out"}
    on_crema_d, on_ravdess = (load_splits(DataArguments(**args, fold=fold)) for fold in (1, 2))
    shared = tuple(emotion for emotion in EMOTIONS if emotion not in ("calm", "surprised"))
    assert on_crema_d.scored_classes("test") == on_ravdess.scored_classes("test") == shared
    assert load_splits(DataArguments(dataset=str(dataset_dir))).scored_classes("test") == EMOTIONS


def test_a_dataset_must_be_named():
    with pytest.raises(ConfigError, match="dataset is not given"):
        load_splits(DataArguments())


def test_bad_arguments():
    for changes, message in (
        ({"protocol": "randon"}, "randon"),
        ({"fold": 1}, "protocol is not given"),
        ({"channel": "sung"}, "speech or song"),
    ):
        with pytest.raises(ValueError, match=message):
            DataArguments(dataset="x", **changes)
