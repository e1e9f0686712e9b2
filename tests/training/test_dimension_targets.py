"""Training on arousal and valence, on tones whose values are known."""

import csv
import json
import sys

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
import yaml

from hf_ser.arguments import ConfigError
from hf_ser.audio import load_audio
from hf_ser.batch import PredictArguments, predict
from hf_ser.corpora.listing import ListingError
from hf_ser.data import DataArguments, PrepareArguments, load_splits, prepare
from hf_ser.data.preparation_arguments import PrepareError
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.scoring import PredictionsError, read_results
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, check_arguments, make_trainer, outputs
from hf_ser.training.dimension_targets import ccc_loss, with_dimensions

CLIPS = 14  # of each speaker


@pytest.fixture(scope="module")
def train(load_recipe, rated_dir, tmp_path_factory):
    """Run recipes/train_companion.py on the tones with a tiny AudioCNN; return its folder."""

    def run(**fields):
        folder = tmp_path_factory.mktemp("run") / "model"
        config = tmp_path_factory.mktemp("config") / "config.yaml"
        model = {"model_type": "ser-audio-cnn", "channels": [8, 8], "kernel_sizes": [5, 3], "hidden_size": 16}
        model |= {"duration_s": 0.4, "n_mels": 24, "dropout": 0.0}
        own = {"model_config": model, "dataset": str(rated_dir), "output_dir": str(folder), "num_train_epochs": 15}
        own |= {"learning_rate": 5e-3, "per_device_train_batch_size": 16, "per_device_eval_batch_size": 16}
        own |= {"use_cpu": True, "disable_tqdm": True, "figures": False, "report_to": "none", "target": "dimensions"}
        config.write_text(yaml.safe_dump(own | fields), encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["train_companion.py", "--config", str(config)])
            load_recipe("train_companion").main()
        return folder

    return run


@pytest.fixture(scope="module")
def trained(train):
    return train()


# --- data -------------------------------------------------------------------------------------------------------


def test_values_are_columns_from_0_to_1(rated_dir, rated_listing):
    whole = datasets.concatenate_datasets(list(datasets.load_dataset(str(rated_dir), "all").values()))
    with rated_listing.open(encoding="utf-8") as file:
        rows = {row["path"].removesuffix(".wav"): row for row in csv.DictReader(file)}
    assert whole.column_names[-2:] == ["arousal", "valence"] and whole.features["arousal"].dtype == "float32"
    for clip in whole.select_columns(["id", "arousal", "valence"]):
        row = rows[clip["id"].partition("/")[2]]
        for name in ("arousal", "valence"):
            wanted = None if row[name] == "" else pytest.approx((float(row[name]) - 1) / 6, abs=1e-6)
            assert clip[name] == wanted
    assert "`arousal` and `valence` (from 0 to 1)" in (rated_dir / "README.md").read_text(encoding="utf-8")


def test_a_dataset_without_values_has_no_columns(dataset_dir):
    names = load_splits(DataArguments(str(dataset_dir))).splits["train"].column_names
    assert not {"arousal", "valence", "dominance"} & set(names)


@pytest.mark.parametrize(
    ("value", "message"),
    [("8", "arousal is 8; expected a value from 1 to 7"), ("high", "arousal is high; expected a")],
)
def test_invalid_values_are_refused(value, message, tmp_path, tone, encode):
    (tmp_path / "a.wav").write_bytes(encode(tone()))
    (tmp_path / "list.csv").write_text(f"path,label,arousal\na.wav,sad,{value}\n", encoding="utf-8")
    arguments = {"csv": [str(tmp_path / "list.csv")], "dimension_range": [1.0, 7.0], "num_proc": 1}
    with pytest.raises(ListingError, match=message):
        prepare(PrepareArguments(str(tmp_path / "out"), **arguments), progress=False)


def test_an_invalid_range_is_refused():
    with pytest.raises(PrepareError, match="--dimension_range is 7 1; expected the lowest and the highest"):
        PrepareArguments("out", csv=["a.csv"], dimension_range=[7.0, 1.0])


# --- training ---------------------------------------------------------------------------------------------------


def test_a_companion_learns_the_known_values(trained, capsys):
    results = read_results(trained)  # checks the schema
    test = results["dimensions"]["test"]
    assert results["splits"] == {} and results["training"]["target"] == "dimensions"
    assert (results["training"]["loss"], results["training"]["best_metric"]) == ("ccc", "ccc")
    assert (test["clips"], test["speakers"]) == (2 * (CLIPS - 1), 2)  # without the clips that have no values
    assert test["per_dimension"]["arousal"]["ccc"] > 0.85 and test["per_dimension"]["valence"]["ccc"] > 0.6
    assert test["ccc"] == pytest.approx(np.mean([each["ccc"] for each in test["per_dimension"].values()]))
    clustered = test["intervals"][0]
    assert clustered["method"] == "clustered on speakers" and clustered["clusters"] == 2
    assert clustered["ccc"][0] <= test["ccc"] <= clustered["ccc"][1]
    table = pq.read_table(trained / "predictions_test.parquet").to_pydict()
    assert np.corrcoef(table["arousal"], table["predicted_arousal"])[0, 1] > 0.85
    for name in ("report.md", "README.md"):
        assert f"{test['per_dimension']['arousal']['ccc']:.3f}" in (trained / name).read_text(encoding="utf-8")


def test_the_best_checkpoint_has_the_best_concordance(trained):
    history = json.loads((trained / "training_history.json").read_text(encoding="utf-8"))
    scores = [entry["eval_ccc"] for entry in history if "eval_ccc" in entry]
    training = read_results(trained)["training"]
    assert training["best_value"] == pytest.approx(max(scores)) and len(scores) == 15
    assert read_results(trained)["dimensions"]["validation"]["ccc"] == pytest.approx(max(scores), abs=1e-4)


def test_predict_prints_what_the_run_predicted(trained, rated_listing, tmp_path):
    table = pq.read_table(trained / "predictions_test.parquet").to_pylist()[0]
    recording = rated_listing.parent / f"{table['id'].partition('/')[2]}.wav"
    arguments = {"model": str(trained), "recordings": [str(recording)], "output": str(tmp_path / "answers.parquet")}
    assert predict(PredictArguments(**arguments)) == 0
    (row,) = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    for name in ("arousal", "valence"):
        assert row[name] == pytest.approx(table[f"predicted_{name}"], abs=1e-4)


def test_evaluate_gives_the_scores_of_the_run(trained, rated_dir, tmp_path):
    arguments = {"model": str(trained), "figures": False}
    results = evaluate(EvaluateArguments(str(tmp_path / "out"), **arguments), DataArguments(str(rated_dir)))
    assert read_results(tmp_path / "out") == json.loads(json.dumps(results))
    before, after = (each["dimensions"]["test"] for each in (read_results(trained), results))
    assert after["clips"] == before["clips"] and after["clips_hash"] == before["clips_hash"]
    assert after["ccc"] == pytest.approx(before["ccc"], abs=1e-4)
    assert "2 clips without values were left out" in results["protocol"]["notes"]
    with pytest.raises(PredictionsError, match="was trained on"):
        evaluate(EvaluateArguments(str(tmp_path / "b"), split="train", **arguments), DataArguments(str(rated_dir)))
    with pytest.raises(ConfigError, match="predicts arousal, valence, and got calibrate"):
        evaluate(EvaluateArguments(str(tmp_path / "b"), calibrate=True, **arguments), DataArguments(str(rated_dir)))


def test_wav2vec2_is_trained_on_one_dimension_with_the_mean_square_error(finetune, rated_dir, tiny_config, tmp_path):
    results = finetune(
        model_config=tiny_config, dataset=str(rated_dir), output_dir=str(tmp_path / "out"), num_train_epochs=1,
        target="dimensions", dimensions=["valence"], dimension_loss="mse", learning_rate=1e-2, report_to="none",
        gradient_accumulation_steps=2, augmentation=[{"transform": "Gain", "p": 1.0}],
    )  # fmt: skip
    assert list(results["dimensions"]["test"]["per_dimension"]) == ["valence"]
    config = json.loads((tmp_path / "out/config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "regression" and config["id2label"] == {"0": "valence"}
    assert results["training"]["loss"] == "mse"
    # The stock pipeline of transformers applies no softmax to the outputs of a regression.
    table = pq.read_table(tmp_path / "out/predictions_test.parquet").to_pylist()[0]
    clip = next(
        clip for clip in load_splits(DataArguments(str(rated_dir))).splits["test"] if clip["id"] == table["id"]
    )
    (answer,) = transformers.pipeline("audio-classification", model=str(tmp_path / "out"))(load_audio(clip["audio"]))
    assert answer == {"label": "valence", "score": pytest.approx(table["predicted_valence"], abs=1e-4)}


def test_a_stream_has_the_values_of_its_clips(rated_dir, tmp_path):
    """The same clips and values as in memory, in another order, also after decoding."""
    args = SerTrainingArguments(
        str(tmp_path), use_cpu=True, target="dimensions", report_to="none", per_device_train_batch_size=8
    )
    model_args = ModelArguments(
        model_config={"model_type": "ser-audio-cnn", "channels": [4, 4], "kernel_sizes": [3, 3]}
    )
    batches = {}
    for streaming in (False, True):
        data = with_dimensions(load_splits(DataArguments(str(rated_dir), streaming=streaming)), args)
        model, extractor = build_model(model_args, outputs(data, args))
        loader = make_trainer(model, extractor, data, args).get_train_dataloader()
        batches[streaming] = [batch for batch in loader]
    stored, streamed = (
        {
            round(float(wave.abs().sum()), 2): values.tolist()
            for batch in each
            for wave, values in zip(batch["input_values"], batch["labels"], strict=True)
        }
        for each in (batches[False], batches[True])
    )
    assert len(stored) == len(data.splits["train"]) and streamed == stored
    assert batches[True][0]["labels"].dtype == torch.float32


# --- arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_smoothing": 0.1}, "target is dimensions and label_smoothing is 0.1"),
        ({"mixup_alpha": 0.2}, "mixup_alpha is 0.2"),
        ({"class_weights": True}, "class_weights is True"),
        ({"loss": "focal"}, "loss is focal"),
        ({"copy_paste": 0.5}, "copy_paste is 0.5"),
        ({"supervised_contrastive": 0.1}, "supervised_contrastive is 0.1"),
        ({"speaker_adversary": 0.1}, "speaker_adversary is 0.1"),
        ({"corpus_classes": True}, "corpus_classes is True"),
        ({"teachers": ["a"]}, "teachers is"),
        ({"target": "valence"}, "target is 'valence'; expected one of acted, majority, votes, dim"),
        ({"dimensions": ["arousal", "tension"]}, "dimensions is arousal tension; expected different ones of"),
        ({"dimensions": ["arousal", "arousal"]}, "expected different ones"),
        ({"dimension_loss": "mae"}, "dimension_loss is 'mae'; expected one of ccc, mse"),
        ({"target": "acted", "dimensions": ["arousal"]}, "target is acted; pass dimensions"),
    ],
)
def test_options_for_classes_are_refused(fields, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        SerTrainingArguments(str(tmp_path), use_cpu=True, **{"target": "dimensions", **fields})


def test_the_metric_is_the_concordance(tmp_path):
    args = SerTrainingArguments(str(tmp_path), use_cpu=True, target="dimensions", dimensions=["arousal"])
    assert (args.metric_for_best_model, args.greater_is_better) == ("ccc", True)
    check_arguments(args)
    for metric in ("f1_macro", "ccc_valence"):
        given = SerTrainingArguments(
            str(tmp_path), use_cpu=True, target="dimensions", dimensions=["arousal"], metric_for_best_model=metric
        )
        with pytest.raises(ConfigError, match=f"metric_for_best_model is '{metric}'.*ccc"):
            check_arguments(given)


def test_a_dataset_without_the_dimension_is_refused(rated_dir, dataset_dir):
    for folder, names in ((dataset_dir, []), (rated_dir, ["dominance"])):
        data = load_splits(DataArguments(str(folder)))
        with pytest.raises(ConfigError, match="the dataset has no column .*dominance"):
            with_dimensions(data, SerTrainingArguments("out", use_cpu=True, target="dimensions", dimensions=names))


# --- loss -------------------------------------------------------------------------------------------------------


def test_the_loss_is_one_minus_lins_coefficient():
    rng = np.random.default_rng(0)
    true, predicted = rng.normal(0.5, 0.2, (40, 2)), rng.normal(0.4, 0.3, (40, 2))
    coefficients = []
    for x, y in zip(true.T, predicted.T, strict=True):
        covariance = ((x - x.mean()) * (y - y.mean())).mean()
        coefficients.append(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))
    loss = ccc_loss(torch.tensor(predicted), torch.tensor(true))
    assert float(loss) == pytest.approx(1 - np.mean(coefficients), abs=1e-6)


def test_a_batch_without_variance_has_finite_gradients():
    predicted = torch.full((4, 1), 0.5, requires_grad=True)
    ccc_loss(predicted, torch.full((4, 1), 0.5)).backward()
    assert predicted.grad is not None and bool(torch.isfinite(predicted.grad).all())
