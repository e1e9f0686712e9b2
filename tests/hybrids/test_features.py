"""Features of a hybrid's sources equal the base models' own outputs, and are computed once per clip and model."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoModelForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from hf_ser.audio import Preprocessing, load_audio
from hf_ser.data import DataArguments, SplitData, load_splits
from hf_ser.evaluation import predict_logits
from hf_ser.hybrids import features
from hf_ser.hybrids.base_models import StackError, open_base_models
from hf_ser.hybrids.features import SourceError, open_functionals, open_source
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.hybrids.meta_learners import fit_mean
from hf_ser.hybrids.writer import assemble
from hf_ser.inference import CheckpointError, load_classifier
from hf_ser.labels import EMOTIONS
from hf_ser.models import AudioCNNConfig, Functionals, HybridConfig, HybridForAudioClassification
from hf_ser.remote_code.hybrid_sources import SourceSettings
from hf_ser.scoring import softmax

LABELS = {"id2label": dict(enumerate(EMOTIONS)), "label2id": {label: row for row, label in enumerate(EMOTIONS)}}
EVERY = range(len(EMOTIONS))
COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def split(sounds_dir):
    """Ten clips."""
    return load_splits(DataArguments(str(sounds_dir), "ravdess")).splits["test"].select(range(10))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def heard(monkeypatch):
    """Number of decoded clips, per read."""
    counts, decoded = [], features.decoded

    class Counted:
        def __init__(self, *rest):
            self.items = decoded(*rest)

        def __getitem__(self, rows):
            counts.append(len(rows))
            return self.items[rows]

    monkeypatch.setattr(features, "decoded", Counted)
    return counts


def companion(seed=0):
    torch.manual_seed(seed)
    config = AudioCNNConfig(channels=(4, 4), kernel_sizes=(5, 3), hidden_size=8, duration_s=0.5, n_mels=24, **LABELS)
    return AutoModelForAudioClassification.from_config(config).eval()


def wav2vec2(config):
    torch.manual_seed(1)
    fields = {name: value for name, value in config.items() if name != "model_type"} | {"num_hidden_layers": 3}
    return Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**fields, **LABELS)).eval()


def spectrogram_model():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return ASTForAudioClassification(ASTConfig(**sizes, max_length=48, num_mel_bins=24, **LABELS))


@pytest.fixture
def bases(tmp_path, tiny_config):
    """Locations of models by name, written on first use."""

    class Places(dict):
        def __missing__(self, name):
            make = {"wav2vec2": lambda: wav2vec2(tiny_config), "ast": spectrogram_model}.get(name, companion)
            extractor = Wav2Vec2FeatureExtractor(do_normalize=name == "wav2vec2", return_attention_mask=name == "cnn")
            if name == "ast":
                extractor = ASTFeatureExtractor(max_length=48, num_mel_bins=24)
            make().save_pretrained(tmp_path / name)
            extractor.save_pretrained(tmp_path / name)
            self[name] = tmp_path / name
            return self[name]

    return Places()


def arguments(**fields):
    return HybridArguments(
        "out", kind="deep_features", device="cpu", **({"batch_size": 4, "trust_bases": True} | fields)
    )


def dataset(data_args=None, labels=EMOTIONS):
    """A dataset without clips, with these arguments."""
    return SplitData({}, labels, None, (), args=data_args or DataArguments())


def opened(place, what="embeddings", classes=EVERY, data_args=None, **fields):
    """A base model as a source, or functionals without one."""
    data = dataset(data_args)
    if place is None:
        (source,) = open_functionals(data, arguments(**fields))
        return source
    args = arguments(bases=[str(place)], **fields)
    return open_source(open_base_models(args, data.args)[0], what, data, classes, args)


def computed(source, split, **fields):
    return features.compute(source, split, arguments(**fields), "test")


def waveforms(split):
    return [load_audio(audio) for audio in split["audio"]]


def kept_files(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("place", [None, "cnn", "wav2vec2"])
def test_kept_columns_are_of_these_clips_whole_and_equal_to_single_ones(
    place, bases, split, cache, heard, monkeypatch, tmp_path
):
    source = opened(place and bases[place])
    rows = computed(source, split)
    assert rows.shape == (10, len(source.feature_names)) and rows.dtype == np.float64 and sum(heard) == 10
    assert len({row.tobytes() for row in rows}) == 10
    (file,) = kept_files(cache)
    kept = load_file(file)
    stored = {clip.tobytes(): row for clip, row in zip(kept["clips"], kept["columns"], strict=True)}
    keys = [hashlib.sha256(clip.encode()).digest() for clip in split["sha256"]]
    assert len(stored) == 10
    np.testing.assert_array_equal([stored[key] for key in keys], rows)
    # No clip is decoded again, in any order or after loading again.
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_array_equal(computed(opened(place and bases[place]), split.select(order)), rows[order])
    assert sum(heard) == 10
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "other"))
    alone = [computed(source, split.select([row]))[0] for row in range(10)]
    assert sum(heard) == 20
    np.testing.assert_allclose(rows, alone, rtol=1e-3, atol=1e-3)


def test_weights_cast_once_give_what_autocast_gives(bases, split, monkeypatch):
    source = opened(bases["wav2vec2"])
    before = {name: weights.clone() for name, weights in source.state_dict().items()}
    rows = computed(source, split, precision="bf16")
    for name, weights in source.state_dict().items():
        assert weights.dtype == torch.float32 and torch.equal(weights, before[name])
    monkeypatch.setattr(features, "_path", lambda *_: None)  # nothing kept
    source.column_precision = "bf16"
    monkeypatch.setattr(features, "lowered", lambda source, precision: source)
    np.testing.assert_array_equal(computed(source, split, precision="bf16"), rows)


@pytest.mark.parametrize("place", ["cnn", "wav2vec2"])
def test_bfloat16_is_kept_apart_from_float32(place, bases, split, cache, heard):
    high = computed(opened(bases[place]), split)
    source = opened(bases[place], precision="bf16")
    low = computed(source, split, precision="bf16")
    assert source.settings.fitted_precision == "bf16" and source.column_precision == "fp32"
    assert sum(heard) == 20 and len(kept_files(cache)) == 2
    assert 0 < np.linalg.norm(low - high) < 0.05 * np.linalg.norm(high)


def test_functionals_are_those_of_the_cut_clips(split):
    cut = {"duration_s": 0.3, "normalize": True}
    source = opened(None, data_args=DataArguments(**cut))
    clips = [load_audio(audio, **cut) for audio in split["audio"]]
    with torch.inference_mode():
        expected = [Functionals()(torch.from_numpy(clip)[None])[0].numpy() for clip in clips]
    np.testing.assert_allclose(computed(source, split), expected, rtol=1e-3, atol=1e-3)


def test_of_another_split_only_the_new_clips_are_heard(split, heard, cache):
    source = opened(None)
    first = computed(source, split.select(range(6)))
    assert sum(heard) == 6
    second = computed(source, split.select([9, 8, 4, 5, 7, 3]))
    assert sum(heard) == 9
    np.testing.assert_array_equal(second[[2, 3, 5]], first[[4, 5, 3]])
    copies = split.remove_columns("id").add_column("id", [f"copy/{row}" for row in range(10)])  # of the same sounds
    together = datasets.concatenate_datasets([copies, split.select(range(6))])
    rows = computed(source, together)
    assert sum(heard) == 10  # only one was new
    np.testing.assert_array_equal(rows[:6], first)
    np.testing.assert_array_equal(rows[10:], first)
    assert len(kept_files(cache)) == 1


def test_identical_clips_of_one_split_are_heard_once(split, heard):
    rows = computed(opened(None), split.select([0, 1, 0, 0, 2]))
    assert sum(heard) == 3
    np.testing.assert_array_equal(rows[[0, 0]], rows[[2, 3]])
    np.testing.assert_array_equal(rows[[0, 1, 4]], computed(opened(None), split.select([0, 1, 2])))


def test_a_file_that_is_cut_or_somebody_elses_is_computed_anew(split, heard, cache):
    source = opened(None)
    rows = computed(source, split)
    (file,) = kept_files(cache)
    whole = load_file(file)
    broken = [
        lambda: file.write_bytes(file.read_bytes()[:-200]),  # truncated copy
        lambda: file.write_bytes(b""),
        lambda: file.write_bytes(b"no tensors at all"),
        lambda: save_file({"weight": np.zeros(3)}, file),
        lambda: save_file(whole | {"columns": whole["columns"][:, :-1].copy()}, file),
        lambda: save_file(whole | {"columns": whole["columns"][:-1].copy()}, file),
    ]
    for number, break_it in enumerate(broken, start=2):
        break_it()
        np.testing.assert_array_equal(computed(source, split), rows)
        assert sum(heard) == 10 * number
        assert computed(source, split).tobytes() == rows.tobytes() and sum(heard) == 10 * number  # it is whole again
    assert kept_files(cache) == [file]


def test_whatever_decides_the_columns_decides_the_file(split, cache, bases, tmp_path):
    other = tmp_path / "other_weights"
    shutil.copytree(bases["wav2vec2"], other)
    weights = load_file(other / "model.safetensors")
    weights["wav2vec2.encoder.layers.0.final_layer_norm.bias"][3] += 1
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    plain = tmp_path / "not_normalized"
    shutil.copytree(bases["wav2vec2"], plain)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(plain)
    place, two = bases["wav2vec2"], split.select(range(2))
    sources = [
        opened(place, layer=1),
        opened(place, layer=2),
        opened(place),
        opened(other, layer=1),
        opened(plain, layer=1),
        opened(place, layer=1, data_args=DataArguments(duration_s=0.3)),
        opened(place, layer=1, data_args=DataArguments(normalize=True)),
        opened(place, layer=1, data_args=DataArguments(trim_db=20.0)),
        opened(place, "probabilities"),
        opened(place, "probabilities", classes=(0, 3, 5)),
        opened(None),
        opened(None, data_args=DataArguments(duration_s=0.3)),
    ]
    tables = [computed(source, two) for source in sources]
    assert len(kept_files(cache)) == len(sources)
    first, others = tables[0], tables[1:5]
    assert not any(np.allclose(table, first, rtol=0, atol=1e-6) for table in others)
    # Name and location do not matter.
    moved = opened(f"a_name={shutil.copytree(place, tmp_path / 'moved')}", layer=1)
    assert moved.feature_names[0] == "a_name.embedding_0"
    np.testing.assert_array_equal(computed(moved, two), first)
    assert len(kept_files(cache)) == len(sources)


def test_clips_that_no_hash_tells_apart_are_not_kept(split, cache, heard):
    source = opened(None)
    bare = split.remove_columns("sha256")
    partly = bare.add_column("sha256", ["", *split["sha256"][1:]])
    found = [computed(source, part) for part in (bare, partly, bare)]
    assert sum(heard) == 30 and kept_files(cache) == []
    for rows in found:
        np.testing.assert_array_equal(rows, computed(source, split))


def test_no_clips_give_no_rows(split, heard, cache):
    source = opened(None)
    assert computed(source, split.select([])).shape == (0, len(source.feature_names))
    assert heard == [] and kept_files(cache) == []


@pytest.mark.parametrize("name", ["cnn", "wav2vec2"])
def test_a_base_gives_what_its_folder_gives(name, bases, split):
    model, extractor = load_classifier(str(bases[name]))
    clips, inputs = waveforms(split), []
    order, logits = predict_logits(
        model, extractor, split["duration"], lambda rows: [clips[row] for row in rows], embeddings=inputs
    )
    back = np.argsort(order)
    expected = softmax(logits)[back]
    np.testing.assert_allclose(computed(opened(bases[name], "probabilities"), split), expected, rtol=0, atol=1e-5)
    some = expected[:, [0, 3, 5]]
    source = opened(bases[name], "probabilities", classes=(0, 3, 5))
    assert source.feature_names == [f"{name}.{EMOTIONS[row]}" for row in (0, 3, 5)]
    np.testing.assert_allclose(computed(source, split), some / some.sum(axis=1, keepdims=True), rtol=0, atol=1e-5)
    if name == "cnn":
        np.testing.assert_allclose(computed(opened(bases[name]), split), np.stack(inputs)[back], rtol=1e-4, atol=1e-5)


def test_the_preprocessing_of_a_bases_folder_decides_how_clips_are_cut(bases):
    args = arguments(bases=[str(bases["cnn"])])
    asked = DataArguments(duration_s=0.7, trim_db=30.0)
    (base,) = open_base_models(args, asked)
    with_steps = replace(base, preprocessing=Preprocessing(duration_s=0.3, normalize=True))
    for base_model, expected in ((base, (0.7, 30.0, False)), (with_steps, (0.3, None, True))):
        settings = open_source(base_model, "embeddings", dataset(asked), EVERY, args).settings
        assert (settings.duration_s, settings.trim_db, settings.normalize) == expected


@pytest.mark.parametrize("layer", [0, 1, 3, None])
@pytest.mark.parametrize("classifier", [True, False])
def test_an_encoder_gives_the_mean_states_of_its_layer(layer, classifier, bases, split, tmp_path):
    place = bases["wav2vec2"]
    model, extractor = load_classifier(str(place))
    if not classifier:
        place = tmp_path / "encoder"
        model.wav2vec2.save_pretrained(place)
        extractor.save_pretrained(place)
    expected = []
    with torch.inference_mode():
        for clip in waveforms(split):
            inputs = extractor(clip, sampling_rate=16_000, return_tensors="pt")
            states = model(inputs["input_values"], output_hidden_states=True).hidden_states
            expected.append(states[-1 if layer is None else layer][0].mean(dim=0).numpy())
    found = computed(opened(place, layer=layer), split)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_columns_that_are_all_the_same_are_refused_and_some_are_told(caplog):
    rows = np.random.default_rng(0).random((5, 3))
    features.check_varying(rows, "abc")
    assert not caplog.records
    rows[:, 1] = 2.0
    features.check_varying(rows, "abc")
    assert [record.message for record in caplog.records] == ["1 features are constant: b"]
    with pytest.raises(StackError, match="all 3 features are constant over the 5 fitting clips"):
        features.check_varying(np.ones((5, 3)), "abc")


@pytest.mark.parametrize(
    ("place", "what", "fields", "message"),
    [
        ("ast", "probabilities", {}, "does not process waveforms at 16 kHz"),
        ("ast", "embeddings", {}, "does not process waveforms at 16 kHz"),
        ("wav2vec2", "embeddings", {"layer": 4}, "layer: got 4; expected 0 to 3"),
        ("cnn", "embeddings", {"layer": 1}, "layer: got 1; expected none, because a companion has one embedding"),
        (
            "cnn",
            "embeddings",
            {"embed_bases": False},
            r"embed_bases is false and base cnn .* is a folder; expected a model on the Hub",
        ),
    ],
)
def test_bases_that_cannot_be_sources_are_refused(place, what, fields, message, bases):
    with pytest.raises(SourceError, match=message):
        opened(bases[place], what, **fields)


def test_tables_other_labels_other_rates_and_hybrids_are_refused(bases, tmp_path):
    (tmp_path / "table.parquet").touch()
    args = HybridArguments("out", predictions=[f"text={tmp_path}/table.parquet"], trust_bases=True)
    (table,) = open_base_models(args, DataArguments())
    with pytest.raises(SourceError, match="base text .* contains predictions only; expected a model"):
        open_source(table, "probabilities", dataset(), EVERY, args)
    (base,) = open_base_models(arguments(bases=[str(bases["cnn"])]), DataArguments())
    for labels in (EMOTIONS[::-1], EMOTIONS[:7]):
        with pytest.raises(SourceError, match="id2label: got neutral, .*; expected .*, in this order"):
            open_source(base, "probabilities", dataset(labels=labels), range(7), args)
    hybrid = tmp_path / "hybrid"
    assemble([opened(bases["cnn"], "probabilities")], fit_mean(np.ones((2, 8)), 8), EMOTIONS, EVERY).save_pretrained(
        hybrid
    )
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(hybrid)
    for what, fields in (("probabilities", {}), ("embeddings", {}), ("embeddings", {"layer": 1})):
        with pytest.raises(SourceError, match="base hybrid .* is a hybrid; expected one on functionals"):
            opened(hybrid, what, **fields)
    inner = {key: value for key, value in json.loads((hybrid / "config.json").read_text()).items() if key != "dtype"}
    with pytest.raises(ValueError, match="model_type: got a hybrid with base models; expected a hybrid on"):
        HybridForAudioClassification(
            HybridConfig(sources=[SourceSettings("a", model=inner).to_dict()], head="mean", **LABELS)
        )
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(bases["wav2vec2"])
    with pytest.raises(SourceError, match="does not process waveforms at 16 kHz"):
        opened(bases["wav2vec2"])


@pytest.mark.parametrize(
    ("name", "absent", "shown"),
    [
        ("wav2vec2", "wav2vec2.encoder.layers.0.attention.k_proj.weight", "encoder.layers.0.attention.k_proj.weight"),
        ("cnn", "classifier.weight", "classifier.weight"),
    ],
)
def test_a_base_that_lacks_weights_is_refused(name, absent, shown, bases):
    file = bases[name] / "model.safetensors"
    weights = load_file(file)
    del weights[absent]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"lacks 1 weights \({shown}\), which would be random"):
        opened(bases[name])


@pytest.fixture
def on_the_hub(bases):
    """The companion model as downloaded from the Hub."""
    cached = Path(os.environ["HF_HUB_CACHE"]) / "models--someone--small-cnn"
    shutil.copytree(bases["cnn"], cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    yield "someone/small-cnn"
    shutil.rmtree(cached)


def test_a_base_on_the_hub_is_that_of_its_commit(on_the_hub, bases, split, heard, tmp_path):
    expected = computed(opened(bases["cnn"], "probabilities"), split)
    for place in (on_the_hub, f"{on_the_hub}@{COMMIT}", f"{on_the_hub}@main"):
        (base,) = open_base_models(arguments(bases=[place]), DataArguments())
        assert (base.name, base.model, base.commit) == ("small-cnn", on_the_hub, COMMIT)
        source = opened(place, "probabilities")
        np.testing.assert_array_equal(computed(source, split), expected)
        assert source.settings.repository is None and source.settings.revision is None
    assert sum(heard) == 10  # the same weights in another location
    source = opened(on_the_hub, "probabilities", embed_bases=False)
    assert (source.settings.repository, source.settings.revision) == (on_the_hub, COMMIT)
    hybrid = assemble([source], fit_mean(expected, len(EMOTIONS)), EMOTIONS, EVERY)
    assert hybrid.config.sources[0]["repository"] == on_the_hub and hybrid.config.sources[0]["revision"] == COMMIT
    hybrid.save_pretrained(tmp_path / "hybrid")
    assert not any(name.startswith("sources.") for name in load_file(tmp_path / "hybrid" / "model.safetensors"))
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path / "hybrid")
    clip = torch.from_numpy(waveforms(split)[0])[None]
    np.testing.assert_allclose(torch.softmax(loaded(clip).logits, 1)[0], expected[0], rtol=0, atol=1e-5)


def test_what_the_hub_does_not_give_is_refused(on_the_hub):
    for place in ("someone/nothing", f"{on_the_hub}@{'f' * 40}"):
        with pytest.raises(StackError, match="is not a folder, and cannot be loaded from the Hub"):
            open_base_models(arguments(bases=[place]), DataArguments())
