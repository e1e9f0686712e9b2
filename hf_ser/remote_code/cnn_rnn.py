"""CNN-LSTM and CNN-GRU: convolutional blocks, then a bidirectional recurrent network over time."""

from typing import Literal

import torch
from torch import nn

from .checks import Positive, Probability, Sizes
from .companion import CompanionModel
from .companion_config import ConvStackConfig
from .layers import AttentivePooling, ConvStack, Dropout, as_sequence
from .precision import bidirectional, recur

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class CNNRNNConfig(ConvStackConfig):
    """Configuration of the published CNN-LSTM (cell lstm) and CNN-GRU (cell gru).

    >>> from hf_ser.models import CNNRNNConfig
    >>> CNNRNNConfig(cell="gru").kernel_sizes
    [5, 3, 3]
    """

    model_type = "ser-cnn-rnn"
    kernel_sizes: Sizes = (5, 3, 3)  # kernel size of each block; odd numbers
    cell: Literal["lstm", "gru"] = "lstm"  # type of the recurrent layers
    hidden_size: Positive = 128  # units per direction
    num_layers: Positive = 2  # number of bidirectional layers
    rnn_dropout: Probability = 0.3  # dropout between the recurrent layers and before the classifier
    # final: concatenated final states of both directions of all layers; attention or statistics: pooling over the
    # frames of the last layer (see `AttentivePooling`).
    pooling: Literal["final", "attention", "statistics"] = "final"

    @property
    def pooled_size(self) -> int:
        """Size of a frame before `pooling`."""
        return 2 * self.hidden_size


class CNNRNNForAudioClassification(CompanionModel):
    """Three blocks over (batch, 1, 80, frames), two recurrent layers over (batch, frames, channels * height).

    >>> import torch
    >>> from hf_ser.models import CNNRNNConfig, CNNRNNForAudioClassification
    >>> config = CNNRNNConfig(channels=[8, 8, 8], hidden_size=8, num_labels=8)
    >>> CNNRNNForAudioClassification(config).eval()(torch.zeros(2, 16_000)).logits.shape
    torch.Size([2, 8])
    """

    config_class = CNNRNNConfig

    def __init__(self, config: CNNRNNConfig) -> None:
        super().__init__(config)
        self.stack = ConvStack(config)
        height, _ = config.pooled_shape
        self.rnn = bidirectional(
            CELLS[config.cell],
            config.channels[-1] * height,
            config.hidden_size,
            config.num_layers,
            config.rnn_dropout,
        )
        size = config.pooled_size
        self.attention = None
        if config.pooling != "final":
            statistics = config.pooling == "statistics"
            self.attention = AttentivePooling(size, statistics=statistics, heads=config.pooling_heads)
        self.dropout = Dropout(config.rnn_dropout)
        size *= {"final": config.num_layers, "attention": 1, "statistics": 2}[config.pooling]
        self.classifier = nn.Linear(size, self.num_labels)
        self.post_init()

    def _encode(self, features: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        maps, num_frames = self.stack(features, num_frames)
        sequence, states = recur(self.rnn, as_sequence(maps))
        if self.attention is not None:
            return self.dropout(self.attention(sequence, num_frames))
        final = states[0] if isinstance(states, tuple) else states  # LSTM states include cell states
        final = final.reshape(-1, sequence.shape[0], self.rnn.hidden_size)  # exported LSTMs lose this shape
        return self.dropout(final.transpose(0, 1).flatten(1))
