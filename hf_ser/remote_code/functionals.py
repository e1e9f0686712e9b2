"""Functionals: statistics of acoustic features over a clip, for classifiers of tabular data."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torchaudio
from torch import nn

from .filterbanks import a_weights, chroma_filters, frequencies_hz
from .frontend import check_finite, check_waveforms
from .precision import KeepsPrecision, float32_on_cpu
from .spectra import apply_filters, filter_groups, in_portions, power_spectra

STATISTICS = ("mean", "std", "min", "quartile_1", "median", "quartile_3", "max")
_AMIN = 1e-10  # minimum power, as in librosa
_QUANTILES = {"min": 0.0, "quartile_1": 0.25, "median": 0.5, "quartile_3": 0.75, "max": 1.0}
_CONTRAST_HZ = (0.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
_CONTRAST_SHARE = 0.02  # share of a band's bins that its peak and its valley are averaged over
_CONTRAST_RANGE_DB = 80.0
_NOISE_QUANTILE = 0.1


class ClipStatistics(KeepsPrecision):
    """Waveforms (batch, samples) -> statistics of each clip (batch, columns), named in `names`.

    The result for a clip is the same alone and in a padded batch with its mask. A subclass sets the fields below and
    defines `_rows`.
    """

    names: tuple[str, ...]
    window: torch.Tensor
    hop_length: int

    @torch.no_grad()
    def forward(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the columns in `names`.

        Args:
            input_values: waveforms (batch, samples), floating point between -1 and 1.
            attention_mask: 1 for samples, 0 for the padding after them (batch, samples).

        Returns:
            (batch, columns), float32.

        Raises:
            ValueError: the shape is wrong, the waveforms are integers, or samples are not finite.
        """
        check_waveforms(input_values, attention_mask)
        return in_portions(self._rows, input_values, attention_mask)

    def _rows(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """The result of `forward` for some of the clips."""
        raise NotImplementedError

    def _power(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Power spectra (batch, frames, bins) of masked waveforms, these (batch, samples), and their lengths (batch,).

        Raises:
            ValueError: samples are not finite.
        """
        waveforms = input_values.float()
        lengths = torch.full((waveforms.shape[0],), waveforms.shape[1], device=waveforms.device)
        if attention_mask is not None:
            waveforms = waveforms.where(attention_mask.bool(), 0.0)
            lengths = attention_mask.sum(dim=1)
        check_finite(torch.stack(torch.aminmax(waveforms)))  # aminmax propagates NaN
        with torch.autocast(waveforms.device.type, enabled=False):
            return power_spectra(waveforms, self.window, self.hop_length, pad_mode="constant"), waveforms, lengths

    def _num_frames(self, lengths: torch.Tensor) -> torch.Tensor:
        return 1 + torch.div(lengths, self.hop_length, rounding_mode="floor")


class Functionals(ClipStatistics):
    """Waveforms (batch, samples) -> statistics over time (batch, columns), named in `names`.

    Per frame, as in librosa with the same n_fft and hop_length: MFCC (top_db None), chroma (tuning 0), spectral
    contrast (Jiang et al. 2002), zero-crossing rate, RMS, and loudness (A-weighted power in decibels). Per clip: an
    estimate of the signal-to-noise ratio in decibels, with the tenth percentile of the frames' power as the noise
    power (after Martin 2001, "Noise Power Spectral Density Estimation").

    The result for a clip is the same alone and in a padded batch with its mask.

    Args:
        sampling_rate: Hz.
        n_mels: number of mel bands for the coefficients.
        n_fft: window length and size of the Fourier transform, in samples.
        hop_length: samples between frames.
        n_mfcc: number of coefficients.
        statistics: names from `STATISTICS`, in the order of the columns.

    Raises:
        ValueError: a statistic is unknown, there are more coefficients than bands, or the sampling rate is too low for
            spectral contrast.

    >>> import torch
    >>> from hf_ser.models import Functionals
    >>> functionals = Functionals(n_mfcc=13, statistics=["mean", "std"])
    >>> functionals(torch.zeros(2, 16_000)).shape, functionals.names[0], functionals.names[-1]
    (torch.Size([2, 71]), 'mfcc_1_mean', 'signal_to_noise_db')
    """

    mel: torch.Tensor
    weights: torch.Tensor
    dct: torch.Tensor
    window: torch.Tensor

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_mels: int = 80,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mfcc: int = 40,
        statistics: Sequence[str] = ("mean", "std", "min", "median", "max"),
    ) -> None:
        super().__init__()
        unknown = [name for name in statistics if name not in STATISTICS]
        if unknown or not statistics:
            raise ValueError(f"statistics: got {list(statistics)}; expected one or more of {', '.join(STATISTICS)}.")
        if not 1 <= n_mfcc <= n_mels:
            raise ValueError(f"n_mfcc: got {n_mfcc}; expected 1 to n_mels, which is {n_mels}.")
        if sampling_rate / 2 <= _CONTRAST_HZ[-1]:
            raise ValueError(f"sampling_rate: got {sampling_rate}; expected more than {2 * _CONTRAST_HZ[-1]:.0f} Hz.")
        self.n_mels, self.n_fft, self.hop_length = n_mels, n_fft, hop_length
        self.statistics = tuple(statistics)
        with float32_on_cpu():
            mel = torchaudio.functional.melscale_fbanks(
                1 + n_fft // 2, 0.0, sampling_rate / 2, n_mels, sampling_rate, norm="slaney", mel_scale="slaney"
            )
            others = torch.cat([chroma_filters(sampling_rate, n_fft), a_weights(sampling_rate, n_fft)[None]])
            self.register_buffer("mel", mel)
            self.register_buffer("weights", others.T.float().contiguous())
            self.register_buffer("dct", torchaudio.functional.create_dct(n_mfcc, n_mels, norm="ortho"))
            self.register_buffer("window", torch.hann_window(n_fft))
        self.groups = filter_groups(mel)
        self.bands = contrast_bands(sampling_rate, n_fft)
        self.descriptor_names = (
            *(f"mfcc_{number}" for number in range(1, n_mfcc + 1)),
            *(f"chroma_{number}" for number in range(1, 13)),
            *(f"spectral_contrast_{number}" for number in range(1, len(self.bands) + 1)),
            "zero_crossing_rate",
            "rms",
            "loudness_db",
        )
        self.names = (
            *(f"{name}_{statistic}" for statistic in self.statistics for name in self.descriptor_names),
            "signal_to_noise_db",
        )

    def _rows(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        values, num_frames = self.descriptors(input_values, attention_mask)
        columns = [summarise(values, num_frames, self.statistics).flatten(1)]
        power = values[..., self.descriptor_names.index("rms")] ** 2
        columns.append(signal_to_noise_db(power, num_frames)[:, None])
        return torch.cat(columns, dim=1)

    @torch.no_grad()
    def descriptors(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the features per frame.

        Args:
            input_values: see `forward`.
            attention_mask: see `forward`.

        Returns:
            Values (batch, frames, descriptors) in the order of `descriptor_names`, and the number of unpadded frames
            of each clip (batch,); later frames are undefined.
        """
        check_waveforms(input_values, attention_mask)
        power, waveforms, lengths = self._power(input_values, attention_mask)
        num_frames = self._num_frames(lengths)
        with torch.autocast(waveforms.device.type, enabled=False):
            bands = apply_filters(power, self.mel, self.groups)
            # The product takes half the time with a multiple of four columns.
            weights = nn.functional.pad(self.weights, (0, -self.weights.shape[1] % 4))
            chroma, loudness, _ = (power @ weights).split([12, 1, weights.shape[1] - 13], dim=-1)
            largest = chroma.amax(dim=-1, keepdim=True)
            parts = [
                decibels(bands) @ self.dct,
                chroma / torch.where(largest > torch.finfo(torch.float32).tiny, largest, 1.0),
                spectral_contrast(power, self.bands, num_frames),
                self._zero_crossing_rate(waveforms, lengths)[..., None],
                self._frame_means(waveforms**2)[..., None].sqrt(),
                decibels(loudness),
            ]
        return torch.cat(parts, dim=-1), num_frames

    def _frame_means(self, values: torch.Tensor) -> torch.Tensor:
        """Mean of zero-padded values (batch, samples) in each frame (batch, frames)."""
        padded = nn.functional.pad(values, (self.n_fft // 2, self.n_fft // 2))
        step = math.gcd(self.n_fft, self.hop_length)
        whole = padded[:, : padded.shape[1] // step * step].unflatten(1, (-1, step)).mean(dim=-1)
        return nn.functional.avg_pool1d(whole, self.n_fft // step, self.hop_length // step)

    def _zero_crossing_rate(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Share of samples (batch, frames) whose sign differs from that of the previous sample in the frame."""
        negative = waveforms < -_AMIN
        # librosa pads with the last sample, which adds no crossing.
        crossings = nn.functional.pad((negative[:, 1:] != negative[:, :-1]).float(), (1, 0))
        if torch.compiler.is_exporting() or (lengths < waveforms.shape[1]).any():
            places = torch.arange(waveforms.shape[1], device=waveforms.device)
            crossings = crossings * (places < lengths[:, None])
        rates = self._frame_means(crossings)
        # The first sample of a frame has no previous sample in the frame.
        firsts = torch.arange(rates.shape[1], device=rates.device) * self.hop_length - self.n_fft // 2
        inside = (firsts >= 0) & (firsts < crossings.shape[1])
        return rates - crossings[:, firsts.where(inside, 0)] * inside / self.n_fft


def contrast_bands(sampling_rate: int, n_fft: int) -> tuple[tuple[int, int, int], ...]:
    """Frequency bands of spectral contrast, one per octave, as in librosa.feature.spectral_contrast.

    Returns:
        First bin, bin after the last, and number of bins in the peak, for each band.
    """
    hz = frequencies_hz(sampling_rate, n_fft)
    edges = (*_CONTRAST_HZ, 2 * _CONTRAST_HZ[-1])
    bands = []
    for number, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        inside = torch.nonzero((hz >= low) & (hz <= high)).flatten()
        first = int(inside[0]) - (number > 0)
        last = int(inside[-1]) if number < len(edges) - 2 else len(hz) - 1
        count = max(1, round(_CONTRAST_SHARE * (last + 1 - first)))
        # The last bin of each band except the highest belongs to the next band.
        bands.append((first, last + (number == len(edges) - 2), count))
    return tuple(bands)


def spectral_contrast(
    power: torch.Tensor, bands: tuple[tuple[int, int, int], ...], num_frames: torch.Tensor
) -> torch.Tensor:
    """Difference between peak and valley of each band, in decibels of magnitude.

    Args:
        power: (batch, frames, bins).
        bands: see `contrast_bands`.
        num_frames: number of unpadded frames of each clip (batch,).

    Returns:
        (batch, frames, bands).
    """
    peaks, valleys = [], []
    for first, end, count in bands:
        band = power[..., first:end]
        if count == 1:
            peaks.append(band.amax(dim=-1, keepdim=True))
            valleys.append(band.amin(dim=-1, keepdim=True))
        else:
            ordered = _sort(band)
            peaks.append(ordered[..., -count:])
            valleys.append(ordered[..., :count])
    means = _block_means([count for _, _, count in bands], power.device)
    padding = torch.arange(power.shape[1], device=power.device) >= num_frames[:, None]
    levels = []
    for values in (peaks, valleys):
        level = decibels(torch.cat(values, dim=-1).sqrt() @ means)
        loudest = level.masked_fill(padding[..., None], float("-inf")).amax(dim=(1, 2), keepdim=True)
        levels.append(torch.maximum(level, loudest - _CONTRAST_RANGE_DB))
    return levels[0] - levels[1]


def _block_means(counts: list[int], device: torch.device) -> torch.Tensor:
    """Matrix (sum of counts, blocks) that averages concatenated blocks of `counts` columns."""
    return torch.block_diag(*(torch.full((count, 1), 1 / count, device=device) for count in counts))


def summarise(values: torch.Tensor, num_frames: torch.Tensor, statistics: Sequence[str]) -> torch.Tensor:
    """Compute statistics over the unpadded frames.

    Args:
        values: (batch, frames, descriptors).
        num_frames: number of unpadded frames of each clip, at least 1 (batch,).
        statistics: names from `STATISTICS`. std is the population standard deviation; quantiles are interpolated.

    Returns:
        (batch, statistics, descriptors).
    """
    true = (torch.arange(values.shape[1], device=values.device) < num_frames[:, None])[..., None]
    count = num_frames[:, None]
    mean = values.masked_fill(~true, 0.0).sum(dim=1) / count
    variance = ((values - mean[:, None]) ** 2).masked_fill(~true, 0.0).sum(dim=1) / count
    ordered = None
    if set(statistics) & set(_QUANTILES):
        ordered = _sort(values.masked_fill(~true, float("inf")).transpose(1, 2))
    results = []
    for name in statistics:
        if name in _QUANTILES:
            assert ordered is not None
            results.append(_quantile(ordered, num_frames, _QUANTILES[name]))
        else:
            results.append(mean if name == "mean" else variance.sqrt())
    return torch.stack(results, dim=1)


def signal_to_noise_db(power: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
    """Estimate the ratio of speech to background in decibels, from -20 to 100.

    Args:
        power: power of the frames (batch, frames).
        num_frames: number of unpadded frames of each clip (batch,).

    Returns:
        (batch,).
    """
    padding = torch.arange(power.shape[1], device=power.device) >= num_frames[:, None]
    ordered = _sort(power.masked_fill(padding, float("inf")))
    noise = _quantile(ordered[:, None], num_frames, _NOISE_QUANTILE)[:, 0].clamp(min=_AMIN)
    mean = power.masked_fill(padding, 0.0).sum(dim=1) / num_frames
    return (10 * torch.log10((mean - noise).clamp(min=_AMIN * _AMIN) / noise)).clamp(-20.0, 100.0)


def _quantile(ordered: torch.Tensor, num_frames: torch.Tensor, share: float) -> torch.Tensor:
    """Quantile (batch, rows) of the first `num_frames` (batch,) values of sorted rows (batch, rows, frames)."""
    place = share * (num_frames - 1).to(ordered.dtype)
    below = place.floor().long()
    above = torch.minimum(below + 1, num_frames - 1)
    rows = ordered.shape[1]
    low, high = (ordered.gather(2, index[:, None, None].expand(-1, rows, 1))[..., 0] for index in (below, above))
    return low + (place - below)[:, None] * (high - low)


def _sort(values: torch.Tensor) -> torch.Tensor:
    """Sort along the last dimension. On a CPU, numpy is about twenty times as fast as torch."""
    if values.device.type == "cpu" and not torch.compiler.is_exporting():
        return torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return values.sort(dim=-1).values


def decibels(power: torch.Tensor) -> torch.Tensor:
    """Power of any shape in decibels, at least -100."""
    return 10 * torch.log10(power.clamp(min=_AMIN))
