import copy
import inspect
import json

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from hf_ser.evaluation.predict import predict_logits
from hf_ser.models import (
    COMPANIONS,
    AudioCNNConfig,
    AudioLSTMConfig,
    CNNRNNConfig,
    MelCNNConfig,
    make_feature_extractor,
)
from hf_ser.scoring.calibration import store_temperature

OPTIONS = [
    ("mel_cnn", {"pooling": "attention", "head_norm": True}),
    ("audio_cnn", {"pooling": "statistics", "residual": True, "squeeze_excitation": True, "normalize": "clip"}),
    ("audio_cnn", {"features": "mfcc", "deltas": 2, "normalize": "global"}),
    ("audio_lstm", {"pooling": "attention", "normalize": "clip", "deltas": 1}),
    ("audio_lstm", {"pooling": "statistics", "features": "log_mel"}),
    ("audio_lstm", {"features": "log_mel", "normalize": "pcen", "deltas": 2}),
    ("audio_cnn", {"pooling": "statistics", "pooling_heads": 4}),
    ("cnn_gru", {"pooling": "attention", "pooling_heads": 2}),
    ("mel_cnn", {"normalize": "pcen", "deltas": 1}),
    ("cnn_lstm", {"pooling": "attention", "normalize": "clip"}),
    ("cnn_gru", {"pooling": "statistics", "residual": True}),
]
EVERY = [(kind, {}) for kind in ("mel_cnn", "audio_cnn", "audio_lstm", "cnn_lstm", "cnn_gru")] + OPTIONS


def _in_training(model, inputs):
    model.train()
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.RNNBase)):
            module.eval()
    return model(inputs).logits


def _state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("config", "parameters", "size"),
    [
        # three convolutions with their normalisations; 128 * 10 * 37 -> 128 -> 8
        (MelCNNConfig(num_labels=8), 92_672 + 448 + 6_062_208 + 1_032, 128),
        # four; 256 * 5 * 18 -> 512 (normalised) -> 8
        (AudioCNNConfig(num_labels=8), 387_840 + 960 + 11_796_992 + 1_024 + 4_104, 512),
        # 80 -> 128 both ways, 256 -> 128 both ways; 256 -> 8
        (AudioLSTMConfig(num_labels=8), 215_040 + 395_264 + 2_056, 256),
        # three convolutions, the first 5 x 5; 128 * 10 -> 128 both ways, 256 -> 128 both ways; 512 -> 8
        (CNNRNNConfig(num_labels=8), 93_632 - 448 + 448 + 1_443_840 + 395_264 + 4_104, 512),
        (CNNRNNConfig(num_labels=8, cell="gru"), 93_632 + 3 * (1_443_840 + 395_264) // 4 + 4_104, 512),
    ],
)
def test_the_default_is_the_published_architecture(build, config, parameters, size):
    model = build(config)
    assert model.num_parameters() == parameters
    inputs = torch.randn(2, 48_000)
    assert model.frontend(inputs)[0].shape == (2, 80, 301)
    assert model.embeddings(inputs).shape == (2, size)
    assert model(inputs).logits.shape == (2, 8)
    assert not any("attention" in name or "second" in name or "excitation.gate" in name for name in _state(model))
    assert (config.spec_augment_time_masks, config.spec_augment_frequency_masks, config.deltas) == (0, 0, 0)
    assert config.normalize == ("none" if isinstance(config, AudioLSTMConfig) else "ref_max")
    drops = sorted({module.p for module in model.modules() if isinstance(module, nn.Dropout)})
    assert drops == ([0.4] if isinstance(config, AudioLSTMConfig) else [0.3])


def test_published_blocks_are_conv_norm_relu_pool_dropout(build):
    blocks = build(AudioCNNConfig()).stack.blocks
    assert [block.conv.out_channels for block in blocks] == [32, 64, 128, 256]
    for block in blocks:
        assert block.conv.kernel_size == (3, 3) and block.pool_size == 2 and block.dropout.p == 0.3
        assert block.second is None and block.shortcut is None and block.excitation is None
    block, maps = blocks[0], torch.randn(2, 1, 8, 10)
    plain = nn.Sequential(block.conv, block.norm, nn.ReLU(), nn.MaxPool2d(2))(maps)
    torch.testing.assert_close(block(maps), plain)
    assert build(CNNRNNConfig()).stack.blocks[0].conv.kernel_size == (5, 5)


def test_the_embedding_of_a_cnn_rnn_is_made_of_the_final_states(build, tiny, waveforms):
    model, inputs = build(tiny("cnn_lstm")), waveforms(2)[0]
    kept = []
    model.rnn.register_forward_hook(lambda module, args, output: kept.append(output))
    embedding = model.embeddings(inputs)
    sequence, (states, _) = kept[0]
    torch.testing.assert_close(embedding, torch.cat([states[0], states[1], states[2], states[3]], dim=1))
    torch.testing.assert_close(embedding[:, 16:24], sequence[:, -1, :8])  # forward, last frame
    torch.testing.assert_close(embedding[:, 24:], sequence[:, 0, 8:])  # backward, first frame


@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_scores_depend_on_neither_padding_nor_batch(build, tiny, kind, options):
    model = build(tiny(kind, **options))
    generator = torch.Generator().manual_seed(0)
    clips = [0.1 * torch.randn(length, generator=generator) for length in (900, 3_000, 8_000, 20_000)]
    padded, mask = torch.zeros(4, 20_000), torch.zeros(4, 20_000, dtype=torch.long)
    for row, clip in enumerate(clips):
        padded[row, : len(clip)], mask[row, : len(clip)] = clip, 1
    noisy = torch.where(mask == 1, padded, 0.7)
    with torch.inference_mode():
        alone = torch.cat([model(clip[None]).logits for clip in clips])
        masked_alone = torch.cat([model(clip[None], torch.ones(1, len(clip))).logits for clip in clips])
        for other in (masked_alone, model(padded).logits, model(padded, mask).logits, model(noisy, mask).logits):
            torch.testing.assert_close(other, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_gradients_reach_every_parameter(build, tiny, waveforms, kind, options):
    model = build(tiny(kind, **options)).train()
    inputs, labels = waveforms()
    model(inputs, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        # Normalisation takes away what a bias before it adds, and a softmax what is added to all its scores.
        # The backward direction of the last layer has no memory yet at the last frame, which "last" takes.
        idle = kind == "audio_lstm" and model.config.pooling == "last" and name == "lstm.weight_hh_l1_reverse"
        if parameter.dim() > 1 and not idle:
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_one_batch_overfits(build, tiny, waveforms, kind, options):
    drops = {name: 0.0 for name in ("dropout", "head_dropout", "rnn_dropout") if hasattr(tiny(kind), name)}
    model = build(tiny(kind, **{**options, **drops})).train()
    inputs, labels = waveforms()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        loss = model(inputs, labels=labels).loss
        if loss < 0.05:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_saved_equals_loaded(build, tiny, waveforms, tmp_path, kind, options):
    model = build(tiny(kind, **options)).train()
    inputs, labels = waveforms()
    model(inputs, labels=labels)  # so that running statistics are not those of a new model
    model.eval().save_pretrained(tmp_path)
    make_feature_extractor().save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(again) is type(model) and not again.training
    assert again.config.to_dict() | {"_name_or_path": ""} == model.config.to_dict() | {"_name_or_path": ""}
    expected = _state(model)
    assert _state(again).keys() == expected.keys()
    for name, tensor in _state(again).items():
        assert torch.equal(tensor, expected[name]), name
    torch.testing.assert_close(again(inputs).logits, model(inputs).logits, atol=0, rtol=0)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert isinstance(extractor, Wav2Vec2FeatureExtractor)
    assert extractor.return_attention_mask and not extractor.do_normalize


def test_a_new_head_is_made_on_a_loaded_body(build, tiny, waveforms, tmp_path):
    model = build(tiny("audio_cnn")).train()
    model(waveforms()[0])
    model.save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert again(waveforms()[0]).logits.shape == (8, 7)
    assert 0 < again.classifier.weight.abs().max() <= again.classifier.in_features**-0.5
    for name, tensor in _state(again).items():
        if not name.startswith("classifier."):
            assert torch.equal(tensor, model.state_dict()[name]), name


def test_weights_start_as_those_of_pytorch(build):
    model = build(AudioCNNConfig())
    fan_in = model.hidden.in_features
    assert float(model.hidden.weight.detach().std()) == pytest.approx((1 / 3 / fan_in) ** 0.5, rel=0.01)
    assert model.hidden.weight.abs().max() <= fan_in**-0.5


def test_loss_and_tuple(build, tiny, waveforms, kind):
    model = build(tiny(kind))
    inputs, labels = waveforms()
    output = model(inputs, labels=labels)
    torch.testing.assert_close(output.loss, nn.functional.cross_entropy(output.logits, labels))
    assert model(inputs).loss is None
    assert len(model(inputs, return_dict=False)) == 1 and len(model(inputs, labels=labels, return_dict=False)) == 2
    kinds = {parameter.kind for parameter in inspect.signature(model.forward).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds  # else the Trainer takes the loss for one scaled already


def test_a_temperature_can_be_stored_and_embeddings_kept(build, tiny, waveforms, kind):
    model, inputs = build(tiny(kind)), waveforms(3)[0]
    before, kept = model(inputs).logits, []
    rows, logits = predict_logits(
        model,
        make_feature_extractor(),
        [0.5, 0.3, 0.1],
        lambda clips: [inputs[clip, : (8000, 4800, 1600)[clip]].numpy() for clip in clips],
        batch_size=2,
        progress=False,
        embeddings=kept,
    )
    shorter = torch.nn.functional.pad(inputs[1:2, :4800], (0, 3200))
    expected = torch.cat([before[:1], model(shorter).logits]).detach().numpy()
    np.testing.assert_allclose(logits[np.argsort(rows)][:2], expected, atol=1e-5)
    np.testing.assert_allclose(kept[0], model.embeddings(inputs[:1])[0].detach(), atol=1e-5)
    store_temperature(model, 2.0)
    torch.testing.assert_close(model(inputs).logits, before / 2)


def test_training_in_bfloat16(build, tiny, waveforms, kind):
    model = build(tiny(kind)).train()
    inputs, labels = waveforms()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(inputs, labels=labels).loss
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(model.classifier.weight.grad).all()


@pytest.mark.parametrize(
    ("kind", "options"), [("audio_lstm", {"deltas": 2}), ("mel_cnn", {"deltas": 2, "normalize": "pcen"})]
)
def test_features_are_the_same_in_a_model_that_is_loaded_in_bfloat16(build, tiny, waveforms, tmp_path, kind, options):
    model = build(tiny(kind, **options))
    model.save_pretrained(tmp_path)
    inputs = waveforms()[0]
    for loaded in (
        type(model).from_pretrained(tmp_path, dtype=torch.bfloat16),
        build(model.config).to(torch.bfloat16),
    ):
        assert loaded.classifier.weight.dtype == torch.bfloat16
        torch.testing.assert_close(loaded.frontend(inputs)[0], model.frontend(inputs)[0], rtol=0, atol=0)


@pytest.mark.parametrize("pooling", ["", "attention", "statistics"])
def test_a_model_that_is_loaded_in_bfloat16_gives_about_the_same_scores(
    build, tiny, waveforms, kind, pooling, tmp_path
):
    model = build(tiny(kind, **({"pooling": pooling} if pooling else {})))
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    inputs = waveforms()[0]
    with torch.inference_mode():
        one, two = (torch.softmax(each(inputs).logits.float(), dim=1) for each in (model, loaded))
    torch.testing.assert_close(one, two, rtol=0, atol=0.05)


def test_a_batch_of_one_clip_trains(build, tiny, waveforms, kind):
    inputs, labels = waveforms()
    model = build(tiny(kind)).train()
    model(inputs[:1], labels=labels[:1]).loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_each_option_changes_the_scores(build, tiny, waveforms, kind, options):
    inputs = waveforms()[0]
    for name, value in options.items():
        assert getattr(type(tiny(kind))(), name) != value
        # In training mode, for a batch norm that is still new does nothing otherwise; heads belong to a pooling.
        besides = {"pooling": options["pooling"]} if name == "pooling_heads" else {}
        changed, same = (
            _in_training(build(tiny(kind, **besides, **change)), inputs) for change in ({name: value}, {})
        )
        assert not torch.allclose(changed, same, atol=1e-3), name


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (MelCNNConfig, {"duration_s": 0}, "duration_s: got 0; expected a number above 0"),
        (MelCNNConfig, {"duration_s": 0.01}, "duration_s: got 0.01, which is 160 samples; expected more than half"),
        (MelCNNConfig, {"n_mels": "80"}, "n_mels: got '80'; expected integers of at least 1"),
        (MelCNNConfig, {"hop_length": 0}, "hop_length: got 0"),
        (MelCNNConfig, {"features": "mel"}, "features: got 'mel'; expected one of log_mel, mfcc"),
        (
            MelCNNConfig,
            {"normalize": "max"},
            "normalize: got 'max'; expected one of none, ref_max, clip, global, pcen",
        ),
        (MelCNNConfig, {"top_db": -80.0}, "top_db: got -80.0"),
        (MelCNNConfig, {"dropout": 1.0}, "dropout: got 1.0; expected a probability"),
        (MelCNNConfig, {"pooling": "last"}, "pooling: got 'last'; expected one of flatten, attention, statistics"),
        (MelCNNConfig, {"kernel_sizes": [3, 3]}, r"kernel_sizes: got \[3, 3\]; expected 3 odd numbers"),
        (AudioCNNConfig, {"kernel_sizes": [3, 3, 3, 4]}, "kernel_sizes: .*; expected 4 odd numbers"),
        (AudioCNNConfig, {"channels": []}, r"channels: got \[\]"),
        (AudioCNNConfig, {"duration_s": 0.1}, "4 blocks with pool_size 2, which reduce 80 rows x 11 frames to 5 x 0"),
        (AudioLSTMConfig, {"n_mfcc": 100}, "n_mfcc: got 100; expected 1 to n_mels, which is 80"),
        (AudioLSTMConfig, {"deltas": 3}, "deltas: got 3; expected one of 0, 1, 2"),
        (
            AudioLSTMConfig,
            {"deltas": 1, "duration_s": 0.05},
            "deltas: got 1 with 6 frames; expected at least 9 frames",
        ),
        (MelCNNConfig, {"deltas": 2, "duration_s": 0.05, "pool_size": 1}, "deltas: got 2 with 6 frames"),
        (MelCNNConfig, {"spec_augment_warp": 0.6}, "spec_augment_warp: got 0.6; expected a number from 0 to 0.5"),
        (AudioLSTMConfig, {"spec_augment_warp": 0.1}, "spec_augment_warp: got 0.1 with features 'mfcc'; expected 0"),
        (AudioLSTMConfig, {"pooling": "flatten"}, "pooling: got 'flatten'; expected one of last, attention"),
        (
            AudioLSTMConfig,
            {"pooling_heads": 4},
            "pooling_heads: got 4 with pooling 'last'; expected 1. Use pooling attention or statistics",
        ),
        (
            AudioCNNConfig,
            {"pooling": "statistics", "pooling_heads": 3},
            "pooling_heads: got 3; expected a divisor of 1280, the size of a frame before pooling",
        ),
        (CNNRNNConfig, {"pooling": "statistics", "pooling_heads": 3}, "got 3; expected a divisor of 256"),
        (AudioLSTMConfig, {"pooling": "attention", "pooling_heads": 5}, "got 5; expected a divisor of 256"),
        (MelCNNConfig, {"pooling": "attention", "pooling_heads": 0}, "pooling_heads: got 0; expected integers of"),
        (CNNRNNConfig, {"cell": "rnn"}, "cell: got 'rnn'; expected one of lstm, gru"),
        (CNNRNNConfig, {"num_layers": 0}, "num_layers: got 0"),
        (CNNRNNConfig, {"pool_size": 9}, "3 blocks with pool_size 9, which reduce 80 rows x 301 frames to 0 x 0"),
    ],
)
def test_invalid_configs_are_rejected(config, fields, message):
    with pytest.raises(ValueError, match=message):
        config(**fields)


def test_configs_of_earlier_versions_load():
    """Missing fields get their defaults; fields of other versions are kept."""
    config = CNNRNNConfig.from_dict({"model_type": "ser-cnn-rnn", "cell": "gru", "channels": [4, 8, 8], "other": 3})
    assert (config.cell, config.channels, config.kernel_sizes, config.n_mels, config.other) == (
        "gru",
        [4, 8, 8],
        [5, 3, 3],
        80,
        3,
    )
    assert copy.deepcopy(config) == config != CNNRNNConfig(cell="gru")


def test_configs_are_found_by_model_type_and_survive_json(tmp_path):
    types = {config.model_type for config in COMPANIONS}
    assert types == {"ser-mel-cnn", "ser-audio-cnn", "ser-audio-lstm", "ser-cnn-rnn"}
    config = AutoConfig.for_model("ser-cnn-rnn", cell="gru", channels=(4, 8), kernel_sizes=(3, 3), duration_s=4.0)
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["channels"] == [4, 8]
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.to_dict() | {"_name_or_path": ""} == config.to_dict() | {"_name_or_path": ""}
