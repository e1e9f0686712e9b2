"""A stream in chunks of any size has the windows and scores of the same audio as a file."""

import os
import subprocess
import sys
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_ser.errors import SerError
from hf_ser.inference import load_classifier
from hf_ser.live import StreamingRecognizer
from hf_ser.models import SpeechEmotionPipeline
from hf_ser.remote_code.audio_errors import AudioError
from hf_ser.runtime import OnnxPipeline

RAW = ("start", "end", "silent", "scores")


def answers_of(recognizer, samples, rate, sizes=(1600,)):
    """Feed a recording in chunks of these sizes, in turn, and finish."""
    found, place, number = [], 0, 0
    while place < len(samples):
        size = sizes[number % len(sizes)]
        found += recognizer.feed(samples[place : place + size], rate)
        place, number = place + size, number + 1
    return found + recognizer.finish()


def raw(answers):
    return [{name: answer[name] for name in RAW} for answer in answers]


def voice(duration_s, rate, channels=1):
    """Noise with a silent second in the middle, int16 (samples, channels)."""
    generator = np.random.default_rng(round(duration_s * rate))
    samples = (generator.uniform(-0.5, 0.5, (round(duration_s * rate), channels)) * 32_767).astype(np.int16)
    samples[rate : 2 * rate + rate // 2] = 0
    return samples


@settings(max_examples=40)
@given(
    duration_s=st.sampled_from([0.1, 0.4, 0.5, 0.6, 1.0, 2.7, 5.03]),
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
    channels=st.sampled_from([1, 2]),
    window_s=st.sampled_from([0.5, 1.0]),
    hop=st.sampled_from([0.3, 0.5, 1.0]),
    sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=4),
    scale=st.booleans(),
)
def test_windows_and_scores_are_those_of_the_file(
    make_scorer, tmp_path_factory, duration_s, rate, channels, window_s, hop, sizes, scale
):
    samples, scorer = voice(duration_s, rate, channels), make_scorer()
    path = tmp_path_factory.mktemp("stream") / "voice.wav"
    sf.write(path, samples, rate)
    given_samples = (samples / np.float32(32_768)).astype(np.float32) if scale else samples
    recognizer = StreamingRecognizer(scorer, window_s=window_s, hop_s=window_s * hop)
    found = answers_of(recognizer, given_samples, rate, [max(size, len(samples) // 200) for size in sizes])
    assert raw(found) == scorer.timeline(path, window_s, window_s * hop)
    assert answers_of(recognizer, given_samples, rate) == found  # a second stream starts at 0 s


@pytest.mark.parametrize("kind", ["model", "graph"])
def test_a_model_gives_the_scores_of_its_pipeline(tiny_graph, tmp_path, kind):
    folder, graph = tiny_graph
    rate = 44_100
    samples = voice(4.3, rate)
    sf.write(tmp_path / "voice.wav", samples, rate)
    model, extractor = load_classifier(str(folder))
    pipeline = SpeechEmotionPipeline(model=model, feature_extractor=extractor, device="cpu")
    classify = pipeline if kind == "model" else OnnxPipeline(graph, num_threads=1)
    whole = classify(str(tmp_path / "voice.wav"), window_s=1.0, stride_s=0.25, return_timeline=True)
    recognizer = StreamingRecognizer(classify, window_s=1.0, hop_s=0.25, abstain=True)
    found = answers_of(recognizer, samples, rate, [441, 7_000])
    assert raw(found) == whole["timeline"] and len(found) > 10 and {each["silent"] for each in found} == {False, True}
    assert [each["abstained"] for each in found] == [not each["silent"] and each["score"] < 0.6 for each in found]
    named = StreamingRecognizer(str(folder) if kind == "model" else graph, window_s=1.0, hop_s=0.25)
    assert named.labels == ["neutral", "happy", "sad", "angry"]
    assert raw(answers_of(named, samples[:rate], rate)) == whole["timeline"][:1]


def test_a_graph_needs_no_torch(tiny_graph, tmp_path):
    code = """
import sys
import numpy as np
from hf_ser.live import StreamingRecognizer
recognizer = StreamingRecognizer(sys.argv[1], window_s=0.5, hop_s=0.5)
assert len(recognizer.feed(np.random.default_rng(0).uniform(-0.5, 0.5, 16_001), 16_000)) == 2
assert not {"torch", "transformers"} & set(sys.modules)
"""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", code, str(tiny_graph[1])], check=True, env=environment, cwd=tmp_path)


def test_a_window_is_answered_by_the_chunk_that_completes_it(make_scorer):
    recognizer = StreamingRecognizer(make_scorer(), window_s=1.0, hop_s=0.5)
    samples = voice(4.0, 16_000)[:, 0]
    ready = [len(recognizer.feed(samples[place : place + 8_000], 16_000)) for place in range(0, 64_000, 8_000)]
    # Only the first window waits for the next chunk: a recording of its length is classified as a whole.
    assert ready == [0, 0, 2, 1, 1, 1, 1, 1] and recognizer.finish() == []


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (
            np.zeros(160, np.float32),
            8_000,
            "stream: got a sampling rate of 8000 Hz in mid-stream; expected 16000 Hz. ",
        ),
        (np.zeros((160, 2), np.float32), 16_000, "got a number of channels of 2 in mid-stream; expected 1. "),
        (np.full(160, np.nan, np.float32), 16_000, "got 160 NaN or infinite samples of 160"),
        (np.zeros(160, np.int64), 16_000, "got samples of type int64; expected floats in"),
        (np.full(160, 9_000.0, np.float32), 16_000, "got float samples that reach 9000; expected about"),
        (np.zeros((2, 160), np.float32), 16_000, r"got a chunk of shape \(2, 160\); expected \(samples,\)"),
        (np.zeros((2, 2, 2), np.float32), 16_000, r"got a chunk of shape \(2, 2, 2\)"),
        (np.float32(0.5), 16_000, r"got a chunk of shape \(\)"),
        ([[0.0], [0.0, 1.0]], 16_000, "cannot convert to an array"),
        (np.zeros(160, np.float32), 16_000.0, "got sampling rate 16000.0; expected an integer"),
        (np.zeros(160, np.float32), 0, "got sampling rate 0; expected an integer"),
        ("voice.wav", 16_000, "got a chunk of shape"),
    ],
)
def test_a_bad_chunk_is_an_error_and_the_stream_continues(make_scorer, samples, rate, message):
    recognizer, good = StreamingRecognizer(make_scorer(), window_s=0.5, hop_s=0.25), voice(3.0, 16_000)
    expected = answers_of(recognizer, good, 16_000)
    found = recognizer.feed(good[:20_000], 16_000)
    with pytest.raises(AudioError, match=message):
        recognizer.feed(samples, rate)
    assert recognizer.feed([], 16_000) == []
    assert found + answers_of(recognizer, good[20_000:], 16_000) == expected


def test_a_new_stream_can_have_another_rate(make_scorer):
    recognizer = StreamingRecognizer(make_scorer(), window_s=0.5, hop_s=0.5)
    for rate in (16_000, 48_000, 8_000):
        found = answers_of(recognizer, voice(1.0, rate), rate)
        assert [(each["start"], each["end"]) for each in found] == [(0.0, 0.5), (0.5, 1.0)]
    assert recognizer.finish() == []
    recognizer.feed(voice(0.05, 16_000), 16_000)
    assert recognizer.finish() == []  # too short


def test_scores_that_are_not_numbers_cost_only_their_window(make_scorer):
    def compute(waveform):
        return np.full(4, np.nan if waveform.max() > 0.9 else 0.25)

    samples = voice(1.0, 16_000)[:, 0]
    samples[9_000] = 32_767
    found = answers_of(StreamingRecognizer(make_scorer(compute), window_s=0.5, hop_s=0.5), samples, 16_000)
    assert [each["label"] for each in found] == ["neutral", None]
    assert found[1]["error"].startswith("stream: got scores that are not numbers") and "error" not in found[0]


def test_an_endless_stream_needs_no_more_memory(make_scorer):
    recognizer = StreamingRecognizer(make_scorer(lambda waveform: np.full(4, 0.25)), window_s=1.0, hop_s=1.0)
    minute, number, used = voice(60.0, 16_000), 0, []
    tracemalloc.start()
    try:
        for size in (*[320] * 3_000, *[960_000] * 20, *[320] * 3_000):
            number += len(recognizer.feed(minute[:size], 16_000))
            if size == 320:
                used.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert number == 60 + 20 * 60 + 60
    assert max(used) < 1_000_000  # a window has 64,000 bytes


def test_the_gate_skips_windows_that_are_too_quiet_or_too_brief(make_scorer):
    scorer = make_scorer()
    samples = np.zeros(64_000, np.float32)
    samples[:16_000] = 0.5
    samples[16_000:32_000] = 0.005  # -46 dBFS
    samples[40_000:40_100] = 0.5  # a click
    samples[48_000:] = 0.5

    def silent(**gate):
        scorer.windows = 0
        answers = answers_of(StreamingRecognizer(scorer, window_s=1.0, hop_s=1.0, **gate), samples, 16_000)
        assert scorer.windows == sum(not each["silent"] for each in answers)
        assert all((each["label"] is None) == each["silent"] == (each["scores"] is None) for each in answers)
        return [each["silent"] for each in answers]

    assert silent() == [False] * 4
    assert silent(gate_dbfs=-40.0) == [False, True, False, False]
    assert silent(gate_dbfs=-40.0, min_active_s=0.1) == [False, True, True, False]


def labels_of(shares, scorer, **rule):
    """Labels for windows whose probabilities of happy are these shares; None is silence."""
    samples = np.concatenate([np.full(1_600, 0.0 if share is None else share, np.float32) for share in shares])

    def compute(waveform):
        happy = float(waveform.mean())
        return np.asarray([1 - happy, happy, 0.0, 0.0])

    answers = answers_of(StreamingRecognizer(scorer(compute), window_s=0.1, hop_s=0.1, **rule), samples, 16_000)
    return [(each["label"] or "-")[0] for each in answers], [each["score"] for each in answers]


def test_smoothing_averages_windows_since_the_last_silence(make_scorer):
    shares = [0.9, 0.3, 0.8, None, 0.2, 0.9]
    labels, scores = labels_of(shares, make_scorer, smooth_windows=2)
    assert labels == ["h", "h", "h", "-", "n", "h"]
    assert scores[:3] + scores[4:] == pytest.approx([0.9, 0.6, 0.55, 0.8, 0.55], abs=1e-6)
    labels, scores = labels_of(shares, make_scorer, smooth_weight=0.25)
    assert labels == ["h", "h", "h", "-", "n", "n"]
    assert scores[:3] + scores[4:] == pytest.approx([0.9, 0.75, 0.7625, 0.8, 0.625], abs=1e-6)
    labels, scores = labels_of(shares, make_scorer)
    assert labels == ["h", "n", "h", "-", "n", "h"] and scores[1] == pytest.approx(0.7, abs=1e-6)


def test_a_label_changes_only_by_a_margin_and_for_several_windows(make_scorer):
    shares = [0.9, 0.45, 0.35, 0.9, 0.3, 0.3, 0.3, None, 0.3]
    assert labels_of(shares, make_scorer)[0] == list("hnnhnnn-n")
    assert labels_of(shares, make_scorer, switch_margin=0.2)[0] == list("hhnhnnn-n")
    assert labels_of(shares, make_scorer, switch_windows=3)[0] == list("hhhhhhn-n")
    assert labels_of(shares, make_scorer, switch_margin=0.2, switch_windows=2)[0] == list("hhhhhnn-n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_s": 0.01}, "window_s: got 0.01; expected at least 0.1 s"),
        ({"hop_s": 4.0}, "hop_s: got 4.0; expected at most window_s, which is 3.0"),
        ({"hop_s": float("nan")}, "hop_s: got nan"),
        ({"gate_dbfs": -80.0}, "gate_dbfs: got -80.0; expected a level from -60 to 0 dBFS"),
        ({"min_active_s": 5.0}, "min_active_s: got 5.0; expected at most window_s"),
        ({"min_active_s": -1.0}, "min_active_s: got -1.0"),
        ({"smooth_windows": 0}, "smooth_windows: got 0; expected an integer of at least 1"),
        ({"smooth_weight": 0.0}, "smooth_weight: got 0.0; expected a number above 0"),
        ({"smooth_windows": 2, "smooth_weight": 0.5}, "got both smooth_windows and smooth_weight"),
        ({"switch_margin": 1.0}, "switch_margin: got 1.0"),
        ({"switch_windows": 1.5}, "switch_windows: got 1.5"),
        ({"abstain": 2.0}, "abstain: got 2.0"),
        ({"model": torch.nn.Identity()}, "model: got Identity; expected a pipeline of hf_ser"),
    ],
)
def test_invalid_parameters_are_one_line(make_scorer, options, message):
    with pytest.raises(SerError, match=message):
        StreamingRecognizer(**{"model": make_scorer(), **options})


def test_chunks_of_a_long_stream_overlap_by_the_hop(make_scorer):
    found = answers_of(StreamingRecognizer(make_scorer(), window_s=0.5, hop_s=0.2), voice(3.0, 16_000), 16_000, [777])
    assert all(after["start"] - before["start"] == pytest.approx(0.2) for before, after in pairwise(found))
    assert found[-1]["end"] == 3.0
