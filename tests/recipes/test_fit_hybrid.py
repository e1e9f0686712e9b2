"""`recipes/fit_hybrid.py` from its command line: stacks and embeddings of companions, random forests, refusals."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments, load_splits
from hf_ser.hybrids import features
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.inference import load_classifier
from hf_ser.models import Functionals
from hf_ser.scoring import read_predictions, read_results

ROOT = Path(__file__).parents[2]
CONFIGS = [
    path
    for path in sorted((ROOT / "recipes" / "configs").glob("*.yaml"))
    if "kind" in yaml.safe_load(path.read_text(encoding="utf-8"))
]
FOREST = ("--kind", "random_forest", "--n_estimators", 20, "--min_samples_leaf", 1)


@pytest.fixture
def call(load_recipe, monkeypatch, capsys):
    """Run a recipe as from a command line; returns the exit code, stdout and the last line of stderr."""

    def run_it(*words, name="fit_hybrid"):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words), "--figures", "false"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(load_recipe(name).main)
        captured = capsys.readouterr()
        return ended.value.code, captured.out, (captured.err.replace("\r", "\n").splitlines() or [""])[-1]

    return run_it


def _words(sounds_dir, folder, *more):
    return [
        "--dataset",
        sounds_dir,
        "--configuration",
        "ravdess",
        "--protocol",
        "random",
        "--output_dir",
        folder,
        *more,
    ]


def test_every_configuration_parses_and_says_what_it_is():
    kinds = {
        "deep_features": "deep_features",
        "deep_features_plus": "deep_features",
        "lightgbm_functionals": "functionals",
        "random_forest": "random_forest",
        "random_forest_plus": "random_forest",
        "stacking": "stacking",
        "stacking_out_of_fold": "stacking",
        "stacking_plus": "stacking",
        "stacking_published": "stacking",
        "stacking_robust": "stacking",
        "wav2vec2_random_forest": "random_forest",
    }
    assert [path.stem for path in CONFIGS] == list(kinds)
    for path in CONFIGS:
        _, args = parse(DataArguments, HybridArguments, argv=["--config", str(path)])
        assert args.kind == kinds[path.stem] and not args.allow_leak
        assert args.trust_bases == (path.stem == "wav2vec2_random_forest")  # no folder of ours tells its training


def test_the_published_settings_of_the_stack_are_the_defaults():
    path = ROOT / "recipes/configs/stacking_published.yaml"
    _, published = parse(DataArguments, HybridArguments, argv=["--config", str(path)])
    plain = HybridArguments("out", bases=["a"])
    names = ("max_trees", "learning_rate", "early_stopping_rounds", "class_weights", "num_leaves", "subsample")
    assert [getattr(published, name) for name in names] == [getattr(plain, name) for name in names]
    assert (published.max_trees, published.learning_rate, published.early_stopping_rounds) == (5000, 0.02, 100)


def test_the_docstring_opens_with_a_command_that_parses(load_recipe):
    words = load_recipe("fit_hybrid").__doc__.splitlines()[2].split()
    assert words[:2] == ["python", "recipes/fit_hybrid.py"]
    _, args = parse(
        DataArguments, HybridArguments, argv=[str(ROOT / word) if "/configs/" in word else word for word in words[2:]]
    )
    assert args.kind == "stacking" and args.output_dir == "runs/stacking"


@pytest.mark.slow
def test_a_stack_of_trained_companions(call, sounds_dir, companions, tmp_path):
    folder = tmp_path / "stack"
    places = [str(folder).replace("seed_0", "seed_{protocol_seed}") for folder in companions]
    words = _words(sounds_dir, folder, "--learning_rate", 0.1, "--min_child_samples", 2, "--early_stopping_rounds", 10)
    code, printed, error = call(*words, "--bases", *places)
    assert code == 0, error
    assert f"Wrote {folder} (see {folder}/report.md)" in printed and "validation (" in printed
    results = read_results(folder)
    digest = load_splits(DataArguments(str(sounds_dir), "ravdess", protocol="random")).assignment.hash
    bases = [{"name": name, "splits_hash": digest} for name in ("audio_cnn", "mel_cnn")]
    assert results["training"]["bases"] == bases and results["protocol"]["hash"] == digest
    sizes = [read_results(folder)["parameters"] for folder in companions]
    assert results["parameters"] == sum(sizes) + results["training"]["fitted_parameters"]
    assert load_classifier(str(folder))[0].config.model_type == "ser-hybrid"
    # Without the stored tables the models are asked, and say the same.
    bare = []
    for companion in companions:
        bare.append(tmp_path / companion.parent.name)
        bare[-1].mkdir()
        for path in companion.iterdir():
            if path.is_file() and path.suffix != ".parquet":
                (bare[-1] / path.name).symlink_to(path)
        (bare[-1] / "results.json").unlink()
    code, _, error = call(*_words(sounds_dir, tmp_path / "asked", "--meta", "mean"), "--bases", *bare)
    assert code == 0, error
    call(*_words(sounds_dir, tmp_path / "stored", "--meta", "mean"), "--bases", *places)
    one, two = (read_predictions(tmp_path / name / "predictions_test.parquet") for name in ("asked", "stored"))
    assert one.clips == two.clips
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-5)
    # The leak is for those who ask for it; the bases answer for their own training clips.
    words = _words(sounds_dir, tmp_path / "leaky", "--meta", "logistic", "--allow_leak", "true")
    assert call(*words, "--bases", *places)[0] == 0
    assert read_results(tmp_path / "leaky")["training"]["fit_on"] == "train (leaky)"


@pytest.mark.slow
def test_another_split_than_the_bases_is_refused(call, sounds_dir, companions, tmp_path):
    folder = tmp_path / "out"
    code, printed, error = call(*_words(sounds_dir, folder, "--protocol_seed", 1), "--bases", *companions)
    assert code == 2 and printed == "" and not folder.exists()
    assert re.match(r"error: base audio_cnn .* was trained on \d+ of the \d+ fitting clips \(ravdess/\S+, ", error), (
        error
    )
    code, _, error = call(*_words(sounds_dir, folder, "--merge_calm", "true"), "--bases", *companions)
    assert code == 2 and "expected neutral, happy, sad, angry, fearful, disgust, surprised, in this order" in error


@pytest.mark.slow
def test_a_cross_validation_of_stacks(call, sounds_dir, companions, tmp_path):
    (tmp_path / "stack.yaml").write_text(
        yaml.safe_dump({"bases": [str(companions[0]).replace("seed_0", "seed_{protocol_seed}")], "meta": "logistic"})
    )
    words = ["--model_recipe", ROOT / "recipes/fit_hybrid.py", "--recipe_config", tmp_path / "stack.yaml"]
    code, printed, error = call(*words, *_words(sounds_dir, tmp_path / "runs"), name="evaluate")
    assert code == 0, error
    results = read_results(tmp_path / "runs")
    assert results["kind"] == "cross_validation" and results["runs"][0]["validation"]["uar"] is not None
    assert any("was not fitted on it" in note for note in results["protocol"]["notes"])
    code, _, error = call(*_words(sounds_dir, tmp_path / "out"), "--bases", tmp_path / "runs")
    assert code == 2 and "is a cross-validation; expected one of its runs" in error


def test_deep_features_of_trained_companions(call, sounds_dir, companions, tmp_path):
    words = ["--kind", "deep_features", "--max_trees", 20, "--learning_rate", 0.1, "--early_stopping_rounds", 5]
    folder = tmp_path / "deep"
    code, printed, error = call(*_words(sounds_dir, folder, *words), "--bases", *companions)
    assert code == 0, error
    assert f"Wrote {folder} (see {folder}/report.md)" in printed
    results = read_results(folder)
    assert results["model_type"] == "LightGBM on deep features" and results["training"]["columns"] == 16
    assert results["training"]["fit_on"] == "train" and results["training"]["fit_clips"] == 128
    assert len((folder / "importances.csv").read_text().splitlines()) == 17
    assert "Feature importance" in (folder / "report.md").read_text()
    assert load_classifier(str(folder))[0].config.sources[0]["columns"] == "embeddings"


def test_a_random_forest_on_functionals(call, sounds_dir, tmp_path, monkeypatch):
    folder = tmp_path / "forest"
    code, printed, error = call(*_words(sounds_dir, folder, *FOREST))
    assert code == 0, error
    results = read_results(folder)
    assert results["splits"]["test"]["scores"]["uar"] > 0.4  # of eight classes; the voices are synthetic and easy
    assert results["training"]["max_features"] in (0.05, 0.1, 0.2) and results["training"]["fit_on"] == "train"
    names = {
        "recipe.yaml",
        "importances.csv",
        "predictions_test.parquet",
        "predictions_validation.parquet",
        "report.md",
    }
    names |= {"README.md", "results.json", "splits.csv", "config.json", "model.safetensors"}
    names |= {"preprocessor_config.json"}
    assert {path.name for path in folder.iterdir() if path.suffix != ".py"} == names
    lines = (folder / "importances.csv").read_text().splitlines()
    assert len(lines) == 1 + len(Functionals().names) and lines[0] == "column,importance"
    # The columns are kept: nothing is computed a second time, and the same comes out.
    monkeypatch.setattr(features, "decoded", None)
    assert call(*_words(sounds_dir, tmp_path / "again", *FOREST))[0] == 0
    one, two = (read_predictions(path / "predictions_test.parquet") for path in (folder, tmp_path / "again"))
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "bases is empty"),
        (
            ("--bases", "./runs/nothing"),
            "base nothing: ./runs/nothing: no such folder; expected the folder of a trained model, or OWNER/NAME",
        ),
        (("--bases", "a", "--meta", "svm"), "meta is 'svm'; expected one of lightgbm, logistic, pool, mean"),
        (("--base", "a"), r"unknown field base .did you mean bases"),
        (("--bases", "a_{fold}"), "contains \\{fold\\}; pass --fold"),
        (("--kind", "deep_features"), "bases is empty; kind deep_features needs at least one base model"),
        (("--kind", "random_forest", "--layer", 3), "layer needs an encoder, but bases is empty"),
        (("--bases", "someone/nothing"), "is not a folder, and cannot be loaded from the Hub"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(call, sounds_dir, tmp_path, words, message):
    code, printed, error = call(*_words(sounds_dir, tmp_path / "out"), *words)
    assert code == 2 and printed == "" and error.startswith("error: ") and re.search(message, error), error
    assert not (tmp_path / "out").exists()
