"""Heads on the model's embedding that only training has: a speaker adversary and a supervised contrastive loss.

Both act on the input of the classifier, which hooks take from the model's own forward pass. Checkpoints have the
heads in a file of their own, and saved models do not have them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError
from hf_ser.data.splits import SplitData
from hf_ser.training.layerwise import AUXILIARY
from hf_ser.training.losses import Loss, Mix
from hf_ser.training.training_arguments import SerTrainingArguments

logger = logging.getLogger(__name__)
_FILE = f"{AUXILIARY}.safetensors"
_HIDDEN, _PROJECTION = 128, 64
_TEMPERATURE = 0.1
_INPUT = "_classifier_input"


@dataclass
class HeadOutputs(SequenceClassifierOutput):
    """Outputs of a model with heads: speaker_logits (batch, speakers) and projections (batch, 64) too."""

    speaker_logits: torch.Tensor | None = None
    projections: torch.Tensor | None = None


class AuxiliaryHeads(nn.Module):
    """A speaker classifier behind a gradient reversal, and a projection for the contrastive loss.

    The speaker classifier learns to tell the training speakers apart, while its reversed gradient trains the model to
    make that impossible (Li et al. 2019, https://arxiv.org/abs/1903.09606). The contrastive loss draws clips of one
    class together (Khosla et al. 2020, https://arxiv.org/abs/2004.11362).

    Args:
        size: of the embedding.
        speakers: number of training speakers; 0 for no speaker classifier.
        contrastive: weight of the contrastive loss; 0 for no projection.
    """

    def __init__(self, size: int, *, speakers: int, contrastive: float) -> None:
        super().__init__()
        self.adversary = _two_layers(size, speakers) if speakers else None
        self.projection = _two_layers(size, _PROJECTION) if contrastive else None
        self.contrastive = contrastive
        self.reversal = 0.0  # factor of the reversed gradient
        self.hooks: list[Any] = []

    def forward(self, vectors: torch.Tensor) -> dict[str, torch.Tensor]:
        """Embeddings (batch, size) -> the fields that `HeadOutputs` adds."""
        vectors, outputs = vectors.float(), {}
        if self.adversary is not None:
            outputs["speaker_logits"] = self.adversary(ReversedGradient.apply(vectors, self.reversal))
        if self.projection is not None:
            outputs["projections"] = self.projection(vectors)
        return outputs

    def added_to(self, loss: Loss, speakers: torch.Tensor | None, mix: Mix | None) -> Loss:
        """The sum of a loss (see `make_loss`) and the losses of the heads.

        Args:
            loss: of the classifier.
            speakers: numbers of the speakers of the batch (batch,).
            mix: the batch's mixup, if any.
        """
        of_speakers = speaker_loss if mix is None else mix.loss(speaker_loss)

        def total(
            outputs: HeadOutputs,
            labels: torch.Tensor,
            num_items_in_batch: torch.Tensor | int | None = None,
        ) -> torch.Tensor:
            value = loss(outputs, labels, num_items_in_batch=num_items_in_batch)
            if self.adversary is not None:
                assert speakers is not None  # the collator adds them
                value = value + of_speakers(outputs, speakers, num_items_in_batch=num_items_in_batch)
            if self.projection is not None:
                assert outputs.projections is not None
                classes = labels if labels.ndim == 1 else labels[:, 0]  # the second column has corpora
                each = contrastive_losses(outputs.projections, classes)
                count = len(labels) if num_items_in_batch is None else num_items_in_batch
                value = value + self.contrastive * each.sum() / count
            return value

        return total


def _two_layers(size: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, outputs))


class ReversedGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -`factor` (Ganin et al. 2016, https://arxiv.org/abs/1505.07818)."""

    @staticmethod
    def forward(ctx: Any, vectors: torch.Tensor, factor: float) -> torch.Tensor:
        """Return the vectors."""
        ctx.factor = factor
        return vectors.view_as(vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the reversed gradient of the vectors."""
        return -ctx.factor * gradients[0], None


def speaker_loss(
    outputs: HeadOutputs, speakers: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy of the speaker classifier, divided as the loss of `make_loss`."""
    assert outputs.speaker_logits is not None  # typed as optional, as in transformers
    total = functional.cross_entropy(outputs.speaker_logits, speakers, reduction="sum")
    return total / (speakers.numel() if num_items_in_batch is None else num_items_in_batch)


def contrastive_losses(vectors: torch.Tensor, labels: torch.Tensor, temperature: float = _TEMPERATURE) -> torch.Tensor:
    """The supervised contrastive loss of each clip, L_out of Khosla et al. 2020 (equation 2).

    Args:
        vectors: (batch, size), scaled to length 1 here.
        labels: class ids (batch,).
        temperature: divides the cosines.

    Returns:
        (batch,); 0 for a clip whose class no other clip of the batch has.
    """
    if len(vectors) < 2:
        return 0 * vectors.sum(dim=1)
    vectors = functional.normalize(vectors, dim=1)
    own = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    similarities = vectors @ vectors.T / temperature
    logs = similarities - similarities.masked_fill(own, -torch.inf).logsumexp(dim=1, keepdim=True)
    positive = (labels[:, None] == labels) & ~own
    return -logs.where(positive, 0.0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)


def speaker_numbers(data: SplitData, args: SerTrainingArguments) -> list[int]:
    """A number from 0 for the speaker of each training clip; empty without `speaker_adversary`.

    Raises:
        ConfigError: clips without a speaker, or a single speaker.
    """
    if not args.speaker_adversary:
        return []
    speakers = data.splits["train"]["speaker"][:]
    unknown = sum(not speaker for speaker in speakers)
    names = sorted({speaker for speaker in speakers if speaker})
    if unknown or len(names) < 2:
        found = f"{unknown} of {len(speakers)} training clips have no speaker" if unknown else "train has one speaker"
        raise ConfigError(f"speaker_adversary: {found}; expected at least two known speakers. Leave it out.")
    numbers = {name: number for number, name in enumerate(names)}
    return [numbers[speaker] for speaker in speakers]


def attach_heads(model: Any, speakers: Sequence[int], args: SerTrainingArguments) -> None:
    """Add the heads that the arguments ask for to a model; none of them by default.

    Args:
        model: of `build_model`, on its device.
        speakers: of `speaker_numbers`.
        args: of the training; its seed initialises the heads.

    Raises:
        ConfigError: the model has no linear classifier.
    """
    if not (args.speaker_adversary or args.supervised_contrastive):
        return
    base = _base(model)
    size = getattr(getattr(base, "classifier", None), "in_features", None)
    if size is None:
        raise ConfigError(
            f"speaker_adversary and supervised_contrastive need a linear classifier, which {base.config.model_type} "
            "does not have. Leave them out."
        )
    if args.supervised_contrastive and args.per_device_train_batch_size < 2 * base.config.num_labels:
        logger.warning(
            "supervised_contrastive compares clips of one class within a batch, and per_device_train_batch_size %d "
            "has fewer than two clips for each of %d classes; use at least %d",
            *(args.per_device_train_batch_size, base.config.num_labels, 2 * base.config.num_labels),
        )
    with torch.random.fork_rng():  # other draws of the training stay as they are without heads
        torch.manual_seed(args.seed)
        heads = AuxiliaryHeads(size, speakers=max(speakers, default=-1) + 1, contrastive=args.supervised_contrastive)
    base.add_module(AUXILIARY, heads.to(args.device))
    names = {f"{AUXILIARY}.{name}" for name in heads.state_dict()}
    base._keys_to_ignore_on_save = {*(base._keys_to_ignore_on_save or ()), *names}
    heads.hooks = [base.classifier.register_forward_pre_hook(_keep_input), model.register_forward_hook(_add_outputs)]


def detach_heads(model: Any) -> None:
    """Remove the heads of a model, if it has any."""
    heads = heads_of(model)
    if heads is None:
        return
    base = _base(model)
    for hook in heads.hooks:
        hook.remove()
    delattr(base, AUXILIARY)
    base._keys_to_ignore_on_save = {
        name for name in base._keys_to_ignore_on_save if not name.startswith(f"{AUXILIARY}.")
    }


def heads_of(model: Any) -> AuxiliaryHeads | None:
    """The heads of a model, which may be a peft model; None if it has none."""
    return getattr(_base(model), AUXILIARY, None)


def save_heads(model: Any, folder: str) -> None:
    """Write the heads of a model, if it has any, into the folder of a checkpoint."""
    heads = heads_of(model)
    if heads is not None:
        save_file(heads.state_dict(), Path(folder) / _FILE)


def load_heads(model: Any, folder: str) -> None:
    """Read what `save_heads` wrote into the heads of a model, if it has any."""
    heads = heads_of(model)
    if heads is not None:
        heads.load_state_dict(load_file(Path(folder) / _FILE))


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # without peft's wrapper


def _keep_input(classifier: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    if classifier.training:
        setattr(classifier, _INPUT, inputs[0])


def _add_outputs(model: nn.Module, inputs: Any, outputs: SequenceClassifierOutput) -> Any:
    # Outputs of the model itself, so that the gradients of several processes are averaged.
    if not model.training:
        return outputs
    base = _base(model)
    return HeadOutputs(**outputs, **getattr(base, AUXILIARY)(base.classifier.__dict__.pop(_INPUT)))
