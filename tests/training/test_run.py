import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_splits
from hf_ser.data.splits_file import read_assignment, read_hashes
from hf_ser.labels import EMOTIONS
from hf_ser.scoring import choose_threshold, read_predictions, read_results, score, softmax
from hf_ser.scoring.corpus_mean import corpus_weights
from hf_ser.training import (
    ModelArguments,
    SerTrainingArguments,
    build_model,
    evaluate_saved,
    make_trainer,
    save_model,
    write_reports,
)


def _arguments(folder, **changes):
    settings = {
        "output_dir": str(folder),
        "num_train_epochs": 3,
        "per_device_train_batch_size": 8,
        "learning_rate": 3e-3,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return SerTrainingArguments(**{**settings, **changes})


@pytest.fixture(scope="module")
def finished(dataset_dir, tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "tiny"
    torch.manual_seed(0)
    # Equal lengths: then the padded batches of the Trainer's own evaluation give what single clips give.
    data = load_splits(DataArguments(dataset=str(dataset_dir), duration_s=0.5))
    model, extractor = build_model(ModelArguments(model_config=tiny_config), data.labels)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    args = _arguments(folder, abstention_target_accuracy=0.3, abstention_min_coverage=0.1)
    trainer = make_trainer(model, extractor, data, args)
    trainer.train()
    save_model(trainer)
    results, predictions = evaluate_saved(trainer, data)
    write_reports(trainer, data, results, predictions)
    return folder, results, data, before, trainer


def test_every_weight_moved_and_the_loss_fell(finished):
    _, _, _, before, trainer = finished
    still = [name for name, tensor in trainer.model.named_parameters() if torch.equal(tensor, before[name])]
    assert still in ([], ["wav2vec2.masked_spec_embed"])
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3 and losses[-1] < losses[0]


def test_the_best_checkpoint_is_the_one_kept(finished):
    folder, results, _, _, trainer = finished
    name = "eval_uar_by_corpus"  # validation has several corpora
    scores = {entry["step"]: entry[name] for entry in trainer.state.log_history if name in entry}
    assert results["training"]["best_metric"] == "uar_by_corpus"
    assert results["training"]["best_value"] == max(scores.values())
    assert scores[results["training"]["best_step"]] == max(scores.values())
    assert results["splits"]["validation"]["by_corpus"]["scores"]["uar"] == pytest.approx(max(scores.values()))


def test_the_folder_is_complete_and_free_of_pickles(finished):
    folder = finished[0]
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert names == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "report.md",
        "results.json",
        "splits.csv",
        "training_history.json",
        "predictions_validation.parquet",
        "predictions_test.parquet",
    }
    drawn = ["training_curves"]
    for split in ("validation", "test"):
        drawn += [
            f"{kind}_{split}" for kind in ("confusion", "confusion_counts", "roc", "reliability", "risk_coverage")
        ]
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures == {f"{name}.{suffix}" for name in drawn for suffix in ("png", "svg")}
    report = (folder / "report.md").read_text()
    assert all(f"figures/{name}.png" in report for name in drawn)


def test_the_splits_name_every_clip_by_its_samples_too(finished):
    folder, _, data, _, _ = finished
    assert read_assignment(folder / "splits.csv") == data.assignment.splits
    hashes = read_hashes(folder / "splits.csv")
    assert hashes == data.hashes and hashes.keys() == data.assignment.splits.keys()


def test_predictions_carry_ids_and_agree_with_the_results(finished):
    folder, results, data, _, _ = finished
    table = pq.read_table(folder / "predictions_test.parquet").to_pylist()
    assert [row["id"] for row in table] == list(data.splits["test"]["id"])
    probabilities = np.array([[row[f"p_{emotion}"] for emotion in EMOTIONS] for row in table])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    truth = np.array([EMOTIONS.index(row["label"]) for row in table])
    scores, scored = score(truth, probabilities, EMOTIONS), results["splits"]["test"]
    assert {name: scores[name] for name in scored["scores"]} == scored["scores"]
    assert scored["per_class"] == scores["per_class"] and scored["confusion"] == scores["confusion"]
    low, high = scored["intervals"][0]["uar"]
    assert low <= scored["scores"]["uar"] <= high
    assert read_results(folder) == results


def test_the_temperature_stands_in_the_config_and_lowers_the_loss_on_validation(finished):
    folder, results, _, _, _ = finished
    scored = results["splits"]["validation"]
    temperature = scored["calibration"]["temperature"]
    assert json.loads((folder / "config.json").read_text())["calibration_temperature"] == pytest.approx(temperature)
    assert results["splits"]["test"]["calibration"]["temperature"] == temperature
    before = next(
        entry["eval_log_loss"]
        for entry in finished[4].state.log_history
        if entry.get("step") == results["training"]["best_step"] and "eval_log_loss" in entry
    )
    assert scored["scores"]["log_loss"] < before


def test_the_abstention_threshold_is_the_one_that_validation_gives(finished):
    folder, results, _, _, trainer = finished
    validation = read_predictions(folder / "predictions_validation.parquet")
    weights = corpus_weights(validation.clips["corpus"])  # validation has several corpora
    rule = trainer.args.abstention_rule
    threshold = choose_threshold(validation.probabilities, validation.label_ids, rule, weights)
    assert json.loads((folder / "config.json").read_text()).get("abstention_threshold") == pytest.approx(threshold)
    assert threshold is not None  # the rule of this run is one that the tiny model can follow
    test = read_predictions(folder / "predictions_test.parquet")
    for split, predictions in (("validation", validation), ("test", test)):
        described = results["splits"][split]["abstention"]
        assert described["coverage"] == pytest.approx((predictions.probabilities.max(axis=1) >= threshold).mean())
        assert described["equal_corpora"]
    right = validation.predicted == validation.label_ids
    answered = validation.probabilities.max(axis=1) >= threshold
    assert np.average(right[answered], weights=weights[answered]) >= 0.3
    assert (
        "for an accuracy of 0.300 on answered clips, each corpus with the same weight."
        in (folder / "report.md").read_text()
    )
    assert (folder / "figures/risk_coverage_test.png").is_file()


def test_the_stock_pipeline_loads_it_without_this_package(finished, launch, tmp_path):
    folder, _, data, _, _ = finished
    code = f"""
import sys, json, soundfile, pyarrow.parquet as pq
from transformers import pipeline
from datasets import load_dataset
classifier = pipeline("audio-classification", model={str(folder)!r}, device="cpu")
row = pq.read_table({str(folder / "predictions_test.parquet")!r}).to_pylist()[0]
stored = {{name[2:]: value for name, value in row.items() if name.startswith("p_")}}
samples, rate = soundfile.read("clip.flac", dtype="float32")
scores = classifier({{"raw": samples[:8000], "sampling_rate": rate}}, top_k=8)
assert "hf_ser" not in sys.modules
scores = {{entry["label"]: entry["score"] for entry in scores}}
print(json.dumps({{"clip": row["id"], "scores": scores, "stored": stored}}))
"""
    clip = data.splits["test"][0]
    (tmp_path / "clip.flac").write_bytes(clip["audio"]["bytes"])
    answer = json.loads(launch("-c", code, cwd=tmp_path).stdout)
    assert answer["clip"] == clip["id"]
    assert set(answer["scores"]) == set(EMOTIONS) and sum(answer["scores"].values()) == pytest.approx(1)
    assert answer["scores"] == pytest.approx(answer["stored"], abs=1e-5)  # calibrated, as all who load it are


def test_one_batch_overfits(dataset_dir, tiny_config, tmp_path):
    torch.manual_seed(0)
    data = load_splits(DataArguments(dataset=str(dataset_dir), configuration="ravdess", duration_s=0.4))
    model, extractor = build_model(ModelArguments(model_config=tiny_config), data.labels)
    trainer = make_trainer(model, extractor, data, _arguments(tmp_path))
    batch = next(iter(trainer.get_train_dataloader()))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = trainer.compute_loss(model, dict(batch))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_a_compiled_model_trains_and_is_saved_under_its_own_names(finetune, dataset_dir, tiny_config, tmp_path):
    fields = {"model_config": tiny_config, "dataset": str(dataset_dir), "configuration": "ravdess", "duration_s": 0.4}
    fields |= {"num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 3e-3}
    losses, names = [], []
    for name, options in (("plain", {}), ("compiled", {"torch_compile": True, "torch_compile_backend": "eager"})):
        finetune(**fields, output_dir=str(tmp_path / name), logging_strategy="steps", logging_steps=1, **options)
        history = json.loads((tmp_path / name / "training_history.json").read_text())
        losses.append([entry["loss"] for entry in history if "loss" in entry])
        names.append(set(load_file(tmp_path / name / "model.safetensors")))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and names[0] == names[1]


def test_arguments_name_what_is_wrong(tmp_path):
    with pytest.raises(ConfigError, match="output_dir"):
        SerTrainingArguments()
    with pytest.raises(ConfigError, match="remove_unused_columns"):
        _arguments(tmp_path, remove_unused_columns=True)


def test_softmax():
    rows = softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    np.testing.assert_allclose(rows, [[0.5, 0.5], [1.0, 0.0]], atol=1e-12)
