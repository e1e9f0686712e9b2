"""The positional convolution of wav2vec2, HuBERT and WavLM as matrix products, for training and prediction on GPUs.

It has 128 taps and 16 groups of 48 or 64 channels. In bfloat16 and float16, cuDNN computes one group after another
without matrix units, which took 6 to 10 times as long on an H200. Weights and saved models are those of the stock
module.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Output frames per row of the product. More frames copy fewer samples and multiply by more zeros; 4 and 8 are fastest.
_FRAMES = 8


def use_matrix_products(model: nn.Module) -> None:
    """Compute grouped 1-d convolutions as matrix products in bfloat16 and float16 on CUDA devices.

    Args:
        model: changed in place; its parameters keep their names and values. Other devices and float32 use the stock
            convolution.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv1d) and module.groups > 1 and _is_plain(module):
            vars(module)["_conv_forward"] = partial(_forward, module)


def _is_plain(module: nn.Conv1d) -> bool:
    return (
        module.stride == (1,)
        and module.dilation == (1,)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.padding[0] < module.kernel_size[0]
    )


def _forward(module: nn.Conv1d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    if not x.is_cuda or dtype not in (torch.bfloat16, torch.float16):
        return nn.Conv1d._conv_forward(module, x, weight, bias)
    y = GroupedConvolution.apply(x.to(dtype), weight.to(dtype), module.groups, module.padding[0])
    return y if bias is None else y + bias.to(dtype)[:, None]


class GroupedConvolution(torch.autograd.Function):
    """`torch.nn.functional.conv1d` with groups, stride 1 and zero padding, as one batched matrix product."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, groups: int, padding: int) -> torch.Tensor:
        """Convolve.

        Args:
            ctx: for the backward pass.
            x: (batch, channels, frames).
            weight: (output channels, channels / groups, taps).
            groups: number of groups.
            padding: zeros on both sides.

        Returns:
            (batch, output channels, frames + 2 * padding - taps + 1).
        """
        ctx.save_for_backward(x, weight)
        ctx.groups, ctx.padding = groups, padding
        return _convolve(x, weight.unflatten(0, (groups, -1)).permute(0, 3, 2, 1), padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the gradients of the input and the weight."""
        x, weight = ctx.saved_tensors
        taps = weight.shape[-1]
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            flipped = weight.unflatten(0, (ctx.groups, -1)).flip(-1).permute(0, 3, 1, 2)
            of_input = _convolve(gradient, flipped, taps - 1 - ctx.padding)
        if ctx.needs_input_grad[1]:
            rows = _rows(x, ctx.groups, taps, ctx.padding)
            blocks = _blocks(gradient, ctx.groups)
            full = torch.bmm(rows.transpose(1, 2), blocks)
            full = full.unflatten(2, (_FRAMES, -1)).unflatten(1, (taps + _FRAMES - 1, -1))
            each = torch.stack([full[:, frame : frame + taps, :, frame] for frame in range(_FRAMES)])
            total = each.sum(0, dtype=torch.promote_types(weight.dtype, torch.float32))
            of_weight = total.permute(0, 3, 2, 1).flatten(0, 1).to(weight.dtype)
        return of_input, of_weight, None, None


def _convolve(x: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
    """Convolve x (batch, channels, frames) with weight (groups, taps, channels, output channels)."""
    groups, taps, _, width = weight.shape
    count = x.shape[-1] + 2 * padding - taps + 1
    shifted = weight.new_zeros(groups, taps + _FRAMES - 1, weight.shape[2], _FRAMES, width)
    for frame in range(_FRAMES):
        shifted[:, frame : frame + taps, :, frame] = weight
    made = torch.bmm(_rows(x, groups, taps, padding), shifted.flatten(3).flatten(1, 2))
    made = made.view(groups, x.shape[0], -1, width)[:, :, :count]
    return made.permute(1, 0, 3, 2).flatten(1, 2)


def _rows(x: torch.Tensor, groups: int, taps: int, padding: int) -> torch.Tensor:
    """Return the input frames of each block of output frames: (groups, batch * blocks, frames * channels)."""
    batch, _, frames = x.shape
    blocks = -(-(frames + 2 * padding - taps + 1) // _FRAMES)
    window = taps + _FRAMES - 1
    length = (blocks - 1) * _FRAMES + window
    grouped = x.unflatten(1, (groups, -1)).permute(1, 0, 3, 2)
    grouped = functional.pad(grouped, (0, 0, padding, length - frames - padding)).contiguous()
    width = grouped.shape[-1]
    strides = (batch * length * width, length * width, _FRAMES * width, 1)
    return grouped.as_strided((groups, batch, blocks, window * width), strides).flatten(1, 2)


def _blocks(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Cut x (batch, channels, frames) into blocks of frames: (groups, batch * blocks, frames * channels)."""
    grouped = x.unflatten(1, (groups, -1)).permute(1, 0, 3, 2)
    grouped = functional.pad(grouped, (0, 0, 0, -x.shape[-1] % _FRAMES))
    return grouped.unflatten(2, (-1, _FRAMES)).flatten(3).flatten(1, 2)
