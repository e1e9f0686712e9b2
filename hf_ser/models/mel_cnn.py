"""MelCNN: three convolutional blocks and a fully connected head."""

from typing import Any

from .cnn import CnnConfig, CnnModel


class MelCNNConfig(CnnConfig):
    """The published MelCNN: see `CnnConfig` for the fields."""

    model_type = "ser-mel-cnn"

    # Without a constructor of its own, transformers would make this class one that sets no fields of the parents.
    def __init__(
        self,
        channels: list[int] | tuple[int, ...] = (32, 64, 128),
        kernel_sizes: list[int] | tuple[int, ...] = (3, 3, 3),
        hidden_size: int = 128,
        head_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels=channels, kernel_sizes=kernel_sizes, hidden_size=hidden_size, head_norm=head_norm, **kwargs
        )


class MelCNNForAudioClassification(CnnModel):
    """Three blocks Conv -> BatchNorm -> ReLU -> MaxPool -> Dropout over (batch, 1, 80, frames) and a hidden layer."""

    config_class = MelCNNConfig
