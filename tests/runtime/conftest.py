"""Pipelines of exported graphs, and of the models that they were exported from."""

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_ser.inference import load_classifier
from hf_ser.models import SpeechEmotionPipeline
from hf_ser.runtime import OnnxPipeline

LABELS = ("neutral", "happy", "sad", "angry")


@pytest.fixture(scope="session")
def make_wav2vec2(tiny_config):
    """A tiny wav2vec2 model whose scores depend clearly on the clip, and its feature extractor."""

    def make(norm):
        torch.manual_seed(0)
        layer = norm == "layer"
        config = Wav2Vec2Config(
            **{**tiny_config, "feat_extract_norm": norm, "do_stable_layer_norm": layer, "conv_bias": layer},
            id2label=dict(enumerate(LABELS)),
        )
        model = Wav2Vec2ForSequenceClassification(config).eval()
        with torch.no_grad():
            model.classifier.weight.mul_(10)
        return model, Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=layer)

    return make


@pytest.fixture(scope="session")
def pipelines(tiny_graph, make_wav2vec2, exported_graph, tmp_path_factory):
    """Kind of model -> the pipeline of its graph, and the one with PyTorch."""
    folder, graph = tiny_graph
    parts = {
        "companion": load_classifier(str(folder)),
        "group": make_wav2vec2("group"),
        "layer": make_wav2vec2("layer"),
    }
    graphs = {"companion": graph}
    for kind in ("group", "layer"):
        graphs[kind] = exported_graph(tmp_path_factory.mktemp("graphs") / f"{kind}.onnx", parts[kind][0])
    return {
        kind: (
            OnnxPipeline(graphs[kind], num_threads=1),
            SpeechEmotionPipeline(model=model, feature_extractor=extractor, device="cpu", precision="fp32"),
        )
        for kind, (model, extractor) in parts.items()
    }


@pytest.fixture(scope="session")
def classify(pipelines):
    """The pipeline of the companion's graph."""
    return pipelines["companion"][0]
