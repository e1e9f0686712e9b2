"""A trained model as one graph: from waveforms to calibrated probabilities."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, Wav2Vec2FeatureExtractor

from hf_ser.audio import SAMPLING_RATE, Preprocessing
from hf_ser.export.export_error import ExportError
from hf_ser.inference import label_names
from hf_ser.models import CompanionModel, min_samples
from hf_ser.remote_code.dimensions import is_dimensional
from hf_ser.remote_code.encoder_inputs import standardized, takes_any_length, takes_attention_mask
from hf_ser.remote_code.hybrid import LogLinear
from hf_ser.remote_code.trimming import cut_silent_ends, loud_part
from hf_ser.runtime.graph_contract import output_name


class ClassifierGraph(PreTrainedModel):
    """Waveforms -> preprocessing, model and softmax -> probabilities, as in `SpeechEmotionPipeline` in float32.

    A model of dimensions has no softmax, and its output is named values.

    Args:
        model: trained classifier.
        extractor: its feature extractor, with the preprocessing stored in it.

    Raises:
        ExportError: the model takes other inputs than waveforms, or its preprocessing cannot be part of a graph.
    """

    config_class = PreTrainedConfig
    main_input_name = "input_values"

    def __init__(self, model: PreTrainedModel, extractor: Any) -> None:
        super().__init__(PreTrainedConfig())
        if not isinstance(extractor, Wav2Vec2FeatureExtractor):
            raise ExportError(
                f"the model takes {', '.join(extractor.model_input_names)} of {type(extractor).__name__}; expected a "
                "model of waveforms: a companion model, a hybrid, or one of the wav2vec2 family."
            )
        self.model, self.steps = model, Preprocessing.of(extractor)
        self.output = output_name(label_names(model.config))
        self.standardize = bool(extractor.do_normalize)
        self.floor = min_samples(model.config)
        self.any_length = self._takes_any_length(extractor)
        if self.steps.trim_db is not None and not self.any_length:
            raise ExportError(
                f"the model trims silent ends (trim_db {self.steps.trim_db}) before an encoder without attention "
                "mask, so the length of its input depends on the samples; expected a companion model, or an encoder "
                "with attention mask such as XLSR. Train it without trim_db."
            )
        for settings in (source.settings for source in self._sources):
            if settings.preprocessing.steps:
                raise ExportError(
                    f"source {settings.name} of the hybrid has preprocessing of its own "
                    f"({', '.join(settings.preprocessing.steps)}); expected none. Train the base model without it."
                )
        for part in model.modules():
            if isinstance(part, LogLinear):
                part.unpack()
        self.eval()

    @property
    def _sources(self) -> list[Any]:
        return list(getattr(self.model, "sources", ()))

    def _takes_any_length(self, extractor: Any) -> bool:
        if isinstance(self.model, CompanionModel):
            return True
        models = [source.model for source in self._sources if source.model is not None]
        return takes_any_length(self.model.config, extractor) and all(takes_attention_mask(m.config) for m in models)

    @property
    def needs_mask(self) -> bool:
        """Whether the graph has the input attention_mask."""
        return self.any_length and not isinstance(self.model, CompanionModel)

    @property
    def device(self) -> torch.device:
        """Device of the model, which may have no parameters."""
        return self.model.device

    def forward(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Classify clips.

        Args:
            input_values: waveforms (batch, samples), float32 at 16 kHz, with zeros after the end of each clip.
            attention_mask: 1 for samples, 0 for padding (batch, samples), int64; only if `needs_mask`.

        Returns:
            Probabilities (batch, classes) or values (batch, dimensions), float32, under the name of the output.
        """
        lengths = None if attention_mask is None else attention_mask.sum(dim=1)
        values, lengths = self._preprocess(input_values, lengths)
        mask = None
        if lengths is not None:
            mask = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        if self.standardize:
            values = standardized(values, torch.ones_like(values, dtype=torch.bool) if mask is None else mask)
        inputs = {} if mask is None else {"attention_mask": mask.long()}
        answers = self.answers(self.model(values, **inputs).logits)
        return {self.output: answers.float()}

    def answers(self, logits: torch.Tensor) -> torch.Tensor:
        """Outputs of the model (batch, labels) -> probabilities, or the values of dimensions, in float64."""
        return logits.double() if is_dimensional(self.model.config) else torch.softmax(logits.double(), dim=-1)

    def _preprocess(
        self, values: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The steps of `Preprocessing`, with the lengths of the results; None if all clips have one length."""
        if self.steps.trim_db is not None:
            start, end = loud_part(values, self.steps.trim_db)
            values = cut_silent_ends(values, self.steps.trim_db, values.shape[1])
            if lengths is not None:
                lengths = (torch.minimum(lengths, end[:, 0]) - start[:, 0]).clamp(min=self.floor)
        if self.steps.normalize:
            peaks = values.abs().amax(dim=1, keepdim=True)
            values = values / torch.where(peaks == 0, 1.0, peaks)
        if self.steps.duration_s is not None:
            samples = round(self.steps.duration_s * SAMPLING_RATE)
            values = nn.functional.pad(values, (0, samples))[:, :samples]
            lengths = None if lengths is None else torch.full_like(lengths, samples)
        return values, lengths
