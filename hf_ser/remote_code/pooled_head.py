"""Classifiers of the wav2vec2 family with a head that transformers does not have: pooling, dense layer, tanh, output.

Checkpoints such as ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition and
audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim have this head. transformers would load their encoders with a
head of random weights. The head is recognised by the names of its weights.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    HubertModel,
    HubertPreTrainedModel,
    PreTrainedConfig,
    PreTrainedModel,
    Wav2Vec2Model,
    Wav2Vec2PreTrainedModel,
    WavLMModel,
    WavLMPreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from .classifier_output import classifier_output
from .preprocessing import file_beside

OUTPUT_LAYERS = ("out_proj", "output")  # names of the last layer; the first is of transformers' text classifiers
POOLING_MODES = ("mean", "sum", "max")
_DENSE = "classifier.dense.weight"


class PooledHead(nn.Module):
    """Dropout, dense layer, tanh, dropout, and the output layer, whose name is `config.head_output`."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.final_dropout)
        self.last = config.head_output
        self.add_module(self.last, nn.Linear(config.hidden_size, config.num_labels))

    @property
    def in_features(self) -> int:
        """Size of the pooled vectors."""
        return self.dense.in_features

    @property
    def output_layer(self) -> nn.Linear:
        """The last layer, whose outputs are the logits."""
        layer = self.get_submodule(self.last)
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Vectors (batch, hidden_size) -> logits (batch, num_labels)."""
        hidden = torch.tanh(self.dense(self.dropout(pooled)))
        return self.output_layer(self.dropout(hidden))


class PooledClassifier:
    """What the classifiers below have in common; a mixin, since each inherits from its own base class."""

    config: Any
    base_model: Any
    classifier: PooledHead
    _get_feature_vector_attention_mask: Any

    def _pooled(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Frames (batch, frames, hidden_size) -> vectors (batch, hidden_size), without frames of padding."""
        mode = getattr(self.config, "pooling_mode", "mean")
        if attention_mask is not None:
            padding = ~self._get_feature_vector_attention_mask(hidden.shape[1], attention_mask).bool()[:, :, None]
            counts = (~padding).sum(dim=1)
            hidden = hidden.masked_fill(padding, -torch.inf if mode == "max" else 0.0)
        else:
            counts = hidden.new_tensor(hidden.shape[1])
        if mode == "max":
            return hidden.max(dim=1).values
        return hidden.sum(dim=1) / counts if mode == "mean" else hidden.sum(dim=1)

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[torch.Tensor, ...]:
        """Classify clips.

        Args:
            input_values: waveforms (batch, samples), float32 at 16 kHz.
            attention_mask: 1 for samples, 0 for padding (batch, samples).
            labels: class ids (batch,); the loss is their mean cross-entropy.
            return_dict: False to return a tuple.

        Returns:
            Logits (batch, num_labels), and the loss if labels are given.
        """
        hidden = self.base_model(input_values, attention_mask=attention_mask).last_hidden_state
        logits = self.classifier(self._pooled(hidden, attention_mask))
        return classifier_output(self.config, logits, labels, return_dict)


class Wav2Vec2ForPooledClassification(PooledClassifier, Wav2Vec2PreTrainedModel):
    """wav2vec 2.0 with a `PooledHead`."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.classifier = PooledHead(config)
        self.post_init()


class HubertForPooledClassification(PooledClassifier, HubertPreTrainedModel):
    """HuBERT with a `PooledHead`."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.hubert = HubertModel(config)
        self.classifier = PooledHead(config)
        self.post_init()


class WavLMForPooledClassification(PooledClassifier, WavLMPreTrainedModel):
    """WavLM with a `PooledHead`."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.wavlm = WavLMModel(config)
        self.classifier = PooledHead(config)
        self.post_init()


CLASSES: Mapping[str, type[PreTrainedModel]] = {
    "wav2vec2": Wav2Vec2ForPooledClassification,
    "hubert": HubertForPooledClassification,
    "wavlm": WavLMForPooledClassification,
}


def head_output(names: frozenset[str]) -> str | None:
    """Name of the output layer of a `PooledHead`, from the names of all weights; None for other heads.

    >>> head_output(frozenset({"classifier.dense.weight", "classifier.output.weight"}))
    'output'
    """
    if _DENSE not in names:
        return None
    return next((layer for layer in OUTPUT_LAYERS if f"classifier.{layer}.weight" in names), None)


class AutoPooledOrNative(AutoModelForAudioClassification):
    """`AutoModelForAudioClassification` that also loads classifiers with a `PooledHead`."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a classifier.

        Raises:
            ValueError: the pooling mode of a `PooledHead` is unknown, or the head has further weights.
        """
        name, revision = str(pretrained_model_name_or_path), kwargs.get("revision")
        config = pooled_config(name, revision, kwargs.get("config"))
        if config is None:
            return AutoModelForAudioClassification.from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        for key in ("config", "trust_remote_code", "code_revision", "_from_pipeline"):
            kwargs.pop(key, None)
        return CLASSES[config.model_type].from_pretrained(name, *args, config=config, **kwargs)


def pooled_config(name: str, revision: str | None, config: Any = None) -> PreTrainedConfig | None:
    """Configuration of a classifier with a `PooledHead`; None for other models.

    Args:
        name: folder or Hub id.
        revision: on the Hub.
        config: of the model, if it is loaded already.

    Raises:
        ValueError: the pooling mode is unknown, or the head has further weights.
    """
    made: Any = AutoConfig.from_pretrained(name, revision=revision) if config is None else config
    names = _weight_names(name, revision) if made.model_type in CLASSES else frozenset()
    last = head_output(names)
    if last is None:
        return None
    mode = getattr(made, "pooling_mode", "mean")
    if mode not in POOLING_MODES:
        raise ValueError(f"pooling_mode is {mode!r}; expected one of {', '.join(POOLING_MODES)}")
    known = {f"classifier.{layer}.{kind}" for layer in ("dense", last) for kind in ("weight", "bias")}
    others = sorted(key for key in names if key.startswith(("classifier.", "projector.")) and key not in known)
    if others:
        raise ValueError(
            f"the head has the weights {', '.join(others[:5])}; expected only classifier.dense and classifier.{last}. "
            "This head is not known: load the model with the code of its authors"
        )
    made.head_output = last
    return made


def _weight_names(name: str, revision: str | None) -> frozenset[str]:
    """Names of the stored weights; empty if there is no file of weights, or if it is broken."""
    from safetensors import SafetensorError, safe_open

    path = file_beside(name, "model.safetensors", revision)
    if path is not None:
        try:
            with safe_open(path, "pt") as file:
                return frozenset(file.keys())
        except SafetensorError:  # the loader that follows says what is wrong
            return frozenset()
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        path = file_beside(name, index, revision)
        if path is not None:
            return frozenset(json.loads(path.read_text(encoding="utf-8")).get("weight_map", {}))
    path = file_beside(name, "pytorch_model.bin", revision)
    return frozenset() if path is None else _pickled_names(path)


def _pickled_names(path: Path) -> frozenset[str]:
    try:
        weights = torch.load(path, map_location="meta", weights_only=True)
    except Exception:  # torch raises many kinds of errors for a broken file; the loader that follows says which
        return frozenset()
    return frozenset(weights) if isinstance(weights, Mapping) else frozenset()
