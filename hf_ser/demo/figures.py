"""The page's figures as HTML. They use the full width and follow the light and dark themes."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.image import imsave

from hf_ser.audio import SAMPLING_RATE
from hf_ser.reporting.palette import class_colour
from hf_ser.reporting.plots import clips

_COLUMNS = 1200  # of a waveform or spectrogram: more than the page has pixels would only cost time
_MARKS = 24  # round marks of more windows would touch on a phone; they become strokes


def draw_clip(waveform: np.ndarray) -> str:
    """Draw a waveform above its log-mel spectrogram.

    Args:
        waveform: (samples,) at 16 kHz.

    Returns:
        HTML.
    """
    duration_s = len(waveform) / SAMPLING_RATE
    name = f"Waveform and log-mel spectrogram of the recording, {duration_s:.1f} s."
    decibels = clips.log_mel(waveform, SAMPLING_RATE)
    ticks = "".join(
        f'<span style="bottom: {100 * place:.1f}%">{hertz / 1000:g} kHz</span>'
        for hertz, place in clips.mel_ticks(SAMPLING_RATE, len(decibels)).items()
        if hertz >= 500  # lower labels would overlap
    )
    return (
        f'<div class="clip" role="img" aria-label="{name}">{_outline(waveform)}'
        f'<div class="spectrogram"><img alt="" src="data:image/png;base64,{_spectrogram(decibels)}">{ticks}</div>'
        f"{_time_axis(0.0, duration_s)}</div>"
    )


def draw_timeline(timeline: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> str:
    """Draw the probability of every class over time. The best of each window is marked; silence is hatched.

    Args:
        timeline: windows as `SpeechEmotionPipeline` returns them, at least two.
        labels: in the order of the rows, from the top.

    Returns:
        HTML.
    """
    name = "Probability of each class in every window of the recording; the table below has the same numbers."
    # Windows overlap: each is drawn between the midpoints to the centres of its neighbours.
    centres = np.asarray([(window["start"] + window["end"]) / 2 for window in timeline])
    start, end = timeline[0]["start"], timeline[-1]["end"]
    widths = np.diff(np.concatenate([[start], (centres[1:] + centres[:-1]) / 2, [end]]))
    columns = [{score["label"]: score["score"] for score in window["scores"] or ()} for window in timeline]
    rows = []
    for label in labels:
        cells = "".join(_cell(label, scores, width) for scores, width in zip(columns, widths, strict=True))
        rows.append(
            f'<div class="row" style="--ser-bar: {class_colour(label, labels)}">'
            f'<span class="name" title="{escape(label)}">{escape(label)}</span>'
            f'<span class="cells">{cells}</span></div>'
        )
    lanes = "lanes dense" if len(timeline) > _MARKS else "lanes"
    return f'<div class="{lanes}" role="img" aria-label="{name}">{"".join(rows)}{_time_axis(start, end)}</div>'


def _cell(label: str, scores: Mapping[str, float], width: float) -> str:
    if not scores:
        return f'<i class="silent" style="flex: {width:.3f}"></i>'
    best = ' class="best"' if label == max(scores, key=lambda name: scores[name]) else ""
    return f'<i{best} style="flex: {width:.3f}; --share: {100 * scores[label]:.1f}%"></i>'


def _time_axis(start: float, end: float) -> str:
    seconds = np.linspace(start, end, 5)
    marks = "".join(f"<span>{_minutes(second) if end >= 60 else f'{second:.1f} s'}</span>" for second in seconds)
    return f'<div class="seconds">{marks}</div>'


def _minutes(second: float) -> str:
    minutes, seconds = divmod(round(second), 60)
    return f"{minutes}:{seconds:02d}"


def _outline(waveform: np.ndarray) -> str:
    """Draw the smallest and largest sample of each column as one closed path."""
    size = max(1, -(-len(waveform) // _COLUMNS))
    starts = np.arange(0, len(waveform), size)
    low, high = np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)
    peak = max(1e-3, float(np.abs(waveform).max(initial=0.0)))
    there = [f"{x},{50 - 48 * y / peak:.1f}" for x, y in enumerate(high)]
    back = [f"{x},{50.5 - 48 * y / peak:.1f}" for x, y in reversed(list(enumerate(low)))]
    return (
        f'<svg viewBox="0 0 {max(1, len(starts) - 1)} 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<polygon points="{" ".join(there + back)}"/></svg>'
    )


def _spectrogram(decibels: np.ndarray) -> str:
    """Return a PNG with one pixel per band and frame, in base64."""
    step = max(1, decibels.shape[1] // _COLUMNS)
    top = clips.top_level([decibels])
    buffer = io.BytesIO()
    imsave(buffer, decibels[::-1, ::step], cmap="cividis", vmin=top - clips.RANGE_DB, vmax=top)
    return base64.b64encode(buffer.getvalue()).decode()
