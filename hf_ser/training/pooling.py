"""What encoders without attention mask do with padding while they train."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from hf_ser.models import takes_attention_mask


def pool_true_frames(model: PreTrainedModel) -> None:
    """Let the head average true frames only, also where the encoder takes no mask (wav2vec2-base, HuBERT-base).

    These encoders were pretrained on plain zero padding, and hear it here, too. Their stock classifiers would average
    the padding's frames into the answer, and learn what no clip alone shows. The saved model is the stock one.
    """

    def without_mask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "attention_mask": None}

    if not takes_attention_mask(model.config):
        model.base_model.register_forward_pre_hook(without_mask, with_kwargs=True)
