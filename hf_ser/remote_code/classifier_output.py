"""Output of classifiers, as in transformers."""

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput


def classifier_output(
    config: PreTrainedConfig, logits: torch.Tensor, labels: torch.Tensor | None, return_dict: bool | None
) -> SequenceClassifierOutput | tuple[torch.Tensor, ...]:
    """Make the output from logits, with the mean cross-entropy if labels are given.

    Args:
        config: configuration of the model; its `return_dict` applies if the argument is None.
        logits: (batch, num_labels).
        labels: class ids (batch,), or None.
        return_dict: False to return a tuple.
    """
    loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
    if not (config.return_dict if return_dict is None else return_dict):
        return (logits,) if loss is None else (loss, logits)
    return SequenceClassifierOutput(loss=loss, logits=logits)
