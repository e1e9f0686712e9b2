"""What the two convolutional models have in common: a stack of blocks, pooling, and one hidden layer."""

from typing import Any

import torch
from torch import nn

from .checks import check_choice, check_positive, check_probability, check_stack
from .companion import CompanionConfig, CompanionModel
from .layers import ConvStack, Dropout, FeatureMapPooling, HeadNorm

POOLINGS = ("flatten", "attention", "statistics")


class CnnConfig(CompanionConfig):
    """Architecture of a convolutional model.

    Args:
        channels: of each block.
        kernel_sizes: odd, one per block.
        hidden_size: of the layer before the classifier; its output is the embedding.
        head_norm: batch normalisation in that layer.
        pool_size: by which each block shrinks height and frames.
        dropout: probability, after each block.
        pooling: flatten, attention or statistics (see `FeatureMapPooling`).
        head_dropout: probability, after the hidden layer.
        residual: see `ConvBlock`.
        squeeze_excitation: see `ConvBlock`.
        **kwargs: those of `CompanionConfig`.

    Raises:
        ValueError: a field that cannot be; the message names it, what it got and what was expected.
    """

    def __init__(
        self,
        channels: list[int] | tuple[int, ...],
        kernel_sizes: list[int] | tuple[int, ...],
        hidden_size: int,
        head_norm: bool,
        pool_size: int = 2,
        dropout: float = 0.3,
        pooling: str = "flatten",
        head_dropout: float = 0.3,
        residual: bool = False,
        squeeze_excitation: bool = False,
        **kwargs: Any,
    ) -> None:
        self.channels, self.kernel_sizes, self.pool_size = list(channels), list(kernel_sizes), pool_size
        self.dropout, self.pooling, self.hidden_size = dropout, pooling, hidden_size
        self.head_norm, self.head_dropout = head_norm, head_dropout
        self.residual, self.squeeze_excitation = residual, squeeze_excitation
        super().__init__(**kwargs)
        check_positive(self, "hidden_size")
        check_probability(self, "head_dropout")
        check_choice(self, "pooling", POOLINGS)
        check_stack(self)


class CnnModel(CompanionModel):
    """Blocks of convolutions over features (batch, 1, rows, frames), pooling, hidden layer, classifier."""

    def __init__(self, config: CnnConfig) -> None:
        super().__init__(config)
        self.stack = ConvStack(config)
        height, frames = config.pooled_shape(len(config.channels), config.pool_size)
        self.pooling = FeatureMapPooling(config.pooling, (config.channels[-1], height, frames))
        self.hidden = nn.Linear(self.pooling.size, config.hidden_size)
        self.norm = HeadNorm(config.hidden_size) if config.head_norm else nn.Identity()
        self.dropout = Dropout(config.head_dropout)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    def _encode(self, features: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        vectors = self.pooling(*self.stack(features, num_frames))
        return self.dropout(torch.relu(self.norm(self.hidden(vectors))))
