"""Scoring a model of arousal, valence and dominance on classes."""

import json

import numpy as np
import pytest
from foreign_models import LAYOUTS, write_folder

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_splits
from hf_ser.data.splits import decoded
from hf_ser.evaluation import EvaluateArguments, evaluate, predict_logits
from hf_ser.inference import load_classifier
from hf_ser.scoring import DimensionMapError, fit_dimension_map, read_dimension_map, read_predictions


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory, tiny_config):
    folder = tmp_path_factory.mktemp("dimensional") / "model"
    write_folder(folder, tiny_config, *LAYOUTS["audeering"])
    return folder


@pytest.fixture(scope="module")
def data(sounds_dir):
    return DataArguments(str(sounds_dir), "ravdess", protocol="random")


@pytest.fixture(scope="module")
def fitted(model_dir, data, tmp_path_factory):
    """The folder of an evaluation that fits a map, and its results."""
    folder = tmp_path_factory.mktemp("fitted")
    args = EvaluateArguments(str(folder), model=str(model_dir), dimension_map="fit", figures=False)
    return folder, evaluate(args, data)


def values_of(folder, part):
    model, extractor = load_classifier(str(folder), dimensions=True)
    items = decoded(part)
    rows, values = predict_logits(
        model, extractor, part["duration"], lambda ids: items[ids]["waveform"], progress=False
    )
    return values[np.argsort(rows)]


def test_a_map_is_fitted_to_the_values_of_the_model_on_validation(fitted, model_dir, data):
    folder, results = fitted
    splits = load_splits(data)
    validation, test = splits.splits["validation"], splits.splits["test"]
    labels = [splits.labels[label] for label in validation["label"]]
    expected = fit_dimension_map(values_of(model_dir, validation), labels, ["arousal", "dominance", "valence"])
    read = read_dimension_map(folder / "dimension_map.json")
    np.testing.assert_allclose(read.means, expected.means, rtol=1e-4)
    assert results["dimension_map"] == json.loads((folder / "dimension_map.json").read_text(encoding="utf-8"))
    predictions = read_predictions(folder / "predictions.parquet")
    assert set(predictions.labels) == set(read.labels)
    probabilities = read.probabilities(values_of(model_dir, test))
    wanted = dict(zip(test["id"], probabilities, strict=True))
    columns = [read.labels.index(label) for label in predictions.labels]
    for clip, row in zip(predictions.clips["id"], predictions.probabilities, strict=True):
        np.testing.assert_allclose(row, wanted[clip][columns], rtol=1e-3, atol=1e-6)


def test_a_stored_map_gives_the_same_scores(fitted, model_dir, data, tmp_path):
    folder, before = fitted
    args = EvaluateArguments(
        str(tmp_path), model=str(model_dir), dimension_map=str(folder / "dimension_map.json"), figures=False
    )
    after = evaluate(args, data)
    assert after["splits"] == before["splits"] and not (tmp_path / "dimension_map.json").exists()


def test_invalid_maps_are_refused(fitted, model_dir, data, save_companion, sounds_dir, tmp_path):
    path = str(fitted[0] / "dimension_map.json")

    def run(**arguments):
        evaluate(EvaluateArguments(str(tmp_path / "out"), **{"figures": False} | arguments), data)

    with pytest.raises(ConfigError, match="no clips with values of these. Pass --dimension_map fit"):
        run(model=str(model_dir))
    companion = save_companion(tmp_path / "companion", ("neutral", "happy"))
    with pytest.raises(
        ConfigError, match="got dimension_map, but .* is a classifier of neutral, happy|dimension_map is"
    ):
        run(model=str(companion), dimension_map=path)
    with pytest.raises(DimensionMapError, match="nothing.json cannot be read"):
        run(model=str(model_dir), dimension_map="nothing.json")
    content = json.loads((fitted[0] / "dimension_map.json").read_text(encoding="utf-8"))
    (tmp_path / "map.json").write_text(json.dumps(content | {"dimensions": ["arousal", "valence", "tension"]}))
    with pytest.raises(ConfigError, match="needs tension; the model predicts arousal, dominance, valence"):
        run(model=str(model_dir), dimension_map=str(tmp_path / "map.json"))
    with pytest.raises(ConfigError, match="calibrate and dimension_map"):
        run(model=str(model_dir), dimension_map=path, calibrate=True)
    with pytest.raises(ConfigError, match="dimension_map fit needs the validation split"):
        recordings = str(sounds_dir.parent / "corpora" / "ravdess")
        args = EvaluateArguments(
            str(tmp_path / "out"), model=str(model_dir), dimension_map="fit", recordings=recordings, figures=False
        )
        evaluate(args, DataArguments())
