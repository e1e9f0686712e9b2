"""Folders of hybrids: the saved model predicts as fitted, and is scored on held-out clips only."""

import json
import logging
import shutil
from dataclasses import replace
from types import SimpleNamespace

import lightgbm
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    pipeline,
)

from hf_ser import model_draft, run_folder
from hf_ser.audio import Preprocessing
from hf_ser.data import DataArguments, load_splits
from hf_ser.data.splits import decoded
from hf_ser.data.splits_file import read_assignment
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.hybrids import from_lightgbm, meta_learners
from hf_ser.hybrids.base_models import StackError
from hf_ser.hybrids.features import SourceError
from hf_ser.hybrids.fitting import fit_hybrid
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.hybrids.writer import HybridError
from hf_ser.inference import CheckpointError, load_classifier
from hf_ser.labels import EMOTIONS
from hf_ser.remote_code.encoder_inputs import max_input_s
from hf_ser.scoring import AbstentionRule, choose_threshold, read_predictions, read_results
from hf_ser.scoring.corpus_mean import corpus_weights

BOOSTER = {"learning_rate": 0.1, "early_stopping_rounds": 5, "min_child_samples": 2, "num_leaves": 4}
FOREST = {"kind": "random_forest", "n_estimators": 20, "min_samples_leaf": [1], "max_features": [0.2]}
FITS = {
    "stack": {"bases": "companions"},
    "logistic_stack": {"bases": "companions", "meta": "logistic"},
    "mean": {"bases": "companions", "meta": "mean"},
    "deep_features": {"bases": "companions", "kind": "deep_features"},
    "deep_features_on_validation": {"bases": "companions", "kind": "deep_features", "fit_on": "validation"},
    "forest_on_functionals": FOREST,
    "extra_trees_on_both_sets": FOREST | {"forest": "extra", "feature_sets": ["published", "prosodic"]},
    "lightgbm_on_functionals": {"kind": "functionals", "feature_sets": ["prosodic"], "max_trees": 20},
    "stack_with_a_hybrid": {"bases": "mixed", "meta": "pool"},
    "forest_on_embeddings": FOREST | {"bases": "companions"},
    "forest_on_a_layer": FOREST | {"bases": "encoder", "layer": 1, "trust_bases": True},
}
CUTS = {"forest_on_functionals": {"duration_s": 0.3, "normalize": True}, "forest_on_a_layer": {"trim_db": 30.0}}


@pytest.fixture(scope="module")
def data_args(sounds_dir):
    return DataArguments(str(sounds_dir), "ravdess", protocol="random")


@pytest.fixture(scope="module")
def data(data_args):
    return load_splits(data_args)


@pytest.fixture(scope="module")
def fit(data, companions, tiny_config, tmp_path_factory):
    """Fit a hybrid of these base models; return its folder and the contents of results.json."""
    encoder = tmp_path_factory.mktemp("encoders") / "wav2vec2"
    torch.manual_seed(1)
    config = {name: value for name, value in tiny_config.items() if name != "model_type"} | {"num_hidden_layers": 2}
    Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**config)).save_pretrained(encoder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(encoder)
    places = {"companions": [str(folder) for folder in companions], "encoder": [str(encoder)]}

    def make(folder, bases=(), cut=None, **fields):
        if bases == "mixed":
            forest = folder.with_name("a_forest")
            make(forest, cut=CUTS["forest_on_functionals"], **FOREST)
            bases = [forest, companions[0]]
        bases = places[bases] if isinstance(bases, str) else [str(base) for base in bases]
        args = HybridArguments(str(folder), bases=bases, device="cpu", figures=False, **(BOOSTER | fields))
        return folder, fit_hybrid(replace(data, args=replace(data.args, **(cut or {}))), args, folder.name)

    return make


@pytest.fixture(scope="module")
def fitted(fit, tmp_path_factory):
    """A folder of each kind by name, fitted on first use."""
    root = tmp_path_factory.mktemp("fitted")

    class Folders(dict):
        def __missing__(self, name):
            self[name] = fit(root / name, cut=CUTS.get(name), **FITS[name])
            return self[name]

    return Folders()


def stored(folder, split="test"):
    return read_predictions(folder / f"predictions_{split}.parquet")


def has_no_model(folder):
    with pytest.raises(CheckpointError):
        load_classifier(str(folder))
    return not (folder / "config.json").exists()


def is_unfinished(folder):
    with pytest.raises((OSError, ValueError)):
        pipeline("audio-classification", model=str(folder), device="cpu")
    return has_no_model(folder) and run_folder.is_unfinished(folder)


def altered(base, folder, splits=None):
    """Folder of a base model with other training clips."""
    shutil.copytree(base, folder)
    assignment = read_assignment(base / "splits.csv") | (splits or {})
    (folder / "splits.csv").write_text(
        "\n".join(["id,split", *(f"{clip},{split}" for clip, split in assignment.items()), ""])
    )
    return folder


# --- what a folder answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FITS)
def test_a_folder_answers_as_its_stored_predictions(name, fitted, data, data_args, tmp_path):
    folder, results = fitted[name]
    assert read_results(folder) == results
    predictions = stored(folder)
    clips = decoded(data.splits["test"])[:]["waveform"]
    by_recipes, extractor = load_classifier(str(folder))
    for hybrid in (AutoModelForAudioClassification.from_pretrained(folder), by_recipes):
        inputs = extractor(clips, sampling_rate=16_000, padding=True, return_tensors="pt")
        answers = torch.softmax(hybrid.eval()(**inputs).logits.double(), dim=1).numpy()
        np.testing.assert_allclose(answers, predictions.probabilities, rtol=0, atol=1e-4)
    assert list(by_recipes.config.id2label.values()) == list(EMOTIONS)
    assert predictions.clips["id"] == data.splits["test"]["id"][:]
    scored = evaluate(
        EvaluateArguments(str(tmp_path / "scored"), model=str(folder), device="cpu", figures=False), data_args
    )
    told, found = results["splits"]["test"], scored["splits"]["test"]
    again = read_predictions(tmp_path / "scored" / found["predictions"][0])
    assert again.clips["id"] == predictions.clips["id"] and found["labels"] == told["labels"]
    np.testing.assert_allclose(again.probabilities, predictions.probabilities, rtol=0, atol=1e-4)
    first, second = np.sort(predictions.probabilities, axis=1).T[:-3:-1]
    if (first - second).min() > 1e-4:  # else the class depends on the last digit
        assert found["confusion"] == told["confusion"]
        assert found["scores"] == pytest.approx(told["scores"], abs=1e-4)
    assert found["calibration"]["temperature"] == pytest.approx(told["calibration"]["temperature"])
    kept = ["name", "columns", "layer", "do_normalize", "trim_db", "normalize", "duration_s"]
    told = [{key: source.get(key) for key in kept} for source in results["training"]["sources"]]
    assert told == [{key: source.get(key) for key in kept} for source in by_recipes.config.sources]


@pytest.mark.parametrize("name", ["stack", "deep_features_on_validation", "forest_on_embeddings"])
def test_calibration_is_a_temperature_in_the_model_and_nothing_else(name, fitted, fit, tmp_path):
    folder, results = fitted[name]
    plain, without = fit(tmp_path / "plain", **FITS[name], calibrate=False)
    temperature = json.loads((folder / "config.json").read_text())["calibration_temperature"]
    assert json.loads((plain / "config.json").read_text())["calibration_temperature"] is None
    assert temperature != pytest.approx(1.0, abs=0.05)
    for split in ("validation", "test"):
        assert results["splits"][split]["calibration"]["temperature"] == temperature
        assert without["splits"][split]["calibration"]["temperature"] is None
        scaled = stored(plain, split).probabilities ** (1 / temperature)
        expected = scaled / scaled.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(stored(folder, split).probabilities, expected, rtol=0, atol=1e-9)
        validated = stored(folder, "validation")
        weights = corpus_weights(validated.clips["corpus"])
        threshold = choose_threshold(validated.probabilities, validated.label_ids, AbstentionRule(), weights)
        assert json.loads((folder / "config.json").read_text())["abstention_threshold"] == pytest.approx(threshold)
        assert results["splits"][split]["abstention"]["threshold"] == pytest.approx(threshold)
        assert "abstention" not in without["splits"][split]
    assert json.loads((plain / "config.json").read_text())["abstention_threshold"] is None
    whole, bare = (load_file(path / "model.safetensors") for path in (folder, plain))
    assert whole.keys() == bare.keys() and all(torch.equal(whole[key], bare[key]) for key in whole)


def test_early_stopped_boosters_keep_the_best_trees_and_no_more():
    rng = np.random.default_rng(0)
    truth = np.arange(160) % 4
    features = rng.normal(size=(160, 5)) + 0.7 * np.eye(4, 5)[truth]
    names = [f"column_{place}" for place in range(5)]
    args = HybridArguments("out", kind="deep_features", bases=["a"], **BOOSTER)
    fitted = meta_learners.fit_early_stopped((features[:80], truth[:80]), (features[80:], truth[80:]), 4, names, args)
    best, booster = fitted.training["trees_per_class"], fitted.booster
    assert 1 < best == booster.best_iteration < args.max_trees
    losses = []
    for trees in range(1, best + BOOSTER["early_stopping_rounds"] + 1):
        args = HybridArguments("out", kind="deep_features", bases=["a"], **(BOOSTER | {"max_trees": trees}))
        grown = meta_learners._classifier(args, 4, trees).fit(features[:80], truth[:80]).booster_
        losses.append(meta_learners.log_loss(grown.predict(features[80:]), truth[80:]))
        if trees == best:
            np.testing.assert_allclose(fitted.predict(features), grown.predict(features), atol=1e-12)
    assert int(np.argmin(losses)) + 1 == best
    assert fitted.training["validation_log_loss"] == pytest.approx(min(losses))
    assert from_lightgbm(booster, list("abcd"), names).config.num_trees == 4 * best


def test_the_booster_file_and_the_model_hold_the_same_trees(fitted):
    for name in ("stack", "deep_features", "deep_features_on_validation"):
        folder, results = fitted[name]
        trees = len(EMOTIONS) * results["training"]["trees_per_class"]
        booster = lightgbm.Booster(model_file=folder / "booster.txt")
        hybrid, _ = load_classifier(str(folder))
        assert booster.num_trees() == trees == hybrid.config.trees["num_trees"] == hybrid.classifier.config.num_trees
        assert booster.feature_name() == hybrid.feature_names
    assert not (fitted["mean"][0] / "booster.txt").exists()


# --- what is scored on what -------------------------------------------------------------------------------------


def test_deep_features_never_score_a_validation_clip_by_a_booster_that_saw_it(fit, data, monkeypatch, tmp_path):
    seen, asked = {}, []
    grow, predict, init = meta_learners._grower, lightgbm.Booster.predict, lightgbm.Dataset.__init__

    def keys(rows):
        return {row.tobytes() for row in np.asarray(rows)}

    def growing(*rest):
        booster = grow(*rest)
        seen[id(booster)] = booster, keys(booster.train_set.get_data())
        return booster

    def predicting(self, rows, **options):
        if id(self) in seen:
            asked.append((seen[id(self)][1], keys(rows)))
        return predict(self, rows, **options)

    def keep_raw(self, *rest, **options):
        init(self, *rest, **(options | {"free_raw_data": False}))

    monkeypatch.setattr(meta_learners, "_grower", growing)
    monkeypatch.setattr(lightgbm.Booster, "predict", predicting)
    monkeypatch.setattr(lightgbm.Dataset, "__init__", keep_raw)
    _, results = fit(tmp_path / "deep", **FITS["deep_features_on_validation"])
    count = len(data.splits["validation"])
    assert len(asked) == results["training"]["inner_folds"] > 1
    assert sum(len(held) for _, held in asked) == len(set().union(*(held for _, held in asked))) == count
    for saw, held in asked:
        assert len(saw) + len(held) == count and not saw & held


def test_clips_that_a_hybrid_was_fitted_on_count_as_its_training(fitted, data, data_args, tmp_path):
    ids = {split: set(part["id"]) for split, part in data.splits.items()}
    for name in FITS:
        splits = read_assignment(fitted[name][0] / "splits.csv")
        taught = ids["train"] | (ids["validation"] if "validation" in name or "stack" in name else set())
        assert {clip for clip, split in splits.items() if split == "train"} == taught
        assert {clip for clip, split in splits.items() if split == "test"} == ids["test"]
    folder = fitted["deep_features_on_validation"][0]
    with pytest.raises(ValueError, match="was trained on 32 of these 32 clips"):
        evaluate(EvaluateArguments(str(tmp_path / "a"), model=str(folder), split="validation"), data_args)


@pytest.mark.parametrize("name", ["deep_features", "deep_features_on_validation", "forest_on_embeddings", "stack"])
def test_bases_that_were_taught_what_decides_or_is_tested_are_refused(name, fit, companions, data, tmp_path):
    cases = [
        ("validation", "train", "was trained on 3 of the 32 fitting clips"),
        ("test", "train", "was trained on 3 of the 32 test clips"),
        ("test", "validation", "was selected on 3 of the 32 test clips"),
    ]
    for number, (split, taught, message) in enumerate(cases):
        clips = dict.fromkeys(data.splits[split]["id"][:3], taught)
        base = altered(companions[1], tmp_path / f"base_{number}", clips)
        with pytest.raises(StackError, match=f"base base_{number} .* {message}"):
            fit(tmp_path / "out", **(FITS[name] | {"bases": [companions[0], base]}))
        assert not (tmp_path / "out").exists()


def test_deep_features_of_bases_that_heard_the_fitting_clips_say_so(fitted):
    def notes(name):
        return " ".join(fitted[name][1]["protocol"]["notes"])

    assert "clips that the base models were trained on" in notes("deep_features")
    assert "clips that the base models were trained on" not in notes("deep_features_on_validation")
    assert "a model that was not fitted on it" in notes("deep_features_on_validation")
    assert "the number of trees was selected on validation" in notes("deep_features")
    assert "the training clips of wav2vec2 are unknown" in notes("forest_on_a_layer")


# --- no model rather than a wrong one ---------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "error"), [(1, KeyboardInterrupt), (2, OSError), (-1, KeyboardInterrupt)])
def test_what_breaks_off_leaves_no_folder_that_loads(step, error, fit, fitted, tmp_path, monkeypatch):
    folder, _ = fit(tmp_path / "mean", **FITS["mean"])  # an earlier run, which is replaced
    files = {path.name for path in folder.iterdir()}
    shipped = [name for name in files if name.endswith((".py", ".json", ".safetensors")) and name != "results.json"]
    left, moved = [step if step > 0 else len(shipped)], []

    def breaking(source, target):
        left[0] -= 1
        if left[0] == 0:
            raise error("broken off")
        moved.append(target.name)
        source.replace(target)

    with monkeypatch.context() as patch:
        patch.setattr(model_draft, "os", SimpleNamespace(replace=breaking))
        with pytest.raises(error, match="broken off"):
            fit(folder, **FITS["stack"], overwrite=True)
    assert left == [0] and "config.json" not in moved and is_unfinished(folder)
    again, results = fit(folder, **FITS["stack"])
    assert {path.name for path in again.iterdir()} == {path.name for path in fitted["stack"][0].iterdir()}
    np.testing.assert_array_equal(stored(again).probabilities, stored(fitted["stack"][0]).probabilities)
    assert read_results(again) == results and load_classifier(str(again))[0].config.head == "trees"


def test_bases_that_answer_otherwise_than_they_are_stored_make_no_model(fit, companions, tmp_path):
    base = altered(companions[0], tmp_path / "retrained")
    weights = load_file(base / "model.safetensors")
    weights["classifier.bias"][2] += 5  # its predictions were stored before
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(HybridError, match=r"differ by 0\.\d+ from those of the fit; expected at most 0.02.*again"):
        fit(tmp_path / "mean", **(FITS["mean"] | {"bases": [base, companions[1]]}))
    assert is_unfinished(tmp_path / "mean")


def test_leaks_and_tables_leave_no_model(fit, companions, tmp_path, caplog):
    folder, _ = fit(tmp_path / "out", **FITS["logistic_stack"])
    fit(folder, **FITS["logistic_stack"], allow_leak=True, overwrite=True)
    assert has_no_model(folder) and read_results(folder)["training"]["fit_on"] == "train (leaky)"
    tables = [f"cnn={companions[0]}/predictions_{split}.parquet" for split in ("validation", "test")]
    with caplog.at_level(logging.WARNING):
        _, results = fit(tmp_path / "tables", bases=companions[1:], meta="mean", predictions=tables)
    assert has_no_model(tmp_path / "tables") and "sources" not in results["training"]
    (said,) = [record.message for record in caplog.records if "but no model" in record.message]
    assert "base cnn" in said and "contains predictions only" in said
    with pytest.raises(SourceError, match="base cnn .* contains predictions only"):
        fit(tmp_path / "refused", predictions=tables, meta="mean", embed_bases=False)
    with pytest.raises(SourceError, match="embed_bases is false and base audio_cnn .* is a folder"):
        fit(tmp_path / "refused", **FITS["stack"], embed_bases=False)
    assert not (tmp_path / "refused").exists()


def test_a_stack_takes_other_hybrids_by_their_stored_predictions_and_gets_no_model(
    fit, fitted, companions, tmp_path, caplog
):
    forest = fitted["forest_on_embeddings"][0]
    with caplog.at_level(logging.WARNING):
        folder, _ = fit(tmp_path / "over", bases=[forest, companions[0]], meta="mean", calibrate=False)
    (said,) = [record.message for record in caplog.records if "but no model" in record.message]
    assert "base forest_on_embeddings" in said and "is a hybrid; expected one on functionals" in said
    assert has_no_model(folder)
    parts = [stored(path).probabilities for path in (forest, companions[0])]
    np.testing.assert_allclose(stored(folder).probabilities, np.mean(parts, axis=0), atol=1e-9)
    with pytest.raises(StackError, match="base stack .* was trained on 32 of the 32 fitting clips"):
        fit(tmp_path / "refused", bases=[fitted["stack"][0], companions[0]])
    with pytest.raises(SourceError, match="is a hybrid; expected one on functionals, and only in a stack"):
        fit(tmp_path / "refused", bases=[fitted["forest_on_functionals"][0]], kind="deep_features")


def test_the_trees_of_a_hybrid_in_a_stack_are_checked(fitted):
    folder, _ = fitted["stack_with_a_hybrid"]
    model, _ = load_classifier(str(folder))
    assert max_input_s(model, Preprocessing()) == 0.3  # of the functionals
    weights = load_file(folder / "model.safetensors")
    (name,) = [name for name in weights if name.startswith("sources.0.") and name.endswith("classifier.branches")]
    damaged = weights | {name: weights[name] + 10**6}
    save_file(damaged, folder / "model.safetensors", metadata={"format": "pt"})
    try:
        with pytest.raises(ValueError, match="expected"):
            AutoModelForAudioClassification.from_pretrained(folder)
    finally:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
