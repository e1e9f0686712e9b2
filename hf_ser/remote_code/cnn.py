"""Shared code of MelCNN and AudioCNN: convolutional blocks, pooling, and one hidden layer."""

from typing import Literal

import torch
from torch import nn

from .checks import Positive, Probability
from .companion import CompanionModel
from .companion_config import ConvStackConfig
from .layers import ConvStack, Dropout, FeatureMapPooling, HeadNorm


class CNNConfig(ConvStackConfig):
    """Architecture of a convolutional model."""

    hidden_size: Positive = 128  # size of the layer before the classifier, and of the embedding
    head_norm: bool = False  # batch normalisation in that layer
    head_dropout: Probability = 0.3  # dropout after that layer
    pooling: Literal["flatten", "attention", "statistics"] = "flatten"  # pooling of feature maps (`FeatureMapPooling`)

    @property
    def pooled_size(self) -> int:
        """Size of a frame before `pooling`."""
        return self.channels[-1] * self.pooled_shape[0]


class CNNModel(CompanionModel):
    """Convolutional blocks over features (batch, 1, rows, frames), pooling, hidden layer, classifier."""

    def __init__(self, config: CNNConfig) -> None:
        super().__init__(config)
        self.stack = ConvStack(config)
        self.pooling = FeatureMapPooling(
            config.pooling, (config.channels[-1], *config.pooled_shape), config.pooling_heads
        )
        self.hidden = nn.Linear(self.pooling.size, config.hidden_size)
        self.norm = HeadNorm(config.hidden_size) if config.head_norm else nn.Identity()
        self.dropout = Dropout(config.head_dropout)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    def _encode(self, features: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        vectors = self.pooling(*self.stack(features, num_frames))
        return self.dropout(torch.relu(self.norm(self.hidden(vectors))))
