"""The pipeline gives the scores of the stock pipeline for any recording, in any batch."""

import functools
import io
import json
import threading
import tracemalloc
import warnings

import datasets
import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AudioClassificationPipeline,
    Wav2Vec2FeatureExtractor,
    pipeline,
)
from transformers.pipelines.pt_utils import KeyDataset

from hf_ser.audio import load_audio
from hf_ser.models import SpeechEmotionPipeline, make_feature_extractor
from hf_ser.remote_code.audio_errors import AudioError

LABELS = {"neutral", "happy", "sad", "angry"}
MODELS = ("companion", "group", "layer", "hybrid")
HEARS_S = {"companion": 0.8, "hybrid": 0.8}  # at least half of the longest clip below


def sharpened(model):
    """Scale random weights, so that the scores of clips differ clearly."""
    with torch.no_grad():
        model.classifier.weight.mul_(10)
    return model


def make_spectrogram_model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    frames = {"max_length": 64, "num_mel_bins": 16}
    id2label = dict(enumerate(("neutral", "happy", "sad", "angry")))
    model = ASTForAudioClassification(ASTConfig(**sizes, **frames, id2label=id2label)).eval()
    return model, ASTFeatureExtractor(**frames)


@pytest.fixture(scope="session")
def parts(companion, wav2vec2, hybrid):
    """Kind -> a model and its feature extractor."""
    plain = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)
    masked = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    return {
        "companion": (companion(duration_s=HEARS_S["companion"]), make_feature_extractor()),
        "group": (sharpened(wav2vec2()), plain),
        "layer": (sharpened(wav2vec2("layer")), masked),
        "hybrid": (hybrid(hears_s=HEARS_S["hybrid"] / 0.8), make_feature_extractor()),
        "spectrogram": make_spectrogram_model(),
    }


@pytest.fixture(scope="session")
def build_pipeline(parts):
    def make(kind="companion", **options):
        model, extractor = parts[kind]
        return SpeechEmotionPipeline(model=model, feature_extractor=extractor, device="cpu", **options)

    return make


@pytest.fixture(scope="session")
def alone(build_pipeline, clips):
    """Kind -> results of every clip alone."""
    return functools.cache(lambda kind: [build_pipeline(kind)(clip) for clip in clips])


@pytest.fixture
def classify(build_pipeline):
    return build_pipeline()


@pytest.fixture(scope="session")
def stock(parts):
    def make(kind="companion"):
        model, extractor = parts[kind]
        return AudioClassificationPipeline(model=model, feature_extractor=extractor, device="cpu", top_k=None)

    return make


@pytest.fixture(scope="session")
def clips():
    """Nine clips of 0.25 to 1.5 s, some of equal length, that differ in pitch."""
    drawn = np.random.default_rng(0)
    found = []
    for number, duration_s in enumerate((0.6, 1.5, 0.25, 0.6, 0.9, 0.9, 0.3, 1.1, 0.6)):
        time_s = np.arange(round(duration_s * 16_000)) / 16_000
        tones = 0.4 * np.sin(2 * np.pi * (150 + 130 * number) * time_s) * (1 + np.sin(2 * np.pi * 5 * time_s)) / 2
        found.append((tones + 0.02 * drawn.uniform(-1, 1, len(time_s))).astype(np.float32))
    return found


def by_label(answer):
    return {row["label"]: row["score"] for row in answer}


def assert_equal_scores(one, other, tolerance=1e-5):
    assert by_label(one) == pytest.approx(by_label(other), abs=tolerance)


# --- scores -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*MODELS, "spectrogram"])
def test_scores_are_those_of_the_stock_pipeline(alone, stock, clips, kind):
    theirs = stock(kind)
    for clip, answer in zip(clips, alone(kind), strict=True):
        assert_equal_scores(answer, theirs(clip))
    spread = np.ptp([[by_label(answer)[label] for label in sorted(LABELS)] for answer in alone(kind)], axis=0)
    assert spread.max() > 1e-3  # clips do get scores of their own


@pytest.mark.parametrize(("synthetic", "warned"), [(["ravdess"], 1), ([], 0), (None, 0)])
def test_a_model_trained_on_synthetic_voices_warns_once_when_it_is_loaded(tmp_path, companion, synthetic, warned):
    companion().save_pretrained(tmp_path)
    make_feature_extractor().save_pretrained(tmp_path)
    if synthetic is not None:
        (tmp_path / "results.json").write_text(json.dumps({"dataset": {"synthetic": synthetic}}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classify = pipeline("speech-emotion-recognition", model=str(tmp_path))
        classify(np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32))
    said = [str(each.message) for each in caught if "synthetic" in str(each.message)]
    assert (
        said == [f"{tmp_path} was trained on synthetic recordings: its scores say nothing about real speech."] * warned
    )


@pytest.mark.parametrize("kind", [*MODELS, "spectrogram"])
@settings(max_examples=12)
@given(data=st.data())
def test_a_clip_has_the_same_scores_in_any_batch(build_pipeline, alone, clips, kind, data):
    order = data.draw(st.lists(st.integers(0, len(clips) - 1), min_size=1, max_size=12))
    batch_size = data.draw(st.integers(1, 13))
    together = build_pipeline(kind)([clips[number] for number in order], batch_size=batch_size)
    for number, answer in zip(order, together, strict=True):
        assert_equal_scores(answer, alone(kind)[number])


@pytest.mark.parametrize("kind", MODELS)
def test_company_that_is_silent_short_or_broken_changes_nothing(build_pipeline, clips, kind):
    classify = build_pipeline(kind)
    company = [np.zeros(16_000, np.float32), b"", clips[0][:1700], clips[0][:100], "nowhere.wav"]
    mixed = classify([*company, *clips[:3], *company], batch_size=4)
    for clip, answer in zip(clips[:3], mixed[5:8], strict=True):
        assert_equal_scores(answer, classify(clip))


@pytest.mark.parametrize("kind", [*MODELS, "spectrogram"])
def test_clips_shorter_than_the_models_floor_have_scores(build_pipeline, kind):
    (answer,) = build_pipeline(kind)([np.full(1600, 0.1, np.float32)])
    assert sum(by_label(answer).values()) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", [*MODELS, "spectrogram"])
def test_all_labels_come_best_first_and_sum_to_one(build_pipeline, clips, kind):
    answer = build_pipeline(kind)(clips[0])
    scores = [row["score"] for row in answer]
    assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1.0)
    assert set(by_label(answer)) == LABELS
    assert all(type(row["score"]) is float and type(row["label"]) is str for row in answer)


def test_the_stored_temperature_calibrates(hybrid, clips):
    plain, warm = (
        SpeechEmotionPipeline(model=hybrid(**fields), feature_extractor=make_feature_extractor(), device="cpu")
        for fields in ({}, {"calibration_temperature": 2.5})
    )
    before, after = (by_label(classify(clips[0])) for classify in (plain, warm))
    expected = {label: score ** (1 / 2.5) for label, score in before.items()}
    total = sum(expected.values())
    assert after == pytest.approx({label: score / total for label, score in expected.items()}, abs=1e-5)
    assert max(after.values()) < max(before.values())


@pytest.mark.parametrize("kind", ["companion", "group", "layer", "hybrid"])
def test_bfloat16_gives_about_the_same_scores(tmp_path, parts, clips, kind):
    for part in parts[kind]:
        part.save_pretrained(tmp_path)
    exact, rough = (
        pipeline("speech-emotion-recognition", model=str(tmp_path), trust_remote_code=False, device="cpu", dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert rough.model.dtype == torch.bfloat16
    for one, other in zip(exact(clips), rough(clips, batch_size=3), strict=True):
        assert one[0]["label"] == other[0]["label"]
        assert_equal_scores(one, other, tolerance=0.05)


# --- inputs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, clips, encode):
    """Paths of the first four clips, 16-bit."""
    paths = []
    for number, clip in enumerate(clips[:4]):
        paths.append(tmp_path / f"clip_{number}.wav")
        paths[-1].write_bytes(encode(clip))
    return paths


ONE = {
    "path": lambda path: path,
    "str": str,
    "bytes": lambda path: path.read_bytes(),
    "file object": lambda path: io.BytesIO(path.read_bytes()),
    "array": load_audio,
    "tensor": lambda path: torch.from_numpy(load_audio(path)),
    "raw": lambda path: {"raw": load_audio(path), "sampling_rate": 16_000},
    "datasets": lambda path: {"bytes": path.read_bytes(), "path": path.name},
    "datasets array": lambda path: {"array": load_audio(path), "sampling_rate": 16_000, "path": None},
}


@pytest.mark.parametrize("kind", ONE)
def test_every_kind_of_recording_alone_and_in_a_list(classify, files, kind):
    expected = [classify(load_audio(path)) for path in files]
    assert_equal_scores(classify(ONE[kind](files[0])), expected[0])
    together = classify([ONE[kind](path) for path in files], batch_size=3)
    for answer, scores in zip(together, expected, strict=True):
        assert_equal_scores(answer, scores)


@pytest.fixture
def audio_dataset(files):
    rows = {"audio": [path.read_bytes() for path in files[:3]], "label": [0, 1, 2]}
    dataset = datasets.Dataset.from_dict({"audio": [{"bytes": content, "path": None} for content in rows["audio"]]})
    return dataset.cast_column("audio", datasets.Audio(decode=False))


MANY = {
    "list": lambda dataset: list(dataset["audio"]),
    "tuple": lambda dataset: tuple(dataset["audio"]),
    "generator": lambda dataset: (row["audio"] for row in dataset),
    "iterator": lambda dataset: iter([row["audio"] for row in dataset]),
    "KeyDataset": lambda dataset: KeyDataset(dataset, "audio"),
    "column": lambda dataset: dataset["audio"],
    "IterableDataset": lambda dataset: dataset.to_iterable_dataset()["audio"],
}


@pytest.mark.parametrize("kind", MANY)
def test_every_kind_of_many(classify, files, audio_dataset, kind):
    answers = classify(MANY[kind](audio_dataset), batch_size=2)
    assert isinstance(answers, list) == (kind in ("list", "tuple"))
    for path, answer in zip(files[:3], answers, strict=True):
        assert_equal_scores(answer, classify(path))


def test_nothing_in_nothing_out(classify):
    assert classify([]) == [] and classify(()) == []
    assert list(classify(iter([]))) == []


@pytest.mark.parametrize("recordings", ["sounding", "unusable"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_generator_is_read_a_few_batches_ahead_only(classify, clips, batch_size, recordings):
    taken = []

    def many():
        for _ in range(2000):
            taken.append(None)
            yield clips[2] if recordings == "sounding" else "nowhere.wav"

    answers = classify(many(), batch_size=batch_size)
    assert not taken  # nothing is read before the first answer is needed
    for number in range(1, 60):
        assert ("error" in next(answers)) == (recordings == "unusable")
        assert len(taken) <= number + 3 * 8 * batch_size
    answers.close()
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_an_error_of_the_generator_itself_comes_through(classify, clips):
    def broken():
        yield clips[0]
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        list(classify(broken()))


# --- options ----------------------------------------------------------------------------------------------------


def test_top_k_keeps_the_best(classify, build_pipeline, clips):
    whole = classify(clips[0])
    assert classify(clips[0], top_k=2) == whole[:2]
    assert classify(clips[0], top_k=9) == whole
    once = build_pipeline(top_k=1)
    assert once(clips[0]) == whole[:1]
    assert once(clips[0], top_k=3) == whole[:3]
    assert once(clips[0], top_k=None) == whole
    assert once(clips[0]) == whole[:1]  # a call changes nothing for those after it


@pytest.fixture
def batches(monkeypatch):
    """Lengths of the clips in every batch of a model."""
    seen, preprocess = [], SpeechEmotionPipeline.preprocess

    def watched(self, waveforms):
        seen.append([len(waveform) for waveform in waveforms])
        return preprocess(self, waveforms)

    monkeypatch.setattr(SpeechEmotionPipeline, "preprocess", watched)
    return seen


def test_batches_have_the_size_asked_for_and_clips_of_like_length(build_pipeline, clips, batches):
    for classify, options in ((build_pipeline(batch_size=4), {}), (build_pipeline(batch_size=1), {"batch_size": 4})):
        batches.clear()
        classify(clips, **options)
        assert [len(batch) for batch in batches] == [4, 4, 1]
        assert sum(batches, []) == sorted((len(clip) for clip in clips), reverse=True)


def test_models_without_a_mask_get_clips_of_one_length_together(build_pipeline, clips, batches):
    build_pipeline("group")(clips, batch_size=4)
    assert [len(batch) for batch in batches] == [1, 1, 2, 3, 1, 1]
    assert all(len(set(batch)) == 1 for batch in batches)


@pytest.mark.parametrize(
    "options",
    [
        {"topk": 1},
        {"function_to_apply": "none"},
        {"top_k": 0},
        {"top_k": 1.5},
        {"top_k": True},
        {"window_s": 0.05},
        {"window_s": float("nan")},
        {"stride_s": 0},
        {"stride_s": -1.0},
        {"window_s": 1.0, "stride_s": 1.5},
        {"on_error": "ignore"},
        {"batch_size": -1},
    ],
)
def test_options_that_cannot_be_are_refused_by_name(classify, clips, options):
    with pytest.raises(ValueError, match=f"^({'|'.join(options)})(:| is).*; expected "):
        classify(clips[:1], **options)


def test_options_are_checked_when_the_pipeline_is_made(build_pipeline):
    with pytest.raises(ValueError, match="^topk is not a parameter"):
        build_pipeline(topk=1)


def test_a_feature_extractor_of_another_rate_is_refused(parts):
    for extractor in (make_feature_extractor(8_000), None):
        with pytest.raises(
            ValueError,
            match="^feature_extractor: got (none|one for 8000 Hz); expected a feature extractor for 16000 Hz",
        ):
            SpeechEmotionPipeline(model=parts["companion"][0], feature_extractor=extractor, device="cpu")


# --- windows ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def parted():
    """3.5 s of changing tones, silent from 1 to 2 s."""
    time_s = np.arange(56_000) / 16_000
    waveform = 0.3 * np.sin(2 * np.pi * (200 + 150 * np.floor(time_s * 2)) * time_s)
    return np.where((time_s >= 1) & (time_s < 2), 0.0, waveform).astype(np.float32)


@pytest.mark.parametrize("kind", [*MODELS, "spectrogram"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_timeline_has_the_scores_of_every_window_and_their_mean(build_pipeline, parted, kind, batch_size):
    classify = build_pipeline(kind)
    options = {"window_s": 1.0, "stride_s": 0.75, "return_timeline": True}
    answer = classify(parted, batch_size=batch_size, **options)
    assert set(answer) == {"scores", "timeline"}
    times = [(window["start"], window["end"]) for window in answer["timeline"]]
    assert times == [(0.0, 1.0), (0.75, 1.75), (1.5, 2.5), (2.25, 3.25), (3.0, 3.5)]
    total = dict.fromkeys(LABELS, 0.0)
    for window in answer["timeline"]:
        part = parted[round(window["start"] * 16_000) : round(window["end"] * 16_000)]
        assert window["silent"] is False
        assert_equal_scores(window["scores"], classify(part))
        for label, score in by_label(window["scores"]).items():
            total[label] += score * (window["end"] - window["start"]) / 4.5
    assert by_label(answer["scores"]) == pytest.approx(total, abs=1e-6)


def test_silent_windows_have_no_scores_and_no_part_in_the_mean(classify, parted, batches):
    answer = classify(parted, window_s=1.0, stride_s=1.0, return_timeline=True)
    assert sum(batches, []) == [16_000, 16_000, 8000]  # the model does not process them
    assert [window["silent"] for window in answer["timeline"]] == [False, True, False, False]
    assert [window["scores"] is None for window in answer["timeline"]] == [False, True, False, False]
    parts = [parted[:16_000], parted[32_000:48_000], parted[48_000:]]
    weighted = [(by_label(classify(part)), len(part)) for part in parts]
    expected = {label: sum(scores[label] * size for scores, size in weighted) / 40_000 for label in LABELS}
    assert by_label(answer["scores"]) == pytest.approx(expected, abs=1e-6)
    assert_equal_scores(classify(parted, window_s=1.0, stride_s=1.0), answer["scores"])


def test_top_k_holds_for_windows_too(classify, parted):
    answer = classify(parted, window_s=1.0, return_timeline=True, top_k=1)
    assert len(answer["scores"]) == 1
    assert all(len(window["scores"]) == 1 for window in answer["timeline"] if window["scores"])


def test_strides_are_half_a_window_unless_asked_for(classify, parted):
    answer = classify(parted, window_s=1.0, return_timeline=True)
    assert [window["start"] for window in answer["timeline"]] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


@pytest.mark.parametrize("kind", ["companion", "hybrid"])
def test_of_models_that_hear_the_first_seconds_windows_are_as_long_as_that(build_pipeline, stock, tone, kind):
    classify, window_s = build_pipeline(kind), HEARS_S[kind]
    short, long = tone(2 * window_s), tone(3 * window_s)
    assert_equal_scores(classify(short), stock(kind)(short))
    assert len(classify(short, return_timeline=True)["timeline"]) == 1
    answer = classify(long, return_timeline=True)
    times = [window["start"] for window in answer["timeline"]]
    assert times == pytest.approx([number * window_s / 2 for number in range(5)])
    assert all(window["end"] - window["start"] == pytest.approx(window_s) for window in answer["timeline"])
    changed = np.concatenate([long[: -len(long) // 6], 0.2 * np.sign(np.sin(np.arange(len(long) // 6)))])
    assert by_label(classify(changed.astype(np.float32))) != pytest.approx(by_label(answer["scores"]), abs=1e-6)


def test_recordings_of_more_than_half_a_minute_are_cut_into_windows(build_pipeline, stock, tone):
    classify, short, long = build_pipeline("spectrogram"), tone(30.0), tone(31.0)
    assert_equal_scores(classify(short), stock("spectrogram")(short))
    (whole,) = classify(short, return_timeline=True)["timeline"]
    assert (whole["start"], whole["end"]) == (0.0, 30.0)
    windows = classify(long, return_timeline=True)["timeline"]
    assert [(window["start"], window["end"]) for window in windows] == [
        (0.0, 10.0),
        (5.0, 15.0),
        (10.0, 20.0),
        (15.0, 25.0),
        (20.0, 30.0),
        (25.0, 31.0),
    ]


def test_a_recording_of_more_windows_than_are_decoded_at_once_keeps_its_place(classify, clips):
    long = np.tile(clips[1], 20)
    together = classify([clips[0], long, clips[2]], window_s=1.0, stride_s=0.5, batch_size=2, return_timeline=True)
    assert [len(answer["timeline"]) for answer in together] == [1, 59, 1]
    alone = classify(long, window_s=1.0, stride_s=0.5, batch_size=5, return_timeline=True)
    for one, other in zip(together[1]["timeline"], alone["timeline"], strict=True):
        assert_equal_scores(one["scores"], other["scores"])


def test_scores_that_are_not_numbers_are_errors(build_pipeline, clips):
    pipeline = build_pipeline("companion", on_error="report")
    bias = next(weights for name, weights in pipeline.model.named_parameters() if "classifier" in name)
    kept = bias.data.clone()
    try:
        bias.data[...] = float("nan")
        answers = pipeline(clips[:2])
    finally:
        bias.data[...] = kept
    assert [answer["reason"] for answer in answers] == ["not_finite"] * 2
    assert "got scores that are not numbers" in answers[0]["error"]
    assert np.isfinite(list(by_label(pipeline(clips[0])).values())).all()


def test_windows_are_released_after_prediction(classify, clips, tmp_path):
    sf.write(tmp_path / "long.flac", np.tile(clips[1], 400), 16_000)  # 10 minutes, 38 MB
    tracemalloc.start()
    try:
        answer = classify(tmp_path / "long.flac", window_s=10.0, return_timeline=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(answer["timeline"]) == 119
    assert peak < 25e6


@pytest.mark.parametrize("kind", [*MODELS, "spectrogram"])
def test_a_last_window_of_a_single_sample_is_no_trouble(build_pipeline, kind):
    waveform = np.full(16_001, 0.3, np.float32)
    answer = build_pipeline(kind)(waveform, window_s=0.5, stride_s=0.5, return_timeline=True)
    assert answer["timeline"][-1]["end"] - answer["timeline"][-1]["start"] == pytest.approx(1 / 16_000)
    assert sum(by_label(answer["scores"]).values()) == pytest.approx(1.0)


# --- embeddings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*MODELS, "spectrogram"])
def test_embeddings_are_what_enters_the_classifier(build_pipeline, alone, parts, clips, kind):
    model, extractor = parts[kind]
    seen = []
    hook = model.classifier.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0][0].float().numpy()))
    for clip in clips:
        with torch.no_grad():
            model(**extractor(clip, sampling_rate=16_000, return_tensors="pt"))
    hook.remove()
    answers = build_pipeline(kind)(clips, return_embeddings=True, batch_size=4)
    for answer, expected, scores in zip(answers, seen, alone(kind), strict=True):
        assert set(answer) == {"scores", "embedding"}
        assert answer["embedding"].ndim == 1
        np.testing.assert_allclose(answer["embedding"], expected, atol=1e-4, rtol=1e-4)
        assert_equal_scores(answer["scores"], scores)
    assert np.abs(seen[0] - seen[1]).max() > 1e-3
    assert not model.classifier._forward_pre_hooks


def test_a_companions_embeddings_are_its_own(classify, parts, clips):
    with torch.no_grad():
        expected = parts["companion"][0].embeddings(torch.from_numpy(clips[1])[None])[0]
    np.testing.assert_allclose(classify(clips[1], return_embeddings=True)["embedding"], expected, atol=1e-5)


def test_the_embedding_of_many_windows_is_their_mean(classify, parted):
    parts = [parted[:16_000], parted[32_000:48_000], parted[48_000:]]
    each = [classify(part, return_embeddings=True)["embedding"] for part in parts]
    whole = classify(parted, window_s=1.0, stride_s=1.0, return_embeddings=True)["embedding"]
    np.testing.assert_allclose(whole, np.average(each, axis=0, weights=[2, 2, 1]), atol=1e-5)


# --- errors -----------------------------------------------------------------------------------------------------

BAD = {
    "not_found": "nowhere.wav",
    "empty": b"",
    "level": np.full(8000, 3e38, np.float32),
    "undecodable": b"no audio",
    "not_finite": np.full(8000, np.nan, np.float32),
    "too_short": np.full(1000, 0.1, np.float32),
    "silent": np.full(8000, 1e-4, np.float32),
    "argument": 5,
}


@pytest.mark.parametrize("reason", BAD)
def test_one_recording_that_cannot_be_used_raises(classify, reason):
    with pytest.raises(AudioError) as caught:
        classify(BAD[reason])
    assert caught.value.reason == reason
    assert classify(BAD[reason], on_error="report") == {"error": str(caught.value), "reason": reason}


@pytest.mark.parametrize("make", [list, tuple, iter])
def test_of_many_each_that_cannot_be_used_is_reported_in_its_place(classify, clips, make):
    mixed = [clips[0], *BAD.values(), clips[1]]
    answers = list(classify(make(mixed), batch_size=2))
    assert [answer.get("reason") for answer in answers[1:-1]] == list(BAD)
    assert all(set(answer) == {"error", "reason"} and ": got " in answer["error"] for answer in answers[1:-1])
    assert_equal_scores(answers[0], classify(clips[0]))
    assert_equal_scores(answers[-1], classify(clips[1]))


def test_a_report_names_the_file(classify, tmp_path, clips):
    (tmp_path / "empty.wav").touch()
    answers = classify([tmp_path / "empty.wav", clips[0], tmp_path / "none.wav"])
    assert str(tmp_path / "empty.wav") in answers[0]["error"]
    assert answers[2]["error"] == f"{tmp_path / 'none.wav'}: got no such file; expected an audio file. Check the path."


def test_of_many_the_first_raises_where_asked_for(classify, build_pipeline, clips):
    for answer in (
        lambda: classify([clips[0], "nowhere.wav"], on_error="raise"),
        lambda: build_pipeline(on_error="raise")([clips[0], "nowhere.wav"]),
    ):
        with pytest.raises(AudioError, match=r"^nowhere\.wav: got no such file"):
            answer()


def test_a_recording_that_breaks_off_has_no_scores(classify, encode, tone):
    content = encode(tone(3.0), format="FLAC")
    with pytest.raises(AudioError, match="ends or is damaged"):
        classify(content[: len(content) * 3 // 4], window_s=0.5)


def test_silence_between_sounds_is_no_error(classify, clips):
    answer = classify(np.concatenate([np.zeros(32_000, np.float32), clips[1]]), window_s=1.0)
    assert set(by_label(answer)) == LABELS


# --- folders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["group", "layer", "spectrogram"])
def test_folders_of_transformers_models_need_no_remote_code(tmp_path, parts, build_pipeline, stock, clips, kind):
    for part in parts[kind]:
        part.save_pretrained(tmp_path / "model")
    classify = pipeline("speech-emotion-recognition", model=str(tmp_path / "model"), device="cpu")
    assert type(classify) is SpeechEmotionPipeline
    assert_equal_scores(classify(clips[0]), stock(kind)(clips[0]))
    classify.save_pretrained(tmp_path / "again")
    for folder in (tmp_path / "model", tmp_path / "again"):
        assert "custom_pipelines" not in json.loads((folder / "config.json").read_text())
        assert not list(folder.glob("*.py"))
        theirs = pipeline("audio-classification", model=str(folder), device="cpu")
        assert type(theirs) is AudioClassificationPipeline
    again = pipeline("speech-emotion-recognition", model=str(tmp_path / "again"), device="cpu")
    assert again(clips[0]) == classify(clips[0])


@pytest.mark.parametrize("kind", ["companion", "hybrid"])
def test_folders_of_this_packages_models_bring_the_pipeline(tmp_path, parts, stock, clips, kind):
    for part in parts[kind]:
        part.save_pretrained(tmp_path / "model")
    for number, folder in enumerate((tmp_path / "model", tmp_path / "again")):
        assert {"decoder.py", "windows.py", "speech_emotion_pipeline.py"} <= {
            path.name for path in folder.glob("*.py")
        }
        classify = pipeline("audio-classification", model=str(folder), trust_remote_code=True, device="cpu")
        assert type(classify).__name__ == "SpeechEmotionPipeline"
        assert_equal_scores(classify(clips[0]), stock(kind)(clips[0]))
        if not number:
            classify.save_pretrained(tmp_path / "again")
    here = pipeline("speech-emotion-recognition", model=str(tmp_path / "model"), device="cpu")
    assert type(here) is SpeechEmotionPipeline
    here.save_pretrained(tmp_path / "third")
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("model", "third")]
    assert configs[0]["custom_pipelines"] == configs[1]["custom_pipelines"]


# --- abstention ------------------------------------------------------------------------------------------------


@pytest.fixture
def with_threshold(companion):
    """A pipeline of a model with an abstention threshold of its own."""

    def make(threshold, **options):
        model = companion(duration_s=HEARS_S["companion"])
        model.config.abstention_threshold = threshold
        return SpeechEmotionPipeline(model=model, feature_extractor=make_feature_extractor(), device="cpu", **options)

    return make


@pytest.mark.parametrize(("threshold", "abstained"), [(0.99, True), (0.0, False)])
def test_abstaining_adds_to_the_scores_and_does_not_change_them(with_threshold, clips, threshold, abstained):
    classify = with_threshold(threshold)
    plain = classify(clips[0])
    assert isinstance(plain, list)  # off unless requested, also for a model with a threshold
    assert classify(clips[0], abstain=True) == {"scores": plain, "abstained": abstained, "threshold": threshold}
    assert classify(clips[0], abstain=False) == classify(clips[0], abstain=None) == plain
    best = classify(clips[0], abstain=True, top_k=1)
    assert best["scores"] == plain[:1] and best["abstained"] == abstained
    assert classify(clips[0], abstain=plain[0]["score"])["abstained"] is False  # the threshold itself is answered
    assert classify(clips[0], abstain=plain[0]["score"] + 1e-6)["abstained"] is True


def test_abstaining_as_the_default_of_a_pipeline_and_in_a_batch(with_threshold, clips):
    classify = with_threshold(None, abstain=0.5)
    found = classify([clips[0], "missing.wav", clips[1]], return_timeline=True)
    assert [sorted(answer) for answer in found] == [
        ["abstained", "scores", "threshold", "timeline"],
        ["error", "reason"],
        ["abstained", "scores", "threshold", "timeline"],
    ]
    assert isinstance(classify(clips[0], abstain=False), list)


@pytest.mark.parametrize("value", ["yes", -0.1, 1.5, float("nan")])
def test_other_values_of_abstain_are_rejected(classify, clips, value):
    with pytest.raises(ValueError, match="^abstain: got .*; expected True, False or a number from 0 to 1"):
        classify(clips[0], abstain=value)


def test_abstaining_without_a_threshold_needs_a_number(classify, clips):
    with pytest.raises(ValueError, match="^abstain: got True, but the model has no abstention threshold"):
        classify(clips[0], abstain=True)


# --- real recordings --------------------------------------------------------------------------------------------


@pytest.mark.corpora
def test_real_recordings_have_the_same_scores_alone_together_and_in_the_stock_pipeline(corpora_dir, classify, stock):
    paths = sorted((corpora_dir / "ravdess").rglob("*.flac"))[::240]
    assert len(paths) == 6
    theirs = stock()
    for path, answer in zip(paths, classify(paths, batch_size=4, window_s=30.0), strict=True):
        assert_equal_scores(answer, classify(path, window_s=30.0))
        assert_equal_scores(answer, theirs(load_audio(path)))
