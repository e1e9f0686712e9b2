"""Low-rank adaptation (Hu et al. 2021, https://arxiv.org/abs/2106.09685) through peft."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from hf_ser.arguments import ConfigError
from hf_ser.extras import needs_extra
from hf_ser.training.layerwise import HEAD
from hf_ser.training.training_arguments import ModelArguments

ADAPTER = "adapter"


def add_lora(model: PreTrainedModel, args: ModelArguments) -> Any:
    """Freeze a model but for its head and small matrices beside the named layers.

    Returns:
        A peft model.

    Raises:
        ConfigError: peft is not installed, the model has no layer of such a name, or it sums its layers.
    """
    with needs_extra():
        from peft import LoraConfig, get_peft_model
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    absent = [target for target in args.lora_target_modules if target not in names]
    if absent:
        raise ConfigError(
            f"lora_target_modules: {model.config.model_type} has no layer named {', '.join(absent)}; expected some "
            "such as q_proj, k_proj, v_proj, out_proj."
        )
    if hasattr(model, "layer_weights"):
        raise ConfigError(
            "lora_rank does not go with use_weighted_layer_sum: the sum's weights would not train, and peft's "
            "checkpoints leave them out; leave one of them out."
        )
    config = LoraConfig(
        r=args.lora_rank,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=args.lora_target_modules,
        modules_to_save=[name for name, _ in model.named_children() if f"{name}." in HEAD],
    )
    return get_peft_model(model, config)


def merge_lora(model: Any, folder: Path | None) -> Any:
    """Add the trained matrices to the layers that they stand beside, which gives a native model again.

    Args:
        model: what was trained; anything but a peft model is returned as it is.
        folder: also keep the adapter alone in `adapter/` below it; None for not.
    """
    if not hasattr(model, "merge_and_unload"):
        return model
    if folder is not None:
        model.save_pretrained(str(folder / ADAPTER))
    return model.merge_and_unload()
