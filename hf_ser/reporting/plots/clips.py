"""Waveforms and log-mel spectrograms of single clips."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from hf_ser.models import LogMel
from hf_ser.reporting.plots.style import look, new_figure, save, styled, wrapped

_N_MELS = 80
RANGE_DB = 65
_SILENCE_DB = -40.0  # with a lower maximum, silence would fill the whole scale
_TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16_000)


@styled()
def plot_clip(waveform: np.ndarray, sampling_rate: int, path: Path, title: str) -> None:
    """Draw a waveform above its log-mel spectrogram.

    Args:
        waveform: (samples,), mono.
        sampling_rate: Hz.
        path: file to write, without suffix.
        title: of the figure.
    """
    figure = new_figure(8.5, 5, title)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2])
    upper.plot(np.arange(len(waveform)) / sampling_rate, waveform, color=look().series[0], linewidth=0.5)
    upper.set(ylabel="amplitude")
    decibels = log_mel(waveform, sampling_rate)
    image = draw_log_mel(lower, decibels, sampling_rate, top_level([decibels]))
    lower.set(xlabel="time (s)", ylabel="frequency (Hz, mel scale)", xlim=(0, max(len(waveform), 2) / sampling_rate))
    figure.colorbar(image, ax=lower, label="power (dB)", extend="both")
    save(figure, path)


@styled()
def plot_emotions(waveforms: Mapping[str, np.ndarray], sampling_rate: int, path: Path, title: str) -> None:
    """Draw log-mel spectrograms side by side, with shared time and power scales.

    Args:
        waveforms: (samples,) by name, such as the emotion.
        sampling_rate: Hz.
        path: file to write, without suffix.
        title: of the figure.
    """
    columns = min(4, len(waveforms))
    rows = math.ceil(len(waveforms) / columns)
    figure = new_figure(max(5.0, 2.4 * columns + 0.8), 1.2 + 2.1 * rows, title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    decibels = {name: log_mel(waveform, sampling_rate) for name, waveform in waveforms.items()}
    top = top_level(list(decibels.values()))
    for axes, (name, spectrogram) in zip(grid.flat, decibels.items(), strict=False):
        image = draw_log_mel(axes, spectrogram, sampling_rate, top)
        axes.set_title(wrapped(name, 26))
        axes.tick_params(bottom=False)  # ticks would float beyond the end of short clips
    for axes in grid.flat[len(waveforms) :]:
        axes.set_axis_off()
    longest = max(len(waveform) for waveform in waveforms.values())
    grid[0, 0].set_xlim(0, max(longest, 2) / sampling_rate)
    figure.supxlabel("time (s)", fontsize="medium")
    figure.supylabel("frequency (Hz, mel scale)", fontsize="medium")
    # As thin as with two rows, whatever the number of rows.
    figure.colorbar(image, ax=grid, label="power (dB)", extend="both", aspect=10 * max(2, rows))
    save(figure, path)


def log_mel(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Log-mel spectrogram in dB (mels, frames): windows of 25 ms every 10 ms, as in the models."""
    n_fft, hop_length = _sizes(sampling_rate)
    frontend = LogMel(sampling_rate, n_mels=_N_MELS, n_fft=n_fft, hop_length=hop_length)
    samples = torch.as_tensor(np.asarray(waveform), dtype=torch.float32)
    samples = torch.nn.functional.pad(samples, (0, max(0, n_fft - len(samples))))  # at least one window
    return frontend(samples[None])[0].numpy()


def _sizes(sampling_rate: int) -> tuple[int, int]:
    return sampling_rate // 40, sampling_rate // 100


def top_level(spectrograms: Sequence[np.ndarray]) -> float:
    """The 99.5th percentile of the level in dB; with the maximum, quiet clips would be entirely dark."""
    return max(_SILENCE_DB, *(float(np.percentile(decibels, 99.5)) for decibels in spectrograms))


def draw_log_mel(axes: Axes, decibels: np.ndarray, sampling_rate: int, top: float) -> AxesImage:
    """Draw a log-mel spectrogram with ticks in Hz.

    Args:
        axes: to draw on.
        decibels: (mels, frames), from `log_mel`.
        sampling_rate: Hz.
        top: level in dB of the brightest colour, see `top_level`.
    """
    bands, frames = decibels.shape
    step_s = _sizes(sampling_rate)[1] / sampling_rate
    image = axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        cmap="cividis",
        vmin=top - RANGE_DB,
        vmax=top,
        # Frames are centred on multiples of the hop; band 0 has its centre one step above 0 Hz.
        extent=(-step_s / 2, (frames - 0.5) * step_s, 0.5, bands + 0.5),
    )
    axes.spines[:].set_visible(False)  # clips end before the axes do
    shown = mel_ticks(sampling_rate, bands)
    axes.set_yticks([0.5 + place * bands for place in shown.values()], [str(hertz) for hertz in shown])
    return image


def mel_ticks(sampling_rate: int, bands: int) -> dict[int, float]:
    """Frequencies in Hz to label on the axis of a log-mel spectrogram -> place from 0 (below) to 1 (above)."""
    step = _slaney_mel(sampling_rate / 2) / (bands + 1)  # band 0 has its centre one step above 0 Hz
    places = {hertz: (_slaney_mel(hertz) / step - 0.5) / bands for hertz in _TICKS_HZ}
    return {hertz: place for hertz, place in places.items() if place <= 1}


def _slaney_mel(hertz: float) -> float:
    """Slaney's mel scale: linear to 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)
