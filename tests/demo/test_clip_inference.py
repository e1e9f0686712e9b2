"""The page gives the pipeline's answers, errors that name the file and not its folder, and keeps no uploads."""

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
from hf_ser.demo.examples import CLIPS, NOTICES, example_clips
from hf_ser.demo.model_words import details, summary
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


@pytest.mark.parametrize(("threshold", "not_reached"), [(None, None), (0.0, None), (0.95, 0.95)])
def test_the_threshold_of_the_model_marks_an_answer(demo_model, recordings, monkeypatch, threshold, not_reached):
    plain = classify(demo_model, recordings / "voice.wav")
    monkeypatch.setattr(demo_model.pipeline.model.config, "abstention_threshold", threshold, raising=False)
    answered = classify(demo_model, recordings / "voice.wav")
    assert answered.not_reached == not_reached and answered.scores == plain.scores


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
def test_errors_name_the_file_without_its_folder(demo_model, recordings, name, message):
    with pytest.raises(DemoError) as raised:
        classify(demo_model, recordings / name)
    assert str(raised.value).startswith(message) and str(recordings) not in str(raised.value)


def test_recordings_that_are_too_long_are_not_read_to_their_end(demo_model, recordings, monkeypatch):
    monkeypatch.setattr(module, "MAX_DURATION_S", 30.0)
    with pytest.raises(DemoError, match="long.flac: got more than 0.5 minutes; expected at most that. Cut"):
        classify(demo_model, recordings / "long.flac")


def results_of(
    accuracy=0.62,
    protocol="speaker_disjoint",
    synthetic=(),
    speakers=31,
    note="clips of one speaker train and test",
):
    dataset = {"name": "x", "synthetic": list(synthetic), "train_clips": 2327, "train_speakers": speakers}
    scored = {"scores": {"accuracy": accuracy, "uar": 0.5}, "intervals": [{"uar": [0.4, 0.6]}]}
    found = {"dataset": dataset, "splits": {"test": scored}, "training": {"corpora": ["crema_d", "own", "tess"]}}
    return found | {"protocol": {"name": protocol, "notes": [note]}}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "Right about 6 times in 10 on new speakers."),
        ({"protocol": "random"}, "Right about 6 times in 10 on new recordings of the speakers it was trained on."),
        ({"accuracy": 0.12}, "Right about 1 time in 10 on new speakers."),
        ({"speakers": 1}, "Right about 6 times in 10 on test recordings."),
        ({"speakers": None}, "Right about 6 times in 10 on test recordings of unknown speakers."),
        ({"note": "train and test share 2 speakers (a, b)"}, "Right about 6 times in 10 on test recordings."),
    ],
)
def test_models_are_described_in_plain_words(options, sentence):
    people = "" if "speakers" in options else " of 31 speakers"
    assert summary(results_of(**options)) == f"Trained on 2,327 recordings{people} (CREMA-D, own and TESS). {sentence}"
    assert "UAR on test clips: 0.500 (95 % interval 0.400 to 0.600). Protocol: " in details(results_of(**options))
    assert details(results_of()).endswith("Protocol: speaker_disjoint. Clips of one speaker train and test.")


def test_models_without_evidence_say_so():
    assert summary(results_of(synthetic=["x"])).endswith("Its answers say nothing about real speech.")
    assert "are unknown" in summary(None) and "are unknown" in details(None)
    assert "Right about" not in summary(results_of(accuracy=None))


def test_clips_are_cut_as_the_models_folder_says(model_dir, recordings, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "model_results", lambda *_: results_of(synthetic=["x"]))
    model = shutil.copytree(model_dir, tmp_path / "model")
    extractor = AutoFeatureExtractor.from_pretrained(model)
    Preprocessing(duration_s=0.5).store(extractor)
    extractor.save_pretrained(model)
    demo_model = load_model(str(model), device="cpu")
    assert "say nothing about real speech" in demo_model.warning
    answered = classify(demo_model, recordings / "voice.wav")
    assert (
        answered.timeline[0]["end"] == 0.5 and len(answered.waveform) == 1.2 * 16_000
    )  # windows of what is used of a clip


def test_unknown_models_and_devices_are_rejected(model_dir, tmp_path):
    with pytest.raises(ValueError, match="no_model"):
        load_model(str(tmp_path / "no_model"))
    with pytest.raises(DemoError, match="device is 'cuda:77'; expected one"):
        load_model(str(model_dir), device="cuda:77")
    with pytest.raises(DemoError, match="precision fp16: float16 needs a CUDA GPU"):
        load_model(str(model_dir), device="cpu", precision="fp16")


def test_examples_are_short_real_clips_with_their_licence(tmp_path):
    paths = example_clips()
    assert 4 <= len(paths) <= 12
    for path in paths:
        info = sf.info(path)
        assert (info.samplerate, info.channels) == (16_000, 1) and info.duration < 4 and path.stat().st_size < 1e5
    licence, readme = ((CLIPS / name).read_text(encoding="utf-8") for name in NOTICES)
    assert "opendatacommons.org/licenses/odbl/1-0" in licence and all(f"`{path.name}`" in readme for path in paths)
    assert example_clips(tmp_path / "no_folder") == []


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
