"""Layers that the companion models share."""

import torch
from torch import nn


class SqueezeExcitation(nn.Module):
    """Weigh channels by what the whole clip holds (Hu et al. 2018, "Squeeze-and-Excitation Networks").

    Args:
        channels: of the input (batch, channels, height, frames).
        reduction: by which the inner layer is narrower; it has 4 units at least.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = max(4, channels // reduction)
        self.gate = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the weighted channels, of the same shape."""
        return features * self.gate(features.mean(dim=(2, 3)))[:, :, None, None]


class ConvBlock(nn.Module):
    """Convolution -> batch normalisation -> ReLU -> max pooling -> dropout, (batch, channels, height, frames).

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: odd; the convolution keeps height and frames.
        pool_size: by which both height and frames shrink (rounded down).
        dropout: probability.
        residual: a second convolution, and a shortcut around both (He et al. 2016, "Deep Residual Learning").
        squeeze_excitation: weigh the channels before pooling.
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
        self.second: nn.Module | None = None
        self.shortcut: nn.Module | None = None
        if residual:
            self.second = nn.Sequential(
                nn.Conv2d(out_channels, out_channels, kernel_size, padding=padding), nn.BatchNorm2d(out_channels)
            )
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))
        self.excitation = SqueezeExcitation(out_channels) if squeeze_excitation else None
        self.pool = nn.MaxPool2d(pool_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (batch, out_channels, height // pool_size, frames // pool_size)."""
        hidden = torch.relu(self.norm(self.conv(features)))
        if self.second is not None and self.shortcut is not None:
            hidden = torch.relu(self.second(hidden) + self.shortcut(features))
        if self.excitation is not None:
            hidden = self.excitation(hidden)
        return self.dropout(self.pool(hidden))


class ConvStack(nn.Module):
    """Blocks one after the other over features (batch, height, frames); see `ConvBlock` for the arguments."""

    def __init__(
        self,
        channels: list[int],
        kernel_sizes: list[int],
        pool_size: int,
        dropout: float,
        *,
        residual: bool = False,
        squeeze_excitation: bool = False,
    ) -> None:
        super().__init__()
        self.shrink = pool_size ** len(channels)
        self.blocks = nn.Sequential(
            *(
                ConvBlock(
                    before,
                    after,
                    kernel,
                    pool_size,
                    dropout,
                    residual=residual,
                    squeeze_excitation=squeeze_excitation,
                )
                for before, after, kernel in zip([1, *channels[:-1]], channels, kernel_sizes, strict=True)
            )
        )

    def forward(self, features: torch.Tensor, num_frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Convolve and pool.

        Args:
            features: (batch, height, frames).
            num_frames: true frames of each clip (batch,).

        Returns:
            (batch, channels, smaller height, fewer frames), and how many of these frames are true (batch,).
        """
        # Convolutions are fastest with channels last, on processors and on accelerators with mixed precision.
        hidden = self.blocks(features[:, None].to(memory_format=torch.channels_last))
        left = torch.div(num_frames + self.shrink - 1, self.shrink, rounding_mode="floor")
        return hidden, left.clamp(max=hidden.shape[-1])


class AttentivePooling(nn.Module):
    """Attention-weighted mean over the true frames, and standard deviation where asked for.

    Okabe et al. 2018, "Attentive Statistics Pooling for Deep Speaker Embedding".

    Args:
        size: of a frame.
        statistics: append the weighted standard deviation, so that the result is twice as long.
        attention_size: of the layer that scores a frame.
    """

    def __init__(self, size: int, *, statistics: bool, attention_size: int = 128) -> None:
        super().__init__()
        self.statistics = statistics
        self.score = nn.Sequential(nn.Linear(size, attention_size), nn.Tanh(), nn.Linear(attention_size, 1))

    def forward(self, sequence: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Pool over time.

        Args:
            sequence: (batch, frames, size).
            num_frames: true frames of each clip, at least 1 (batch,).

        Returns:
            (batch, size), or (batch, 2 * size) with statistics.
        """
        frames = torch.arange(sequence.shape[1], device=sequence.device)
        scores = self.score(sequence).float()
        scores = scores.masked_fill((frames >= num_frames[:, None])[:, :, None], float("-inf"))
        weights = torch.softmax(scores, dim=1)
        mean = (weights * sequence).sum(dim=1)
        if not self.statistics:
            return mean
        variance = (weights * (sequence - mean[:, None]) ** 2).sum(dim=1)
        return torch.cat([mean, variance.clamp(min=1e-6).sqrt()], dim=1)


class FeatureMapPooling(nn.Module):
    """Feature maps (batch, channels, height, frames) -> vector (batch, `size`).

    Args:
        pooling: flatten (all values side by side), attention or statistics (over frames, see `AttentivePooling`).
        shape: (channels, height, frames) of the maps.
    """

    def __init__(self, pooling: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, frames = shape
        rows = channels * height
        self.size = {"flatten": rows * frames, "attention": rows, "statistics": 2 * rows}[pooling]
        self.attention = None if pooling == "flatten" else AttentivePooling(rows, statistics=pooling == "statistics")

    def forward(self, maps: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Pool maps of which `num_frames` (batch,) frames are true."""
        if self.attention is None:
            return maps.flatten(1)
        return self.attention(as_sequence(maps), num_frames)


def as_sequence(maps: torch.Tensor) -> torch.Tensor:
    """Feature maps (batch, channels, height, frames) -> sequence (batch, frames, channels * height)."""
    return maps.permute(0, 3, 1, 2).flatten(2)


class HeadNorm(nn.BatchNorm1d):
    """Batch normalisation that takes its running statistics for a batch of one clip, such as the last of an epoch."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (batch, features)."""
        if self.training and len(input) == 1:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


class SpecAugment(nn.Module):
    """Blank out random runs of frames and of rows, in training only (Park et al. 2019, "SpecAugment").

    Each clip has masks of its own, of a width from 0 to the largest, filled with the clip's mean.

    Args:
        time_masks: runs of frames.
        time_mask_frames: largest width of one.
        frequency_masks: runs of rows.
        frequency_mask_rows: largest width of one.
    """

    def __init__(self, time_masks: int, time_mask_frames: int, frequency_masks: int, frequency_mask_rows: int) -> None:
        super().__init__()
        self.time_masks, self.time_mask_frames = time_masks, time_mask_frames
        self.frequency_masks, self.frequency_mask_rows = frequency_masks, frequency_mask_rows

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Mask features (batch, rows, frames)."""
        if not self.training or not (self.time_masks or self.frequency_masks):
            return features
        batch, rows, frames = features.shape
        hidden = _runs(batch, frames, self.time_masks, self.time_mask_frames, features.device)[:, None, :]
        hidden = (
            hidden | _runs(batch, rows, self.frequency_masks, self.frequency_mask_rows, features.device)[:, :, None]
        )
        return torch.where(hidden, features.mean(dim=(1, 2), keepdim=True), features)


def _runs(batch: int, length: int, number: int, widest: int, device: torch.device) -> torch.Tensor:
    """Random runs in each of `batch` rows, as a mask (batch, length)."""
    widths = torch.randint(0, min(widest, length) + 1, (batch, number, 1), device=device)
    starts = (torch.rand(batch, number, 1, device=device) * (length - widths + 1)).long()
    places = torch.arange(length, device=device)
    return ((places >= starts) & (places < starts + widths)).any(dim=1)
