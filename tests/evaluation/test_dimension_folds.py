"""Cross-validation of models of dimensions, with a recipe that predicts without training."""

import json
from pathlib import Path

import numpy as np
import pytest

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_rows, load_splits
from hf_ser.data.clip_dimensions import values_of_split
from hf_ser.evaluation import CrossValidationArguments, cross_validate, training_jobs
from hf_ser.evaluation.dimension_folds import has_dimensions
from hf_ser.evaluation.dimension_predictions import score_dimension_splits
from hf_ser.reporting import summary
from hf_ser.reporting.comparison import ComparisonError, load_runs
from hf_ser.reporting.dimension_report import write_dimension_run
from hf_ser.scoring import read_results
from hf_ser.scoring.dimension_scores import DimensionPredictions, concordance
from hf_ser.scoring.results import describe_training
from hf_ser.training import SerTrainingArguments, with_dimensions

RECIPE = str(Path(__file__).parents[2] / "recipes/train_companion.py")
NAMES = ("arousal", "valence")


class InProcess:
    """Stands for the recipe's process: writes the folder of a model whose values are the annotated ones with noise."""

    def __init__(self, command, env):
        self.fields = dict(word.removeprefix("--").split("=", 1) for word in command[2:] if "=" in word)

    def poll(self):
        fields = self.fields
        fold, seed = fields.get("fold"), int(fields["seed"])
        data = load_splits(
            DataArguments(
                fields["dataset"],
                protocol=fields["protocol"],
                fold=fold and int(fold),
                protocol_seed=int(fields["protocol_seed"]),
            )
        )
        folder = fields["output_dir"]
        data = with_dimensions(data, SerTrainingArguments(folder, use_cpu=True, target="dimensions"))
        rng = np.random.default_rng([seed, int(fold or 0)])

        def true(split):
            return values_of_split(data.splits[split], NAMES)

        def predicted(split):
            return true(split) * 0.9 + rng.normal(0, 0.1, true(split).shape)

        results = describe_training(data, "model", "ser-audio-cnn", 10, {"seed": seed, "target": "dimensions"})
        results["dimensions"], tables = score_dimension_splits(data, NAMES, true, predicted, "fp32")
        write_dimension_run(Path(folder), results, tables, figures=False)
        return 0


@pytest.fixture
def run(rated_dir, tmp_path, monkeypatch):
    """Cross-validate on the tones."""
    monkeypatch.setattr(training_jobs.subprocess, "Popen", InProcess)

    def call(
        protocol, seeds=(0,), overrides=("target=dimensions",), config=None, figures=False, thresholds=None, **more
    ):
        data_args = DataArguments(str(rated_dir), protocol=protocol)
        how = {"recipe_overrides": list(overrides), "recipe_config": config, "seeds": list(seeds), **more}
        args = CrossValidationArguments(model_recipe=RECIPE, **how)
        folder = tmp_path / "cv"
        return cross_validate(load_rows(data_args), args, data_args, folder, False, figures, thresholds), folder

    return call


def test_the_test_clips_of_all_folds_are_scored_together(run):
    results, folder = run("speaker_folds_5", figures=True)
    assert results == read_results(folder) and results["splits"] == {}
    test = results["dimensions"]["test"]
    pooled = DimensionPredictions.read(folder / "predictions.parquet")
    assert test["clips"] == len(set(pooled.clips["id"])) == 8 * 13 and test["speakers"] == 8
    each = [DimensionPredictions.read(folder / f"seed_0/fold_{n}/predictions_test.parquet") for n in range(1, 6)]
    np.testing.assert_array_equal(pooled.predicted, np.concatenate([part.predicted for part in each]))
    expected = concordance(pooled.true, pooled.predicted)
    assert [test["per_dimension"][name]["ccc"] for name in NAMES] == pytest.approx(expected)
    assert test["intervals"][0]["method"] == "clustered on speakers" and test["intervals"][0]["clusters"] == 8
    assert test["precision"] == "fp32" and "std" not in test
    assert [entry["clips"] for entry in results["runs"]] == [len(part.true) for part in each]
    of_folds = [concordance(part.true, part.predicted)[1] for part in each]
    assert [entry["test"]["ccc_valence"] for entry in results["runs"]] == pytest.approx(of_folds)
    assert results["over_folds"]["mean"]["ccc_valence"] == pytest.approx(np.mean(of_folds))
    assert results["over_folds"]["std"]["ccc_valence"] == pytest.approx(np.std(of_folds, ddof=1))
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert f"{of_folds[1]:.3f}" in text and "figures/concordance_test.png" in text
    assert (folder / "figures/concordance_test.png").is_file()
    assert f"mean CCC {test['ccc']:.3f} (95 %" in summary(results)


def test_seeds_have_mean_and_deviation_and_finished_runs_are_kept(run, monkeypatch):
    first, folder = run("random")
    time = (folder / "seed_0/results.json").stat().st_mtime_ns
    results, _ = run("random", seeds=(0, 1))
    assert (folder / "seed_0/results.json").stat().st_mtime_ns == time
    test, values = results["dimensions"]["test"], [entry["test"]["ccc"] for entry in results["runs"]]
    assert values[0] == first["dimensions"]["test"]["ccc"] and len(values) == 2
    assert test["predictions"] == ["predictions_seed_0.parquet", "predictions_seed_1.parquet"]
    assert test["ccc"] == pytest.approx(np.mean(values)) and test["std"]["ccc"] == pytest.approx(
        np.std(values, ddof=1)
    )
    assert [interval["method"] for interval in test["intervals"]][2:] == ["clustered on speakers and seeds"]
    assert "± " in (folder / "report.md").read_text(encoding="utf-8") and "over seeds" in summary(results)
    assert json.loads((folder / "results.json").read_text())["training"]["target"] == "dimensions"


def test_comparisons_of_classes_refuse_the_scores(run):
    _, folder = run("random")
    with pytest.raises(ComparisonError, match="cv: scores of dimensions; expected runs with scores of classes"):
        load_runs([folder])


def test_what_needs_classes_is_refused_before_training(run, tmp_path):
    config = tmp_path / "dimensions.yaml"
    config.write_text("target: dimensions\n", encoding="utf-8")
    for given in ({}, {"overrides": (), "config": str(config)}):
        with pytest.raises(ConfigError, match="protocol is cross_corpus and the recipe has target dimensions"):
            run("cross_corpus", **given)
        with pytest.raises(ConfigError, match="thresholds are limits for scores of classes"):
            run("random", thresholds="limits.yaml", **given)
    other = tmp_path / "other.yaml"
    other.write_text("target: acted\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="candidates are compared by UAR, which needs classes"):
        run("random", overrides=(), candidates=[str(other), str(config)])
    other.write_text("target: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="other.yaml is not valid YAML"):
        run("random", overrides=(), config=str(other))
    assert not (tmp_path / "cv").exists()
    assert not has_dimensions(str(config), ["target=acted"]) and not has_dimensions(None, ["seed=1"])
