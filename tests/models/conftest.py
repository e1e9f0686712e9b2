import pytest
import torch

from hf_ser.models import AudioCNNConfig, AudioLSTMConfig, CnnRnnConfig, MelCNNConfig

SIGNAL = {"duration_s": 0.5, "n_mels": 24, "n_mfcc": 12, "num_labels": 4}
BLOCKS = {"channels": (8, 8), "kernel_sizes": (5, 3), "dropout": 0.1}
TINY = {
    "mel_cnn": (MelCNNConfig, {**BLOCKS, "hidden_size": 16}),
    "audio_cnn": (AudioCNNConfig, {**BLOCKS, "hidden_size": 16}),
    "audio_lstm": (AudioLSTMConfig, {"hidden_size": 8}),
    "cnn_lstm": (CnnRnnConfig, {**BLOCKS, "cell": "lstm", "hidden_size": 8}),
    "cnn_gru": (CnnRnnConfig, {**BLOCKS, "cell": "gru", "hidden_size": 8}),
}


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
    """Tones in noise (clips, samples) whose frequency tells the class, and their classes (clips,)."""

    def make(clips=8, duration_s=0.5, classes=4):
        generator = torch.Generator().manual_seed(clips)
        time_s = torch.arange(round(duration_s * 16_000)) / 16_000
        labels = torch.arange(clips) % classes
        tones = torch.sin(2 * torch.pi * 300 * 2.0 ** labels[:, None] * time_s)
        return 0.3 * tones + 0.02 * torch.randn(clips, len(time_s), generator=generator), labels

    return make
