"""CNN-LSTM and CNN-GRU: convolutional blocks, then a bidirectional recurrent network over time."""

from typing import Any

import torch
from torch import nn

from .checks import check_choice, check_positive, check_probability, check_stack
from .companion import CompanionConfig, CompanionModel
from .layers import AttentivePooling, ConvStack, Dropout, as_sequence
from .precision import recur

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
POOLINGS = ("final", "attention", "statistics")


class CnnRnnConfig(CompanionConfig):
    """The published CNN-LSTM (cell lstm) and CNN-GRU (cell gru).

    Args:
        cell: lstm or gru.
        channels: of each convolutional block.
        kernel_sizes: odd, one per block.
        pool_size: by which each block shrinks height and frames.
        dropout: probability, after each block.
        hidden_size: units of each direction.
        num_layers: bidirectional layers.
        rnn_dropout: probability, between the recurrent layers and before the classifier.
        pooling: final (the last states of both directions of all layers side by side), attention or statistics (over
            frames of the last layer, see `AttentivePooling`).
        residual: see `ConvBlock`.
        squeeze_excitation: see `ConvBlock`.
        **kwargs: those of `CompanionConfig`.

    Raises:
        ValueError: a field that cannot be; the message names it, what it got and what was expected.
    """

    model_type = "ser-cnn-rnn"

    def __init__(
        self,
        cell: str = "lstm",
        channels: list[int] | tuple[int, ...] = (32, 64, 128),
        kernel_sizes: list[int] | tuple[int, ...] = (5, 3, 3),
        pool_size: int = 2,
        dropout: float = 0.3,
        hidden_size: int = 128,
        num_layers: int = 2,
        rnn_dropout: float = 0.3,
        pooling: str = "final",
        residual: bool = False,
        squeeze_excitation: bool = False,
        **kwargs: Any,
    ) -> None:
        self.cell = cell
        self.channels, self.kernel_sizes, self.pool_size = list(channels), list(kernel_sizes), pool_size
        self.dropout, self.hidden_size, self.num_layers = dropout, hidden_size, num_layers
        self.rnn_dropout, self.pooling = rnn_dropout, pooling
        self.residual, self.squeeze_excitation = residual, squeeze_excitation
        super().__init__(**kwargs)
        check_choice(self, "cell", tuple(CELLS))
        check_positive(self, "hidden_size", "num_layers")
        check_probability(self, "rnn_dropout")
        check_choice(self, "pooling", POOLINGS)
        check_stack(self)


class CnnRnnForAudioClassification(CompanionModel):
    """Three blocks over (batch, 1, 80, frames), two recurrent layers over (batch, frames, channels * height)."""

    config_class = CnnRnnConfig

    def __init__(self, config: CnnRnnConfig) -> None:
        super().__init__(config)
        self.stack = ConvStack(config)
        height, _ = config.pooled_shape(len(config.channels), config.pool_size)
        self.rnn = CELLS[config.cell](
            config.channels[-1] * height,
            config.hidden_size,
            config.num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.rnn_dropout if config.num_layers > 1 else 0.0,
        )
        size = 2 * config.hidden_size
        self.attention = (
            None if config.pooling == "final" else AttentivePooling(size, statistics=config.pooling == "statistics")
        )
        self.dropout = Dropout(config.rnn_dropout)
        size *= {"final": config.num_layers, "attention": 1, "statistics": 2}[config.pooling]
        self.classifier = nn.Linear(size, self.num_labels)
        self.post_init()

    def _encode(self, features: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        maps, num_frames = self.stack(features, num_frames)
        sequence, states = recur(self.rnn, as_sequence(maps))
        if self.attention is not None:
            return self.dropout(self.attention(sequence, num_frames))
        final = states[0] if isinstance(states, tuple) else states  # an LSTM has cell states besides
        return self.dropout(final.transpose(0, 1).flatten(1))
