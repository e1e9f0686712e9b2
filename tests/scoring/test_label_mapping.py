"""Other people's labels as emotions."""

import numpy as np
import pytest

from hf_ser.arguments import ConfigError
from hf_ser.labels import EMOTIONS
from hf_ser.scoring.label_mapping import map_probabilities, resolve_mapping
from hf_ser.scoring.predictions import softmax

SUPERB = ("neu", "hap", "ang", "sad")
MAPPED = {"neu": "neutral", "hap": "happy", "ang": "angry", "sad": "sad"}


def test_emotions_in_any_case_need_no_mapping():
    labels = ["ANGRY", "Happy", "neutral", "SurPrised"]
    expected = {"ANGRY": "angry", "Happy": "happy", "neutral": "neutral", "SurPrised": "surprised"}
    assert resolve_mapping(labels, None) == expected
    assert resolve_mapping(EMOTIONS, None) == {emotion: emotion for emotion in EMOTIONS}


def test_unknown_labels_without_a_mapping_are_named():
    with pytest.raises(ConfigError, match="labels are neu, Happy, LABEL_2; neu, LABEL_2 are not among") as error:
        resolve_mapping(["neu", "Happy", "LABEL_2"], None)
    assert "label_mapping" in str(error.value) and "surprised" in str(error.value)


def test_a_mapping_is_given_back_in_the_model_s_order():
    assert list(resolve_mapping(SUPERB, dict(reversed(MAPPED.items()))).items()) == list(MAPPED.items())
    swapped = {"x": "happy", "y": "sad", "happy": None}
    assert resolve_mapping(["happy", "x", "y"], swapped) == {"happy": None, "x": "happy", "y": "sad"}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"neu": "neutral", "hap": "happy"}, "no entry for the model's ang, sad;"),
        ({}, "no entry for the model's neu, hap, ang, sad;"),
        (MAPPED | {"joy": "happy"}, "unknown labels joy; the model's labels are neu, hap, ang, sad"),
        (MAPPED | {"hap": "hapy"}, r"maps to 'hapy' \(did you mean happy\?\)"),
        (MAPPED | {"hap": "xyzzy"}, "maps to 'xyzzy'; expected one of neutral, .*surprised or null"),
        (MAPPED | {"hap": "Happy"}, "maps to 'Happy'"),
        (MAPPED | {"hap": 3}, "maps to 3"),
        (MAPPED | {"hap": ["happy", "sad"]}, "maps to ..happy., .sad.."),
        (MAPPED | {"hap": False}, "maps to False"),
    ],
    ids=["two-missing", "empty", "extra", "misspelt", "unknown", "upper-case", "number", "list", "yaml-no"],
)
def test_mappings_that_do_not_fit_are_refused(mapping, message):
    with pytest.raises(ConfigError, match=message):
        resolve_mapping(SUPERB, mapping)


@pytest.mark.parametrize("key", [0, True, None], ids=str)
def test_yaml_keys_that_are_no_text_are_refused(key):
    with pytest.raises(ConfigError, match="label_mapping has unknown labels"):
        resolve_mapping(SUPERB, {**MAPPED, key: "happy"})


@pytest.mark.parametrize("kept", [None, "happy"], ids=["none", "one"])
def test_a_mapping_that_leaves_no_choice_is_refused(kept):
    with pytest.raises(ConfigError, match="two"):
        resolve_mapping(SUPERB, dict.fromkeys(SUPERB) | {"hap": kept})


def test_columns_come_in_the_package_s_order():
    logits = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 0.0, 5.0, 0.0]])
    found, known = map_probabilities(logits, SUPERB, MAPPED)
    assert known == ("neutral", "happy", "sad", "angry")
    np.testing.assert_allclose(found, softmax(logits)[:, [0, 1, 3, 2]], rtol=1e-12)


def test_labels_of_one_emotion_add_up():
    labels = ("neutral", "calm", "joy", "excited", "content")
    mapping = {"neutral": "neutral", "calm": "neutral", "joy": "happy", "excited": "happy", "content": "happy"}
    logits = np.random.default_rng(0).normal(0, 3, (20, 5))
    found, known = map_probabilities(logits, labels, mapping)
    shares = softmax(logits)
    assert known == ("neutral", "happy")
    np.testing.assert_allclose(found, np.stack([shares[:, :2].sum(axis=1), shares[:, 2:].sum(axis=1)], 1), rtol=1e-12)
    # Two labels of one emotion can beat a third that beats each of them.
    assert map_probabilities(np.log([[0.4, 0.0001, 0.3, 0.29, 0.01]]), labels, mapping)[0].argmax() == 1


def test_labels_of_no_emotion_do_not_weigh_in():
    labels, mapping = ("silence", "sad", "happy"), {"silence": None, "sad": "sad", "happy": "happy"}
    logits = np.array([[50.0, np.log(3), 0.0], [-1e4, np.log(3), 0.0], [1e4, -1e4, -1e4 - np.log(3)]])
    found, known = map_probabilities(logits, labels, mapping)
    assert known == ("happy", "sad")
    np.testing.assert_allclose(found, [[0.25, 0.75]] * 3, rtol=1e-6)


def test_no_clip_gives_no_row():
    found, known = map_probabilities(np.zeros((0, 4)), SUPERB, MAPPED)
    assert found.shape == (0, 4) and len(known) == 4


def test_classes_of_any_dataset_in_any_case():
    classes = ("Wütend", "other", "neutral")
    found = resolve_mapping(["WÜTEND", "neutral", "calm"], None, classes)
    assert found == {"WÜTEND": "Wütend", "neutral": "neutral", "calm": "calm"}  # the dataset has no clips of calm
    with pytest.raises(ConfigError, match="bored are not among Wütend, other, neutral. Add a label_mapping"):
        resolve_mapping(["wütend", "neutral", "bored"], None, classes)
    assert resolve_mapping(["a", "b"], {"a": "other", "b": "Wütend"}, classes) == {"a": "other", "b": "Wütend"}
    with pytest.raises(ConfigError, match="maps to 'othr' .did you mean other"):
        resolve_mapping(["a", "b"], {"a": "othr", "b": "Wütend"}, classes)


def test_a_dataset_without_two_of_the_model_s_classes_is_refused():
    with pytest.raises(ConfigError, match="share fewer than two classes .angry.; the model's labels are .*other"):
        resolve_mapping(EMOTIONS, None, ("angry", "other"))


def test_other_classes_come_in_the_model_s_order():
    found, known = map_probabilities(np.zeros((1, 3)), ("b", "x", "a"), {"b": "two", "x": None, "a": "one"})
    assert known == ("two", "one") and found.tolist() == [[0.5, 0.5]]
