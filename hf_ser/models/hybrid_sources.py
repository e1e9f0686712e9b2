"""Where a hybrid's columns come from: a model's probabilities or embeddings, or functionals of the clip."""

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
from .decoder import SAMPLING_RATE
from .encoder_inputs import min_samples, takes_attention_mask
from .forward_precision import DTYPES, autocast
from .functionals import Functionals
from .mel_cnn import MelCNNConfig, MelCNNForAudioClassification
from .trimming import loud_part

COMPANIONS: dict[type[CompanionConfig], type[CompanionModel]] = {
    MelCNNConfig: MelCNNForAudioClassification,
    AudioCNNConfig: AudioCNNForAudioClassification,
    AudioLSTMConfig: AudioLSTMForAudioClassification,
    CNNRNNConfig: CNNRNNForAudioClassification,
}
COLUMNS = ("probabilities", "embeddings", "functionals")
_VARIANCE_FLOOR = 1e-7  # of Wav2Vec2FeatureExtractor
_OPTIONS = ("token", "cache_dir", "local_files_only", "proxies", "dtype")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class SourceSettings:
    """One source of columns, as it stands in a hybrid's config.json.

    Args:
        name: in the names of the columns.
        columns: probabilities, embeddings (of a companion what enters its classifier; of an encoder of transformers
            the mean of a layer's states over the clip's true frames) or functionals.
        model: configuration of the model with its model_type; None for functionals.
        layer: of an encoder's embeddings, from 0, which is what enters the first layer; None for the last.
        do_normalize: give clips mean 0 and variance 1, as the model's feature extractor does.
        trim_db: cut silent ends before that, so many decibels below the clip's loudest part; None for not.
        normalize: scale clips to a peak of 1 before that.
        duration_s: cut or fill clips to so many seconds before that; None for whole clips.
        fitted_precision: of the columns that the hybrid was fitted on: fp32, bf16 or fp16; None where nothing tells.
            What computes the hybrid's answers chooses its own.
        repository: on the Hub, where the model's weights are; None where they are with the hybrid's.
        revision: the commit of `repository`, 40 hexadecimal digits.

    Raises:
        ValueError: fields that do not go together.
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

    def __post_init__(self) -> None:
        if self.columns not in COLUMNS:
            self._refuse("columns", self.columns, f"one of {', '.join(COLUMNS)}")
        if (self.columns == "functionals") != (self.model is None):
            self._refuse("model", self.model and "a configuration", "one for probabilities and embeddings only")
        if self.model is not None and not isinstance(self.model.get("model_type"), str):
            self._refuse("model", "a configuration without model_type", "one with it")
        if self.layer is not None and (self.columns != "embeddings" or type(self.layer) is not int or self.layer < 0):
            self._refuse("layer", self.layer, "an integer from 0, and columns embeddings")
        if self.fitted_precision is not None and (self.fitted_precision not in DTYPES or self.model is None):
            self._refuse("fitted_precision", self.fitted_precision, "fp32, bf16 or fp16, and a model to compute with")
        for field in ("trim_db", "duration_s"):
            value = getattr(self, field)
            if value is not None and not 0 < value < float("inf"):
                self._refuse(field, value, "a number above 0")
        if self.repository is not None and not (self.model and _COMMIT.fullmatch(self.revision or "")):
            self._refuse("revision", self.revision, "the commit of the repository, 40 hexadecimal digits")

    @classmethod
    def read(cls, fields: dict[str, Any]) -> "SourceSettings":
        """From a hybrid's config.json; earlier versions wrote bf16, true or false, instead of a precision."""
        earlier: dict[str, Any] = {"fitted_precision": "bf16"} if fields.get("bf16") else {}
        return cls(**{name: value for name, value in fields.items() if name != "bf16"}, **earlier)

    def _refuse(self, field: str, got: Any, expected: str) -> None:
        raise ValueError(f"sources, {self.name}, {field}: got {got}; expected {expected}.")

    def to_dict(self) -> dict[str, Any]:
        """Its fields, without those that have their default."""
        return {key: value for key, value in asdict(self).items() if value != SourceSettings.__dict__.get(key)}


def describe_base(config: PreTrainedConfig) -> dict[str, Any]:
    """A model's configuration for `SourceSettings`, as JSON gives it back: what it is, and not where it came from."""
    its = config.to_diff_dict() | {"model_type": config.model_type}
    dropped = ("_name_or_path", "architectures", "auto_map", "custom_pipelines", "dtype", "transformers_version")
    return json.loads(json.dumps({key: value for key, value in its.items() if key not in dropped}))


def base_config(settings: dict[str, Any]) -> PreTrainedConfig:
    """Configuration of a companion, or of a model of transformers' own.

    Raises:
        ValueError: another model_type.
    """
    own = {config.model_type: config for config in COMPANIONS}
    its = {key: value for key, value in settings.items() if key not in ("model_type", "auto_map")}
    if settings["model_type"] in own:
        return own[settings["model_type"]](**its)
    if settings["model_type"].startswith("ser-"):  # a hybrid, or trees
        raise ValueError(f"model_type: got {settings['model_type']}; expected a companion's or one of transformers.")
    return AutoConfig.for_model(settings["model_type"], **its)


def build_base(settings: SourceSettings) -> PreTrainedModel:
    """The model of a source without its weights: a classifier, or for embeddings an encoder down to its layer."""
    assert settings.model is not None
    config = base_config(settings.model)
    for of_companion, companion in COMPANIONS.items():
        if type(config) is of_companion:
            return companion(config)
    if settings.columns == "probabilities":
        return AutoModelForAudioClassification.from_config(config)
    cut_encoder(config, settings)
    return AutoModel.from_config(config)


def cut_encoder(config: Any, settings: SourceSettings) -> None:
    """Leave out the layers of an encoder that the embeddings' layer has no use for.

    Raises:
        ValueError: a layer that the encoder does not have.
    """
    if settings.layer is None:
        return
    if settings.layer > config.num_hidden_layers:
        settings._refuse("layer", settings.layer, f"0 to {config.num_hidden_layers}")
    # Where layers end in no normalisation of their own, the encoder normalises the states of its last.
    above = int(bool(getattr(config, "do_stable_layer_norm", False)))
    config.num_hidden_layers = max(1, min(config.num_hidden_layers, settings.layer + above))


class Source(nn.Module):
    """Waveforms to columns; a clip's are the same alone and in any batch, up to the rounding of what it computes in.

    Its model computes in `column_precision`, which `lowered` sets in copies; everything else in float32 and float64.

    Args:
        settings: see `SourceSettings`.
        classes: ids of the classes whose probabilities are columns, scaled to sum to 1.
        id2label: of the hybrid, which that of a classifier must equal.

    Raises:
        ValueError: settings that no model can be made of.
    """

    column_precision = "fp32"

    def __init__(self, settings: SourceSettings, classes: list[int], id2label: dict[int, str]) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        self.model: Any = None
        self.functionals: Any = None
        if settings.columns == "functionals":
            self.functionals = Functionals()
            its = list(self.functionals.names)
        else:
            self.model = build_base(settings)
            if settings.columns == "probabilities":
                self._check_labels(id2label)
                its = [f"{settings.name}.{id2label[index]}" for index in classes]
            else:
                its = [f"{settings.name}.embedding_{place}" for place in range(self._size())]
        self.column_names = its

    def _check_labels(self, id2label: dict[int, str]) -> None:
        if self.model.config.id2label != id2label:
            got = ", ".join(map(str, self.model.config.id2label.values()))
            self.settings._refuse("id2label", got, f"{', '.join(id2label.values())}, in this order")

    def _size(self) -> int:
        if isinstance(self.model, CompanionModel):
            if self.settings.layer is not None:
                self.settings._refuse("layer", self.settings.layer, "none, since a companion has one embedding")
            return self.model.classifier.in_features
        return int(self.model.config.hidden_size)

    def load_base(self, device: torch.device, options: dict[str, Any]) -> None:
        """Load a base that lies on the Hub at its pinned revision; others came with the hybrid.

        Args:
            device: where to.
            options: those of from_pretrained, of which the base gets what says how the Hub is reached and the dtype.
        """
        its = self.settings
        if its.repository is None:
            return
        kept = {key: value for key, value in options.items() if key in _OPTIONS}
        # Weights without code: the class is one of these modules or of transformers, whatever the repository names.
        model, info = type(self.model).from_pretrained(
            its.repository, revision=its.revision, config=self.model.config, output_loading_info=True, **kept
        )
        absent = sorted(name for name in info["missing_keys"] if "masked_spec_embed" not in name)
        if absent or info["mismatched_keys"]:
            its._refuse("repository", f"{its.repository} without {', '.join(absent[:3])}", "all weights of the base")
        self.model = model.to(device).eval()

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Compute columns.

        Args:
            waveforms: (batch, samples), float32, zeros after each clip's end.
            lengths: true samples of each clip (batch,).

        Returns:
            (batch, columns), float64.
        """
        waveforms, lengths = self._cut(waveforms, lengths)
        if self.model is None or takes_attention_mask(self.model.config):
            mask = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
            return self._columns(waveforms, mask.long())
        # Encoders without a mask take padding for silence: they get clips of one length only.
        columns = torch.zeros(len(waveforms), len(self.column_names), dtype=torch.float64, device=waveforms.device)
        for length in lengths.unique().tolist():
            rows = lengths == length
            columns[rows] = self._columns(waveforms[rows, :length], None)
        return columns

    def _cut(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Prepare clips as in the training of the model: trimmed, scaled, cut to a length, standardized."""
        its = self.settings
        places = torch.arange(waveforms.shape[1], device=waveforms.device)
        if its.trim_db is not None:
            start, end = loud_part(waveforms, its.trim_db)
            lengths = torch.minimum(end[:, 0], lengths) - start[:, 0]
            waveforms = waveforms.gather(1, (start + places).clamp(max=waveforms.shape[1] - 1))
            waveforms = waveforms.where(places < lengths[:, None], 0.0)
        if its.normalize:
            peak = waveforms.abs().amax(dim=1, keepdim=True)
            waveforms = waveforms / peak.where(peak > 0, 1.0)
        if its.duration_s is not None:
            lengths = torch.full_like(lengths, round(its.duration_s * SAMPLING_RATE))
        if self.model is not None:
            lengths = lengths.clamp(min=min_samples(self.model.config))
        waveforms = nn.functional.pad(waveforms, (0, int(lengths.max()) - waveforms.shape[1]))  # below 0 it cuts
        if its.do_normalize:
            mask = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
            centred = (waveforms - waveforms.sum(dim=1, keepdim=True) / lengths[:, None]) * mask
            variance = (centred**2).sum(dim=1, keepdim=True) / lengths[:, None]
            waveforms = centred / (variance + _VARIANCE_FLOOR).sqrt()
        return waveforms, lengths

    def _columns(self, waveforms: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
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
