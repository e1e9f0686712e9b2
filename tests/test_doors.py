"""Every door says the same of a recording: `load_audio`, the pipeline, the scan, and `hf-ser predict`."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import odd_files

from hf_ser import cli
from hf_ser.audio import AudioError, load_audio
from hf_ser.data.scan import Limits, examine
from hf_ser.models import AudioCNNConfig, AudioCNNForAudioClassification, SpeechEmotionPipeline, make_feature_extractor
from hf_ser.models import media as media_module
from hf_ser.models.decoder import decode
from hf_ser.models.windows import MIN_DURATION_S, WindowPlan, read_windows

FILES = {odd.name: odd for odd in odd_files.make_odd_files()}
NAMES = [name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in FILES]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doors") / "model"
    torch.manual_seed(0)
    config = AudioCNNConfig(channels=(4, 4), kernel_sizes=(5, 3), hidden_size=8, duration_s=0.5, n_mels=24)
    AudioCNNForAudioClassification(config).save_pretrained(folder)
    make_feature_extractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All odd files in one folder."""
    folder = tmp_path_factory.mktemp("odd")
    for odd in FILES.values():
        odd_files.write(folder, odd)
    return folder


@pytest.fixture(scope="module")
def classify(model_dir):
    model = AudioCNNForAudioClassification.from_pretrained(model_dir)
    return SpeechEmotionPipeline(model=model, feature_extractor=make_feature_extractor(), task="audio-classification")


@pytest.fixture(scope="module")
def answers(folder, model_dir, tmp_path_factory):
    """What `hf-ser predict` says, by file name as it prints it."""
    output = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    paths = [os.path.join(folder, name) for name in FILES]
    cli.main(["predict", *paths, "--model", str(model_dir), "--output", str(output)])
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return {os.path.basename(row["file"]): row for row in rows}


@pytest.mark.parametrize(("name", "shown"), zip(FILES, NAMES, strict=True), ids=NAMES)
def test_every_door_says_the_same_and_the_right_thing(folder, classify, answers, name, shown):
    odd, path = FILES[name], os.path.join(folder, name)
    answer, printed = classify(path, on_error="report"), answers[shown]
    if odd.seconds is None:
        assert answer["reason"] == odd.reason == printed["reason"] and answer["error"] == printed["error"]
        scanned = pytest.raises(AudioError, examine, Path(path), Limits(min_duration_s=MIN_DURATION_S))
        assert scanned.value.reason == odd.reason
        if odd.reason not in ("silent", "too_short"):  # which only a model and a dataset have no use for
            assert pytest.raises(AudioError, load_audio, path).value.reason == odd.reason
        return
    waveform = load_audio(path)
    assert len(waveform) / 16_000 == pytest.approx(odd.seconds, abs=0.06)
    (window,) = read_windows(path, WindowPlan(10.0, 5.0, 30.0))
    np.testing.assert_array_equal(window.waveform, waveform)
    if odd.exact:
        np.testing.assert_allclose(waveform, odd_files.tone(), atol=1e-4)
    scores = {score["label"]: score["score"] for score in answer}
    assert {score["label"]: score["score"] for score in printed["scores"]} == pytest.approx(scores, abs=1e-6)
    examined = examine(Path(path), Limits())
    np.testing.assert_allclose(load_audio(examined.flac), np.clip(waveform, -1, 1), atol=1 / 32768)
    noted = tuple(note for note in examined.notes if "were clipped" not in note)  # in what 16 bits cannot hold
    assert noted == decode(path).notes and examined.duration == pytest.approx(odd.seconds, abs=0.06)


def test_channels_that_cancel_are_called_so(folder, classify, answers):
    path = os.path.join(folder, "opposite.wav")
    said = [
        classify(path, on_error="report")["error"],
        answers["opposite.wav"]["error"],
        str(pytest.raises(AudioError, examine, Path(path), Limits()).value),
    ]
    assert all("channels that cancel each other: each has sound" in text for text in said)


def test_without_pyav_the_line_that_installs_it_is_named(folder, classify, monkeypatch):
    if not odd_files.has_av():
        pytest.skip("PyAV is not installed (extra media)")
    monkeypatch.setattr(media_module, "av", None)
    for name in ("phone.m4a", "browser.webm", "voice.amr", "adts.aac"):
        answer = classify(os.path.join(folder, name), on_error="report")
        assert answer["reason"] == "undecodable" and 'pip install "hf-ser[media]"' in answer["error"]


def test_the_page_of_the_documentation_is_what_this_machine_says():
    if not odd_files.has_av():
        pytest.skip("PyAV is not installed (extra media)")
    page = Path(__file__).parents[1] / "docs" / "odd_files.md"
    assert page.read_text(encoding="utf-8") == odd_files.table(), "python tests/odd_files.py > docs/odd_files.md"
