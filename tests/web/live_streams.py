"""Streams of samples in Python, for comparison with those of the page."""

import json
from pathlib import Path

import numpy as np

from hf_ser.labels import EMOTIONS
from hf_ser.live import StreamingRecognizer
from hf_ser.runtime import OnnxPipeline

CLIP = Path(__file__).parents[2] / "examples" / "clips" / "angry_woman.flac"


def text(samples):
    """Samples as JSON: Playwright passes long lists number by number."""
    return json.dumps(samples.tolist())


def in_python(graph, samples, rate, **options):
    recognizer = StreamingRecognizer(OnnxPipeline(graph), abstain=True, **options)
    return recognizer.feed(samples, rate) + recognizer.finish()


def assert_same(found, expected, tolerance):
    """Windows, silence and labels are the same, and probabilities within a tolerance."""
    fields = ("start", "end", "silent", "label", "abstained")
    assert [[each[name] for name in fields] for each in found] == [
        [each[name] for name in fields] for each in expected
    ]
    for each, wanted in zip(found, expected, strict=True):
        if wanted["scores"] is None:
            assert each.get("probabilities") is None and each.get("scores") is None and each["score"] is None
            continue
        scores = {part["label"]: part["score"] for part in wanted["scores"]}
        values = each.get("probabilities") or [
            {part["label"]: part["score"] for part in each["scores"]}[label] for label in EMOTIONS
        ]
        assert np.abs(np.asarray(values) - [scores[label] for label in EMOTIONS]).max() < tolerance
        assert abs(each["score"] - wanted["score"]) < tolerance
