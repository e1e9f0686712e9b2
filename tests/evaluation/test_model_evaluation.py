"""Evaluating finished models and tables: on a prepared split, on a folder and on a CSV file."""

import csv
import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_ser.arguments import ConfigError
from hf_ser.corpora import CORPORA
from hf_ser.data import DataArguments, PrepareArguments, load_splits, prepare
from hf_ser.data.splits_file import SPLITS_FILE, read_assignment, write_assignment
from hf_ser.errors import SerError
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.inference import CheckpointError, load_classifier
from hf_ser.labels import EMOTIONS
from hf_ser.reporting import run_report
from hf_ser.scoring import (
    PredictionsError,
    apply_temperature,
    read_predictions,
    read_results,
    score,
    softmax,
    write_answers,
)
from hf_ser.system_errors import SystemTroubleError

CLOSE = {"rtol": 1e-4, "atol": 1e-6}
WITHOUT_CALM = tuple(emotion for emotion in EMOTIONS if emotion != "calm")
FOREIGN = {"ang": "angry", "other": None, "hap": "happy", "neu": "neutral", "joy": "happy"}


def save_model(folder, tiny_config, labels=EMOTIONS, sampling_rate=16_000):
    """A random classifier whose answers differ from clip to clip."""
    torch.manual_seed(0)
    content = {key: value for key, value in tiny_config.items() if key != "model_type"}
    config = Wav2Vec2Config(
        **content, id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)}
    )
    model = Wav2Vec2ForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.mul_(200)
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False, sampling_rate=sampling_rate).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory, tiny_config):
    return save_model(tmp_path_factory.mktemp("models") / "random", tiny_config)


@pytest.fixture(scope="module")
def foreign_dir(tmp_path_factory, tiny_config):
    return save_model(tmp_path_factory.mktemp("models") / "foreign", tiny_config, tuple(FOREIGN))


@pytest.fixture(scope="module")
def train(finetune, dataset_dir, tiny_config):
    """Train on a dataset for an epoch, with fields of recipes/finetune.py; returns the results."""

    def run(folder, **fields):
        return finetune(
            model_config=tiny_config, dataset=str(dataset_dir), output_dir=str(folder), num_train_epochs=1,
            per_device_train_batch_size=16, learning_rate=1e-2, report_to="none", **fields,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    """The folder of a model trained on clips of 0.4 s with calm merged, and its results."""
    folder = tmp_path_factory.mktemp("trained") / "tiny"
    return folder, train(folder, duration_s=0.4, merge_calm=True)


@pytest.fixture
def scored(tmp_path):
    """Evaluate into a new folder; returns the results and the predictions that were written."""

    def run(data=None, folder="out", **arguments):
        results = evaluate(
            EvaluateArguments(str(tmp_path / folder), **{"figures": False} | arguments), data or DataArguments()
        )
        assert read_results(tmp_path / folder) == json.loads(json.dumps(results))  # which checks the schema too
        (split,) = results["splits"].values()
        predictions = read_predictions(tmp_path / folder / "predictions.parquet")
        assert list(predictions.labels) == split["labels"] and split["clips"] == len(predictions.label_ids)
        scores = score(predictions.label_ids, predictions.probabilities, predictions.labels)
        assert split["scores"] == {name: pytest.approx(scores[name], rel=1e-9) for name in split["scores"]}
        return results, predictions

    return run


@pytest.fixture
def recordings(dataset_dir, tmp_path):
    """The recordings of a split as a folder and as a CSV file."""

    def make(split, configuration="all"):
        part = load_splits(DataArguments(str(dataset_dir), configuration), needed=(split,)).splits[split]
        paths = {f"{path.parts[-3]}/{path.stem}": path for path in (dataset_dir.parent / "corpora").rglob("*.wav")}
        folder = tmp_path / "recordings"
        folder.mkdir()
        columns = ("id", "corpus", "speaker", "gender", "intensity")
        with open(tmp_path / "list.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", *columns])
            for row in part.select_columns([*columns, "label"]):
                corpus, _, stem = row["id"].partition("/")
                path = next(path for name, path in paths.items() if name.endswith(f"/{stem}") and corpus in str(path))
                shutil.copy(path, folder)
                values = [row[name] for name in columns]
                writer.writerow([f"recordings/{path.name}", EMOTIONS[row["label"]], *values])
        return folder, tmp_path / "list.csv"

    return make


def rows_of(predictions):
    return dict(zip(predictions.clips["id"], predictions.probabilities, strict=True))


# --- where clips come from --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("configuration", "atol"), [("crema_d", 1e-6), ("ravdess", 2e-3)])
def test_three_ways_to_the_same_clips_give_the_same_probabilities(
    scored, model_dir, dataset_dir, recordings, configuration, atol
):
    folder, listed = recordings("test", configuration)
    model = {"model": str(model_dir)}
    results, whole = scored(DataArguments(str(dataset_dir), configuration), "dataset", **model)
    expected = rows_of(whole)
    assert np.std(list(expected.values()), axis=0).min() > 0.01  # answers differ from clip to clip
    for name, source in (("folder", {"recordings": str(folder)}), ("csv", {"csv": str(listed)})):
        other, predictions = scored(None, name, **model, **source, batch_size=3)
        assert rows_of(predictions).keys() == expected.keys()
        for clip, row in rows_of(predictions).items():
            # The dataset holds 16 bits; recordings of another rate are resampled to more.
            np.testing.assert_allclose(row, expected[clip], atol=atol, err_msg=clip)
        whole, split = other["splits"]["all"], results["splits"]["test"]
        assert whole["clips_hash"] == split["clips_hash"]
        assert (whole["clips"], whole["speakers"]) == (split["clips"], split["speakers"])
        assert whole["groups"].keys() == split["groups"].keys()
        assert set(whole["groups"]["intensity"]["groups"]) == set(split["groups"]["intensity"]["groups"])
        assert other["protocol"]["name"] == "all_clips" and other["dataset"]["configuration"] is None


def test_results_of_a_model_of_unknown_origin(scored, model_dir, dataset_dir):
    results, predictions = scored(DataArguments(str(dataset_dir)), model=str(model_dir), split="validation")
    assert (results["kind"], results["name"], results["model_type"]) == ("evaluation", "random", "wav2vec2")
    assert list(results["splits"]) == ["validation"]
    model, _ = load_classifier(str(model_dir))
    assert results["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert results["training"] is None and results["seeds"] == []
    assert sorted(results["dataset"].pop("synthetic")) == ["crema_d", "ravdess"]
    assert results["dataset"] == {
        "name": "dataset",
        "configuration": "all",
        "labels": list(EMOTIONS),
        "label_mapping": None,
        "languages": results["dataset"]["languages"],
        "licence": results["dataset"]["licence"],
        "train_clips": None,
        "train_speakers": None,
        "train_classes": None,
    }
    assert results["label_mapping"] is None
    assert [note for note in results["protocol"]["notes"] if "are unknown (no splits.csv)" in note]
    split = results["splits"]["validation"]
    assert split["calibration"]["temperature"] is None and split["left_out"] == {}
    assert predictions.labels == EMOTIONS
    assert predictions.clips["id"] == load_splits(DataArguments(str(dataset_dir))).splits["validation"]["id"][:]


def test_the_report_and_the_figures(tmp_path, model_dir, dataset_dir):
    args = EvaluateArguments(str(tmp_path / "out"), model=str(model_dir), embeddings=True, name="mine")
    evaluate(args, DataArguments(str(dataset_dir), "crema_d"))
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.startswith("# mine\n\n**Synthetic recordings")
    drawn = re.findall(r"\]\(figures/(.+?)\.png\)", text)
    assert drawn == [f"{name}_test" for name in ("confusion", "confusion_counts", "roc", "reliability", "embeddings")]
    files = [tmp_path / "out" / "figures" / f"{name}.{suffix}" for name in drawn for suffix in ("png", "svg")]
    assert all(file.stat().st_size > 1000 for file in files)


def _drawn_embeddings(monkeypatch):
    """What the figures of the next run are drawn from, instead of drawing them."""
    seen = {}
    monkeypatch.setattr(run_report, "draw_figures", lambda *_, embeddings, **__: seen.update(embeddings) or {})
    return seen


def test_embeddings_belong_to_their_clips(scored, model_dir, dataset_dir, monkeypatch):
    seen = _drawn_embeddings(monkeypatch)
    _, predictions = scored(DataArguments(str(dataset_dir)), model=str(model_dir), embeddings=True, figures=True)
    model, _ = load_classifier(str(model_dir))
    with torch.no_grad():
        logits = model.classifier(torch.tensor(seen["test"]))
    np.testing.assert_allclose(softmax(logits.numpy()), predictions.probabilities, **CLOSE)


def test_embeddings_without_the_clips_that_are_left_out(scored, foreign_dir, dataset_dir, monkeypatch):
    seen = _drawn_embeddings(monkeypatch)
    arguments = {"model": str(foreign_dir), "label_mapping": FOREIGN, "embeddings": True, "figures": True}
    _, predictions = scored(DataArguments(str(dataset_dir)), **arguments)
    assert len(seen["test"]) == len(predictions.label_ids)


def test_generated_recordings_are_called_synthetic(scored, model_dir, dataset_dir):
    results, _ = scored(model=str(model_dir), recordings=str(dataset_dir.parent / "corpora" / "crema_d"))
    assert results["dataset"]["synthetic"]


def test_notes_about_recordings_that_were_kept_out(scored, model_dir, recordings):
    folder, _ = recordings("test", "crema_d")
    bad = sorted(folder.iterdir())[0]
    bad.write_bytes(b"")
    results, predictions = scored(model=str(model_dir), recordings=str(folder))
    assert f"crema_d/{bad.stem}" not in predictions.clips["id"]
    assert sum(f"rejected, empty: {bad.name}" in note for note in results["protocol"]["notes"]) == 1
    assert results["dataset"]["name"] == "recordings"


@pytest.mark.parametrize(
    "name",
    ["nothing", "a/b", "/no/such/folder", "runs/a/b"],
    ids=["name", "hub-id", "absolute", "relative"],
)
def test_a_missing_model_is_refused(scored, dataset_dir, name):
    with pytest.raises(CheckpointError, match=f"--model {name}"):
        scored(DataArguments(str(dataset_dir)), model=name)


def test_a_model_of_another_sampling_rate_is_refused(scored, tmp_path, tiny_config, dataset_dir):
    folder = save_model(tmp_path / "slow", tiny_config, sampling_rate=8_000)
    with pytest.raises(CheckpointError, match="8000 Hz.*16000 Hz"):
        scored(DataArguments(str(dataset_dir)), model=str(folder))


# --- a model of this package ------------------------------------------------------------------------------------


def test_a_trained_folder_scores_as_when_it_was_trained(scored, trained, dataset_dir):
    folder, training = trained
    results, predictions = scored(DataArguments(str(dataset_dir)), model=str(folder))
    for key in ("name", "model_type", "parameters", "preprocessing", "training", "seeds", "dataset", "protocol"):
        assert results[key] == training[key], key  # duration and merged calm are taken over
    assert predictions.labels == WITHOUT_CALM
    before = rows_of(read_predictions(folder / "predictions_test.parquet"))
    assert rows_of(predictions).keys() == before.keys()
    for clip, row in rows_of(predictions).items():
        np.testing.assert_allclose(row, before[clip], atol=1e-5)
    again, split = results["splits"]["test"], training["splits"]["test"]
    assert again["confusion"] == split["confusion"] and again["clips_hash"] == split["clips_hash"]
    assert again["calibration"]["temperature"] == pytest.approx(split["calibration"]["temperature"])
    assert again["calibration"]["before"]["ece"] == pytest.approx(split["calibration"]["before"]["ece"], abs=1e-4)


def test_a_trained_folder_on_a_folder_of_recordings(scored, trained, recordings):
    folder, _ = trained
    results, predictions = scored(model=str(folder), recordings=str(recordings("test")[0]))
    before = rows_of(read_predictions(folder / "predictions_test.parquet"))
    for clip, row in rows_of(predictions).items():
        np.testing.assert_allclose(row, before[clip], atol=1e-4)  # the dataset holds 16 bits
    assert results["preprocessing"] == {
        "trim_db": None, "normalize": False, "duration_s": 0.4, "merge_calm": True, "channel": None
    }  # fmt: skip
    assert "calm" not in results["splits"]["all"]["labels"]
    assert not any("are unknown (no splits.csv)" in note for note in results["protocol"]["notes"])


def test_other_steps_than_the_models_own_are_refused(scored, trained, dataset_dir, model_dir):
    with pytest.raises(ConfigError, match="the model's preprocessing is {'duration_s': 0.4}"):
        scored(DataArguments(str(dataset_dir), duration_s=0.3), model=str(trained[0]))
    results, _ = scored(DataArguments(str(dataset_dir), duration_s=0.4), model=str(trained[0]))
    assert results["preprocessing"]["duration_s"] == 0.4 and results["preprocessing"]["merge_calm"] is True
    results, _ = scored(DataArguments(str(dataset_dir), duration_s=0.3), "other", model=str(model_dir))
    assert results["preprocessing"]["duration_s"] == 0.3  # of a model that says nothing, the person's choice


def test_clips_of_the_training_are_refused(scored, trained, dataset_dir, recordings, tmp_path):
    folder, training = trained
    data_args = DataArguments(str(dataset_dir))
    seen = training["dataset"]["train_clips"]
    with pytest.raises(PredictionsError, match=f"was trained on {seen} of these {seen} clips .*--allow_seen true"):
        scored(data_args, model=str(folder), split="train")
    heard, listed = recordings("train", "crema_d")
    for source in ({"recordings": str(heard)}, {"csv": str(listed)}):
        with pytest.raises(PredictionsError, match="was trained on"):
            scored(model=str(folder), **source)
    assert not (tmp_path / "out").exists()
    results, _ = scored(data_args, model=str(folder), split="train", allow_seen=True)
    assert results["splits"]["train"]["clips"] == seen


def test_a_single_clip_of_the_training_is_refused(scored, model_dir, dataset_dir, tmp_path):
    folder = shutil.copytree(model_dir, tmp_path / "model")
    one = load_splits(DataArguments(str(dataset_dir))).splits["test"]["id"][3]
    (folder / SPLITS_FILE).write_text(f"id,split\nx/1,train\n{one},train\n")
    with pytest.raises(PredictionsError, match=f"trained on 1 of these 28 clips .{one}"):
        scored(DataArguments(str(dataset_dir)), model=str(folder))
    (folder / SPLITS_FILE).write_text(f"id,split\nx/1,train\n{one},test\n")
    scored(DataArguments(str(dataset_dir)), model=str(folder))


def test_a_cross_corpus_model_scores_as_when_it_was_trained(scored, train, dataset_dir, tmp_path):
    data_args = DataArguments(str(dataset_dir), protocol="cross_corpus", fold=1)
    training = train(tmp_path / "model", protocol="cross_corpus", fold=1)["splits"]["test"]
    assert training["left_out"]
    results, _ = scored(data_args, model=str(tmp_path / "model"))
    assert results["splits"]["test"]["labels"] == training["labels"]
    assert results["splits"]["test"]["left_out"] == training["left_out"]
    assert results["splits"]["test"]["scores"]["uar"] == pytest.approx(training["scores"]["uar"])


# --- a model of others ------------------------------------------------------------------------------------------


def test_other_labels_are_mapped_and_unknown_classes_left_out(scored, foreign_dir, dataset_dir):
    data_args = DataArguments(str(dataset_dir))
    with pytest.raises(ConfigError, match="label_mapping to the YAML file"):
        scored(data_args, model=str(foreign_dir))
    results, predictions = scored(data_args, model=str(foreign_dir), label_mapping=FOREIGN)
    label_ids = [EMOTIONS[label] for label in load_splits(data_args).splits["test"]["label"]]
    left_out = {
        emotion: label_ids.count(emotion) for emotion in EMOTIONS if emotion not in ("neutral", "happy", "angry")
    }
    split = results["splits"]["test"]
    assert split["left_out"] == left_out and set(left_out) == {"calm", "sad", "fearful", "disgust", "surprised"}
    assert split["clips"] == len(label_ids) - sum(left_out.values())
    assert predictions.labels == ("neutral", "happy", "angry")
    plain, _ = scored(data_args, "same", model=str(foreign_dir), label_mapping=dict(reversed(FOREIGN.items())))
    assert plain["splits"] == results["splits"]


def test_mapped_probabilities_are_sums_over_the_labels_of_an_emotion(scored, foreign_dir, dataset_dir):
    data_args = DataArguments(str(dataset_dir), "crema_d")
    _, apart = scored(
        data_args, "apart", model=str(foreign_dir), batch_size=1,
        label_mapping={"ang": "angry", "other": "disgust", "hap": "happy", "neu": "neutral", "joy": "sad"},
    )  # fmt: skip
    _, merged = scored(data_args, "merged", model=str(foreign_dir), label_mapping=FOREIGN)
    columns = [apart.labels.index(label) for label in ("neutral", "happy", "angry", "sad")]
    whole = {clip: row[columns] / row[columns].sum() for clip, row in rows_of(apart).items()}
    for clip, row in rows_of(merged).items():
        np.testing.assert_allclose(row, [whole[clip][0], whole[clip][1] + whole[clip][3], whole[clip][2]], **CLOSE)


def test_merging_calm_merges_the_model_s_answers_too(scored, model_dir, dataset_dir):
    _, apart = scored(DataArguments(str(dataset_dir)), "apart", model=str(model_dir))
    results, merged = scored(DataArguments(str(dataset_dir), merge_calm=True), "merged", model=str(model_dir))
    assert merged.labels == WITHOUT_CALM and results["splits"]["test"]["left_out"] == {}
    np.testing.assert_allclose(merged.probabilities[:, 0], apart.probabilities[:, :2].sum(axis=1), **CLOSE)
    np.testing.assert_allclose(merged.probabilities[:, 1:], apart.probabilities[:, 2:], **CLOSE)


def test_a_model_without_calm_on_clips_that_have_it(scored, tmp_path, tiny_config, dataset_dir):
    folder = save_model(tmp_path / "seven", tiny_config, tuple(label.upper() for label in WITHOUT_CALM))
    results, predictions = scored(DataArguments(str(dataset_dir)), "plain", model=str(folder))
    calm = load_splits(DataArguments(str(dataset_dir))).splits["test"]["label"][:].count(EMOTIONS.index("calm"))
    assert results["splits"]["test"]["left_out"] == {"calm": calm} and calm > 0
    assert predictions.labels == WITHOUT_CALM
    merged, _ = scored(DataArguments(str(dataset_dir), merge_calm=True), "merged", model=str(folder))
    assert merged["splits"]["test"]["left_out"] == {}
    assert merged["splits"]["test"]["clips"] == results["splits"]["test"]["clips"] + calm


# --- calibration ------------------------------------------------------------------------------------------------


def test_calibration_is_written_into_a_model_that_scores_the_same(scored, model_dir, dataset_dir, tmp_path):
    data_args = DataArguments(str(dataset_dir))
    _, plain = scored(data_args, "plain", model=str(model_dir))
    results, calibrated = scored(data_args, "out", model=str(model_dir), calibrate=True)
    calibration = results["splits"]["test"]["calibration"]
    temperature = calibration["temperature"]
    assert abs(np.log(temperature)) > 0.1
    np.testing.assert_allclose(calibrated.probabilities, apply_temperature(plain.probabilities, temperature), **CLOSE)
    np.testing.assert_array_equal(calibrated.predicted, plain.predicted)
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert config["calibration_temperature"] == pytest.approx(temperature)
    again, stored = scored(data_args, "again", model=str(tmp_path / "out" / "model"))
    np.testing.assert_allclose(stored.probabilities, calibrated.probabilities, **CLOSE)
    assert again["splits"]["test"]["calibration"]["temperature"] == pytest.approx(temperature)
    assert again["splits"]["test"]["scores"] == pytest.approx(results["splits"]["test"]["scores"], abs=1e-5)
    # What was there before stays as it was.
    assert "calibration_temperature" not in json.loads((model_dir / "config.json").read_text())
    _, validation = scored(data_args, "before", model=str(model_dir), split="validation")
    _, after = scored(data_args, "after", model=str(tmp_path / "out" / "model"), split="validation")
    loss = [score(part.label_ids, part.probabilities, part.labels)["log_loss"] for part in (validation, after)]
    assert loss[1] < loss[0] - 1e-3


def test_calibration_chooses_an_abstention_threshold_that_later_evaluations_use(
    scored, model_dir, dataset_dir, tmp_path
):
    data_args = DataArguments(str(dataset_dir))
    rule = {"abstention_target_accuracy": 0.1, "abstention_min_coverage": 0.1}
    results, _ = scored(data_args, "out", model=str(model_dir), calibrate=True, **rule)
    told = results["splits"]["test"]["abstention"]
    folder = tmp_path / "out" / "model"
    threshold = json.loads((folder / "config.json").read_text())["abstention_threshold"]
    assert threshold == told["threshold"] and told["target_accuracy"] == 0.1
    again, predicted = scored(data_args, "again", model=str(folder))
    found = again["splits"]["test"]["abstention"]
    assert found["coverage"] == (predicted.probabilities.max(axis=1) >= threshold).mean()
    assert found["target_accuracy"] is None and found["threshold"] == threshold
    plain, _ = scored(data_args, "plain", model=str(model_dir))
    assert "abstention" not in plain["splits"]["test"]


def test_calibrating_a_calibrated_model_finds_nothing_more(scored, model_dir, dataset_dir, tmp_path):
    data_args = DataArguments(str(dataset_dir))
    first, _ = scored(data_args, "first", model=str(model_dir), calibrate=True)
    second, _ = scored(data_args, "second", model=str(tmp_path / "first" / "model"), calibrate=True)
    one, two = (results["splits"]["test"]["calibration"] for results in (first, second))
    assert two["temperature"] == pytest.approx(one["temperature"], rel=1e-3)
    assert two["before"]["ece"] == pytest.approx(one["before"]["ece"], abs=1e-4)


def test_a_calibrated_model_remembers_what_it_was_trained_on(scored, trained, dataset_dir, tmp_path):
    data_args = DataArguments(str(dataset_dir))
    scored(data_args, "out", model=str(trained[0]), calibrate=True)
    with pytest.raises(PredictionsError, match="was trained on"):
        scored(data_args, "again", model=str(tmp_path / "out" / "model"), split="train")
    results, _ = scored(data_args, "third", model=str(tmp_path / "out" / "model"))
    assert results["preprocessing"]["duration_s"] == 0.4


def test_validation_clips_of_the_training_are_refused(scored, model_dir, dataset_dir, tmp_path):
    folder = shutil.copytree(model_dir, tmp_path / "model")
    heard = load_splits(DataArguments(str(dataset_dir))).splits["validation"]["id"]
    (folder / SPLITS_FILE).write_text("\n".join(["id,split", *(f"{clip},train" for clip in heard), ""]))
    with pytest.raises(PredictionsError, match="was trained on"):
        scored(DataArguments(str(dataset_dir)), model=str(folder), calibrate=True)


# --- a table ----------------------------------------------------------------------------------------------------


@pytest.fixture
def table(scored, model_dir, dataset_dir, tmp_path):
    results, predictions = scored(DataArguments(str(dataset_dir)), "scored", model=str(model_dir))
    return tmp_path / "scored" / "predictions.parquet", results, predictions


def test_a_table_scores_like_the_model_that_made_it(scored, table, dataset_dir):
    path, before, _ = table
    joined, _ = scored(DataArguments(str(dataset_dir)), "joined", predictions=str(path))
    unknown = {"test": before["splits"]["test"] | {"precision": None}}  # nothing tells what made a table
    assert before["splits"]["test"]["precision"] == "fp32" and joined["splits"] == unknown
    assert (joined["name"], joined["parameters"], joined["training"]) == ("predictions.parquet", None, None)
    assert joined["protocol"]["hash"] == before["protocol"]["hash"]
    alone, _ = scored(None, "alone", predictions=str(path), name="mine")
    assert alone["splits"]["all"] == unknown["test"]
    assert (alone["name"], alone["protocol"]["name"]) == ("mine", "all_clips")


def test_a_table_beside_recordings_or_a_list(scored, table, recordings):
    path, before, _ = table
    folder, listed = recordings("test")
    for name, source in (("folder", {"recordings": str(folder)}), ("csv", {"csv": str(listed)})):
        results, _ = scored(None, name, predictions=str(path), **source)
        assert results["splits"]["all"]["scores"] == pytest.approx(before["splits"]["test"]["scores"], rel=1e-9)


def test_a_table_of_another_split_is_refused(scored, table, dataset_dir):
    with pytest.raises(PredictionsError, match="28 clips without a prediction"):
        scored(DataArguments(str(dataset_dir)), predictions=str(table[0]), split="validation")
    with pytest.raises(PredictionsError, match="label differs from the dataset's"):
        scored(DataArguments(str(dataset_dir), merge_calm=True), predictions=str(table[0]))


def test_rounded_probabilities_can_be_scored(scored, table, tmp_path):
    rounded = pq.read_table(table[0]).to_pydict()
    for label in EMOTIONS:
        rounded[f"p_{label}"] = [1.0005 if label == "sad" else 0.0] * len(rounded["id"])
    pq.write_table(pa.table(rounded), tmp_path / "rounded.parquet")
    scored(predictions=str(tmp_path / "rounded.parquet"))


def test_the_labels_of_a_table_are_mapped(scored, table, dataset_dir, tmp_path):
    """Two columns of one class are summed, a column of no class and clips of classes without a column are left out."""
    path, _, before = table
    columns = pq.read_table(path, columns=["id", *(f"p_{label}" for label in EMOTIONS)]).to_pydict()
    names = {"neutral": "中立/neutral", "calm": "calmly", "happy": "开心/happy", "sad": "难过/sad", "angry": "<unk>"}
    answers = [
        {"key": clip, "labels": list(names.values()), "scores": [columns[f"p_{label}"][row] for label in names]}
        for row, clip in enumerate(columns["id"])
    ]
    labels = write_answers(tmp_path / "foreign.parquet", answers)
    assert labels == ("neutral", "calmly", "happy", "sad", "unknown")
    mapping = {"neutral": "neutral", "calmly": "neutral", "happy": "happy", "sad": "sad", "unknown": None}
    source = {"predictions": str(tmp_path / "foreign.parquet"), "label_mapping": mapping}
    results, predictions = scored(DataArguments(str(dataset_dir)), "mapped", **source)
    kept = [EMOTIONS[label] in ("neutral", "happy", "sad") for label in before.label_ids]
    assert predictions.labels == ("neutral", "happy", "sad") and len(predictions.label_ids) == sum(kept)
    assert sum(results["splits"]["test"]["left_out"].values()) == len(kept) - sum(kept)
    shares = before.probabilities[kept][:, [0, 1, 2, 3]]
    shares = np.column_stack([shares[:, 0] + shares[:, 1], shares[:, 2], shares[:, 3]])
    expected = dict(zip(np.array(before.clips["id"])[kept], shares / shares.sum(axis=1, keepdims=True), strict=True))
    for clip, row in rows_of(predictions).items():
        np.testing.assert_allclose(row, expected[clip], **CLOSE)


@pytest.mark.parametrize(
    "arguments",
    [{"calibrate": True}, {"embeddings": True}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_arguments_for_models_are_refused_beside_a_table(scored, table, dataset_dir, arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        scored(DataArguments(str(dataset_dir)), predictions=str(table[0]), **arguments)


# --- the output folder ------------------------------------------------------------------------------------------


def test_a_finished_run_is_not_overwritten(scored, model_dir, dataset_dir, tmp_path):
    data_args = DataArguments(str(dataset_dir), "crema_d")
    scored(data_args, model=str(model_dir))
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="holds a finished run; pass --overwrite true"):
        scored(data_args, model=str(model_dir), split="validation")
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    results, _ = scored(data_args, model=str(model_dir), split="validation", overwrite=True)
    assert list(results["splits"]) == ["validation"]


def test_a_folder_without_a_finished_run_is_used(scored, model_dir, dataset_dir, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.parquet").write_text("half")
    scored(DataArguments(str(dataset_dir), "crema_d"), model=str(model_dir))


def test_overwriting_leaves_nothing_of_the_earlier_run(scored, model_dir, dataset_dir, tmp_path):
    data_args = DataArguments(str(dataset_dir), "crema_d")
    scored(data_args, model=str(model_dir), calibrate=True)
    scored(data_args, model=str(model_dir), overwrite=True)
    assert not (tmp_path / "out" / "model").exists()


def test_the_results_of_a_training_are_never_overwritten(trained, dataset_dir, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "model")
    with pytest.raises(ConfigError, match="output_dir"):
        EvaluateArguments(str(folder), model=str(folder), overwrite=True)
    assert read_results(folder)["kind"] == "training"


def test_a_file_in_the_way_is_refused(scored, model_dir, dataset_dir, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(SystemTroubleError, match="--output_dir .* is a file"):
        scored(DataArguments(str(dataset_dir), "crema_d"), model=str(model_dir))


# --- arguments --------------------------------------------------------------------------------------------------


def test_cross_validation_passes_a_precision_on(tmp_path):
    with pytest.raises(ConfigError, match="use --recipe_overrides precision=bf16 instead"):
        EvaluateArguments(str(tmp_path / "out"), precision="bf16").refuse_model_options()


@pytest.mark.parametrize(
    ("arguments", "data", "message"),
    [
        ({}, {"dataset": "d"}, "expected either model or predictions"),
        ({"model": "m", "predictions": "p"}, {"dataset": "d"}, "expected either model or predictions"),
        ({"model": "m"}, {}, "a model without clips; pass dataset, recordings or csv"),
        ({"model": "m", "recordings": "r"}, {"dataset": "d"}, "got dataset together with recordings"),
        ({"model": "m", "csv": "c"}, {"dataset": "d"}, "got dataset together with csv"),
        ({"model": "m", "csv": "c", "calibrate": True}, {}, "does not support csv"),
        ({"model": "m", "recordings": "r", "calibrate": True}, {}, "does not support recordings"),
        ({"model": "m", "recordings": "r", "csv": "c"}, {}, "both recordings and csv"),
        ({"model": "m", "split": "tests"}, {"dataset": "d"}, "split is 'tests'; expected one of train, validation"),
        ({"model": "m", "batch_size": 0}, {"dataset": "d"}, "batch_size is 0"),
        (
            {"model": "m", "device": "cuda:77"},
            {"dataset": "d"},
            "device is 'cuda:77'; expected one that PyTorch finds",
        ),
        ({"model": "m", "precision": "half"}, {"dataset": "d"}, "precision is 'half'; expected one of auto, bf16"),
        (
            {"model": "m", "device": "cpu", "precision": "fp16"},
            {"dataset": "d"},
            "precision fp16: float16 needs a CUDA",
        ),
        ({"model": "m", "label_mapping": "x"}, {"dataset": "d"}, "label_mapping is a string"),
        (
            {"model": "m", "calibrate": True, "label_mapping": {}},
            {"dataset": "d"},
            "calibrate does not support label_mapping",
        ),
    ],
)
def test_arguments_that_do_not_go_together(tmp_path, arguments, data, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(EvaluateArguments(str(tmp_path / "out"), **arguments), DataArguments(**data))
    assert not (tmp_path / "out").exists()


# --- real recordings --------------------------------------------------------------------------------------------


@pytest.mark.corpora
def test_a_folder_of_real_recordings_scores_like_its_prepared_dataset(scored, model_dir, corpora_dir, tmp_path):
    chosen = {
        "ravdess": [
            sorted((corpora_dir / "ravdess" / f"Actor_{actor}").glob("*.flac"))[::12] for actor in ("01", "02")
        ],
        "tess": [sorted((corpora_dir / "tess").rglob("YAF_*.flac"))[::40]],
    }
    expected = set()
    for corpus, groups in chosen.items():
        for path in (path for group in groups for path in group):
            link = tmp_path / "real" / corpus / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
            expected.add(CORPORA[corpus].parse(path).id)
    prepare(
        PrepareArguments(
            output_dir=str(tmp_path / "dataset"),
            ravdess=str(tmp_path / "real" / "ravdess"),
            tess=str(tmp_path / "real" / "tess"),
            num_proc=1,
        ),
        progress=False,
    )
    results, found = scored(None, "folder", model=str(model_dir), recordings=str(tmp_path / "real"), batch_size=4)
    assert set(found.clips["id"]) == expected and len(expected) > 12
    assert results["splits"]["all"]["speakers"] == 3 and results["dataset"]["synthetic"] == []
    whole = {}
    for split in ("train", "validation", "test"):
        data_args = DataArguments(str(tmp_path / "dataset"))
        try:
            whole |= rows_of(scored(data_args, split, model=str(model_dir), split=split)[1])
        except SerError as error:  # so few speakers do not fill every split
            assert "no clips in" in str(error)
    assert whole.keys() == expected
    for clip, row in rows_of(found).items():
        # The dataset holds 16 bits at 16 kHz; on quiet clips a model of random weights makes much of the difference.
        np.testing.assert_allclose(row, whole[clip], err_msg=clip, atol=0.02)


def test_splits_file_round_trip(dataset_dir, tmp_path):
    assignment = load_splits(DataArguments(str(dataset_dir))).assignment
    write_assignment(tmp_path / SPLITS_FILE, assignment, {})
    assert read_assignment(tmp_path / SPLITS_FILE) == assignment.splits
