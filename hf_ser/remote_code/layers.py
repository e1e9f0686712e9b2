"""Shared layers of the companion models."""

from typing import Any

import torch
from torch import nn

from .companion_config import CompanionConfig, ConvStackConfig
from .vocal_tract import warped_rows


class Dropout(nn.Dropout):
    """Dropout with cheaper random numbers on CPU, where torch draws a 64-bit number for each value.

    Here one 64-bit number is used for four values, so the probability is a multiple of 2**-16.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Apply dropout to a tensor of any shape, in training only."""
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        factor = torch.empty_like(input, requires_grad=False)
        draws = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        keep = draws[: input.numel()].as_strided(factor.shape, factor.stride()) >= round(self.p * 2**16) - 2**15
        return input * torch.mul(keep, 1 / (1 - self.p), out=factor)


class SqueezeExcitation(nn.Module):
    """Weight channels by their means over the clip (Hu et al. 2018, "Squeeze-and-Excitation Networks").

    Args:
        channels: channels of the input (batch, channels, height, frames).
        reduction: factor by which the inner layer is smaller; it has at least 4 units.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = max(4, channels // reduction)
        self.gate = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the weighted channels, of the same shape."""
        return features * self.gate(features.mean(dim=(2, 3)))[:, :, None, None]


def normalized(conv: nn.Conv2d, norm: nn.BatchNorm2d, features: torch.Tensor) -> torch.Tensor:
    """Convolution and batch normalisation of (batch, channels, height, frames).

    In inference the normalisation is folded into the weights: one pass over the features instead of two.
    """
    if norm.training or torch.is_grad_enabled():
        return norm(conv(features))
    assert norm.running_mean is not None and norm.running_var is not None and conv.bias is not None
    scale = norm.weight.float() * (norm.running_var.float() + norm.eps).rsqrt()
    weight = conv.weight.float() * scale[:, None, None, None]
    bias = (conv.bias - norm.running_mean).float() * scale + norm.bias
    weight, bias = weight.to(conv.weight.dtype), bias.to(conv.weight.dtype)
    return nn.functional.conv2d(features, weight, bias, conv.stride, conv.padding)


def max_pooled(features: torch.Tensor, size: int) -> torch.Tensor:
    """Max pooling of (batch, channels, height, frames) by `size`, rounded down.

    Without gradients the index of the maximum is not needed, which halves the time on a CPU. Graphs get one MaxPool,
    which is faster in ONNX Runtime than slices.
    """
    if size != 2 or torch.is_grad_enabled() or torch.compiler.is_exporting() or features.device.type != "cpu":
        return nn.functional.max_pool2d(features, size)
    height, frames = (length - length % 2 for length in features.shape[2:])
    rows = torch.maximum(features[:, :, 0:height:2], features[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:frames:2], rows[..., 1:frames:2])


class ConvBlock(nn.Module):
    """Convolution -> batch normalisation -> ReLU -> max pooling -> dropout, (batch, channels, height, frames).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd number; the convolution keeps height and frames.
        pool_size: factor by which height and frames are reduced, rounded down.
        dropout: dropout probability.
        residual: add a second convolution, and a shortcut around both (He et al. 2016, "Deep Residual Learning").
        squeeze_excitation: weight the channels before pooling (see `SqueezeExcitation`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        pool_size: int,
        dropout: float,
        *,
        residual: bool = False,
        squeeze_excitation: bool = False,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding)
        self.norm = nn.BatchNorm2d(out_channels)
        self.second: Any = None  # convolution and normalisation
        self.shortcut: Any = None
        if residual:
            self.second = nn.Sequential(
                nn.Conv2d(out_channels, out_channels, kernel_size, padding=padding), nn.BatchNorm2d(out_channels)
            )
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))
        self.excitation = SqueezeExcitation(out_channels) if squeeze_excitation else None
        self.pool_size = pool_size
        self.dropout = Dropout(dropout)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (batch, out_channels, height // pool_size, frames // pool_size)."""
        hidden = normalized(self.conv, self.norm, features)
        if self.second is not None and self.shortcut is not None:
            hidden = normalized(self.second[0], self.second[1], torch.relu(hidden))
            hidden = hidden + normalized(self.shortcut[0], self.shortcut[1], features)
        if self.excitation is not None:
            hidden = self.excitation(torch.relu(hidden))
        # ReLU and max pooling commute; ReLU after pooling is a quarter of the work.
        return self.dropout(torch.relu(max_pooled(hidden, self.pool_size)))


class ConvStack(nn.Module):
    """Sequence of blocks over features (batch, channels * height, frames), configured by `ConvStackConfig`."""

    def __init__(self, config: ConvStackConfig) -> None:
        super().__init__()
        self.num_channels = config.num_channels
        self.shrink = config.pool_size ** len(config.channels)
        self.blocks = nn.Sequential(
            *(
                ConvBlock(
                    before,
                    after,
                    kernel,
                    config.pool_size,
                    config.dropout,
                    residual=config.residual,
                    squeeze_excitation=config.squeeze_excitation,
                )
                for before, after, kernel in zip(
                    [config.num_channels, *config.channels[:-1]], config.channels, config.kernel_sizes, strict=True
                )
            )
        )

    def forward(self, features: torch.Tensor, num_frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Convolve and pool.

        Args:
            features: (batch, channels * height, frames), with `num_channels` channels.
            num_frames: number of unpadded frames of each clip (batch,).

        Returns:
            Pooled feature maps (batch, channels, height, frames), and their number of unpadded frames (batch,).
        """
        # Convolutions are fastest with channels last, on CPU and on accelerators with mixed precision.
        maps = features.unflatten(1, (self.num_channels, -1))
        hidden = self.blocks(maps.to(memory_format=torch.channels_last))
        left = torch.div(num_frames + self.shrink - 1, self.shrink, rounding_mode="floor")
        return hidden, left.clamp(max=hidden.shape[-1])


class AttentivePooling(nn.Module):
    """Attention-weighted mean over the unpadded frames, and optionally their standard deviation.

    Okabe et al. 2018, "Attentive Statistics Pooling for Deep Speaker Embedding". With several heads, each weights the
    frames of its own equal part of the values, as in India et al. 2019, "Self Multi-Head Attention for Speaker
    Recognition".

    Args:
        size: size of a frame.
        statistics: append the weighted standard deviation, which doubles the size of the result.
        heads: number of heads, a divisor of `size`.
        attention_size: size of the layer that scores a frame.
    """

    def __init__(self, size: int, *, statistics: bool, heads: int = 1, attention_size: int = 128) -> None:
        super().__init__()
        self.statistics, self.heads = statistics, heads
        self.score = nn.Sequential(nn.Linear(size, attention_size), nn.Tanh(), nn.Linear(attention_size, heads))

    def forward(self, sequence: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Pool over time.

        Args:
            sequence: (batch, frames, size).
            num_frames: number of unpadded frames of each clip, at least 1 (batch,).

        Returns:
            (batch, size), or (batch, 2 * size) with statistics.
        """
        frames = torch.arange(sequence.shape[1], device=sequence.device)
        scores = self.score(sequence).float()
        scores = scores.masked_fill((frames >= num_frames[:, None])[:, :, None], float("-inf"))
        weights = torch.softmax(scores, dim=1)[..., None]  # (batch, frames, heads, 1)
        parts = sequence.unflatten(2, (self.heads, -1))
        mean = (weights * parts).sum(dim=1)
        if not self.statistics:
            return mean.flatten(1).to(sequence.dtype)
        variance = (weights * (parts - mean[:, None]) ** 2).sum(dim=1)
        return torch.cat([mean.flatten(1), variance.flatten(1).clamp(min=1e-6).sqrt()], dim=1).to(sequence.dtype)


class FeatureMapPooling(nn.Module):
    """Feature maps (batch, channels, height, frames) -> vector (batch, `size`).

    Args:
        pooling: flatten (concatenate all values), attention or statistics (over frames, see `AttentivePooling`).
        shape: shape of the maps (channels, height, frames).
        heads: number of attention heads.
    """

    def __init__(self, pooling: str, shape: tuple[int, int, int], heads: int = 1) -> None:
        super().__init__()
        channels, height, frames = shape
        rows = channels * height
        self.size = {"flatten": rows * frames, "attention": rows, "statistics": 2 * rows}[pooling]
        self.attention = None
        if pooling != "flatten":
            self.attention = AttentivePooling(rows, statistics=pooling == "statistics", heads=heads)

    def forward(self, maps: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Pool maps with `num_frames` (batch,) unpadded frames."""
        if self.attention is None:
            return maps.flatten(1)
        return self.attention(as_sequence(maps), num_frames)


def as_sequence(maps: torch.Tensor) -> torch.Tensor:
    """Feature maps (batch, channels, height, frames) -> sequence (batch, frames, channels * height)."""
    return maps.permute(0, 3, 1, 2).flatten(2)


class HeadNorm(nn.BatchNorm1d):
    """Batch normalisation that uses the running statistics for batches of one clip, such as the last of an epoch."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (batch, features)."""
        if self.training and len(input) == 1:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


class SpecAugment(nn.Module):
    """Augment features in training: stretch, shift, warp and mask at random (Park et al. 2019, "SpecAugment").

    Clips are changed independently, all channels of a clip alike. Stretching changes the tempo but not the pitch.
    Shifting rows changes the pitch by a number of mel bands. Warping multiplies frequencies by a factor, as another
    length of the vocal tract does with formants (see `warped_rows`). Masks, with random widths up to the maximum, are
    filled with the channel's mean over the clip. The fields spec_augment_* of `CompanionConfig` set the amounts.
    """

    def __init__(self, config: CompanionConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, features: torch.Tensor, num_frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment features with `num_frames` (batch,) unpadded frames; return both.

        Args:
            features: (batch, channels * rows, frames), with the `num_channels` of the configuration.
            num_frames: number of unpadded frames of each clip (batch,).
        """
        if not self.training:
            return features, num_frames
        config = self.config
        maps = features.unflatten(1, (config.num_channels, -1))
        if config.spec_augment_stretch or config.spec_augment_row_shift or config.spec_augment_warp:
            maps, num_frames = self._warp(maps, num_frames)
        if config.spec_augment_time_masks or config.spec_augment_frequency_masks:
            maps = self._mask(maps)
        return maps.flatten(1, 2), num_frames

    def _warp(self, maps: torch.Tensor, num_frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch, _, rows, frames = maps.shape
        draws = 2 * torch.rand(2, batch, 1, device=maps.device) - 1
        factors = (1 + self.config.spec_augment_stretch) ** draws[0]
        # Source positions of rows and frames; -1 and 1 are the centres of the first and the last.
        times = torch.arange(frames, device=maps.device) / factors
        heights = torch.arange(rows, device=maps.device) + self.config.spec_augment_row_shift * draws[1]
        if self.config.spec_augment_warp:
            scales = 1 + self.config.spec_augment_warp * (2 * torch.rand_like(factors) - 1)
            heights = warped_rows(heights, scales, rows, self.config.sampling_rate)
        grid = torch.stack(
            [
                (2 * times / max(frames - 1, 1) - 1)[:, None, :].expand(-1, rows, -1),
                (2 * heights / max(rows - 1, 1) - 1)[:, :, None].expand(-1, -1, frames),
            ],
            dim=-1,
        )
        warped = nn.functional.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return warped, (num_frames * factors[:, 0]).ceil().long().clamp(1, frames)

    def _mask(self, maps: torch.Tensor) -> torch.Tensor:
        batch, _, rows, frames = maps.shape
        config, device = self.config, maps.device
        times = _runs(batch, frames, config.spec_augment_time_masks, config.spec_augment_time_frames, device)
        heights = _runs(batch, rows, config.spec_augment_frequency_masks, config.spec_augment_frequency_rows, device)
        hidden = (times[:, None, :] | heights[:, :, None])[:, None]
        return torch.where(hidden, maps.mean(dim=(2, 3), keepdim=True), maps)


def _runs(batch: int, length: int, number: int, widest: int, device: torch.device) -> torch.Tensor:
    """Masks of random runs (batch, length)."""
    widths = torch.randint(0, min(widest, length) + 1, (batch, number, 1), device=device)
    starts = (torch.rand(batch, number, 1, device=device) * (length - widths + 1)).long()
    places = torch.arange(length, device=device)
    return ((places >= starts) & (places < starts + widths)).any(dim=1)
