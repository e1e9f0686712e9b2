"""The answer as HTML. What figures and colours show is also given in words and numbers."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hf_ser.demo.clip_inference import Answer, DemoModel
from hf_ser.demo.figures import draw_clip, draw_timeline
from hf_ser.reporting.palette import class_colour

_UNSURE = 0.5  # below this, the other classes together are more probable than the best one

CSS = """
.gradio-container { margin: 0 auto !important; max-width: 64rem !important; width: 100%; }
#model .html-container, #answer .html-container, #answer .prose { padding: 0 !important; }
#recording button, #recording time { color: var(--body-text-color) !important; }
#models input { border-color: var(--body-text-color-subdued) !important; }
.ser { --ser-bar: #332288; --ser-track: #e2e2ec; --ser-line: #8a8a99; font-size: 1rem; line-height: 1.5; }
.dark .ser { --ser-bar: #88ccee; --ser-track: #2c2c36; }
.ser h2 { font-size: 1.25rem; margin: 0 0 .5rem; }
.ser h3 { font-size: 1.05rem; margin: 1.25rem 0 .5rem; }
.ser p { margin: .25rem 0; overflow-wrap: anywhere; }
.ser table, .ser tr { border: 0 !important; }
.ser table { border-collapse: collapse; margin: 0; width: 100%; }
.ser caption { text-align: left; padding-bottom: .25rem; }
.ser th, .ser td { border: 0; padding: .15rem .4rem .15rem 0; text-align: left; white-space: nowrap; }
.ser th { font-weight: normal; }
.ser .bars th { max-width: min(14rem, 40vw); overflow: hidden; text-overflow: ellipsis; }
.ser .best th, .ser .best td { font-weight: bold; }
.ser .number { text-align: right; font-variant-numeric: tabular-nums; }
.ser .bar { width: 99%; min-width: 4rem; }
.ser .track { background: var(--ser-track); border-radius: 2px; height: .9rem; }
.ser .fill { background: var(--ser-bar); border-radius: 2px; height: 100%; }
.ser .answer { font-size: 1.9rem; margin: 0; text-wrap: balance; }
.ser .clip svg { display: block; height: 5rem; width: 100%; }
.ser .clip polygon { fill: var(--ser-bar); }
.ser .spectrogram { position: relative; }
.ser .spectrogram img { border-radius: 4px; display: block; height: 11rem; image-rendering: pixelated; width: 100%; }
.ser .spectrogram span { background: #000a; color: #fff; font-size: .75rem; left: 0; padding: 0 .3rem; }
.ser .spectrogram span { position: absolute; transform: translateY(50%); }
.ser .seconds { display: flex; font-size: .8rem; justify-content: space-between; padding-top: .2rem; }
.ser .lanes .row { align-items: center; display: flex; margin-bottom: 2px; }
.ser .lanes .name { flex: 0 0 5.5rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.ser .lanes .seconds { padding-left: 5.5rem; }
.ser .cells { display: flex; flex: 1; height: 1.5rem; }
.ser .cells i { position: relative; }
.ser .cells i { background: color-mix(in srgb, var(--ser-bar) var(--share, 0%), var(--ser-track)); }
.ser .cells .best::after { background: var(--body-text-color); border: 2px solid var(--body-background-fill);
  border-radius: 50%; content: ""; height: .6rem; left: 50%; position: absolute; top: 50%; width: .6rem;
  transform: translate(-50%, -50%); }
.ser .dense .best::after { border: 0; border-radius: 0; height: .4rem; width: 100%; }
.ser .cells .silent { background: repeating-linear-gradient(45deg, var(--ser-track) 0 4px, transparent 4px 8px); }
.ser summary { cursor: pointer; padding: .4rem 0; }
.ser .scroll { max-height: 20rem; overflow: auto; }
.ser .scroll th, .ser .scroll td { padding-right: 1rem; }
.ser .progress { align-items: center; display: flex; gap: .6rem; min-height: 6rem; justify-content: center; }
.ser .progress::before { animation: ser-turn 1s linear infinite; border: 3px solid currentColor; border-radius: 50%;
  border-right-color: transparent; content: ""; height: 1.2rem; width: 1.2rem; }
@keyframes ser-turn { to { transform: rotate(360deg); } }
@media (prefers-reduced-motion: reduce) { .ser .progress::before { animation: none; } }
.ser .error { border: 1px solid var(--ser-line); border-left: .4rem solid #cc3311; padding: .75rem 1rem; }
.ser :focus-visible, button:focus-visible, [role=button]:focus-visible, input:focus-visible {
  outline: 3px solid var(--ser-bar, #6655cc) !important; outline-offset: 2px;
}
#model { font-size: 1rem; overflow-wrap: anywhere; }
#models label { max-width: 100%; }
#models span { overflow-wrap: anywhere; }
"""


def render(answer: Answer, model: DemoModel, name: str) -> str:
    """Render the most probable class, a bar per class, the recording, and a timeline if the recording is long.

    Args:
        answer: what the model predicts.
        model: the model.
        name: name of the model.
    """
    best, score = next(iter(answer.scores.items()))
    unsure = "" if score >= _UNSURE else "<p>No class reaches 50 %: the answer is uncertain.</p>"
    said = "Sounds most like"
    if answer.not_reached is not None:
        said = "Not sure. Closest"
        unsure = f"<p>The probability is below the threshold of the model, {percent(answer.not_reached)}.</p>"
    parts = [
        f'<h2 class="answer">{said}: {escape(best)} ({percent(score)})</h2>{unsure}',
        f"<p><strong>{escape(model.warning)}</strong></p>" if model.warning else "",
        bars(answer.scores, model.labels),
        "<h3>The recording</h3>",
        draw_clip(answer.waveform),
    ]
    if answer.is_long:
        parts += ["<h3>Over time</h3>", _timeline(answer.timeline, model.labels)]
    about = f"<p>Model: {escape(name)}. {escape(model.summary)}</p><p>{escape(model.details)}</p>"
    parts.append(f"<details><summary>About the model</summary>{about}</details>")
    return f'<div class="ser">{"".join(parts)}</div>'


def render_progress() -> str:
    """What the page shows until the answer is there."""
    return '<div class="ser"><p class="progress">Classifying the recording …</p></div>'


def render_error(message: str) -> str:
    """An error message, which replaces the answer."""
    return f'<div class="ser"><div class="error"><h2>No answer</h2><p>{escape(message)}</p></div></div>'


def percent(score: float) -> str:
    """A probability in percent."""
    return f"{100 * score:.1f} %"


def bars(scores: Mapping[str, float], labels: Sequence[str]) -> str:
    """A table with the probability of each class as bar and number.

    Args:
        scores: by label, best first.
        labels: of the model, which have their own colours.
    """
    rows = "".join(
        f'<tr{" class=best" if place == 0 else ""} style="--ser-bar: {class_colour(label, labels)}">'
        f'<th scope="row" title="{escape(label)}">{escape(label)}</th>'
        f'<td class="number">{percent(score)}</td><td class="bar" aria-hidden="true">'
        f'<div class="track"><div class="fill" style="width: {100 * score:.1f}%"></div></div></td></tr>'
        for place, (label, score) in enumerate(scores.items())
    )
    return f'<table class="bars"><caption>Probability of each class</caption><tbody>{rows}</tbody></table>'


def _timeline(timeline: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> str:
    head = "".join(f'<th scope="col" class="number">{escape(label)}</th>' for label in labels)
    rows = "".join(_row(window, labels) for window in timeline)
    return (
        f"{draw_timeline(timeline, labels)}<details><summary>The timeline as a table</summary>"
        '<div class="scroll" role="region" aria-label="The timeline as a table" tabindex="0"><table class="timeline">'
        f'<thead><tr><th scope="col">seconds</th><th scope="col">most probable</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _row(window: Mapping[str, Any], labels: Sequence[str]) -> str:
    place = f'<tr><th scope="row">{window["start"]:.1f} to {window["end"]:.1f}</th>'
    if window["silent"]:
        return f'{place}<td colspan="{len(labels) + 1}">silence</td></tr>'
    scores = {score["label"]: score["score"] for score in window["scores"]}
    cells = "".join(f'<td class="number">{percent(scores[label])}</td>' for label in labels)
    return f"{place}<td>{escape(max(scores, key=lambda label: scores[label]))}</td>{cells}</tr>"
