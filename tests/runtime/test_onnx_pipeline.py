"""The pipeline of a graph gives the answers and errors of the pipeline with PyTorch."""

import io

import numpy as np
import onnxruntime
import pytest
import torch

from hf_ser.models import model_inputs
from hf_ser.remote_code.audio_errors import AudioError
from hf_ser.runtime import OnnxPipeline
from hf_ser.runtime.onnx_pipeline import padded_batch

KINDS = ("companion", "group", "layer")


@pytest.fixture(scope="session")
def clips():
    """Seven clips of 0.12 to 1.5 s, some of equal length, that differ in pitch."""
    drawn, found = np.random.default_rng(0), []
    for number, duration_s in enumerate((0.6, 1.5, 0.12, 0.6, 0.9, 0.9, 0.3)):
        time_s = np.arange(round(duration_s * 16_000)) / 16_000
        tones = 0.4 * np.sin(2 * np.pi * (150 + 300 * number) * time_s)
        found.append((tones + 0.02 * drawn.uniform(-1, 1, len(time_s))).astype(np.float32))
    return found


@pytest.fixture(scope="session")
def long_recording(clips):
    """33 s, more than any model takes at once, silent from 10 to 21 s."""
    waveform = np.concatenate([np.roll(clips[1], 100 * number) * (0.2 + 0.03 * number) for number in range(22)])
    waveform[160_000:336_000] = 0
    return waveform


def assert_same(ours, theirs):
    """Whether two answers are equal, with scores within 1e-4."""
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert_same(ours[name], value)
    elif isinstance(theirs, list) and theirs and "label" in theirs[0]:
        scores = {row["label"]: row["score"] for row in ours}
        assert scores == pytest.approx({row["label"]: row["score"] for row in theirs}, abs=1e-4)
        assert [row["score"] for row in ours] == sorted(scores.values(), reverse=True)
        assert all(type(row["score"]) is float for row in ours)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            assert_same(our, their)
    else:
        assert ours == theirs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_scores_are_those_of_the_model_in_any_batch(pipelines, clips, kind, batch_size):
    ours, theirs = pipelines[kind]
    answers = ours(clips, batch_size=batch_size)
    assert_same(answers, theirs(clips))
    spread = np.ptp([[row["score"] for row in sorted(answer, key=lambda row: row["label"])] for answer in answers], 0)
    assert spread.max() > 1e-2  # clips have different scores


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"window_s": 2.0}, {"window_s": 1.0, "stride_s": 0.75, "top_k": 2}])
def test_timelines_of_long_recordings_are_those_of_the_model(pipelines, long_recording, kind, options):
    ours, theirs = (each(long_recording, return_timeline=True, batch_size=5, **options) for each in pipelines[kind])
    assert_same(ours, theirs)
    assert len(ours["timeline"]) > 4 and {window["silent"] for window in ours["timeline"]} == {True, False}


def test_the_threshold_of_the_model_is_in_the_graph(pipelines, clips):
    ours, theirs = pipelines["companion"]
    assert ours.metadata.abstention_threshold == 0.6
    for abstain in (True, False, 0.01, 1.0):
        assert_same(ours(clips, abstain=abstain), theirs(clips, abstain=abstain))
    with pytest.raises(ValueError, match="the model has no abstention threshold"):
        pipelines["group"][0](clips, abstain=True)


ONE = {
    "path": lambda path: path,
    "str": str,
    "bytes": lambda path: path.read_bytes(),
    "file object": lambda path: io.BytesIO(path.read_bytes()),
    "address": lambda path: path.as_uri(),
    "datasets": lambda path: {"bytes": path.read_bytes(), "path": None},
}
SAMPLES = {
    "array": lambda samples: samples,
    "tensor": torch.from_numpy,
    "raw": lambda samples: {"raw": samples, "sampling_rate": 16_000},
    "datasets array": lambda samples: {"array": samples, "sampling_rate": 16_000, "path": None},
}


def test_every_kind_of_recording_alone_and_in_lists(pipelines, clips, encode, tmp_path):
    ours, theirs = pipelines["companion"]
    path = tmp_path / "clip.wav"
    path.write_bytes(encode(clips[1]))
    expected = theirs(path)
    for make in ONE.values():
        assert_same(ours(make(path)), expected)
        assert_same(ours([make(path), make(path)]), [expected, expected])
    for make in SAMPLES.values():
        assert_same(ours(make(clips[0])), theirs(clips[0]))
    answers = ours(iter([path, clips[0]]), top_k=1)
    assert not isinstance(answers, list) and [len(answer) for answer in answers] == [1, 1]
    assert ours([]) == []


BAD = {
    "not_found": "nowhere.wav",
    "empty": b"",
    "undecodable": b"no audio",
    "not_finite": np.full(8000, np.nan, np.float32),
    "too_short": np.full(1000, 0.1, np.float32),
    "silent": np.full(8000, 1e-4, np.float32),
    "argument": 5,
}


def test_errors_are_those_of_the_model(pipelines, clips):
    ours, theirs = pipelines["companion"]
    mixed = [clips[0], *BAD.values(), clips[1]]
    answers = ours(mixed, batch_size=2)
    assert_same(answers, theirs(mixed))
    assert [answer["reason"] for answer in answers[1:-1]] == list(BAD)
    for reason, recording in BAD.items():
        with pytest.raises(AudioError) as caught:
            ours(recording)
        assert caught.value.reason == reason
        assert ours(recording, on_error="report")["error"] == str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"topk": 1},
        {"top_k": 0},
        {"window_s": 0.05},
        {"stride_s": 0},
        {"window_s": 1.0, "stride_s": 1.5},
        {"on_error": "ignore"},
        {"batch_size": -1},
        {"abstain": 2},
    ],
)
def test_invalid_parameters_have_the_same_errors(pipelines, clips, options):
    messages = []
    for pipeline in pipelines["companion"]:
        with pytest.raises(ValueError, match=f"^({'|'.join(options)})(:| is)") as caught:
            pipeline(clips[:1], **options)
        messages.append(str(caught.value))
    if "topk" not in options:  # the pipelines have different parameters
        assert messages[0] == messages[1]


@pytest.mark.parametrize("name", ["return_embeddings", "precision"])
def test_parameters_that_a_graph_lacks_are_rejected(classify, tiny_graph, clips, name):
    with pytest.raises(ValueError, match=f"^{name}: .*; expected no such parameter"):
        classify(clips[0], **{name: True})
    with pytest.raises(ValueError, match=f"^{name}: "):
        OnnxPipeline(tiny_graph[1], **{name: True})


def test_parameters_of_the_pipeline_hold_for_its_calls(tiny_graph, classify, clips):
    best = OnnxPipeline(tiny_graph[1], top_k=1, batch_size=2)
    assert best(clips[0]) == classify(clips[0], top_k=1)
    assert best(clips[0], top_k=None) == classify(clips[0])


@pytest.mark.parametrize(
    "options", [{"num_threads": 0}, {"num_threads": 1.5}, {"providers": ["GPU"]}, {"providers": []}]
)
def test_invalid_settings_of_the_session_are_rejected(tiny_graph, options):
    with pytest.raises(ValueError, match=f"^{next(iter(options))}: got .*; expected "):
        OnnxPipeline(tiny_graph[1], **options)


def test_a_provider_that_does_not_start_is_an_error(tiny_graph, monkeypatch):
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda session: [])
    with pytest.raises(ValueError, match="^providers: onnxruntime cannot start CPUExecutionProvider"):
        OnnxPipeline(tiny_graph[1])


def test_sessions_have_the_given_threads(tiny_graph, clips, classify):
    pipeline = OnnxPipeline(tiny_graph[1], num_threads=2, providers=["CPUExecutionProvider"])
    assert pipeline._session.get_session_options().intra_op_num_threads == 2
    assert_same(pipeline(clips), classify(clips))


@pytest.mark.parametrize("masked", [True, False])
def test_padding_is_that_of_the_model(make_wav2vec2, clips, masked):
    _, extractor = make_wav2vec2("layer" if masked else "group")
    lengths = [np.ones(3, np.float32), clips[2], clips[6]]
    theirs = {name: values.numpy() for name, values in model_inputs(extractor, lengths, floor=4000).items()}
    ours = padded_batch(lengths, 4000, needs_mask=masked)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert values.dtype == (np.int64 if name == "attention_mask" else np.float32)
        np.testing.assert_array_equal(values, theirs[name])
