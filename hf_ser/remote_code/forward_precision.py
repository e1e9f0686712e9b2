"""Forward passes of a float32 model in bfloat16 or float16: by autocast, over an encoder's weights that are cast once.

The model itself stays as it is, so that what is saved is float32.
"""

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .hardware import PrecisionChoice, detect, resolve

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def autocast(device_type: str, precision: str) -> AbstractContextManager:
    """Autocast to bf16 or fp16; nothing for fp32."""
    return nullcontext() if precision == "fp32" else torch.autocast(device_type, DTYPES[precision])


def lowered(module: nn.Module, precision: str) -> nn.Module:
    """A copy for computing in a precision under autocast, which gives the same results bit by bit without it.

    Autocast casts the weights of every product anew for every batch, which takes as long as some of the products. Here
    the weights of encoders of transformers are cast once; all other tensors are those of the original. The companion
    models gain nothing: they make their weights from others at every batch.

    Args:
        module: a classifier, or a source of a hybrid's columns.
        precision: bf16 or fp16.
    """
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    memo |= {id(part.config): part.config for part in module.modules() if hasattr(part, "config")}
    for encoder in _parts(module):
        if _is_own(encoder) or encoder.dtype != torch.float32:
            continue
        for layer in encoder.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d):
                for weights in layer.parameters(recurse=False):  # none that are made from others, as weight_norm does
                    low = weights.detach().to(DTYPES[precision])
                    memo[id(weights)] = nn.Parameter(low, requires_grad=False)
    made = copy.deepcopy(module, memo)
    for source in _sources(made):
        source.column_precision = precision
    return made


def choose_precision(model: Any, precision: str, device: torch.device | str) -> PrecisionChoice:
    """Choose what a model computes in.

    Args:
        model: a classifier; one that was loaded in another dtype than float32 stays in that.
        precision: auto, bf16, fp16 or fp32.
        device: where it computes.

    Raises:
        ValueError: a precision that does not exist, that the device cannot compute, or that is not the model's dtype.
    """
    chosen = resolve(precision, detect(device))
    parts = _parts(model)
    if not parts:
        return PrecisionChoice("fp32", "no network computes")
    own = _NAMES.get(parts[0].dtype, str(parts[0].dtype).removeprefix("torch."))
    if own == "fp32":
        return chosen
    if precision not in ("auto", own):
        raise ValueError(
            f"precision is {precision!r} for a model that was loaded in {own}; expected auto, or a model that "
            "is loaded with dtype=torch.float32."
        )
    return PrecisionChoice(own, "as the model was loaded")


class ForwardPass:
    """Calls a model in a precision; one that was loaded in another dtype than float32 is called as it is.

    Args:
        model: a classifier. Hybrids compute their bases in the precision, and everything else as they always do.
        precision: bf16, fp16 or fp32 (see `choose_precision`).
    """

    def __init__(self, model: Any, precision: str) -> None:
        self.model, self.precision = model, precision
        self._copy: Any = None
        self._copied: Any = None

    @property
    def module(self) -> Any:
        """The module that computes: the model, or a copy that shares what is not cast (see `lowered`)."""
        plain = _is_own(self.model) and not _sources(self.model)
        if plain or not self._is_lowered or not isinstance(self.model, PreTrainedModel):
            return self.model
        if hasattr(self.model, "hf_device_map"):  # its parts are moved about as they compute
            return self.model
        state = [
            (tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version)
            for tensor in (*self.model.parameters(), *self.model.buffers())
        ]
        if self._copied != (state, self.model.training):  # never, or the weights have changed since
            self._copy, self._copied = lowered(self.model, self.precision), (state, self.model.training)
        return self._copy

    @property
    def _is_lowered(self) -> bool:
        return self.precision != "fp32" and self.model.dtype == torch.float32

    def __call__(self, **inputs: torch.Tensor) -> Any:
        """Compute the model's output of inputs, which are float32 whatever the precision."""
        if not _is_own(self.model):  # these have frontends of float32
            inputs = {
                name: tensor.to(self.model.dtype) if tensor.is_floating_point() else tensor
                for name, tensor in inputs.items()
            }
        if not self._is_lowered:
            return self.model(**inputs)
        context = nullcontext() if _sources(self.model) else autocast(self.model.device.type, self.precision)
        with context:
            output = self.module(**inputs)
        # float16 ends at 65504, which some models' states pass.
        if self.precision == "fp16" and not torch.isfinite(output.logits).all():
            return self.model(**inputs)
        return output


def _sources(module: nn.Module) -> list[Any]:
    """The sources of a hybrid's columns, of the class `Source`, in a module or the module itself."""
    return [part for part in module.modules() if hasattr(part, "column_precision")]


def _parts(module: nn.Module) -> list[Any]:
    """The models that compute: a hybrid's bases, or the model."""
    sources = _sources(module)
    return [source.model for source in sources if source.model is not None] if sources else [module]


def _is_own(model: Any) -> bool:
    """Whether this is one of this package's models."""
    return str(model.config.model_type).startswith("ser-")
