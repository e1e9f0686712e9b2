"""What the page hears: the pipeline's own answers, refusals that name the file and nothing else, no traces left."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile as sf
from transformers import AutoFeatureExtractor

from hf_ser.audio import load_audio
from hf_ser.demo import DemoError, app
from hf_ser.demo import clip_inference as module
from hf_ser.demo.clip_inference import classify, load_model
from hf_ser.demo.examples import make_examples
from hf_ser.labels import EMOTIONS
from hf_ser.remote_code.preprocessing import Preprocessing
from hf_ser.remote_code.windows import WindowPlan, read_windows


@pytest.mark.parametrize("name", ["voice.wav", "long.flac"])
def test_answers_are_the_pipelines_own(demo_model, recordings, name):
    path = recordings / name
    answered = classify(demo_model, path)
    expected = demo_model.pipeline(str(path), return_timeline=True)
    assert list(answered.scores) == [score["label"] for score in expected["scores"]] and set(answered.scores) == {
        *EMOTIONS
    }
    np.testing.assert_allclose([*answered.scores.values()], [row["score"] for row in expected["scores"]], atol=1e-6)
    assert answered.is_long == (name == "long.flac") and len(answered.timeline) == len(expected["timeline"])
    for window, other in zip(answered.timeline, expected["timeline"], strict=True):
        assert {key: window[key] for key in ("start", "end", "silent")} == {
            key: other[key] for key in ("start", "end", "silent")
        }
    np.testing.assert_array_equal(answered.waveform, load_audio(path))


def test_recordings_of_other_rates_and_channels_are_read_as_one_piece(demo_model, tmp_path, tone):
    path = tmp_path / "stereo.wav"
    sf.write(path, tone(32.0, 44_100, 2), 44_100)
    answered = classify(demo_model, path)
    windows = list(read_windows(path, WindowPlan(10.0, 5.0, 30.0)))
    spans = [(window.start_s, window.end_s) for window in windows]
    assert [(window["start"], window["end"]) for window in answered.timeline] == spans
    np.testing.assert_array_equal(answered.waveform[: len(windows[0].waveform)], windows[0].waveform)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.wav", "text.wav: got a file starting with b"),
        ("empty.wav", "empty.wav: got 0 bytes; expected an audio file"),
        ("cut.wav", "cut.wav: got "),
        ("silence.wav", "silence.wav: got silence (peak 0.0"),
        ("short.wav", "short.wav: got 0.020 s; expected at least 0.1 s."),
        ("absent.wav", "absent.wav: got no such file; expected an audio file."),
    ],
)
def test_what_cannot_be_used_is_named_without_its_place(demo_model, recordings, name, message):
    with pytest.raises(DemoError) as raised:
        classify(demo_model, recordings / name)
    assert str(raised.value).startswith(message) and str(recordings) not in str(raised.value)


def test_recordings_that_are_too_long_are_not_read_to_their_end(demo_model, recordings, monkeypatch):
    monkeypatch.setattr(module, "MAX_DURATION_S", 30.0)
    with pytest.raises(DemoError, match="long.flac: got more than 0 minutes; expected less on this page"):
        classify(demo_model, recordings / "long.flac")


def test_clips_are_cut_as_the_models_folder_says(model_dir, recordings, monkeypatch, tmp_path):
    results = {"dataset": {"name": "x", "synthetic": ["x"], "train_clips": 7, "train_speakers": 2}}
    scored = {"scores": {"uar": 0.5}, "intervals": [{"uar": [0.4, 0.6]}]}
    results |= {"protocol": {"name": "random", "notes": ["clips of one speaker train and test"]}}
    results |= {"splits": {"test": scored}}
    monkeypatch.setattr(module, "model_results", lambda *_: results)
    model = shutil.copytree(model_dir, tmp_path / "model")
    extractor = AutoFeatureExtractor.from_pretrained(model)
    Preprocessing(duration_s=0.5).store(extractor)
    extractor.save_pretrained(model)
    demo_model = load_model(str(model), device="cpu")
    assert "7 clips of 2 speakers (x)" in demo_model.about and "say nothing about real speech" in demo_model.warning
    assert "UAR on test clips 0.500 (95 % interval 0.400 to 0.600), protocol random. Clips of one" in demo_model.about
    answered = classify(demo_model, recordings / "voice.wav")
    assert (
        answered.timeline[0]["end"] == 0.5 and len(answered.waveform) == 1.2 * 16_000
    )  # windows of what is used of a clip


def test_models_and_devices_that_are_none_are_refused(model_dir, tmp_path):
    with pytest.raises(ValueError, match="no_model"):
        load_model(str(tmp_path / "no_model"))
    with pytest.raises(DemoError, match="device is 'cuda:77'; expected one"):
        load_model(str(model_dir), device="cuda:77")
    with pytest.raises(DemoError, match="precision fp16: float16 needs a CUDA GPU"):
        load_model(str(model_dir), device="cpu", precision="fp16")


def test_examples_are_generated_one_per_emotion_and_one_with_a_timeline(tmp_path):
    paths = make_examples(tmp_path / "new")
    assert [path.name for path in paths[:-1]] == [f"generated_{emotion}.flac" for emotion in EMOTIONS]
    durations = [sf.info(path).duration for path in paths]
    assert durations[-1] == pytest.approx(sum(durations[:-1])) and durations[-1] > 30
    assert {(sf.info(path).samplerate, sf.info(path).channels) for path in paths} == {(16_000, 1)}
    again = make_examples(tmp_path / "again")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_uploads_are_deleted_when_they_are_old(demo_model, recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(app, "_KEPT_S", (1, 1))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    page = app.build({"m": demo_model})
    try:
        address = app.launch(page, "127.0.0.1").rstrip("/")
        with (recordings / "voice.wav").open("rb") as file:
            answer = requests.post(f"{address}/gradio_api/upload", files={"files": file}, timeout=20)
        place = Path(answer.json()[0])
        assert place.is_relative_to(tmp_path) and place.read_bytes() == (recordings / "voice.wav").read_bytes()
        until = time.monotonic() + 15
        while place.exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert not place.exists()
    finally:
        page.close(verbose=False)
