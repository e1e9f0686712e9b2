"""Prosodic functionals: pitch, level, voice quality and cepstra of the active frames of a clip, relative to the clip.

The features are chosen to depend less on the speaker and on silence than those of `Functionals`: silent frames are
left out, levels are relative to the loudest frame, and pitch is in semitones.
"""

import math
from collections.abc import Sequence

import torch
import torchaudio
from torch import nn

from .functionals import ClipStatistics, decibels, summarise
from .precision import float32_on_cpu
from .spectra import apply_filters, filter_groups, inverse_transform

_AMIN = 1e-10  # minimum power
_ACTIVE_DB = -30.0  # frames below, relative to the loudest frame, count as silence
_PITCH_HZ = (75.0, 500.0)
_VOICED = 0.45  # smallest peak of the autocorrelation of a voiced frame, as in Praat
_OCTAVE_COST = 0.02  # preference for higher candidates per octave
_SHAPES = ("centroid", "spread", "flux", "alpha_ratio", "hammarberg_index", "slope_0_500", "slope_500_1500")
_CLIP = (
    *("voiced_rate", "active_rate", "active_s", "segments_per_s", "segment_s", "pitch_slope", "pitch_change"),
    *("level_change", "level_db", "level_peak_db"),
)
_ALL = ("mean", "std", "quartile_1", "median", "quartile_3", "max")
_SPREAD = ("mean", "std")


class ProsodicFunctionals(ClipStatistics):
    """Waveforms (batch, samples) -> prosodic statistics (batch, columns), named in `names`.

    Over the active frames: MFCC, their first and second derivatives, spectral shape (alpha ratio, Hammarberg index
    and slopes as in Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter Set") and level. Over the voiced
    frames: pitch and harmonics-to-noise ratio from the autocorrelation divided by that of the window (Boersma 1993),
    and MFCC. torchaudio's detect_pitch_frequency does not return which frames are voiced. Per clip: rates and
    durations of voiced segments, slope of the pitch, and the mean change of pitch and level between neighbouring
    voiced frames (similar to jitter and shimmer, over frames instead of periods).

    Args:
        sampling_rate: Hz.
        n_mels: number of mel bands for the coefficients.
        n_fft: window length and size of the Fourier transform, in samples.
        hop_length: samples between frames.
        n_mfcc: number of coefficients.

    >>> import torch
    >>> from hf_ser.models import ProsodicFunctionals
    >>> functionals = ProsodicFunctionals(n_mfcc=13)
    >>> functionals(torch.randn(2, 16_000)).shape[1] == len(functionals.names), functionals.names[0]
    (True, 'prosodic_mfcc_1_mean')
    """

    mel: torch.Tensor
    dct: torch.Tensor
    window: torch.Tensor
    hz: torch.Tensor
    lag_window: torch.Tensor

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_mels: int = 40,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mfcc: int = 20,
    ) -> None:
        super().__init__()
        self.sampling_rate, self.n_fft, self.hop_length = sampling_rate, n_fft, hop_length
        self.lags = (int(sampling_rate / _PITCH_HZ[1]), math.ceil(sampling_rate / _PITCH_HZ[0]))
        with float32_on_cpu():
            mel = torchaudio.functional.melscale_fbanks(
                1 + n_fft // 2, 0.0, sampling_rate / 2, n_mels, sampling_rate, norm="slaney", mel_scale="slaney"
            )
            window = torch.hann_window(n_fft)
            correlation = torch.fft.irfft(torch.fft.rfft(window, 2 * n_fft).abs() ** 2)[: self.lags[1] + 2]
            self.register_buffer("mel", mel)
            self.register_buffer("dct", torchaudio.functional.create_dct(n_mfcc, n_mels, norm="ortho"))
            self.register_buffer("window", window)
            self.register_buffer("hz", torch.linspace(0, sampling_rate / 2, 1 + n_fft // 2))
            self.register_buffer("lag_window", correlation / correlation[0])
        self.groups = filter_groups(mel)
        cepstra = [f"mfcc_{number}" for number in range(1, n_mfcc + 1)]
        self.names = tuple(
            f"prosodic_{name}"
            for name in (
                *_named([*cepstra, *_SHAPES], _ALL),
                *_named(["level"], _ALL[:-1]),  # the maximum is 0, as levels are relative to it
                *_named([f"delta_{name}" for name in cepstra] + ["delta_level"], _SPREAD),
                *_named([f"delta2_{name}" for name in cepstra] + ["delta2_level"], _SPREAD),
                *_named([f"voiced_{name}" for name in cepstra], _SPREAD),
                *_named(["pitch", "harmonics_to_noise_db"], _ALL),
                *_CLIP,
            )
        )

    def _rows(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        power, _, lengths = self._power(input_values, attention_mask)
        with torch.autocast(power.device.type, enabled=False):
            return self._columns(power, self._num_frames(lengths))

    def _columns(self, power: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        true = torch.arange(power.shape[1], device=power.device) < num_frames[:, None]
        level = decibels(power.mean(dim=-1))
        loudest = level.masked_fill(~true, -torch.inf).amax(dim=1, keepdim=True)
        relative = level - loudest
        active = true & (relative >= _ACTIVE_DB)
        bands = decibels(apply_filters(power, self.mel, self.groups)) - loudest[..., None]
        cepstra = bands @ self.dct
        pitch, harmonicity = self._pitch(power)
        voiced = active & (harmonicity >= _VOICED)
        semitones = 12 * torch.log2(pitch / 55.0)
        noise_db = 10 * torch.log10(harmonicity.clamp(0.001, 0.999) / (1 - harmonicity.clamp(0.001, 0.999)))
        moving = torch.cat([cepstra, relative[..., None]], dim=-1)
        first, inside = _derivative(moving, active)
        second, further = _derivative(first, inside)
        parts = [
            _summary(torch.cat([cepstra, self._shapes(power, active)], dim=-1), active, _ALL),
            _summary(relative[..., None], active, _ALL[:-1]),
            _summary(first, inside, _SPREAD),
            _summary(second, further, _SPREAD),
            _summary(cepstra, voiced, _SPREAD),
            _summary(torch.stack([semitones, noise_db], dim=-1), voiced, _ALL),
            self._of_clip(semitones, level, active, voiced, num_frames),
        ]
        return torch.cat(parts, dim=1)

    def _pitch(self, power: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pitch in Hz and height of its peak in the autocorrelation, from 0 to 1, per frame (batch, frames)."""
        low, high = self.lags
        correlation = inverse_transform(power, high + 2)
        correlation = correlation / correlation[..., :1].clamp(min=_AMIN) / self.lag_window
        before, inner, after = (correlation[..., low + step : high + 1 + step] for step in (-1, 0, 1))
        # Parabolas through each peak and its neighbours: lags are fractions of samples, and a sampled peak at the
        # period may be lower than one at twice the period.
        curve = (before - 2 * inner + after).clamp(max=-_AMIN)
        offset = ((before - after) / 2 / curve).clamp(-0.5, 0.5)
        heights = inner - (before - after) * offset / 4
        lags = torch.arange(low, high + 1, device=power.device) + offset
        heights = heights.masked_fill((inner < before) | (inner < after), 0.0)
        best = (heights - _OCTAVE_COST * torch.log2(lags)).argmax(dim=-1, keepdim=True)
        pitch, height = self.sampling_rate / lags.gather(-1, best), heights.gather(-1, best)
        return pitch[..., 0], height[..., 0].clamp(0.0, 1.0)

    def _shapes(self, power: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """Spectral shape per frame (batch, frames, shapes); differences of levels in decibels."""
        total = power.sum(dim=-1).clamp(min=_AMIN)
        centroid = (power @ self.hz) / total
        spread = ((power @ self.hz**2) / total - centroid**2).clamp(min=0.0).sqrt()
        root = (power / total[..., None]).sqrt()
        flux = nn.functional.pad((root[:, 1:] - root[:, :-1]).square().sum(dim=-1), (1, 0))
        flux[:, 1:] *= active[:, :-1]  # the change from silence is not one of the voice
        low, high = self._band(power, 50, 1000), self._band(power, 1000, 5000)
        peaks = [power[..., self._bins(*band)].amax(dim=-1) for band in ((0, 2000), (2000, 5000))]
        shapes = [centroid, spread, flux, decibels(low) - decibels(high), decibels(peaks[0]) - decibels(peaks[1])]
        shapes += [self._slope(power, 0, 500), self._slope(power, 500, 1500)]
        return torch.stack(shapes, dim=-1)

    def _bins(self, low: float, high: float) -> slice:
        step = self.sampling_rate / self.n_fft
        return slice(math.ceil(low / step), math.floor(high / step) + 1)

    def _band(self, power: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return power[..., self._bins(low, high)].sum(dim=-1)

    def _slope(self, power: torch.Tensor, low: float, high: float) -> torch.Tensor:
        """Slope of the spectrum between two frequencies, in decibels per kHz."""
        bins = self._bins(low, high)
        places = self.hz[bins] / 1000
        places = places - places.mean()
        return decibels(power[..., bins]) @ (places / places.square().sum())

    def _of_clip(
        self,
        semitones: torch.Tensor,
        level: torch.Tensor,
        active: torch.Tensor,
        voiced: torch.Tensor,
        num_frames: torch.Tensor,
    ) -> torch.Tensor:
        """The columns in `_CLIP` (batch, columns)."""
        frame_s = self.hop_length / self.sampling_rate
        counts, speaking = voiced.sum(dim=1), active.sum(dim=1).clamp(min=1)
        both = voiced[:, 1:] & voiced[:, :-1]
        segments = (counts - both.sum(dim=1)).float()
        pairs = both.sum(dim=1).clamp(min=1)
        times = torch.arange(voiced.shape[1], device=voiced.device) * frame_s
        number = counts.clamp(min=1)
        centred = (times - (times * voiced).sum(dim=1, keepdim=True) / number[:, None]) * voiced
        slope = (centred * semitones).sum(dim=1) / centred.square().sum(dim=1).clamp(min=1e-3)
        changes = [((values[:, 1:] - values[:, :-1]).abs() * both).sum(dim=1) / pairs for values in (semitones, level)]
        columns = [
            *(counts / speaking, speaking / num_frames, speaking * frame_s, segments / (speaking * frame_s)),
            *(counts * frame_s / segments.clamp(min=1), slope, *changes),
            (level * active).sum(dim=1) / speaking,
            level.masked_fill(~active, -torch.inf).amax(dim=1),
        ]
        return torch.stack([column.float() for column in columns], dim=1)


def _named(names: Sequence[str], statistics: Sequence[str]) -> list[str]:
    return [f"{name}_{statistic}" for statistic in statistics for name in names]


def _summary(values: torch.Tensor, chosen: torch.Tensor, statistics: Sequence[str]) -> torch.Tensor:
    """Statistics (batch, statistics * descriptors) of the chosen frames (batch, frames); 0 if there are none."""
    counts = chosen.sum(dim=1, keepdim=True)
    places = torch.where(chosen, chosen.cumsum(dim=1), counts + (~chosen).cumsum(dim=1)) - 1  # chosen frames first
    values = values.masked_fill(~chosen[..., None], 0.0)
    packed = torch.zeros_like(values).scatter(1, places[..., None].expand_as(values), values)
    return summarise(packed, counts[:, 0].clamp(min=1), statistics).flatten(1)


def _derivative(values: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Least-squares slope over five frames (batch, frames, descriptors), and the frames where all five are chosen."""
    padded = nn.functional.pad(values, (0, 0, 2, 2))
    around = nn.functional.pad(chosen, (2, 2))
    size = values.shape[1]
    shifted = [padded[:, step : step + size] for step in range(5)]
    inside = torch.stack([around[:, step : step + size] for step in range(5)]).all(dim=0)
    return (2 * (shifted[4] - shifted[0]) + shifted[3] - shifted[1]) / 10, inside
