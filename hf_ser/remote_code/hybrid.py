"""Hybrids as one model: features of several sources, classified by trees or a linear model."""

from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .checks import PositiveNumber, Probability, check_fields, check_loaded
from .classifier_output import classifier_output
from .frontend import check_finite, check_waveforms
from .hybrid_sources import Source, SourceSettings
from .speech_emotion_pipeline import CUSTOM_PIPELINES
from .tree_ensemble import TreeEnsemble, TreeEnsembleConfig

TINY = 1e-6  # the linear head raises smaller probabilities to this value before the logarithm
_LEAST = 1e-300  # keeps the logarithm of a probability of 0 finite, also after calibration


class HybridConfig(PreTrainedConfig):
    """Sources, head and classes of a hybrid. Keywords only, including those of PreTrainedConfig.

    Raises:
        ValueError: a field is invalid; the message names it, its value and what was expected.

    >>> config = HybridConfig(sources=[{"name": "clip", "columns": "functionals"}], id2label={0: "calm", 1: "angry"})
    >>> config.head, config.classes
    ('trees', [0, 1])
    """

    model_type = "ser-hybrid"

    # fields of `SourceSettings`, one mapping per source of features
    sources: list[dict[str, Any]] | tuple[dict[str, Any], ...] = ({"name": "clip", "columns": "functionals"},)
    # trees: a `TreeEnsemble`; linear: softmax of a linear function of log-probabilities; mean: mean of the sources'
    # probabilities.
    head: Literal["trees", "linear", "mean"] = "trees"
    classes: list[int] | tuple[int, ...] = ()  # ids of the predicted classes, others have probability 0; empty for all
    trees: dict[str, Any] | None = None  # fields of `TreeEnsembleConfig`, for head "trees"
    calibration_temperature: PositiveNumber | None = None  # divisor of the scores; None for no calibration
    abstention_threshold: Probability | None = None  # top probability below which a clip has no answer; None for none
    sampling_rate: Literal[16_000] = 16_000  # Hz

    def __post_init__(self, **kwargs: Any) -> None:
        self.sources = [SourceSettings.read(source).to_dict() for source in self.sources]
        self.custom_pipelines = CUSTOM_PIPELINES
        super().__post_init__(**kwargs)
        check_fields(self)
        if not self.sources:
            raise ValueError("sources: got none; expected at least one.")
        known = range(int(self.num_labels or 0))
        self.classes = list(self.classes or known)
        if sorted(set(self.classes)) != self.classes or len(self.classes) < 2 or not set(self.classes) <= set(known):
            raise ValueError(
                f"classes: got {self.classes}; expected at least two ascending ids from 0 to {len(known) - 1}."
            )
        kinds = {source.get("columns", "probabilities") for source in self.sources}
        if self.head != "trees" and kinds != {"probabilities"}:
            raise ValueError(f"head: got {self.head} for {', '.join(sorted(kinds))}; expected trees.")

    @property
    def labels(self) -> dict[int, str]:
        """Class names by id."""
        return {int(index): str(name) for index, name in (self.id2label or {}).items()}


class LogLinear(nn.Module):
    """Logistic regression on log-probabilities: (batch, features) -> probabilities (batch, classes).

    Weights are stored as the bits of float64 in int64 buffers, so that casting the model does not change them.
    """

    weight_bits: torch.Tensor
    bias_bits: torch.Tensor

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("weight_bits", torch.zeros(num_classes, num_features, dtype=torch.int64))
        self.register_buffer("bias_bits", torch.zeros(num_classes, dtype=torch.int64))
        self._unpacked: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def from_weights(cls, weight: np.ndarray, bias: np.ndarray) -> "LogLinear":
        """Make a head from weights (classes, features) and biases (classes,)."""
        head = cls(weight.shape[1], weight.shape[0])
        head.weight_bits.copy_(torch.from_numpy(np.array(weight, np.float64).view(np.int64)))
        head.bias_bits.copy_(torch.from_numpy(np.array(bias, np.float64).view(np.int64)))
        return head

    def unpack(self) -> None:
        """Keep weights and biases as float64, for exported graphs, which cannot read the bits."""
        self._unpacked = self.weight_bits.view(torch.float64), self.bias_bits.view(torch.float64)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Classify."""
        weight, bias = self._unpacked or (self.weight_bits.view(torch.float64), self.bias_bits.view(torch.float64))
        return torch.softmax(features.clamp_min(TINY).log() @ weight.T + bias, dim=1)


class SourceMean(nn.Module):
    """Probabilities (batch, sources * classes) -> their mean over sources (batch, classes)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        # transformers does not load a folder without tensors; there are no others if all base models are on the Hub.
        self.register_buffer("size", torch.tensor([num_classes], device="cpu"))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Average."""
        return features.unflatten(1, (-1, self.num_classes)).mean(dim=1)


class HybridForAudioClassification(PreTrainedModel):
    """Base models, and a classifier that was fitted on their outputs. Logits are log-probabilities.

    >>> from hf_ser.models import AudioCNNForAudioClassification
    >>> from hf_ser.remote_code.hybrid_sources import describe_base
    >>> base_model = AudioCNNForAudioClassification.from_pretrained("runs/audio_cnn")
    >>> sources = [{"name": "cnn", "model": describe_base(base_model.config)}]
    >>> config = HybridConfig(sources=sources, head="mean", id2label=base_model.config.id2label)
    >>> hybrid = HybridForAudioClassification.from_parts(config, [base_model], None)
    >>> hybrid(torch.randn(2, 16_000)).logits.shape
    torch.Size([2, 8])
    """

    config_class = HybridConfig
    base_model_prefix = ""
    main_input_name = "input_values"
    _keep_in_fp32_modules_strict = {"frontend", "functionals"}  # frontends of companion models
    config: HybridConfig

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.num_labels = int(config.num_labels or 0)
        settings = [SourceSettings(**source) for source in config.sources]
        self.sources = nn.ModuleList(Source(source, list(config.classes), config.labels) for source in settings)
        self.classifier = self._make_head(config)
        for number, source in enumerate(self.sources):
            if source.settings.repository is not None:  # type: ignore[union-attr]  # its weights are on the Hub
                prefix = f"sources.{number}.model."
                names = [prefix + name for name in source.model.state_dict()]  # type: ignore[union-attr]
                self._keys_to_ignore_on_save = [*(self._keys_to_ignore_on_save or ()), *names]
                pattern = "^" + prefix.replace(".", r"\.")
                self._keys_to_ignore_on_load_missing = [*(self._keys_to_ignore_on_load_missing or ()), pattern]
        self.post_init()

    def _make_head(self, config: HybridConfig) -> nn.Module:
        names, classes = self.feature_names, len(config.classes)
        if config.head == "linear":
            return LogLinear(len(names), classes)
        if config.head == "mean":
            return SourceMean(classes)
        labels = {number: config.labels[index] for number, index in enumerate(config.classes)}
        sizes = {"num_features": len(names), **(config.trees or {})}
        trees = TreeEnsembleConfig(**sizes, feature_names=names, id2label=labels)
        return TreeEnsemble(trees)

    @property
    def feature_names(self) -> list[str]:
        """Names of the features of all sources, in order."""
        return [name for source in self.sources for name in source.feature_names]  # type: ignore[union-attr]

    @classmethod
    def from_parts(
        cls, config: HybridConfig, models: list[nn.Module | None], head: nn.Module | None
    ) -> "HybridForAudioClassification":
        """Make a hybrid from fitted parts.

        Args:
            config: configuration of the hybrid.
            models: one model per source, None for functionals.
            head: a `TreeEnsemble` or `LogLinear`; None for head "mean".

        Raises:
            ValueError: the tensors of a part differ from the configuration.
        """
        with torch.device("meta"):  # the modules built here are replaced by the parts
            hybrid = cls(config)
        for source, model in zip(hybrid.sources, models, strict=True):
            if model is None:
                continue
            cls._check_part(f"source {source.settings.name}", source.model, model)  # type: ignore[union-attr,arg-type]
            source.model = model
        if head is not None:
            cls._check_part("head", hybrid.classifier, head)
            hybrid.classifier = head
        return hybrid.eval()

    @staticmethod
    def _check_part(name: str, expected: nn.Module, got: nn.Module) -> None:
        shapes = [{key: tuple(tensor.shape) for key, tensor in part.state_dict().items()} for part in (expected, got)]
        if shapes[0] != shapes[1]:
            differ = sorted(key for key in {**shapes[0], **shapes[1]} if shapes[0].get(key) != shapes[1].get(key))
            raise ValueError(f"{name}: got tensors that do not match its configuration: {', '.join(differ[:3])}.")

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Load as `PreTrainedModel.from_pretrained` does; load base models on the Hub at their pinned revision.

        Raises:
            ValueError: tensors are missing, or are not valid trees.
        """
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        check_loaded(info)
        for part in model.modules():
            if isinstance(part, TreeEnsemble):  # its own, and those of hybrids among its sources
                part.check()
        for source in model.sources:
            source.load_base(model.device, kwargs)
        return (model, info) if output_loading_info else model

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the base models' weights; float32 without base models."""
        return next((weight.dtype for weight in self.parameters() if weight.is_floating_point()), torch.float32)

    @property
    def device(self) -> torch.device:
        """Device of the hybrid."""
        return next((tensor.device for tensor in [*self.parameters(), *self.buffers()]), torch.device("cpu"))

    def embeddings(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the features that the head classifies.

        Args:
            input_values: waveforms (batch, samples), floating point at 16 kHz.
            attention_mask: 1 for samples, 0 for the padding after them (batch, samples).

        Returns:
            (batch, features), float64, in the order of `feature_names`.

        Raises:
            ValueError: the inputs are not waveforms.
        """
        check_waveforms(input_values, attention_mask)
        waveforms = input_values.float()
        check_finite(waveforms.abs().amax())
        lengths = torch.full((waveforms.shape[0],), waveforms.shape[1], device=waveforms.device)
        if attention_mask is not None:
            waveforms, lengths = waveforms.masked_fill(attention_mask == 0, 0.0), attention_mask.sum(dim=1).long()
        return torch.cat([source(waveforms, lengths) for source in self.sources], dim=1)

    @torch.no_grad()
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[torch.Tensor, ...]:
        """Classify clips, without gradients, since a hybrid is fitted and not trained.

        Args:
            input_values: waveforms (batch, samples), floating point at 16 kHz.
            attention_mask: 1 for samples, 0 for the padding after them (batch, samples).
            labels: class ids (batch,); the loss is their mean cross-entropy.
            return_dict: False to return a tuple.

        Returns:
            Log-probabilities (batch, num_labels), and the loss if labels are given.

        Raises:
            ValueError: the inputs are not waveforms.
        """
        known = self.classifier(self.embeddings(input_values, attention_mask))
        whole = known.new_zeros(known.shape[0], self.num_labels)
        whole = whole.index_copy(1, torch.tensor(self.config.classes, device=known.device), known)
        scores = whole.clamp_min(_LEAST).log() / (self.config.calibration_temperature or 1.0)
        return classifier_output(self.config, torch.log_softmax(scores, dim=1).float(), labels, return_dict)
