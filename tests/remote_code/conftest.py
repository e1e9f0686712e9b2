import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from hf_ser.models import (
    AudioCNNConfig,
    AudioLSTMConfig,
    CNNRNNConfig,
    Functionals,
    HybridConfig,
    HybridForAudioClassification,
    MelCNNConfig,
    TreeEnsemble,
    TreeEnsembleConfig,
)
from hf_ser.remote_code.hybrid_sources import describe_base
from hf_ser.remote_code.tree_inference import Tables

SIGNAL = {"duration_s": 0.5, "n_mels": 24, "n_mfcc": 12, "num_labels": 4}
BLOCKS = {"channels": (8, 8), "kernel_sizes": (5, 3), "dropout": 0.1}
TINY = {
    "mel_cnn": (MelCNNConfig, {**BLOCKS, "hidden_size": 16}),
    "audio_cnn": (AudioCNNConfig, {**BLOCKS, "hidden_size": 16}),
    "audio_lstm": (AudioLSTMConfig, {"hidden_size": 8}),
    "cnn_lstm": (CNNRNNConfig, {**BLOCKS, "cell": "lstm", "hidden_size": 8}),
    "cnn_gru": (CNNRNNConfig, {**BLOCKS, "cell": "gru", "hidden_size": 8}),
}
EMOTION_LABELS = {0: "neutral", 1: "happy", 2: "sad", 3: "angry"}
WAV2VEC2 = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 4),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
    "classifier_proj_size": 8,
    "id2label": EMOTION_LABELS,
}


def make_wav2vec2(norm="group"):
    torch.manual_seed(1)
    stable = norm == "layer"
    config = Wav2Vec2Config(**WAV2VEC2, feat_extract_norm=norm, do_stable_layer_norm=stable, conv_bias=stable)
    return Wav2Vec2ForSequenceClassification(config).eval()


def stumps(num_features, classes=4, seed=0):
    """Trees with one decision, one per class and feature."""
    rng = np.random.default_rng(seed)
    trees = classes * num_features
    tables = Tables(
        roots=np.arange(trees),
        branches=np.stack([-1 - np.arange(0, 2 * trees, 2), -2 - np.arange(0, 2 * trees, 2)], axis=1),
        features=np.arange(trees) % num_features,
        thresholds=rng.uniform(0.1, 0.4, trees),
        missing=np.zeros(trees, int),
        tree_classes=np.arange(trees) // num_features,
        values=rng.normal(size=(2 * trees, 1)),
    )
    return TreeEnsemble.from_tables(
        TreeEnsembleConfig(num_features=num_features, num_trees=trees, num_nodes=trees, num_labels=classes), tables
    )


@pytest.fixture(scope="session")
def forest():
    """Trees on functionals only, without a neural network."""
    head = stumps(len(Functionals().names))
    trees = {"num_trees": head.config.num_trees, "num_nodes": head.config.num_nodes}
    config = HybridConfig(sources=[{"name": "clip", "columns": "functionals"}], trees=trees, id2label=EMOTION_LABELS)
    return HybridForAudioClassification.from_parts(config, [None], head)


@pytest.fixture(params=TINY)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def tiny():
    """Make a small configuration of one of the five published models."""

    def make(kind, **changes):
        config, fields = TINY[kind]
        return config(**{**SIGNAL, **fields, **changes})

    return make


@pytest.fixture(scope="session")
def build():
    """Make a model with seeded weights, ready to predict."""
    from transformers import AutoModelForAudioClassification

    def make(config):
        torch.manual_seed(0)
        return AutoModelForAudioClassification.from_config(config).eval()

    return make


@pytest.fixture(scope="session")
def waveforms():
    """Tones in noise (clips, samples) whose frequency depends on the class, and their classes (clips,)."""

    def make(clips=8, duration_s=0.5, classes=4):
        generator = torch.Generator().manual_seed(clips)
        time_s = torch.arange(round(duration_s * 16_000)) / 16_000
        labels = torch.arange(clips) % classes
        tones = torch.sin(2 * torch.pi * 300 * 2.0 ** labels[:, None] * time_s)
        return 0.3 * tones + 0.02 * torch.randn(clips, len(time_s), generator=generator), labels

    return make


@pytest.fixture(scope="session")
def companion(tiny, build):
    """Make a small companion model for four emotions."""
    return lambda kind="audio_cnn", **changes: build(tiny(kind, id2label=EMOTION_LABELS, **changes))


@pytest.fixture(scope="session")
def wav2vec2():
    """Make a small wav2vec2 for four emotions, like wav2vec2-base (group) or XLSR (layer)."""
    return make_wav2vec2


@pytest.fixture(scope="session")
def hybrid(companion):
    """Trees on the probabilities of an AudioCNN and a wav2vec2, and on functionals."""

    def make(hears_s=0.5, **fields):
        models = [companion(duration_s=hears_s), make_wav2vec2(), None]
        sources = [
            {"name": "cnn", "model": describe_base(models[0].config), **fields.pop("cnn", {})},
            {"name": "w2v", "model": describe_base(models[1].config), "do_normalize": True},
            {"name": "clip", "columns": "functionals", "duration_s": 0.8 * hears_s},
        ]
        head = stumps(8 + len(Functionals().names))
        trees = {"num_trees": head.config.num_trees, "num_nodes": head.config.num_nodes}
        config = HybridConfig(sources=sources, trees=trees, id2label=EMOTION_LABELS, **fields)
        return HybridForAudioClassification.from_parts(config, models, head)

    return make
