"""The shipped label mappings: each maps every label of its source."""

from pathlib import Path

import pytest
import yaml

from hf_ser.corpora import emodb, iemocap
from hf_ser.labels import EMOTIONS

ROOT = Path(__file__).parents[2]
FILES = {path.stem: path for path in sorted((ROOT / "recipes/configs/label_mappings").glob("*.yaml"))}
# Labels of the source, and labels that are left.
EXPECTED = {
    "angry_neutral_happy_other": (EMOTIONS, ["neutral", "happy", "angry", "other"]),
    "emodb_six": (emodb.EMOTION_CODES.values(), ["neutral", "happy", "sad", "angry", "fearful", "disgust"]),
    "iemocap_four": (iemocap.EMOTION_CODES.values(), ["neutral", "happy", "sad", "angry"]),
    "valence": (EMOTIONS, ["neutral", "positive", "negative"]),
}


def test_every_mapping_is_known():
    assert FILES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_mapping_has_every_label_of_its_source(name):
    content = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))
    assert content.keys() == {"label_mapping"}  # also valid for recipes/evaluate.py
    source, left = EXPECTED[name]
    assert content["label_mapping"].keys() == set(source)
    assert list(dict.fromkeys(label for label in content["label_mapping"].values() if label)) == left
