"""Time derivatives of features."""

import torch
from torch import nn

from .precision import float32_on_cpu

DELTA_WIDTH = 9  # number of frames that a derivative is fitted over, as by default in librosa
_BLOCK = 32  # frames per matrix product for derivatives; faster than nine sums, although most factors are 0


class Deltas(nn.Module):
    """Features (batch, rows, frames) -> the features, followed by their time derivatives.

    Derivatives equal those of librosa.feature.delta: a line is fitted over 9 frames for the first, a parabola for the
    second (Savitzky and Golay 1964). The first and the last fit extend to the edges.

    Args:
        deltas: 0 for none, 1 for the first derivative, 2 for the first and the second.
        unit: unit of time, in frames; 1 in librosa. A larger unit gives larger derivatives.

    Raises:
        ValueError: deltas is not 0, 1 or 2.
    """

    slopes: torch.Tensor

    def __init__(self, deltas: int, unit: int = 1) -> None:
        super().__init__()
        if deltas not in (0, 1, 2):
            raise ValueError(f"deltas: got {deltas}; expected 0, 1 (delta) or 2 (delta and delta-delta).")
        self.deltas = deltas
        with float32_on_cpu():
            self.register_buffer("slopes", _derivative_filters(unit)[:deltas].clone())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (batch, rows * (1 + deltas), frames).

        Raises:
            ValueError: there are fewer than 9 frames.
        """
        if not self.deltas:
            return features
        if features.shape[2] < DELTA_WIDTH:
            raise ValueError(f"features: got {features.shape[2]} frames; expected at least {DELTA_WIDTH} for deltas.")
        rows = features.transpose(1, 2)
        return torch.cat([rows, *self._derivatives(rows)], dim=2).transpose(1, 2)

    def _derivatives(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Fit lines and parabolas over the frames (batch, frames, rows) around each frame."""
        frames, half = rows.shape[1], DELTA_WIDTH // 2
        fits = frames - 2 * half
        blocks = -(-fits // _BLOCK)
        padded = nn.functional.pad(rows, (0, 0, 0, blocks * _BLOCK - fits))
        around = padded.unfold(1, _BLOCK + 2 * half, _BLOCK).transpose(2, 3)  # (batch, blocks, frames, rows)
        fitted = (_band_matrix(self.slopes) @ around).unflatten(2, (self.deltas, _BLOCK))
        nearest = torch.arange(-half, frames - half, device=fitted.device).clamp(0, fits - 1)
        return [fitted[:, :, number].flatten(1, 2).index_select(1, nearest) for number in range(self.deltas)]


def _derivative_filters(unit: int) -> torch.Tensor:
    """Least-squares weights (2, DELTA_WIDTH) of the first and the second derivative."""
    place = torch.arange(DELTA_WIDTH, dtype=torch.float64) - DELTA_WIDTH // 2
    line = torch.linalg.pinv(torch.stack([place**0, place], dim=1))[1]
    parabola = 2 * torch.linalg.pinv(torch.stack([place**0, place, place**2], dim=1))[2]
    return torch.stack([line * unit, parabola * unit**2]).float()


def _band_matrix(filters: torch.Tensor) -> torch.Tensor:
    """Filters (n, width) -> band matrix (n * _BLOCK, _BLOCK + width - 1); each row is the filter shifted by one."""
    shifted = nn.functional.pad(filters, (0, _BLOCK))[:, None].expand(-1, _BLOCK, -1).flatten(1)
    return shifted[:, :-_BLOCK].reshape(len(filters) * _BLOCK, -1)
