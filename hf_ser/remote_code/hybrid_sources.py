"""Sources of a hybrid's features: a model's probabilities or embeddings, or functionals of the clip."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, PreTrainedConfig, PreTrainedModel

from .audio_cnn import AudioCNNConfig, AudioCNNForAudioClassification
from .audio_lstm import AudioLSTMConfig, AudioLSTMForAudioClassification
from .cnn_rnn import CNNRNNConfig, CNNRNNForAudioClassification
from .companion import CompanionModel
from .companion_config import CompanionConfig
from .encoder_inputs import min_samples, standardized, takes_attention_mask
from .forward_precision import DTYPES, autocast
from .functionals import Functionals
from .mel_cnn import MelCNNConfig, MelCNNForAudioClassification
from .preprocessing import Preprocessing
from .prosody import ProsodicFunctionals

COMPANIONS: dict[type[CompanionConfig], type[CompanionModel]] = {
    MelCNNConfig: MelCNNForAudioClassification,
    AudioCNNConfig: AudioCNNForAudioClassification,
    AudioLSTMConfig: AudioLSTMForAudioClassification,
    CNNRNNConfig: CNNRNNForAudioClassification,
}
FEATURE_SETS: dict[str | None, Any] = {None: Functionals, "prosodic": ProsodicFunctionals}  # None: as published
COLUMNS = ("probabilities", "embeddings", "functionals")
_OPTIONS = ("token", "cache_dir", "local_files_only", "proxies", "dtype")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class SourceSettings:
    """One source of features, as in a hybrid's config.json.

    Args:
        name: prefix of the features' names.
        columns: kind of features: probabilities, embeddings (for companion models the input of the classifier; for
            transformers encoders the mean of a layer's hidden states over the clip's frames) or functionals.
        model: configuration of the model including model_type; None for functionals.
        layer: layer of an encoder's embeddings; 0 for the input of the first layer, None for the last layer.
        do_normalize: standardize clips after preprocessing, as the model's feature extractor does.
        trim_db: see `Preprocessing`.
        normalize: see `Preprocessing`.
        duration_s: see `Preprocessing`.
        fitted_precision: precision of the features that the hybrid was fitted on: fp32, bf16 or fp16; None if unknown.
            Inference may use another precision.
        repository: Hub repository with the model's weights; None if the weights are saved with the hybrid.
        revision: commit of `repository`, 40 hexadecimal digits.
        feature_set: set of functionals: prosodic, or None for the published set.

    Raises:
        ValueError: a field is invalid, or does not fit the others.
    """

    name: str
    columns: str = "probabilities"
    model: dict[str, Any] | None = None
    layer: int | None = None
    do_normalize: bool = False
    trim_db: float | None = None
    normalize: bool = False
    duration_s: float | None = None
    fitted_precision: str | None = None
    repository: str | None = None
    revision: str | None = None
    feature_set: str | None = None

    def __post_init__(self) -> None:
        if self.columns not in COLUMNS:
            self._reject("columns", self.columns, f"one of {', '.join(COLUMNS)}")
        if (self.columns == "functionals") != (self.model is None):
            expected = "none for functionals" if self.model else f"a configuration for {self.columns}"
            self._reject("model", "a configuration" if self.model else "none", expected)
        if self.model is not None and not isinstance(self.model.get("model_type"), str):
            self._reject("model", "a configuration without model_type", "a configuration with model_type")
        if self.layer is not None and (self.columns != "embeddings" or type(self.layer) is not int or self.layer < 0):
            self._reject("layer", self.layer, "an integer of at least 0, and only with columns embeddings")
        if self.fitted_precision is not None and (self.fitted_precision not in DTYPES or self.model is None):
            self._reject("fitted_precision", self.fitted_precision, "fp32, bf16 or fp16, and only with a model")
        if self.feature_set not in FEATURE_SETS or (self.feature_set and self.columns != "functionals"):
            self._reject("feature_set", self.feature_set, "prosodic or none, and only with columns functionals")
        try:
            self.preprocessing  # noqa: B018  # checks its fields
        except ValueError as error:
            raise ValueError(f"sources, {self.name}, {error}") from error
        if self.repository is not None and not (self.model and _COMMIT.fullmatch(self.revision or "")):
            self._reject("revision", self.revision, "a commit of the repository, 40 hexadecimal digits")

    @classmethod
    def read(cls, fields: dict[str, Any]) -> "SourceSettings":
        """Read the fields of config.json; earlier versions wrote bf16: true or false instead of fitted_precision."""
        earlier: dict[str, Any] = {"fitted_precision": "bf16"} if fields.get("bf16") else {}
        return cls(**{name: value for name, value in fields.items() if name != "bf16"}, **earlier)

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing steps before the model or the functionals."""
        return Preprocessing(self.trim_db, self.normalize, self.duration_s)

    def _reject(self, field: str, got: Any, expected: str) -> None:
        raise ValueError(f"sources, {self.name}, {field}: got {got}; expected {expected}.")

    def to_dict(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        return {key: value for key, value in asdict(self).items() if value != SourceSettings.__dict__.get(key)}


def describe_base(config: PreTrainedConfig) -> dict[str, Any]:
    """A model's configuration for `SourceSettings`, as plain JSON values without its origin."""
    fields = config.to_diff_dict() | {"model_type": config.model_type}
    dropped = ("_name_or_path", "architectures", "auto_map", "custom_pipelines", "dtype", "transformers_version")
    return json.loads(json.dumps({key: value for key, value in fields.items() if key not in dropped}))


def base_config(settings: dict[str, Any]) -> PreTrainedConfig:
    """Make the configuration of a companion model or of a stock transformers model.

    Raises:
        ValueError: the model_type is not supported.
    """
    own = {config.model_type: config for config in COMPANIONS}
    fields = {key: value for key, value in settings.items() if key not in ("model_type", "auto_map")}
    if settings["model_type"] in own:
        return own[settings["model_type"]](**fields)
    if settings["model_type"] == "ser-hybrid":
        from .hybrid import HybridConfig  # here: hybrids have sources

        config = HybridConfig(**fields)
        check_on_functionals(config)
        return config
    if settings["model_type"].startswith("ser-"):  # a tree ensemble
        raise ValueError(f"model_type: got {settings['model_type']}; expected a companion or transformers model.")
    return AutoConfig.for_model(settings["model_type"], **fields)


def check_on_functionals(config: Any) -> None:
    """Raise `ValueError` for hybrids with base models: only one on functionals can be a source of another hybrid."""
    if any(source.get("columns", "probabilities") != "functionals" for source in config.sources):
        raise ValueError("model_type: got a hybrid with base models; expected a hybrid on functionals.")


def build_base(settings: SourceSettings) -> PreTrainedModel:
    """Build the model of a source without its weights: a classifier, or for embeddings an encoder up to the layer."""
    assert settings.model is not None
    config = base_config(settings.model)
    for of_companion, companion in COMPANIONS.items():
        if type(config) is of_companion:
            return companion(config)
    if config.model_type == "ser-hybrid":
        from .hybrid import HybridForAudioClassification  # here: hybrids have sources

        if settings.columns != "probabilities":
            settings._reject("columns", settings.columns, "probabilities for a hybrid")
        return HybridForAudioClassification(config)  # type: ignore[arg-type]
    if settings.columns == "probabilities":
        return AutoModelForAudioClassification.from_config(config)
    cut_encoder(config, settings)
    return AutoModel.from_config(config)


def cut_encoder(config: Any, settings: SourceSettings) -> None:
    """Remove the layers of an encoder above the layer of the embeddings.

    Raises:
        ValueError: the encoder does not have the layer.
    """
    if settings.layer is None:
        return
    if settings.layer > config.num_hidden_layers:
        settings._reject("layer", settings.layer, f"0 to {config.num_hidden_layers}")
    # If layers do not end with normalisation, the encoder normalises the hidden states of the last layer.
    above = int(bool(getattr(config, "do_stable_layer_norm", False)))
    config.num_hidden_layers = max(1, min(config.num_hidden_layers, settings.layer + above))


class Source(nn.Module):
    """Compute features from waveforms. The features of a clip do not depend on the batch, up to rounding.

    The model computes in `column_precision`, which `lowered` sets in copies; all else is float32 or float64.

    Args:
        settings: see `SourceSettings`.
        classes: ids of the classes whose probabilities are features, normalized to sum to 1.
        id2label: labels of the hybrid; a classifier must have the same labels.

    Raises:
        ValueError: the settings are invalid for the model.
    """

    column_precision = "fp32"

    def __init__(self, settings: SourceSettings, classes: list[int], id2label: dict[int, str]) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        self.model: Any = None
        self.functionals: Any = None
        if settings.columns == "functionals":
            self.functionals = FEATURE_SETS[settings.feature_set]()
            self.feature_names = list(self.functionals.names)
        else:
            self.model = build_base(settings)
            if settings.columns == "probabilities":
                self._check_labels(id2label)
                self.feature_names = [f"{settings.name}.{id2label[index]}" for index in classes]
            else:
                self.feature_names = [f"{settings.name}.embedding_{number}" for number in range(self._size())]

    def _check_labels(self, id2label: dict[int, str]) -> None:
        if self.model.config.id2label != id2label:
            got = ", ".join(map(str, self.model.config.id2label.values()))
            self.settings._reject("id2label", got, f"{', '.join(id2label.values())}, in this order")

    def _size(self) -> int:
        if isinstance(self.model, CompanionModel):
            if self.settings.layer is not None:
                self.settings._reject("layer", self.settings.layer, "none, because a companion has one embedding")
            return self.model.classifier.in_features
        return int(self.model.config.hidden_size)

    def load_base(self, device: torch.device, options: dict[str, Any]) -> None:
        """Load a base model from the Hub at its pinned revision; other base models are loaded with the hybrid.

        Args:
            device: device of the model.
            options: options of from_pretrained; dtype and Hub access apply to the base model.
        """
        settings = self.settings
        if settings.repository is None:
            return
        kept = {key: value for key, value in options.items() if key in _OPTIONS}
        # Loads weights but no code: the class is from this package or transformers, not from the repository.
        model, info = type(self.model).from_pretrained(
            settings.repository, revision=settings.revision, config=self.model.config, output_loading_info=True, **kept
        )
        absent = sorted(name for name in info["missing_keys"] if "masked_spec_embed" not in name)
        if absent or info["mismatched_keys"]:
            settings._reject(
                "repository",
                f"{settings.repository} without {', '.join(absent[:3])}",
                "all weights of the base model",
            )
        self.model = model.to(device).eval()

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Compute features.

        Args:
            waveforms: (batch, samples), float32, with zeros after the end of each clip.
            lengths: number of samples of each clip (batch,).

        Returns:
            (batch, features), float64.
        """
        waveforms, lengths = self._preprocess(waveforms, lengths)
        if self.model is None or takes_attention_mask(self.model.config):
            mask = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
            return self._features(waveforms, mask.long())
        if torch.compiler.is_exporting():  # the batches of such a graph have clips of one length
            return self._features(waveforms, None)
        # Encoders without a mask process padding as silence, so each batch contains clips of one length.
        features = torch.zeros(len(waveforms), len(self.feature_names), dtype=torch.float64, device=waveforms.device)
        for length in lengths.unique().tolist():
            rows = lengths == length
            features[rows] = self._features(waveforms[rows, :length], None)
        return features

    def _preprocess(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Prepare clips as in training: preprocess, pad to the minimum length of the model, and standardize."""
        preprocessing, device = self.settings.preprocessing, waveforms.device
        if preprocessing.steps:
            pairs = zip(waveforms.detach().cpu().numpy(), lengths.tolist(), strict=True)
            clips = [torch.from_numpy(preprocessing(waveform[:length])) for waveform, length in pairs]
            lengths = torch.tensor([len(clip) for clip in clips], device=device)
            waveforms = nn.utils.rnn.pad_sequence(clips, batch_first=True).to(device)
        if self.model is not None:
            lengths = lengths.clamp(min=min_samples(self.model.config))
        if not torch.compiler.is_exporting():  # a graph's batches are as long as their longest clip
            waveforms = nn.functional.pad(
                waveforms, (0, int(lengths.max()) - waveforms.shape[1])
            )  # it may be negative
        if self.settings.do_normalize:
            mask = torch.arange(waveforms.shape[1], device=device) < lengths[:, None]
            waveforms = standardized(waveforms, mask)
        return waveforms, lengths

    def _features(self, waveforms: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if self.functionals is not None:
            return self.functionals(waveforms, mask).double()
        precision = self.column_precision if self.model.dtype == torch.float32 else "fp32"
        with autocast(waveforms.device.type, precision):
            if self.settings.columns == "probabilities":
                logits = self.model(waveforms.to(self.model.dtype), attention_mask=mask).logits
                return torch.softmax(logits[:, self.classes].double(), dim=1)
            if isinstance(self.model, CompanionModel):
                return self.model.embeddings(waveforms, mask).double()
            return self._mean_states(waveforms.to(self.model.dtype), mask)

    def _mean_states(self, waveforms: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        output = self.model(waveforms, attention_mask=mask, output_hidden_states=True)
        layer = -1 if self.settings.layer is None else self.settings.layer
        states = output.hidden_states[layer].double()
        if mask is None:
            return states.mean(dim=1)
        true = self.model._get_feature_vector_attention_mask(states.shape[1], mask)[:, :, None]
        return (states * true).sum(dim=1) / true.sum(dim=1)
