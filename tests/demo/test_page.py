"""The answer as HTML, and the figures in it."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from hf_ser.demo.app import answer
from hf_ser.demo.clip_inference import Answer, classify
from hf_ser.demo.figures import draw_clip, draw_timeline
from hf_ser.demo.page import render, render_error
from hf_ser.labels import EMOTIONS


def test_the_answer_says_in_numbers_what_it_shows_in_bars(demo_model, recordings):
    answered = classify(demo_model, recordings / "voice.wav")
    html = render(answered, demo_model, "first/model")
    rows = re.findall(
        r'<th scope="row" title="\w+">(\w+)</th><td class="number">([\d.]+) %</td>.*?width: ([\d.]+)%', html
    )
    assert [(label, float(number)) for label, number, _ in rows] == [
        (label, pytest.approx(100 * score, abs=0.051)) for label, score in answered.scores.items()
    ]
    assert all(number == width for _, number, width in rows) and len(rows) == 8
    assert f"Sounds most like: {next(iter(answered.scores))}" in html and "the answer is uncertain" in html
    assert "Model: first/model." in html and "Training data and accuracy are unknown" in html
    (text,) = re.findall(r'role="img" aria-label="(.*?)"', html)
    assert text == "Waveform and log-mel spectrogram of the recording, 1.2 s." and "timeline" not in html


def test_long_recordings_have_a_timeline_as_figure_and_as_table(demo_model, recordings):
    answered = classify(demo_model, recordings / "long.flac")
    html = render(answered, demo_model, "first/model")
    table = html[html.index('<table class="timeline">') :]
    assert html.count('role="img"') == 2 and table.count('<th scope="col"') == 10
    rows = re.findall(r'<th scope="row">([\d.]+) to ([\d.]+)</th>(.*?)</tr>', table)
    assert [(float(start), float(end)) for start, end, _ in rows] == [
        (window["start"], window["end"]) for window in answered.timeline
    ]
    silent = [row for _, _, row in rows if ">silence<" in row]
    assert len(silent) == sum(window["silent"] for window in answered.timeline) == 1
    for _, _, row in rows:
        if row not in silent:
            assert sum(map(float, re.findall(r"([\d.]+) %", row))) == pytest.approx(100, abs=0.5)


def test_a_sure_answer_carries_no_doubt(demo_model):
    scores = {"angry": 0.9, "sad": 0.1}
    html = render(Answer(np.ones(9000, np.float32), scores, [{}]), demo_model, "m")
    assert "Sounds most like: angry (90.0 %)" in html and "uncertain" not in html


def test_an_answer_below_the_threshold_of_the_model_is_not_sure(demo_model):
    answer = Answer(np.ones(9000, np.float32), {"angry": 0.4, "sad": 0.35, "calm": 0.25}, [{}], not_reached=0.55)
    html = render(answer, demo_model, "m")
    assert "Not sure. Closest: angry (40.0 %)" in html and "Sounds most like" not in html
    assert "below the threshold of the model, 55.0 %" in html


def test_text_from_outside_is_escaped(demo_model, recordings):
    hostile = "<script>alert(1)</script>"
    assert hostile not in render_error(hostile) and "&lt;script&gt;" in render_error(hostile)
    assert hostile not in render(classify(demo_model, recordings / "voice.wav"), demo_model, hostile)


def test_figures_show_the_recording():
    time_s = np.arange(16_000) / 16_000
    loud, quiet = np.sin(2 * np.pi * 440 * time_s), np.zeros(16_000)
    for parts, sounding in (((loud, quiet), 0), ((quiet, loud), 1)):
        html = draw_clip(np.concatenate(parts).astype(np.float32))
        (points,) = re.findall(r'<polygon points="(.*?)"', html)
        heights = np.asarray([float(point.split(",")[1]) for point in points.split()])[: points.count(" ") // 2]
        halves = [bool(np.abs(half[2:-2] - 50).max() > 40) for half in np.array_split(heights, 2)]
        assert halves == [sounding == 0, sounding == 1]
        (png,) = re.findall(r"base64,(.*?)\"", html)
        picture = imread(io.BytesIO(base64.b64decode(png)))[..., :3].mean(axis=(0, 2))
        brightest = [half.max() for half in np.array_split(picture, 2)]
        assert int(np.argmax(brightest)) == sounding and "2.0 s</span>" in html
    assert draw_clip(np.full(1600, 0.1, np.float32)) != draw_clip(np.zeros(1600, np.float32))


def test_the_timeline_puts_each_window_where_it_belongs():
    def window(start, best):
        rest = [label for label in EMOTIONS if label != best]
        scores = [{"label": best, "score": 0.93}, *({"label": label, "score": 0.01} for label in rest)]
        return {"start": start, "end": start + 10.0, "silent": best is None, "scores": scores if best else None}

    html = draw_timeline([window(0, "neutral"), window(5, "disgust"), window(10, None)], EMOTIONS)
    rows = dict(re.findall(r'<span class="name" title="\w+">(\w+)</span><span class="cells">(.*?)</span>', html))
    assert list(rows) == list(EMOTIONS)
    for label, cells in rows.items():
        found = re.findall(r"<i(?: class=\"(\w+)\")? style=\"flex: ([\d.]+)(?:; --share: ([\d.]+)%)?\">", cells)
        assert [float(width) for _, width, _ in found] == [7.5, 5.0, 7.5]
        marks, shares = [mark for mark, _, _ in found], [share for _, _, share in found]
        assert marks == ["best" if label == "neutral" else "", "best" if label == "disgust" else "", "silent"]
        assert shares == ["93.0" if label == "neutral" else "1.0", "93.0" if label == "disgust" else "1.0", ""]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "There is no recording yet"),
        ("text.wav", "This recording cannot be used. text.wav: got a file starting"),
        ("silence.wav", "This recording cannot be used. silence.wav: got silence (peak"),
    ],
)
def test_errors_replace_the_answer(demo_model, recordings, name, message):
    html = answer({"m": demo_model}, name and str(recordings / name), "m")
    assert message in html and "No answer" in html and "Traceback" not in html and str(recordings) not in html
    assert "Sounds most like" in answer({"m": demo_model}, str(recordings / "voice.wav"), "m")


def test_internal_errors_are_logged_and_not_shown(demo_model, recordings, monkeypatch, caplog):
    def fail(*_):
        raise MemoryError("secret words")

    monkeypatch.setattr("hf_ser.demo.app.classify", fail)
    html = answer({"m": demo_model}, str(recordings / "voice.wav"), "m")
    assert "Something went wrong" in html and "secret" not in html and "secret words" in caplog.text
    assert "expected one of m." in answer({"m": demo_model}, str(recordings / "voice.wav"), "other")
