"""Layer-wise learning: frozen layers, a learning rate for each depth, gradual unfreezing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_ser.arguments import ConfigError

Depths = Mapping[nn.Parameter, int]
AUXILIARY = "auxiliary_heads"
# Prefixes of the names of the head's parameters.
HEAD = ("classifier.", "projector.", "layer_weights", f"{AUXILIARY}.")


def encoder_layers(model: PreTrainedModel) -> nn.ModuleList | None:
    """The transformer layers of a wav2vec2-family model, from the input to the output; None for other models."""
    layers = getattr(getattr(model.base_model, "encoder", None), "layers", None)
    return layers if isinstance(layers, nn.ModuleList) else None


def parameter_depths(model: PreTrainedModel) -> tuple[dict[nn.Parameter, int], int]:
    """The depth of each parameter, counted from the input.

    Returns:
        For every parameter: 0 before the encoder layers, 1 to n in them, and n + 1 in the head; and n, which is 0 for
        models without such layers.
    """
    layers = encoder_layers(model)
    number = 0 if layers is None else len(layers)
    depths = {parameter: number + 1 if name.startswith(HEAD) else 0 for name, parameter in model.named_parameters()}
    for depth, layer in enumerate(layers or (), 1):
        depths |= dict.fromkeys(layer.parameters(), depth)
    if number and getattr(model.config, "do_stable_layer_norm", False):  # there, the norm comes after the layers
        encoder: Any = model.base_model.encoder
        depths |= dict.fromkeys(encoder.layer_norm.parameters(), number)
    return depths, number


def freeze_layers(model: PreTrainedModel, number: int) -> None:
    """Freeze the first `number` layers and everything before them.

    Raises:
        ConfigError: the model does not have more layers than that.
    """
    depths, layers = parameter_depths(model)
    if number >= max(layers, 1):
        raise ConfigError(
            f"freeze_encoder_layers is {number}, and {model.config.model_type} has {layers} encoder layers; expected "
            "a smaller number."
        )
    for parameter, depth in depths.items():
        parameter.requires_grad_(parameter.requires_grad and depth > number)


def split_groups(groups: list[dict[str, Any]], depths: Depths, rate_of_depth: Sequence[float]) -> list[dict[str, Any]]:
    """Split an optimizer's parameter groups by depth, each with the learning rate of its depth."""
    parts = []
    for group in groups:
        for depth in sorted({depths[parameter] for parameter in group["params"]}):
            params = [parameter for parameter in group["params"] if depths[parameter] == depth]
            parts.append({**group, "params": params, "lr": rate_of_depth[depth], "depth": depth})
    return parts


def rates(learning_rate: float, head_learning_rate: float | None, layer_decay: float, layers: int) -> list[float]:
    """The learning rate of each depth, from 0 to that of the head.

    Layer-wise decay (Clark et al. 2020, https://arxiv.org/abs/2003.10555): the topmost layer has `learning_rate`, each
    layer below it `layer_decay` times that of the layer above.

    Args:
        learning_rate: of the topmost encoder layer.
        head_learning_rate: of the classification head; None for `learning_rate`.
        layer_decay: from above 0 to 1, which gives all layers the same rate.
        layers: number of encoder layers.

    Returns:
        layers + 2 rates: before the layers, of each layer, and of the head.
    """
    body = [learning_rate * layer_decay ** (max(layers, 1) - depth) for depth in range(layers + 1)]
    return [*body, learning_rate if head_learning_rate is None else head_learning_rate]


def unfreeze_gradually(scheduler: Any, layers: int, steps_per_layer: float) -> None:
    """Gradual unfreezing: train the head first, then one more layer from the top every `steps_per_layer`.

    Howard and Ruder 2018, https://arxiv.org/abs/1801.06146. Frozen layers have a learning rate of 0 instead of no
    gradient, so that this works with several processes and resumed runs.

    Args:
        scheduler: a LambdaLR of an optimizer with the groups of `split_groups`.
        layers: of the encoder.
        steps_per_layer: optimizer steps.

    Raises:
        ConfigError: another type of schedule.
    """
    if not isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        raise ConfigError(
            f"unfreeze_every does not work with {type(scheduler).__name__}; expected a schedule such as linear, "
            "cosine or constant_with_warmup."
        )

    def gated(factor: Callable[[int], float], start: float) -> Callable[[int], float]:
        return lambda step: factor(step) if step >= start else 0.0

    groups = scheduler.optimizer.param_groups
    scheduler.lr_lambdas = [
        gated(factor, (layers + 1 - group["depth"]) * steps_per_layer)
        for factor, group in zip(scheduler.lr_lambdas, groups, strict=True)
    ]
    for group, factor in zip(groups, scheduler.lr_lambdas, strict=True):
        group["lr"] = group["initial_lr"] * factor(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in groups]
