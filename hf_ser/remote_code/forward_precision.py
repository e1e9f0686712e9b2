"""Forward passes of a float32 model in bfloat16 or float16, with autocast and encoder weights that are cast once.

The model itself remains in float32, and so do saved checkpoints.
"""

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .grouped_convolution import use_matrix_products
from .hardware import PrecisionChoice, detect, resolve

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def autocast(device_type: str, precision: str) -> AbstractContextManager:
    """Context manager for autocast to bf16 or fp16; does nothing for fp32."""
    return nullcontext() if precision == "fp32" else torch.autocast(device_type, DTYPES[precision])


def lowered(module: nn.Module, precision: str) -> nn.Module:
    """Copy a module for computing under autocast; on CPU, the results are bitwise equal to those of the original.

    Autocast casts weights for every batch, which takes as long as some of the products. The copy has transformers
    encoders with weights that are cast once; it shares all other tensors with the original. Companion models would not
    benefit, because they compute their weights from others for every batch.

    Args:
        module: a classifier, or a source of a hybrid's features.
        precision: bf16 or fp16.
    """
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    memo |= {id(part.config): part.config for part in module.modules() if hasattr(part, "config")}
    for encoder in _parts(module):
        if _is_own(encoder) or encoder.dtype != torch.float32:
            continue
        for layer in encoder.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d):
                for weights in layer.parameters(recurse=False):  # excludes computed weights, as of weight_norm
                    low = weights.detach().to(DTYPES[precision])
                    memo[id(weights)] = nn.Parameter(low, requires_grad=False)
    made = copy.deepcopy(module, memo)
    use_matrix_products(made)
    for source in _sources(made):
        source.column_precision = precision
    return made


def choose_precision(model: Any, precision: str, device: torch.device | str) -> PrecisionChoice:
    """Choose the precision of a model's forward passes.

    Args:
        model: a classifier; if it was loaded in a dtype other than float32, it computes in that dtype.
        precision: auto, bf16, fp16 or fp32.
        device: device of the model.

    Raises:
        ValueError: the precision is unknown, not supported by the device, or differs from the dtype of the model.
    """
    chosen = resolve(precision, detect(device))
    parts = _parts(model)
    if not parts:
        return PrecisionChoice("fp32", "the model has no neural network")
    own = _NAMES.get(parts[0].dtype, str(parts[0].dtype).removeprefix("torch."))
    if own == "fp32":
        return chosen
    if precision not in ("auto", own):
        raise ValueError(
            f"precision is {precision!r} for a model that was loaded in {own}; expected auto. For other precisions, "
            "load the model with dtype=torch.float32."
        )
    return PrecisionChoice(own, "dtype of the loaded model")


class ForwardPass:
    """Call a model in a given precision; models loaded in a dtype other than float32 compute in that dtype.

    Args:
        model: a classifier. The precision of a hybrid applies to its base models only.
        precision: bf16, fp16 or fp32 (see `choose_precision`).
    """

    def __init__(self, model: Any, precision: str) -> None:
        self.model, self.precision = model, precision
        self._copy: Any = None
        self._copied: Any = None

    @property
    def module(self) -> Any:
        """The module that computes: the model, or a copy with cast weights (see `lowered`)."""
        plain = _is_own(self.model) and not _sources(self.model)
        if plain or not self._is_lowered or not isinstance(self.model, PreTrainedModel):
            return self.model
        if hasattr(self.model, "hf_device_map"):  # its parts are moved between devices
            return self.model
        state = [
            (tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version)
            for tensor in (*self.model.parameters(), *self.model.buffers())
        ]
        if self._copied != (state, self.model.training):  # there is no copy, or the weights have changed
            self._copy, self._copied = lowered(self.model, self.precision), (state, self.model.training)
        return self._copy

    @property
    def _is_lowered(self) -> bool:
        return self.precision != "fp32" and self.model.dtype == torch.float32

    def __call__(self, **inputs: torch.Tensor) -> Any:
        """Compute the model's output from float32 inputs."""
        if not _is_own(self.model):  # models of this package have float32 frontends
            inputs = {
                name: tensor.to(self.model.dtype) if tensor.is_floating_point() else tensor
                for name, tensor in inputs.items()
            }
        if not self._is_lowered:
            return self.model(**inputs)
        context = nullcontext() if _sources(self.model) else autocast(self.model.device.type, self.precision)
        with context:
            output = self.module(**inputs)
        # The hidden states of some models exceed 65504, the maximum of float16.
        if self.precision == "fp16" and not torch.isfinite(output.logits).all():
            return self.model(**inputs)
        return output


def _sources(module: nn.Module) -> list[Any]:
    """Instances of `Source` in a hybrid, or the module itself if it is one."""
    return [part for part in module.modules() if hasattr(part, "column_precision")]


def _parts(module: nn.Module) -> list[Any]:
    """The base models of a hybrid, or the model itself."""
    sources = _sources(module)
    return [source.model for source in sources if source.model is not None] if sources else [module]


def _is_own(model: Any) -> bool:
    """Whether this is a model of this package."""
    return str(model.config.model_type).startswith("ser-")
