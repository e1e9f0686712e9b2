"""The answer for live speech as HTML."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hf_ser.demo.clip_inference import DemoModel
from hf_ser.demo.figures import draw_timeline
from hf_ser.demo.page import bars, percent


def render_live(answers: Sequence[Mapping[str, Any]], model: DemoModel) -> str:
    """Render the label and the probabilities of the last window, and the windows before it.

    Args:
        answers: of the last windows; see `StreamingRecognizer.feed`. At least one.
        model: the model.
    """
    last = answers[-1]
    place = f"{last['start']:.0f} to {last['end']:.0f} s"
    warning = f"<p><strong>{escape(model.warning)}</strong></p>" if model.warning else ""
    if last["scores"] is None:
        said, chart = ("Silence" if last["silent"] else "No answer"), ""
    else:
        said = f"{escape(last['label'])} ({percent(last['score'])})"
        said = f"Not sure. Closest: {said}" if last.get("abstained") else f"Sounds most like: {said}"
        chart = bars({each["label"]: each["score"] for each in last["scores"]}, model.labels)
    lanes = f"<h3>The last windows</h3>{draw_timeline(list(answers), model.labels)}" if len(answers) > 1 else ""
    return f'<div class="ser"><h2 class="answer">{said}</h2><p>{place}</p>{warning}{chart}{lanes}</div>'


def render_waiting(window_s: float) -> str:
    """What the page shows until the first window is complete.

    Args:
        window_s: length of a window in seconds.
    """
    return (
        f'<div class="ser"><p class="progress">The first answer comes after {window_s:g} seconds of sound …</p></div>'
    )
