"""AudioLSTM: a bidirectional LSTM over cepstral coefficients."""

from typing import Any

import torch
from torch import nn

from .checks import check_choice, check_positive, check_probability
from .companion import CompanionConfig, CompanionModel
from .layers import AttentivePooling, Dropout
from .precision import recur

POOLINGS = ("last", "attention", "statistics")


class AudioLSTMConfig(CompanionConfig):
    """The published AudioLSTM; its coefficients are those of librosa.feature.mfcc, unscaled.

    Args:
        hidden_size: units of each direction.
        num_layers: bidirectional layers.
        dropout: probability, between the layers and before the classifier.
        pooling: last (output at the last frame; the backward direction has seen no other by then), attention or
            statistics (over frames, see `AttentivePooling`).
        features: see `CompanionConfig`.
        normalize: see `CompanionConfig`.
        **kwargs: the other fields of `CompanionConfig`.

    Raises:
        ValueError: a field that cannot be; the message names it, what it got and what was expected.
    """

    model_type = "ser-audio-lstm"

    def __init__(
        self,
        hidden_size: int = 128,
        num_layers: int = 2,
        dropout: float = 0.4,
        pooling: str = "last",
        features: str = "mfcc",
        normalize: str = "none",
        **kwargs: Any,
    ) -> None:
        self.hidden_size, self.num_layers, self.dropout, self.pooling = hidden_size, num_layers, dropout, pooling
        super().__init__(features=features, normalize=normalize, **kwargs)
        check_positive(self, "hidden_size", "num_layers")
        check_probability(self, "dropout")
        check_choice(self, "pooling", POOLINGS)


class AudioLSTMForAudioClassification(CompanionModel):
    """Two bidirectional layers over (batch, frames, coefficients), pooling, classifier."""

    config_class = AudioLSTMConfig

    def __init__(self, config: AudioLSTMConfig) -> None:
        super().__init__(config)
        self.lstm = nn.LSTM(
            config.num_rows,
            config.hidden_size,
            config.num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )
        size = 2 * config.hidden_size
        statistics = config.pooling == "statistics"
        self.attention = None if config.pooling == "last" else AttentivePooling(size, statistics=statistics)
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(2 * size if statistics else size, self.num_labels)
        self.post_init()

    def _encode(self, features: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        sequence = recur(self.lstm, features.transpose(1, 2))[0]
        vectors = sequence[:, -1] if self.attention is None else self.attention(sequence, num_frames)
        return self.dropout(vectors)
