"""AudioCNN: four convolutional blocks and a wide head with batch normalisation."""

from typing import Any

from .cnn import CnnConfig, CnnModel


class AudioCNNConfig(CnnConfig):
    """The published AudioCNN: see `CnnConfig` for the fields."""

    model_type = "ser-audio-cnn"

    def __init__(
        self,
        channels: list[int] | tuple[int, ...] = (32, 64, 128, 256),
        kernel_sizes: list[int] | tuple[int, ...] = (3, 3, 3, 3),
        hidden_size: int = 512,
        head_norm: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels=channels, kernel_sizes=kernel_sizes, hidden_size=hidden_size, head_norm=head_norm, **kwargs
        )


class AudioCNNForAudioClassification(CnnModel):
    """Four blocks Conv -> BatchNorm -> ReLU -> MaxPool -> Dropout over (batch, 1, 80, frames), then a hidden layer."""

    config_class = AudioCNNConfig
