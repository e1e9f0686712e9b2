import numpy as np
import pytest
import torch

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_splits
from hf_ser.hybrids.baseline import BaselineArguments, fit_baseline, log_mel_statistics
from hf_ser.models import LogMel
from hf_ser.recipe_file import read_recipe
from hf_ser.scoring import read_predictions, read_results


def test_statistics_are_mean_and_deviation_of_the_bands(tone):
    waveforms = [tone(0.3), tone(0.5, frequency_hz=900.0)]
    rows = log_mel_statistics(waveforms, LogMel())
    bands = LogMel()(torch.from_numpy(waveforms[1])[None])[0].double().numpy()
    np.testing.assert_allclose(rows[1], np.concatenate([bands.mean(axis=1), bands.std(axis=1, ddof=1)]), rtol=1e-4)


def test_it_learns_and_writes_a_whole_run(dataset_dir, tmp_path):
    data_args = DataArguments(dataset=str(dataset_dir), protocol="random")
    data = load_splits(data_args)
    folder = tmp_path / "baseline"
    results = fit_baseline(data, BaselineArguments(output_dir=str(folder)), "baseline")
    assert read_results(folder) == results
    test = results["splits"]["test"]
    assert test["scores"]["uar"] > 0.4  # of eight classes; the voices are synthetic and easy
    stored = read_predictions(folder / "predictions_test.parquet")
    assert stored.clips["id"] == list(data.splits["test"]["id"])
    assert results["training"]["penalty"] in (0.001, 0.01, 0.1, 1.0)
    assert results["parameters"] == 8 * 160 + 8
    with pytest.raises(ConfigError, match="finished run"):
        BaselineArguments(output_dir=str(folder))
    assert read_recipe(folder) == {"protocol": "random"}
    again = BaselineArguments(output_dir=str(folder), penalties=[0.1], overwrite=True, figures=False)
    fit_baseline(data, again, "baseline")
    assert read_recipe(folder) == {"protocol": "random", "penalties": [0.1], "figures": False}


@pytest.mark.parametrize(("configuration", "metric"), [("ravdess", "f1_weighted"), ("all", "uar_by_corpus")])
def test_the_penalty_is_chosen_on_validation(configuration, metric, dataset_dir, tmp_path):
    data = load_splits(DataArguments(str(dataset_dir), configuration, protocol="random"))

    def fit(*penalties):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return fit_baseline(data, BaselineArguments(str(folder), list(penalties), figures=False), "b")

    scores = {}
    for penalty in (1e-6, 0.1):
        validation = fit(penalty)["splits"]["validation"]
        several = configuration == "all"
        scores[penalty] = validation["by_corpus"]["scores"]["uar"] if several else validation["scores"][metric]
    training = fit(1e-6, 0.1)["training"]
    assert training["penalty"] == max(scores, key=scores.get)
    assert training["best_metric"] == metric and training["best_value"] == pytest.approx(max(scores.values()))


@pytest.mark.parametrize("penalties", [[], [0.0], [1.0, -1.0]])
def test_bad_penalties(tmp_path, penalties):
    with pytest.raises(ConfigError, match="positive number"):
        BaselineArguments(output_dir=str(tmp_path), penalties=penalties)
