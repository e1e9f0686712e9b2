"""AudioLSTM: a bidirectional LSTM over cepstral coefficients."""

from typing import Literal

import torch
from torch import nn

from .checks import Positive, Probability
from .companion import CompanionModel
from .companion_config import CompanionConfig
from .layers import AttentivePooling, Dropout
from .precision import bidirectional, recur


class AudioLSTMConfig(CompanionConfig):
    """Configuration of the published AudioLSTM, with the unscaled coefficients of librosa.feature.mfcc.

    >>> from hf_ser.models import AudioLSTMConfig
    >>> AudioLSTMConfig(deltas=2).num_rows
    240
    """

    model_type = "ser-audio-lstm"
    features: Literal["log_mel", "mfcc"] = "mfcc"  # log-mel spectrogram or cepstral coefficients
    normalize: Literal["none", "ref_max", "clip", "global", "pcen"] = "none"  # see `CompanionConfig`
    hidden_size: Positive = 128  # units per direction
    num_layers: Positive = 2  # number of bidirectional layers
    dropout: Probability = 0.4  # dropout between the layers and before the classifier
    # last: output at the last frame, where the backward direction has processed that frame only; attention or
    # statistics: pooling over frames (see `AttentivePooling`).
    pooling: Literal["last", "attention", "statistics"] = "last"

    @property
    def pooled_size(self) -> int:
        """Size of a frame before `pooling`."""
        return 2 * self.hidden_size


class AudioLSTMForAudioClassification(CompanionModel):
    """Bidirectional LSTM over (batch, frames, coefficients), pooling, classifier.

    >>> import torch
    >>> from hf_ser.models import AudioLSTMConfig, AudioLSTMForAudioClassification
    >>> model = AudioLSTMForAudioClassification(AudioLSTMConfig(hidden_size=8, num_labels=8)).eval()
    >>> model(torch.zeros(2, 16_000)).logits.shape
    torch.Size([2, 8])
    """

    config_class = AudioLSTMConfig

    def __init__(self, config: AudioLSTMConfig) -> None:
        super().__init__(config)
        rows = config.num_channels * config.num_rows
        self.lstm = bidirectional(nn.LSTM, rows, config.hidden_size, config.num_layers, config.dropout)
        size = config.pooled_size
        statistics = config.pooling == "statistics"
        self.attention = None
        if config.pooling != "last":
            self.attention = AttentivePooling(size, statistics=statistics, heads=config.pooling_heads)
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(2 * size if statistics else size, self.num_labels)
        self.post_init()

    def _encode(self, features: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        sequence = recur(self.lstm, features.transpose(1, 2))[0]
        vectors = sequence[:, -1] if self.attention is None else self.attention(sequence, num_frames)
        return self.dropout(vectors)
