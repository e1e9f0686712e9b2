import json
import pickle
import shutil
from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_ser.arguments import ConfigError
from hf_ser.audio import Preprocessing, load_audio
from hf_ser.data.class_labels import ClassLabelError
from hf_ser.data.dataset_error import DatasetError
from hf_ser.data.protocols import ProtocolError, SpeakerLeakWarning
from hf_ser.data.splits import DataArguments, decoded, load_rows, load_splits
from hf_ser.data.splits_file import read_assignment, read_hashes, write_assignment
from hf_ser.labels import EMOTIONS
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
    assert seven.labels == tuple(emotion for emotion in EMOTIONS if emotion != "calm")
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


def _relabelled(dataset_dir, folder, names, label_of):
    """Write the stored splits of RAVDESS with other labels; `label_of` maps an emotion to a label or class id."""
    for split, part in datasets.load_dataset(str(dataset_dir), "ravdess").items():
        labels = [label_of(EMOTIONS[label]) for label in part["label"]]
        feature = datasets.ClassLabel(names=names) if names is not None else datasets.Value("string")
        part.remove_columns("label").add_column("label", labels, feature=feature).to_parquet(
            folder / f"{split}.parquet"
        )
    (folder / "README.md").write_text("# other\n")
    return DataArguments(dataset=str(folder), configuration="default")


def test_the_classes_are_those_of_the_dataset_in_its_order(dataset_dir, tmp_path):
    names = ["plötzlich wütend", "other", "neutral"]
    ids = {"angry": 0, "neutral": 2}
    data = load_splits(_relabelled(dataset_dir, tmp_path, names, lambda emotion: ids.get(emotion, 1)))
    assert data.labels == tuple(names) and data.scored_classes("test") == tuple(names)
    before = load_splits(DataArguments(dataset=str(dataset_dir), configuration="ravdess")).splits["train"]
    expected = [ids.get(EMOTIONS[label], 1) for label in before["label"]]
    assert list(data.splits["train"]["label"]) == expected
    assert {row.emotion for row in load_rows(data.args)} == set(names)


@pytest.mark.parametrize(
    ("names", "label_of", "message"),
    [
        (None, str, "labels of type string; expected a ClassLabel"),
        (["angry"], lambda emotion: 0, "has the labels angry; expected at least two classes"),
        (["angry", "other"], lambda emotion: -1, "clips without a label"),
    ],
)
def test_labels_that_are_no_classes_are_refused(dataset_dir, tmp_path, names, label_of, message):
    with pytest.raises(ClassLabelError, match=message):
        load_splits(_relabelled(dataset_dir, tmp_path, names, label_of))


def test_calm_is_merged_only_where_there_is_calm(dataset_dir, tmp_path):
    without = _relabelled(dataset_dir, tmp_path, ["angry", "other"], lambda emotion: int(emotion != "angry"))
    data = load_splits(replace(without, merge_calm=True))
    assert data.labels == ("angry", "other") and not data.args.merge_calm
    no_neutral = _relabelled(dataset_dir, tmp_path, ["calm", "other"], lambda emotion: int(emotion != "calm"))
    with pytest.raises(ClassLabelError, match="needs the classes calm and neutral; .* are calm, other"):
        load_splits(replace(no_neutral, merge_calm=True))


def _without_speakers(dataset_dir, folder, summary):
    """A copy of a prepared dataset without speakers and genders, with other fields in preparation.json."""
    shutil.copytree(dataset_dir, folder)
    for path in (folder / "data").glob("*.parquet"):
        table = pq.read_table(path)
        nothing = pa.nulls(len(table), pa.string())
        for name in ("speaker", "gender", "channel"):
            table = table.set_column(table.schema.get_field_index(name), name, nothing)
        pq.write_table(table, path)
    content = json.loads((folder / "preparation.json").read_text()) | summary
    (folder / "preparation.json").write_text(json.dumps(content))
    return DataArguments(dataset=str(folder))


def test_preparation_names_the_default_protocol_and_the_mapping(dataset_dir, tmp_path):
    mapping = {"excited": "happy", "xxx": None}
    summary = {"default_protocol": "random", "label_mapping": mapping, "licence": "CC0-1.0"}
    args = _without_speakers(dataset_dir, tmp_path / "copy", summary)
    data = load_splits(args)
    assert data.protocol == "random" and data.label_mapping == mapping
    assert load_splits(replace(args, configuration="ravdess")).protocol == "random"
    assert {row.speaker for row in load_rows(args)} == {""}
    assert {row.vocal_channel for row in load_rows(args)} == {"speech"}


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
