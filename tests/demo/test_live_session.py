"""Live speech on the page: chunks of a microphone give the windows of the pipeline, and leave nothing behind."""

import re

import numpy as np
import pytest
import soundfile as sf

from hf_ser.demo import live_session
from hf_ser.demo.live_session import HOP_S, SHOWN, WINDOW_S, live_answer

RATE = 48_000


@pytest.fixture
def speak(demo_model, tmp_path):
    """Feed a sound in chunks of half a second -> the last HTML and the session."""

    def feed(samples, session=None, model="first/model", rate=RATE):
        html = None
        for number, place in enumerate(range(0, len(samples), rate // 2)):
            chunk = tmp_path / f"{number}.wav"
            sf.write(chunk, samples[place : place + rate // 2], rate, "PCM_16")
            changed, session = live_answer(
                {"first/model": demo_model, "second/model": demo_model}, session, str(chunk), model
            )
            assert not chunk.exists()
            html = changed or html
        return html, session

    return feed


def test_windows_and_scores_are_those_of_the_pipeline(speak, demo_model, tone):
    samples = tone(6.2, RATE)
    html, session = speak(samples)
    source = {"array": samples, "sampling_rate": RATE}
    timeline = demo_model.pipeline(source, window_s=WINDOW_S, stride_s=HOP_S, return_timeline=True)["timeline"]
    answers = [{name: answer[name] for name in timeline[0]} for answer in session.answers]
    assert len(answers) >= 3 and answers == timeline[: len(answers)]
    shown = re.findall(r'<td class="number">([\d.]+) %</td>', html)
    assert shown == [f"{100 * each['score']:.1f}" for each in answers[-1]["scores"]]
    label, score = answers[-1]["scores"][0].values()
    assert f"Sounds most like: {label} ({100 * score:.1f} %)" in html and "<p>3 to 6 s</p>" in html
    assert 'role="img"' in html and "The last windows" in html


def test_the_first_seconds_and_silence(speak, tone):
    html, session = speak(tone(1.0, RATE))
    assert html is None and not session.answers  # the page says since the start that the first window takes 3 s
    html, _ = speak(np.zeros(4 * RATE))
    assert '<h2 class="answer">Silence</h2>' in html and "%" not in html.partition("<h3>")[0]


def test_an_answer_below_the_threshold_is_not_sure(speak, demo_model, tone, monkeypatch):
    monkeypatch.setattr(demo_model.pipeline.model.config, "abstention_threshold", 1.0, raising=False)
    assert "Not sure. Closest: " in speak(tone(4.0, RATE))[0]


def test_a_session_is_bounded(speak, tone, monkeypatch):
    html, session = speak(tone((SHOWN + 5) * HOP_S + WINDOW_S, 16_000), rate=16_000)
    assert len(session.answers) == SHOWN and html.count("<i ") <= SHOWN * 8
    monkeypatch.setattr(live_session, "MAX_DURATION_S", 2.0)
    before = list(session.answers)
    html, after = speak(tone(3.0, 16_000), session, rate=16_000)
    assert "Live speech ends after" in html and after is session and list(session.answers) == before


def test_another_model_starts_another_session(speak, tone):
    _, first = speak(tone(1.0, RATE))
    _, second = speak(tone(1.0, RATE), first, "second/model")
    assert second is not first and second.name == "second/model" and second.duration_s == 1.0
    assert speak(tone(0.5, RATE), None, "third/model")[0].count("expected one of first/model, second/model") == 1


def test_bad_chunks_get_a_message_and_the_next_session_an_answer(speak, demo_model, tone, tmp_path):
    assert live_answer({}, None, None, "m") == (None, None)
    _, session = speak(tone(1.0, RATE))
    html, session = speak(tone(0.5, 16_000), session, rate=16_000)
    assert "got a sampling rate of 16000 Hz in mid-stream" in html and session is None
    (tmp_path / "words.wav").write_bytes(b"words, not sound")
    html, session = live_answer({"m": demo_model}, None, str(tmp_path / "words.wav"), "m")
    assert "This sound cannot be used." in html and session is None and not (tmp_path / "words.wav").exists()
    assert "Sounds most like" in speak(tone(4.0, RATE))[0]
