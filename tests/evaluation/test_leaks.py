"""Clips of a model's training are refused under any name and from every source; what was not checked is told."""

import csv
import shutil

import numpy as np
import pytest
import soundfile as sf
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_ser.audio import decode
from hf_ser.data import DataArguments, load_splits
from hf_ser.data.seen import Record
from hf_ser.data.splits_file import SPLITS_FILE, write_assignment
from hf_ser.evaluation import EvaluateArguments, clip_sources, evaluate, model_evaluation
from hf_ser.evaluation.clip_sources import SourceError
from hf_ser.inference import CheckpointError
from hf_ser.labels import EMOTIONS
from hf_ser.scoring import PredictionsError, read_predictions


@pytest.fixture(scope="module")
def data(dataset_dir):
    return load_splits(DataArguments(str(dataset_dir)))


@pytest.fixture(scope="module")
def random_model(tmp_path_factory, tiny_config):
    folder = tmp_path_factory.mktemp("leaks") / "random"
    torch.manual_seed(0)
    content = {key: value for key, value in tiny_config.items() if key != "model_type"}
    id2label = dict(enumerate(EMOTIONS))
    config = Wav2Vec2Config(**content, id2label=id2label, label2id={label: i for i, label in id2label.items()})
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return folder


@pytest.fixture
def model(random_model, data, tmp_path):
    """A model whose splits.csv is that of the dataset."""
    folder = shutil.copytree(random_model, tmp_path / "model")
    write_assignment(folder / SPLITS_FILE, data.assignment, data.hashes)
    return folder


@pytest.fixture
def scored(tmp_path):
    def run(data_args=None, **arguments):
        return evaluate(
            EvaluateArguments(str(tmp_path / "out"), figures=False, **arguments), data_args or DataArguments()
        )

    return run


@pytest.fixture
def originals(dataset_dir):
    """Id -> file that the dataset was prepared from."""
    paths = (dataset_dir.parent / "corpora").rglob("*.wav")
    return {f"{'ravdess' if path.stem.count('-') == 6 else 'crema_d'}/{path.stem}": path for path in paths}


@pytest.fixture
def listed(data, originals, tmp_path):
    """List clips of a split in a CSV file, each copied under the name that `rename` gives."""

    def make(split, rename, corpus="ravdess", convert=shutil.copy):
        rows = [(row["id"], EMOTIONS[row["label"]]) for row in data.splits[split].select_columns(["id", "label"])]
        rows = [row for row in rows if row[0].startswith(corpus)]
        (tmp_path / "clips").mkdir()
        with open(tmp_path / "list.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label"])
            for number, (clip, label) in enumerate(rows):
                path = f"clips/{rename(number, originals[clip])}"
                convert(originals[clip], tmp_path / path)
                writer.writerow([path, label])
        return str(tmp_path / "list.csv"), [clip for clip, _ in rows]

    return make


def notes(results):
    return results["protocol"]["notes"]


def renamed(number, path):
    return f"x{number}.wav"


def other_samples(path, target):
    """The same performance in another encoding: no sample is the same."""
    samples, rate = sf.read(path)
    sf.write(target, samples[::2] * 0.9, rate // 2, format="FLAC")


# --- a CSV file -------------------------------------------------------------------------------------------------


def test_renamed_training_clips_are_refused(scored, model, listed):
    file, ids = listed("train", renamed)
    message = f"trained on {len(ids)} of these {len(ids)} clips .clips/x0.wav is {ids[0]}, clips/x1.wav is {ids[1]}, "
    with pytest.raises(PredictionsError, match=message):
        scored(model=str(model), csv=file)


def test_renamed_clips_in_another_container_are_refused(scored, model, listed):
    def to_float(path, target):
        decoded = decode(path)
        sf.write(target, decoded.samples[:, [0, 0]] / np.float32(32768), decoded.sampling_rate, subtype="FLOAT")

    file, ids = listed("train", renamed, "crema_d", to_float)
    with pytest.raises(
        PredictionsError, match=f"trained on {len(ids)} of these {len(ids)} clips .clips/x0.wav is {ids[0]}"
    ):
        scored(model=str(model), csv=file)


@pytest.mark.parametrize("modality", ["03", "01"])
def test_a_corpus_file_name_is_known_anywhere(scored, model, listed, modality):
    def convert(path, target):
        other_samples(path, target)

    file, ids = listed("train", lambda _, path: f"{modality}{path.stem[2:]}.flac", convert=convert)
    with pytest.raises(PredictionsError, match=rf"clips/{modality}\S+ is {ids[0]}, .*--allow_seen true"):
        scored(model=str(model), csv=file)


def test_clips_of_the_test_split_are_scored_whatever_they_are_called(scored, model, listed):
    file, ids = listed("test", renamed)
    results = scored(model=str(model), csv=file)
    assert results["splits"]["all"]["clips"] == len(ids)
    assert not [note for note in notes(results) if "trained on" in note]


def test_a_list_without_speakers_is_scored_with_unknown_speakers(scored, model, listed, tmp_path):
    file, ids = listed("test", renamed)
    split = scored(model=str(model), csv=file)["splits"]["all"]
    assert split["speakers"] is None and split["clips"] == len(ids)
    assert [(one["method"], one["clusters"]) for one in split["intervals"]] == [("plain", len(ids))] * 2
    assert set(read_predictions(tmp_path / "out" / "predictions.parquet").clips["speaker"]) == {""}
    assert f"{len(ids)} clips, speakers unknown." in (tmp_path / "out" / "report.md").read_text()


def test_allowed_clips_are_counted_in_the_notes(scored, model, listed, tmp_path):
    file, ids = listed("train", renamed)
    results = scored(model=str(model), csv=file, allow_seen=True)
    (note,) = [note for note in notes(results) if "trained on" in note]
    assert note.startswith(f"the model was trained on {len(ids)} of these {len(ids)} clips (clips/x0.wav is {ids[0]},")
    assert note in (tmp_path / "out" / "report.md").read_text()
    assert read_predictions(tmp_path / "out" / "predictions.parquet").clips.keys() == {
        "id", "corpus", "speaker", "gender", "intensity", "label"
    }  # fmt: skip


def test_known_names_are_rejected_before_anything_is_decoded_or_loaded(
    scored, model, listed, originals, data, tmp_path, monkeypatch
):
    def late(*args, **kwargs):
        raise AssertionError("too late")

    for name in ("scan", "_check_files"):
        monkeypatch.setattr(clip_sources, name, late)
    monkeypatch.setattr(model_evaluation, "load_classifier", late)
    file, ids = listed("train", lambda _, path: path.name)
    test = next(clip for clip in data.splits["test"]["id"] if clip.startswith("ravdess"))
    shutil.copy(originals[test], tmp_path / "clips")
    counts = {"csv": (file, len(ids)), "recordings": (str(tmp_path / "clips"), len(ids) + 1)}
    for name, (source, count) in counts.items():
        with pytest.raises(PredictionsError, match=rf"trained on {len(ids)} of these {count} clips") as caught:
            scored(model=str(model), **{name: source})
        assert "protocol" not in str(caught.value)
        assert str(caught.value).endswith("Remove these clips, or pass --allow_seen true.")
    with pytest.raises(CheckpointError, match="--model runs/none/seed_0"):
        scored(model="runs/none/seed_0", recordings=str(tmp_path / "clips"))


def test_unknown_labels_of_a_list_are_rejected_before_the_model_is_loaded(scored, model, listed, monkeypatch):
    monkeypatch.setattr(model_evaluation, "load_classifier", lambda *_: pytest.fail("too late"))
    file, _ = listed("test", renamed)
    with open(file, "a") as lines:
        lines.write("clips/x0.wav,joy\n")
    for options in ({}, {"allow_seen": True}):
        with pytest.raises(SourceError, match="1 unknown labels .line .*: 'joy'"):
            scored(model=str(model), csv=file, **options)


def test_every_file_is_decoded_once_for_its_checks_and_its_hash(scored, model, listed, monkeypatch):
    file, ids = listed("test", renamed)
    read, whole = [], clip_sources.read_checked
    monkeypatch.setattr(clip_sources, "read_checked", lambda *args: read.append(1) or whole(*args))
    scored(model=str(model), csv=file)
    assert len(read) == len(ids)


# --- a folder and a dataset -------------------------------------------------------------------------------------


def test_a_folder_of_training_clips_under_other_corpus_names_is_refused(scored, model, originals, data, tmp_path):
    trained = next(clip for clip in data.splits["train"]["id"] if clip.startswith("ravdess"))
    (tmp_path / "in").mkdir()
    shutil.copy(originals[trained], tmp_path / "in" / "1091_WSI_SAD_XX.wav")
    with pytest.raises(PredictionsError, match=f"1 of these 1 clips .crema_d/1091_WSI_SAD_XX is {trained}"):
        scored(model=str(model), recordings=str(tmp_path / "in"))


def test_a_twin_of_a_training_clip_is_refused_in_a_folder(scored, model, originals, data, tmp_path):
    trained = next(clip for clip in data.splits["train"]["id"] if clip.startswith("ravdess"))
    twin = trained.replace("/03-", "/01-")
    (tmp_path / "in").mkdir()
    other_samples(originals[trained], tmp_path / "in" / f"{twin.partition('/')[2]}.flac")
    with pytest.raises(PredictionsError, match=f"{twin} is {trained}"):
        scored(model=str(model), recordings=str(tmp_path / "in"))


def rename_in_record(model, data):
    """As if the model had been trained on a dataset that gives the same clips other ids."""
    names = {clip: f"mine/{number}" for number, clip in enumerate(data.assignment.splits)}
    lines = [f"{names[clip]},{split},{data.hashes[clip]}" for clip, split in data.assignment.splits.items()]
    (model / SPLITS_FILE).write_text("\n".join(["id,split,sha256", *lines, ""]))
    return names


def test_a_dataset_under_other_ids_is_refused(scored, model, data, dataset_dir):
    names = rename_in_record(model, data)
    first = data.splits["train"]["id"][0]
    with pytest.raises(PredictionsError, match=f"{first} is {names[first]}, "):
        scored(DataArguments(str(dataset_dir)), model=str(model), split="train")
    results = scored(DataArguments(str(dataset_dir)), model=str(model))
    assert not [note for note in notes(results) if "trained on" in note]


def test_calibration_clips_under_other_ids_are_refused(scored, model, data, dataset_dir):
    sha256 = data.hashes[data.splits["validation"]["id"][0]]
    (model / SPLITS_FILE).write_text(f"id,split,sha256\nmine/a,train,{sha256}\n")
    data_args = DataArguments(str(dataset_dir))
    scored(data_args, model=str(model))
    with pytest.raises(PredictionsError, match=r"trained on 1 of the 28 calibration clips \(\S+ is mine/a\)"):
        scored(data_args, model=str(model), calibrate=True, overwrite=True)
    results = scored(data_args, model=str(model), calibrate=True, overwrite=True, allow_seen=True)
    assert [note for note in notes(results) if "1 of the 28 calibration clips" in note]


# --- what cannot be checked -------------------------------------------------------------------------------------


def test_a_model_that_tells_nothing(scored, random_model, listed):
    file, _ = listed("test", renamed)
    assert [note for note in notes(scored(model=str(random_model), csv=file)) if "are unknown (no splits.csv)" in note]


def test_a_model_of_an_earlier_version_is_checked_by_name(scored, model, data, listed, dataset_dir):
    write_assignment(model / SPLITS_FILE, data.assignment, {})
    file, _ = listed("train", renamed)
    for results in (
        scored(model=str(model), csv=file),
        scored(DataArguments(str(dataset_dir)), model=str(model), overwrite=True),
    ):
        assert [note for note in notes(results) if "by name only, because its splits.csv has no hashes" in note]
    with pytest.raises(PredictionsError, match="was trained on"):
        scored(DataArguments(str(dataset_dir)), model=str(model), split="train", overwrite=True)


def test_a_dataset_without_hashes_is_checked_by_name(scored, model, dataset_dir, tmp_path):
    for split, part in load_splits(DataArguments(str(dataset_dir))).splits.items():
        part.remove_columns("sha256").to_parquet(tmp_path / "plain" / f"{split}.parquet")
    (tmp_path / "plain" / "README.md").write_text("# other\n")
    results = scored(DataArguments(str(tmp_path / "plain"), "default"), model=str(model))
    assert [note for note in notes(results) if "the dataset does not have a sha256" in note]


def test_a_calibrated_model_keeps_the_hashes(scored, model, data, dataset_dir, tmp_path):
    scored(DataArguments(str(dataset_dir)), model=str(model), calibrate=True)
    record = Record.read(tmp_path / "out" / "model" / SPLITS_FILE)
    assert record.hashes == data.hashes and record.splits == data.assignment.splits
