"""Folders saved by earlier versions give the same probabilities.

tests/saved_folders/VERSION holds a tiny model of every kind, trained or fitted by that version on generated voices,
and expected.json: its probabilities of `_voice(0.45 s, seed 0)` and `_voice(1.3 s, seed 1)` in float32. They are
never written anew; a version that changes how folders are saved adds its own.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoConfig

from hf_ser.inference import load_classifier
from hf_ser.models import SpeechEmotionPipeline

VERSIONS = Path(__file__).parents[1] / "saved_folders"
FOLDERS = sorted(path.parent for path in VERSIONS.glob("*/*/config.json"))


def _voice(duration_s, seed):
    """A swept tone that rises in the first fifth of a second, with a little noise: (samples,) float32 at 16 kHz."""
    time_s = np.arange(int(duration_s * 16_000)) / 16_000
    tone = 0.4 * np.sin(2 * np.pi * (180 + 40 * np.sin(3 * time_s)) * time_s) * np.minimum(1, 5 * time_s)
    return (tone + 0.01 * np.random.default_rng(seed).standard_normal(len(time_s))).astype(np.float32)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_folder_of_an_earlier_version_answers_as_it_did(folder):
    expected = json.loads((folder.parent / "expected.json").read_text())[folder.name]
    model, extractor = load_classifier(str(folder))
    classify = SpeechEmotionPipeline(model=model, feature_extractor=extractor, precision="fp32")
    for probabilities, (duration_s, seed) in zip(expected, ((0.45, 0), (1.3, 1)), strict=True):
        answers = {entry["label"]: entry["score"] for entry in classify(_voice(duration_s, seed), top_k=None)}
        assert answers == pytest.approx(probabilities, abs=2e-5)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_configuration_of_an_earlier_version_keeps_its_fields(folder):
    stored = json.loads((folder / "config.json").read_text())
    loaded = json.loads(AutoConfig.from_pretrained(folder).to_json_string(use_diff=False))
    ours = {name: value for name, value in stored.items() if name != "transformers_version"}
    assert {name: loaded.get(name) for name in ours} == ours


def test_every_kind_of_model_has_a_folder():
    kinds = {json.loads((folder / "config.json").read_text())["model_type"] for folder in FOLDERS}
    assert {"ser-mel-cnn", "ser-audio-cnn", "ser-audio-lstm", "ser-cnn-rnn", "ser-hybrid", "wav2vec2"} <= kinds
