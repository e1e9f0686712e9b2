"""The page's figures, as PNG: narrow enough that their words can still be read on a telephone."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hf_ser.audio import SAMPLING_RATE
from hf_ser.reporting.plots import clips
from hf_ser.reporting.plots.style import COLOURS, SEQUENTIAL, new_figure, style

_WIDTH_IN, _DPI = 4.4, 220  # at a telephone's 300 pixels, type of 10 points is still 9 pixels high
_COLUMNS = 1200  # of a waveform or spectrogram: more than pixels would only cost time


@style()
def draw_clip(waveform: np.ndarray) -> bytes:
    """Draw a waveform above its log-mel spectrogram.

    Args:
        waveform: (samples,) at 16 kHz.

    Returns:
        A PNG.
    """
    figure = new_figure(_WIDTH_IN, 4.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2])
    time_s, low, high = _envelope(waveform)
    upper.fill_between(time_s, low, high, color=COLOURS[0], linewidth=0.6)
    peak = max(1e-3, 1.05 * float(np.abs(waveform).max(initial=0.0)))
    upper.set(ylabel="amplitude", ylim=(-peak, peak))
    decibels = clips.log_mel(waveform, SAMPLING_RATE)
    # The frequency axis of `plot_clip`, whose own figure is too wide for a telephone.
    image = clips.draw_log_mel(lower, decibels, SAMPLING_RATE, clips.top_level([decibels]))
    lower.set(xlabel="time (s)", ylabel="frequency (Hz, mel scale)", xlim=(0, len(waveform) / SAMPLING_RATE))
    figure.colorbar(image, ax=lower, label="power (dB)", extend="both")
    return _png(figure)


@style()
def draw_timeline(timeline: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> bytes:
    """Draw the probability of every emotion over time; the best of each window has a mark, silence is hatched.

    Args:
        timeline: windows as `SpeechEmotionPipeline` gives them, at least two.
        labels: in the order of the axis, from above.

    Returns:
        A PNG.
    """
    table = np.full((len(labels), len(timeline)), np.nan)
    for column, window in enumerate(timeline):
        for score in window["scores"] or ():
            table[labels.index(score["label"]), column] = score["score"]
    centres = np.asarray([(window["start"] + window["end"]) / 2 for window in timeline])
    edges = np.concatenate([[timeline[0]["start"]], (centres[1:] + centres[:-1]) / 2, [timeline[-1]["end"]]])
    figure = new_figure(_WIDTH_IN, 1.2 + 0.28 * len(labels))
    axes = figure.subplots()
    axes.patch.set(hatch="////", edgecolor="0.5", facecolor="white")  # seen where there is nothing
    # Windows are not of one length: the last may be short.
    rows = np.arange(len(labels) + 1) - 0.5
    image = axes.pcolormesh(edges, rows, np.ma.masked_invalid(table), cmap=SEQUENTIAL, vmin=0, vmax=1)
    sounding = ~np.isnan(table).all(axis=0)
    best = np.nan_to_num(table[:, sounding]).argmax(axis=0)
    axes.plot(centres[sounding], best, "o", color=COLOURS[1], markeredgecolor="white", label="most probable")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="time (s)", ylim=(len(labels) - 0.5, -0.5))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    figure.colorbar(image, ax=axes, label="probability")
    return _png(figure)


def _envelope(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time in seconds, smallest and largest sample of as many stretches as there are columns."""
    size = max(1, len(waveform) // _COLUMNS)
    starts = np.arange(0, len(waveform), size)
    low, high = np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)
    return starts / SAMPLING_RATE, low, high


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
