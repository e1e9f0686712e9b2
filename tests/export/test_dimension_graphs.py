"""Graphs of models of arousal and valence: the same values as in PyTorch, and refused where classes are needed."""

import csv
import json

import numpy as np
import pytest
import torch

from hf_ser import cli
from hf_ser.errors import SerError
from hf_ser.export import ExportArguments, ExportError, export, export_graph
from hf_ser.inference import load_classifier
from hf_ser.live import StreamingRecognizer
from hf_ser.models import (
    AudioCNNConfig,
    AudioCNNForAudioClassification,
    SpeechEmotionPipeline,
    make_feature_extractor,
)
from hf_ser.runtime import GraphError, GraphMetadata, OnnxPipeline
from hf_ser.web import WebError, write_page

SIZES = {"channels": (4, 4), "kernel_sizes": (5, 3), "hidden_size": 8, "duration_s": 0.5, "n_mels": 24}


def save(folder, names):
    """Save a tiny AudioCNN with values outside 0 to 1, so that probabilities would be noticed."""
    torch.manual_seed(0)
    config = AudioCNNConfig(**SIZES, id2label=dict(enumerate(names)), problem_type="regression")
    model = AudioCNNForAudioClassification(config)
    with torch.no_grad():
        for parameter in list(model.parameters())[-2:]:
            parameter.mul_(8)
    for part in (model, make_feature_extractor()):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of a model, and its graph."""
    root = tmp_path_factory.mktemp("dimensions")
    folder = save(root / "model", ("arousal", "valence"))
    report = export_graph(ExportArguments(model=str(folder), output=str(root / "graph")))
    return folder, root / "graph/model.onnx", report


def values_of(classify, clips):
    return np.array([[entry["score"] for entry in answer] for answer in classify(clips)])


def test_the_graph_has_the_values_of_the_model(exported, tone):
    folder, path, report = exported
    found = report["verification"]
    assert found["largest_difference"] < 1e-4 and found["same_label"] is None
    model, extractor = load_classifier(str(folder), dimensions=True)
    clips = [tone(0.3 + number / 10, frequency_hz=200 * (number + 1)) for number in range(4)]
    expected = values_of(SpeechEmotionPipeline(model=model, feature_extractor=extractor, precision="fp32"), clips)
    graph = OnnxPipeline(path, num_threads=1)
    np.testing.assert_allclose(values_of(graph, clips), expected, atol=1e-4)
    assert np.abs(expected.sum(axis=1) - 1).min() > 0.01 and np.ptp(expected, axis=0).min() > 1e-3
    assert [entry["label"] for entry in graph(clips[0], top_k=1)] == ["arousal", "valence"]
    with pytest.raises(ValueError, match="abstain: a model of dimensions has no probabilities"):
        graph(clips[0], abstain=0.5)


def test_a_graph_may_have_one_dimension_but_not_one_class(exported):
    stored = exported[2]["metadata"]
    assert GraphMetadata.parse(json.dumps(stored | {"labels": ["valence"]}), "a.onnx").output == "values"
    with pytest.raises(GraphError, match="metadata labels: got"):
        GraphMetadata.parse(json.dumps(stored | {"labels": ["happy"]}), "a.onnx")


def test_commands_print_and_write_the_values_of_a_graph(exported, tone, encode, tmp_path, capsys):
    folder, path, _ = exported
    voice, written = tmp_path / "voice.wav", tmp_path / "answers.csv"
    voice.write_bytes(encode(tone(0.4)))
    assert cli.main(["predict", str(voice), "--model", str(path), "--output", str(written)]) == 0
    with written.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row)[:5] == ["file", "start", "end", "arousal", "valence"] and "emotion" not in row
    model, extractor = load_classifier(str(folder), dimensions=True)
    (expected,) = values_of(SpeechEmotionPipeline(model=model, feature_extractor=extractor), [tone(0.4)])
    assert [float(row["arousal"]), float(row["valence"])] == pytest.approx(expected, abs=1e-4)
    assert cli.main(["info", str(path)]) == 0
    assert "dimensions     arousal, valence" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [{"format": "torch"}, {"format": "openvino"}, {"format": "web"}, {"format": "transformers.js"}, {"int8": True}],
)
def test_what_shows_or_compares_classes_is_refused(options, exported, tmp_path):
    with pytest.raises(ExportError, match=r"predicts arousal, valence; .* Pass --format onnx without --int8"):
        export(ExportArguments(model=str(exported[0]), output=str(tmp_path / "graph"), **options))
    assert not (tmp_path / "graph").exists()


def test_programs_for_classes_refuse_the_graph(exported, tmp_path, capsys):
    path = exported[1]
    with pytest.raises(WebError, match="predicts arousal, valence; expected a classifier"):
        write_page(path, tmp_path / "page", onnxruntime_web=tmp_path)
    with pytest.raises(SerError, match="model: got one that predicts arousal, valence; expected a classifier"):
        StreamingRecognizer(str(path))
    assert cli.main(["serve", "--model", str(path), "--port", "0"]) == 2
    assert "predicts arousal, valence; expected a classifier of emotions" in capsys.readouterr().err


def test_a_graph_with_the_other_output_is_refused(exported, tmp_path):
    """Probabilities under the names of dimensions, as an edited file has them."""
    import onnx

    proto = onnx.load(exported[1])
    stored = json.loads(proto.metadata_props[0].value) | {"labels": ["happy", "sad"]}
    proto.metadata_props[0].value = json.dumps(stored)
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(GraphError, match="got the outputs values .*expected probabilities"):
        OnnxPipeline(tmp_path / "model.onnx")
