"""Base class of the companion models: waveform input, a frontend and a linear classifier."""

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .classifier_output import classifier_output
from .companion_config import CompanionConfig
from .frontend import Frontend, check_waveforms
from .spectra import in_portions
from .speeds import at_speed


class CompanionModel(PreTrainedModel):
    """A frontend, a body that computes one vector per clip, and a linear classifier.

    A subclass sets `classifier`, defines `_encode` and ends its constructor with `post_init()`.

    >>> import torch
    >>> from hf_ser.models import CompanionModel, MelCNNConfig, MelCNNForAudioClassification
    >>> model = MelCNNForAudioClassification(MelCNNConfig(channels=[8, 8, 8], hidden_size=16)).eval()
    >>> isinstance(model, CompanionModel), model.embeddings(torch.zeros(2, 16_000)).shape
    (True, torch.Size([2, 16]))
    """

    config_class: type[PreTrainedConfig] = CompanionConfig
    base_model_prefix = ""
    main_input_name = "input_values"
    _keep_in_fp32_modules_strict = {"frontend"}
    classifier: nn.Linear
    num_labels: int

    def __init__(self, config: CompanionConfig) -> None:
        super().__init__(config)
        assert config.num_labels is not None
        self.num_labels = config.num_labels
        self.frontend = Frontend(config)

    def _init_weights(self, module: nn.Module) -> None:
        """Use PyTorch's default initialisation, as the published systems do, instead of that of transformers."""
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.LSTM, nn.GRU)):
            module.reset_parameters()

    def _encode(self, features: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Features (batch, rows, frames) with `num_frames` (batch,) unpadded frames -> vectors (batch, size)."""
        raise NotImplementedError

    def embeddings(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the input of the classifier; in inference, its mean over `inference_speeds` if there are any.

        The classifier is linear, so that this is the mean of the logits.

        Args:
            input_values: waveforms (batch, samples), float32 at 16 kHz.
            attention_mask: 1 for samples, 0 for padding (batch, samples).

        Returns:
            Vectors (batch, size).
        """
        if self.training or torch.is_grad_enabled():
            return self._embed(input_values, attention_mask)
        check_waveforms(input_values, attention_mask)
        embed = self._embed_at_speeds if self.config.inference_speeds else self._embed
        return in_portions(embed, input_values, attention_mask, self.config.num_samples)

    def _embed(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        features, num_frames = self.frontend(input_values, attention_mask)
        return self._encode(features.to(self.classifier.weight.dtype), num_frames)

    def _embed_at_speeds(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        speeds = self.config.inference_speeds
        changed = (at_speed(input_values, attention_mask, speed) for speed in speeds)
        return torch.stack([self._embed(*clips) for clips in changed]).mean(dim=0)

    # No **kwargs: with them, the Trainer assumes that the loss is divided by the items of all accumulated batches.
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

        Raises:
            ValueError: the inputs are not waveforms.
        """
        logits = self.classifier(self.embeddings(input_values, attention_mask))
        return classifier_output(self.config, logits, labels, return_dict)
