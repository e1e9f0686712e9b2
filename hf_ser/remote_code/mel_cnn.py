"""MelCNN: three convolutional blocks and a fully connected head."""

from .cnn import CNNConfig, CNNModel


class MelCNNConfig(CNNConfig):
    """Configuration of the published MelCNN.

    >>> from hf_ser.models import MelCNNConfig
    >>> MelCNNConfig(normalize="clip").channels
    [32, 64, 128]
    """

    model_type = "ser-mel-cnn"


class MelCNNForAudioClassification(CNNModel):
    """Three blocks Conv -> BatchNorm -> ReLU -> MaxPool -> Dropout over (batch, 1, 80, frames) and a hidden layer.

    >>> import torch
    >>> from hf_ser.models import MelCNNConfig, MelCNNForAudioClassification
    >>> model = MelCNNForAudioClassification(MelCNNConfig(channels=[8, 8, 8], duration_s=1.0, num_labels=8)).eval()
    >>> model(torch.zeros(2, 16_000)).logits.shape
    torch.Size([2, 8])
    """

    config_class = MelCNNConfig
