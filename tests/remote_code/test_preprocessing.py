"""Preprocessing of recordings as stored in a model's folder."""

import json
import pickle

import numpy as np
import pytest
from transformers import Wav2Vec2FeatureExtractor

from hf_ser.audio import load_audio
from hf_ser.inference import CheckpointError, load_classifier
from hf_ser.models import make_feature_extractor
from hf_ser.remote_code.preprocessing import Preprocessing, merged_labels, stored_preprocessing

STEPS = [
    Preprocessing(),
    Preprocessing(trim_db=20.0),
    Preprocessing(normalize=True),
    Preprocessing(duration_s=0.25),
    Preprocessing(trim_db=30.0, normalize=True, duration_s=2.0),
]


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_the_steps_are_those_of_load_audio(tone, steps):
    waveform = np.pad(tone(1.0), 6000)
    whole = load_audio(waveform, 16_000)
    expected = load_audio(waveform, 16_000, **vars(steps))
    np.testing.assert_array_equal(steps(whole), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(steps))(whole), expected)
    assert steps.steps == {name: value for name, value in vars(steps).items() if value not in (None, False)}


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_an_extractor_carries_them_through_its_folder(tmp_path, steps):
    extractor = make_feature_extractor()
    assert Preprocessing.of(extractor) == Preprocessing() and stored_preprocessing(str(tmp_path)) is None
    steps.store(extractor)
    extractor.save_pretrained(tmp_path)
    assert Preprocessing.of(Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)) == steps
    assert stored_preprocessing(str(tmp_path)) == steps


@pytest.mark.parametrize(
    "fields",
    [
        {"trim_db": 0},
        {"trim_db": -1.0},
        {"trim_db": float("nan")},
        {"trim_db": "20"},
        {"trim_db": True},
        {"duration_s": 0.0},
        {"duration_s": 1e7},
        {"normalize": 1},
        {"normalise": True},
        ["trim_db"],
    ],
    ids=str,
)
def test_fields_that_cannot_be_are_refused_by_name(companion, tmp_path, fields):
    companion().save_pretrained(tmp_path)
    make_feature_extractor().save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"preprocessing": fields}))
    with pytest.raises(CheckpointError, match="preprocessor_config.json: preprocessing"):
        load_classifier(str(tmp_path))


def test_results_of_an_earlier_version_tell_the_steps_and_the_merged_classes(companion, tmp_path, caplog):
    companion().save_pretrained(tmp_path)
    make_feature_extractor().save_pretrained(tmp_path)
    stored = {"trim_db": 30.0, "normalize": False, "duration_s": None, "merge_calm": True, "channel": None}
    (tmp_path / "results.json").write_text(json.dumps({"preprocessing": stored}))
    assert stored_preprocessing(str(tmp_path)) == Preprocessing(trim_db=30.0)
    model, extractor = load_classifier(str(tmp_path))
    assert Preprocessing.of(extractor) == Preprocessing(trim_db=30.0)
    assert merged_labels(model.config) == {"calm": "neutral"}
    assert "was saved by an earlier version" in caplog.text and "trim_db 30.0" in caplog.text


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"preprocessing": 5}', '{"preprocessing": null}'])
def test_without_results_nothing_is_done(companion, tmp_path, content, caplog):
    companion().save_pretrained(tmp_path)
    make_feature_extractor().save_pretrained(tmp_path)
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    _, extractor = load_classifier(str(tmp_path))
    assert Preprocessing.of(extractor) == Preprocessing() and "earlier version" not in caplog.text
