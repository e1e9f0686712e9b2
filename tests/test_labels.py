"""The label map is a contract: published models and datasets store its numbers."""

import subprocess
import sys

from hf_ser import labels


def test_order_is_that_of_ravdess_codes():
    assert labels.EMOTIONS == ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def test_maps_are_each_others_inverse():
    assert labels.ID2LABEL == {
        0: "neutral",
        1: "calm",
        2: "happy",
        3: "sad",
        4: "angry",
        5: "fearful",
        6: "disgust",
        7: "surprised",
    }
    assert {index: emotion for emotion, index in labels.LABEL2ID.items()} == labels.ID2LABEL
    assert list(labels.LABEL2ID) == list(labels.EMOTIONS)  # in this order they go into a model's config


def test_merge_calm_folds_calm_into_neutral_and_nothing_else():
    merged = [labels.merge_calm(emotion) for emotion in labels.EMOTIONS]
    assert merged == ["neutral", "neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised"]


def test_labels_import_needs_only_the_standard_library():
    program = (
        "import sys, hf_ser.labels; print(sorted({'numpy', 'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
