"""Losses that do not change with the batch layout (gradient accumulation, several processes)."""

import torch
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput


def cross_entropy(
    outputs: SequenceClassifierOutput,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """Cross entropy as `Trainer`'s `compute_loss_func` needs it.

    The Trainer takes the loss of a model whose `forward` accepts keyword arguments (wav2vec2's does) for one that is
    already divided by the clips of the whole accumulated batch. A plain mean over the micro-batch would make batch
    2 x accumulation 4 weigh four times batch 8, so the sum is divided by the Trainer's count.

    Args:
        outputs: the model's, with logits (batch, classes).
        labels: class ids (batch,).
        num_items_in_batch: clips in the accumulated batch over all processes; None counts this batch alone.

    Returns:
        A scalar.
    """
    assert outputs.logits is not None  # typed as optional; every classifier gives them
    logits = outputs.logits.float()
    count = labels.numel() if num_items_in_batch is None else num_items_in_batch
    return functional.cross_entropy(logits, labels, reduction="sum") / count
