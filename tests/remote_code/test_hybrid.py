"""Hybrids as models: their features are those of the base models alone, and saved folders load as assembled."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForAudioClassification,
    Wav2Vec2FeatureExtractor,
)

from hf_ser.audio import load_audio
from hf_ser.models import (
    Functionals,
    HybridConfig,
    HybridForAudioClassification,
    make_feature_extractor,
    takes_attention_mask,
)
from hf_ser.remote_code.forward_precision import lowered
from hf_ser.remote_code.hybrid import LogLinear
from hf_ser.remote_code.hybrid_sources import Source, SourceSettings, describe_base

LABELS = {0: "neutral", 1: "happy", 2: "sad", 3: "angry"}


def source_of(model, columns="probabilities", classes=(0, 1, 2, 3), **settings):
    """A source with a model, as in a hybrid."""
    fields = {"name": "base", "columns": columns, "model": model and describe_base(model.config), **settings}
    source = Source(SourceSettings(**fields), list(classes), LABELS)
    if model is not None:
        inner = model if columns == "probabilities" or not hasattr(model, "wav2vec2") else model.wav2vec2
        source.model.load_state_dict(inner.state_dict(), strict=settings.get("layer") is None)
    return source.eval()


def padded(clips):
    lengths = torch.tensor([len(clip) for clip in clips])
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], True), lengths


@pytest.fixture
def clips(waveforms):
    """Four clips of different lengths with silent ends."""
    rows = waveforms(4)[0].numpy()
    parts = [rows[0], rows[1][:5000], np.concatenate([rows[2], rows[3]]), rows[3][:7000]]
    return [np.pad(part, (2000 * k, 600)).astype(np.float32) for k, part in enumerate(parts)]


BASES = {
    "companion": ("audio_cnn", "probabilities", {}),
    "companion's embeddings": ("cnn_gru", "embeddings", {}),
    "wav2vec2-base": ("group", "probabilities", {"do_normalize": True}),
    "XLSR": ("layer", "probabilities", {"do_normalize": True}),
    "wav2vec2-base's states": ("group", "embeddings", {"do_normalize": True}),
    "XLSR's states": ("layer", "embeddings", {"do_normalize": True, "layer": 1}),
    "functionals": (None, "functionals", {}),
}
CUTS = [{}, {"duration_s": 0.3}, {"duration_s": 0.9, "normalize": True}, {"trim_db": 30.0, "normalize": True}]


@pytest.fixture(params=BASES)
def base(request, companion, wav2vec2):
    """A model and the settings of its source."""
    kind, columns, settings = BASES[request.param]
    model = None if kind is None else wav2vec2(kind) if kind in ("group", "layer") else companion(kind)
    return model, {"columns": columns, **settings}


@pytest.mark.parametrize("cut", CUTS)
def test_columns_do_not_depend_on_the_batch(base, clips, cut):
    model, settings = base
    source = source_of(model, **settings, **cut)
    with torch.inference_mode():
        together = source(*padded(clips))
        alone = torch.cat([source(*padded([clip])) for clip in clips])
    assert together.shape == (4, len(source.feature_names)) and together.dtype == torch.float64
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cut", CUTS)
def test_columns_are_those_of_the_base_and_its_extractor(base, clips, cut):
    model, settings = base
    source, expected = source_of(model, **settings, **cut), []
    masked = model is None or takes_attention_mask(model.config)
    extractor = Wav2Vec2FeatureExtractor(
        do_normalize=settings.get("do_normalize", False), return_attention_mask=masked
    )
    with torch.inference_mode():
        for clip in clips:
            waveform = load_audio(clip, 16_000, **cut)
            inputs = extractor(waveform, sampling_rate=16_000, return_tensors="pt")
            if model is None:
                expected.append(Functionals()(**inputs))
            elif settings["columns"] == "probabilities":
                expected.append(torch.softmax(model(**inputs).logits, dim=1))
            elif hasattr(model, "embeddings"):
                expected.append(model.embeddings(**inputs))
            else:
                states = model(**inputs, output_hidden_states=True).hidden_states
                expected.append(states[settings.get("layer", -1)].mean(dim=1))
        got = source(*padded(clips))
    torch.testing.assert_close(got.float(), torch.cat(expected), rtol=1e-3, atol=1e-4)


def test_bfloat16_is_near_float32_and_leaves_the_weights_alone(base, clips):
    model, settings = base
    source = source_of(model, **settings)
    before = {name: weights.clone() for name, weights in source.state_dict().items()}
    with torch.inference_mode():
        low, high = lowered(source, "bf16")(*padded(clips)), source(*padded(clips))
    assert low.dtype == torch.float64 and torch.equal(low, high) == (model is None)
    assert (low - high).norm() < 0.05 * high.norm()
    for name, weights in source.state_dict().items():
        assert weights.dtype == before[name].dtype and torch.equal(weights, before[name])


def test_the_precision_of_the_fit_is_kept_and_that_of_earlier_versions_read(companion):
    cnn = {"name": "cnn", "model": describe_base(companion().config)}
    for written, kept in [({"bf16": True}, "bf16"), ({"bf16": False}, None), ({"fitted_precision": "fp16"}, "fp16")]:
        config = HybridConfig(sources=[cnn | written], head="mean", id2label=LABELS)
        assert config.sources[0].get("fitted_precision") == kept and "bf16" not in config.sources[0]
    for settings, precision in [(cnn, "half"), ({"name": "clip", "columns": "functionals"}, "bf16")]:
        with pytest.raises(ValueError, match=f"fitted_precision: got {precision}; expected fp32, bf16 or fp16"):
            SourceSettings(**settings, fitted_precision=precision)


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_layers_that_are_not_needed_are_left_out(norm, layer, wav2vec2, clips):
    model = wav2vec2(norm)
    source = source_of(model, "embeddings", layer=layer)
    assert len(source.model.encoder.layers) == max(1, min(3, layer + (norm == "layer")))
    with torch.inference_mode():
        states = model(torch.from_numpy(clips[0])[None], output_hidden_states=True).hidden_states[layer]
        torch.testing.assert_close(source(*padded(clips[:1])).float(), states.mean(dim=1), rtol=1e-4, atol=1e-5)


def test_probabilities_of_fewer_classes_sum_to_1(companion, clips):
    model = companion()
    with torch.inference_mode():
        some = source_of(model, classes=(0, 2, 3))(*padded(clips))
        every = source_of(model)(*padded(clips))[:, [0, 2, 3]]
    torch.testing.assert_close(some, every / every.sum(dim=1, keepdim=True))


def test_a_folder_gives_back_the_hybrid(hybrid, clips, tmp_path):
    model = hybrid(calibration_temperature=1.7)
    model.save_pretrained(tmp_path)
    make_feature_extractor().save_pretrained(tmp_path)
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path)
    batch, lengths = padded(clips)
    mask = torch.arange(batch.shape[1]) < lengths[:, None]
    torch.testing.assert_close(loaded(batch, mask.long()).logits, model(batch, mask.long()).logits, rtol=0, atol=0)
    assert loaded.config.sources == model.config.sources and loaded.config.classes == [0, 1, 2, 3]
    assert (
        loaded.feature_names == model.feature_names and len(model.feature_names) == loaded.embeddings(batch).shape[1]
    )
    assert model.feature_names[:5] == ["cnn.neutral", "cnn.happy", "cnn.sad", "cnn.angry", "w2v.neutral"]
    files = {path.name for path in tmp_path.iterdir()}
    assert {"hybrid.py", "hybrid_sources.py", "tree_ensemble.py", "model.safetensors", "config.json"} <= files


def test_scores_are_the_heads_probabilities_divided_by_the_temperature(hybrid, clips):
    batch, lengths = padded(clips)
    mask = (torch.arange(batch.shape[1]) < lengths[:, None]).long()
    plain, warm = hybrid(), hybrid(calibration_temperature=2.0)
    probabilities = plain.classifier(plain.embeddings(batch, mask))
    torch.testing.assert_close(
        torch.softmax(plain(batch, mask).logits.double(), 1), probabilities, rtol=1e-5, atol=1e-7
    )
    expected = probabilities.sqrt() / probabilities.sqrt().sum(dim=1, keepdim=True)
    torch.testing.assert_close(torch.softmax(warm(batch, mask).logits.double(), 1), expected, rtol=1e-5, atol=1e-7)
    labels = torch.tensor([0, 1, 2, 3])
    output = plain(batch, mask, labels)
    torch.testing.assert_close(output.loss.double(), -probabilities[labels, labels].log().mean(), rtol=1e-5, atol=1e-6)
    assert plain(batch, mask, labels, return_dict=False)[1].shape == (4, 4)


def test_classes_that_the_head_does_not_know_are_all_but_impossible(companion, clips):
    model = companion()
    config = HybridConfig(
        sources=[{"name": "a", "model": describe_base(model.config)}], head="mean", classes=[0, 2, 3], id2label=LABELS
    )
    scores = torch.softmax(
        HybridForAudioClassification.from_parts(config, [model], None)(*padded(clips)[:1]).logits, 1
    )
    assert scores[:, 1].max() < 1e-20
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(4))


def test_means_and_linear_heads_are_what_their_names_say(companion, clips, tmp_path):
    models = [companion("audio_cnn"), companion("cnn_gru")]
    sources = [{"name": f"m{k}", "model": describe_base(model.config)} for k, model in enumerate(models)]
    mean = HybridForAudioClassification.from_parts(
        HybridConfig(sources=sources, head="mean", id2label=LABELS), models, None
    )
    batch = padded(clips)[0]
    each = [torch.softmax(model(batch).logits.double(), dim=1) for model in models]
    torch.testing.assert_close(mean(batch).logits, torch.stack(each).mean(dim=0).log().float(), rtol=1e-4, atol=1e-5)
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(4, 8)), rng.normal(size=4)
    linear = HybridForAudioClassification.from_parts(
        HybridConfig(sources=sources, head="linear", id2label=LABELS), models, LogLinear.from_weights(weight, bias)
    )
    logits = torch.cat(each, dim=1).clamp_min(1e-6).log() @ torch.from_numpy(weight).T + torch.from_numpy(bias)
    torch.testing.assert_close(linear(batch).logits, torch.log_softmax(logits, 1).float(), rtol=1e-4, atol=1e-4)
    linear.save_pretrained(tmp_path)
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.sources[0].model.dtype == torch.bfloat16
    torch.testing.assert_close(
        loaded.classifier.weight_bits.view(torch.float64), torch.from_numpy(weight), rtol=0, atol=0
    )


def test_casting_leaves_trees_and_functionals_as_they_are(hybrid, clips, tmp_path):
    model = hybrid()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    batch = padded(clips)[0]
    for other in (loaded, hybrid().to(torch.bfloat16)):
        torch.testing.assert_close(other.embeddings(batch)[:, 8:], model.embeddings(batch)[:, 8:], rtol=0, atol=0)
        torch.testing.assert_close(other.embeddings(batch)[:, :8], model.embeddings(batch)[:, :8], rtol=0, atol=0.1)
        assert other(batch).logits.dtype == torch.float32


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """A folder as downloaded from the Hub at a commit."""

    def put(model, commit="a" * 40, repository="someone/base"):
        place = tmp_path / "cache" / f"models--{repository.replace('/', '--')}"
        folder = place / "snapshots" / commit
        model.save_pretrained(folder)
        return folder, {"repository": repository, "revision": commit}

    put.cache = tmp_path / "cache"
    return put


def test_a_base_may_stay_on_the_hub_at_a_pinned_revision(hybrid, companion, cached, clips, tmp_path):
    folder, reference = cached(companion())
    model = hybrid(cnn=reference)
    model.save_pretrained(tmp_path / "hybrid")
    names = set(load_file(tmp_path / "hybrid" / "model.safetensors"))
    assert not any(name.startswith("sources.0.") for name in names) and any("sources.1." in name for name in names)
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path / "hybrid", cache_dir=cached.cache)
    batch = padded(clips)[0]
    torch.testing.assert_close(loaded(batch).logits, model(batch).logits, rtol=0, atol=0)
    # Weights are missing or of another model class; an error is better than random predictions.
    weights = load_file(folder / "model.safetensors")
    weights.pop("classifier.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"someone/base without classifier\.weight; expected all weights of the base"):
        AutoModelForAudioClassification.from_pretrained(tmp_path / "hybrid", cache_dir=cached.cache)
    shutil.rmtree(folder)
    with pytest.raises(OSError, match="someone/base"):
        AutoModelForAudioClassification.from_pretrained(tmp_path / "hybrid", cache_dir=cached.cache)


def test_a_folder_that_lacks_tensors_or_holds_no_trees_is_refused(hybrid, tmp_path):
    hybrid().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    for absent in ("sources.0.model.classifier.weight", "classifier.roots", "sources.2.functionals.mel"):
        save_file({key: value for key, value in whole.items() if key != absent}, file, {"format": "pt"})
        with pytest.raises(ValueError, match=f"lacks tensors .*: {absent}"):
            AutoModelForAudioClassification.from_pretrained(tmp_path)
    save_file(whole | {"classifier.features": whole["classifier.features"] + 999}, file, {"format": "pt"})
    with pytest.raises(ValueError, match="features"):
        AutoModelForAudioClassification.from_pretrained(tmp_path)
    save_file(whole, file, {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    config["trees"]["num_trees"] += 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises((ValueError, RuntimeError), match="another shape|mismatch"):
        AutoModelForAudioClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": "logits"}, "columns: got logits; expected one of probabilities, embeddings, functionals"),
        ({"model": None}, "model: got none; expected a configuration for probabilities"),
        ({"model": {"a": 1}}, "a configuration without model_type"),
        ({"model": {"model_type": "not-one"}}, "not-one"),
        ({"layer": 1}, "layer: got 1; expected an integer of at least 0, and only with columns embeddings"),
        ({"columns": "embeddings", "layer": 4}, "layer: got 4; expected 0 to 3"),
        ({"duration_s": 0}, "duration_s: got 0; expected a number above 0"),
        ({"repository": "a/b", "revision": "main"}, "revision: got main; expected a commit"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_sources_that_cannot_be_are_refused(changes, message, wav2vec2):
    source = {"name": "base", "model": describe_base(wav2vec2().config)} | changes
    with pytest.raises((ValueError, TypeError), match=message):
        HybridForAudioClassification(HybridConfig(sources=[source], head="trees", id2label=LABELS))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sources": []}, "sources: got none"),
        ({"head": "forest"}, "head: got 'forest'; expected one of trees, linear, mean"),
        ({"head": "mean"}, "head: got mean for functionals; expected trees"),
        ({"classes": [1, 0]}, r"classes: got \[1, 0\]; expected at least two ascending ids from 0 to 3"),
        ({"classes": [0, 9]}, r"classes: got \[0, 9\]"),
        ({"sampling_rate": 8000}, "sampling_rate: got 8000; expected one of 16000"),
        ({"calibration_temperature": 0}, "calibration_temperature: got 0"),
    ],
)
def test_configurations_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        HybridConfig(**{"id2label": LABELS, **fields})


def test_parts_that_do_not_fit_and_inputs_that_are_no_waveforms_are_refused(hybrid, companion):
    model = companion()
    config = HybridConfig(sources=[{"name": "a", "model": describe_base(model.config)}], head="mean", id2label=LABELS)
    with pytest.raises(ValueError, match="source a: got tensors that do not match its configuration"):
        HybridForAudioClassification.from_parts(config, [companion("cnn_gru")], None)
    other = describe_base(companion().config) | {"id2label": {0: "a", 1: "b", 2: "c", 3: "d"}}
    with pytest.raises(
        ValueError, match="id2label: got a, b, c, d; expected neutral, happy, sad, angry, in this order"
    ):
        HybridForAudioClassification(
            HybridConfig(sources=[{"name": "a", "model": other}], head="mean", id2label=LABELS)
        )
    whole = hybrid()
    for inputs, message in (
        (torch.zeros(1, 100, dtype=torch.int16), "expected floating point"),
        (torch.zeros(100), "expected mono waveforms \\(batch, samples\\)"),
        (torch.full((1, 9000), torch.nan), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=message):
            whole(inputs)
