"""AudioCNN: four convolutional blocks and a wide head with batch normalisation."""

from .checks import Positive, Sizes
from .cnn import CNNConfig, CNNModel


class AudioCNNConfig(CNNConfig):
    """Configuration of the published AudioCNN.

    >>> from hf_ser.models import AudioCNNConfig
    >>> AudioCNNConfig(pooling="statistics").channels
    [32, 64, 128, 256]
    """

    model_type = "ser-audio-cnn"
    channels: Sizes = (32, 64, 128, 256)
    kernel_sizes: Sizes = (3, 3, 3, 3)
    hidden_size: Positive = 512
    head_norm: bool = True


class AudioCNNForAudioClassification(CNNModel):
    """Four blocks Conv -> BatchNorm -> ReLU -> MaxPool -> Dropout over (batch, 1, 80, frames), then a hidden layer.

    >>> import torch
    >>> from transformers import AutoModelForAudioClassification
    >>> model = AutoModelForAudioClassification.from_pretrained("runs/audio_cnn")
    >>> type(model).__name__, model.embeddings(torch.zeros(2, 16_000)).shape
    ('AudioCNNForAudioClassification', torch.Size([2, 8]))
    """

    config_class = AudioCNNConfig
