"""Clips at another speed, for models that average over speeds in inference."""

from fractions import Fraction

import torch
import torchaudio

_LARGEST = 100  # of numerator and denominator of a factor: the filter has as many phases


def at_speed(
    waveforms: torch.Tensor, mask: torch.Tensor | None, factor: float
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Play clips faster by a factor: tempo and pitch change together, as with a tape.

    Args:
        waveforms: (batch, samples), floating point.
        mask: 1 for samples, 0 for the padding at the end (batch, samples).
        factor: from 0.5 to 2.

    Returns:
        Waveforms (batch, samples / factor), float32, and their mask.

    >>> at_speed(torch.zeros(2, 16_000), None, 1.25)[0].shape
    torch.Size([2, 12800])
    """
    ratio = Fraction(factor).limit_denominator(_LARGEST)
    if ratio == 1:
        return waveforms, mask
    if mask is not None:
        waveforms = waveforms.where(mask.bool(), 0.0)  # the filter would move samples across the border
    with torch.autocast(waveforms.device.type, enabled=False):
        changed = _resampled(waveforms.float(), ratio.numerator, ratio.denominator)
    if mask is None:
        return changed, None
    lengths = (mask.sum(dim=1) * ratio.denominator + ratio.numerator - 1) // ratio.numerator  # rounded up
    return changed, (torch.arange(changed.shape[1], device=mask.device) < lengths[:, None]).to(mask.dtype)


def _resampled(waveforms: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Resample (batch, samples) from rate `before` to `after`."""
    if not torch.compiler.is_exporting():
        return torchaudio.functional.resample(waveforms, before, after)
    # The same without fixing the length, which torchaudio computes as a constant.
    step = torchaudio.transforms.Resample(before, after)
    padded = torch.nn.functional.pad(waveforms[:, None], (step.width, step.width + before))
    phases = torch.nn.functional.conv1d(padded, step.kernel, stride=before)
    length = (after * waveforms.shape[1] + before - 1) // before
    return phases.transpose(1, 2).flatten(1)[:, :length]
