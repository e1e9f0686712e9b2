import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, Wav2Vec2Config, Wav2Vec2ForPreTraining, Wav2Vec2Model

from hf_ser.arguments import ConfigError
from hf_ser.labels import EMOTIONS
from hf_ser.scoring import store_temperature
from hf_ser.training.checkpoints import ModelError
from hf_ser.training.modeling import build_model
from hf_ser.training.training_arguments import ModelArguments


def _classifier(folder, encoder, labels=EMOTIONS):
    model, extractor = build_model(ModelArguments(model_name_or_path=str(encoder)), tuple(labels))
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model


def test_a_pretrained_encoder_keeps_its_weights_and_gets_a_head(encoder):
    model, _ = build_model(ModelArguments(model_name_or_path=str(encoder)), EMOTIONS)
    for name, tensor in Wav2Vec2Model.from_pretrained(encoder).state_dict().items():
        torch.testing.assert_close(model.wav2vec2.state_dict()[name], tensor)
    assert model.classifier.out_features == 8


def test_a_checkpoint_without_encoder_weights_is_refused(encoder):
    weights = load_file(encoder / "model.safetensors")
    save_file(
        {key: value for key, value in weights.items() if "encoder.layers" not in key},
        encoder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ModelError, match="encoder.layers"):
        build_model(ModelArguments(model_name_or_path=str(encoder)), EMOTIONS)


def _rename(folder, names):
    """Give weights of a stored model other names, or take them away: old prefix -> new prefix or None."""
    weights = load_file(folder / "model.safetensors")
    for old, new in names.items():
        moved = {key: value for key, value in weights.items() if key.startswith(old)}
        weights = {key: value for key, value in weights.items() if key not in moved}
        if new is not None:
            weights |= {new + key.removeprefix(old): value for key, value in moved.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_head_under_other_names_is_refused_with_a_hint(encoder, tmp_path):
    _classifier(tmp_path / "whole", encoder)
    _rename(tmp_path / "whole", {"classifier.": "classifier.output.", "projector.": "classifier.dense."})
    with pytest.raises(ModelError, match="classifier.output.weight.*'.classifier.dense': projector"):
        build_model(ModelArguments(model_name_or_path=str(tmp_path / "whole")), EMOTIONS)
    build_model(ModelArguments(model_name_or_path=str(tmp_path / "whole"), new_head=True), EMOTIONS)


@pytest.fixture
def other_names(encoder, tmp_path):
    """A classifier whose projector is called classifier.dense and its classifier classifier.output; and its folder."""
    folder = tmp_path / "other_names"
    model = _classifier(folder, encoder)
    _rename(folder, {"classifier.": "classifier.output.", "projector.": "classifier.dense."})
    return model, folder


MAPPING = {"^classifier.dense": "projector", "^classifier.output": "classifier"}


def test_a_head_under_other_names_can_be_mapped_and_is_saved_under_its_own(other_names, tmp_path):
    model, folder = other_names
    mapped, _ = build_model(ModelArguments(model_name_or_path=str(folder), key_mapping=MAPPING), EMOTIONS)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(mapped.state_dict()[name], tensor, msg=name)
    mapped.save_pretrained(tmp_path / "saved")
    assert set(load_file(tmp_path / "saved" / "model.safetensors")) == set(model.state_dict())


def test_a_head_of_another_architecture_is_not_mapped(other_names):
    _, folder = other_names
    config = folder / "config.json"
    config.write_text(config.read_text().replace("Wav2Vec2ForSequence", "Wav2Vec2ForSpeech"))
    with pytest.raises(ModelError, match="is a Wav2Vec2ForSpeechClassification.*--new_head"):
        build_model(ModelArguments(model_name_or_path=str(folder), key_mapping=MAPPING), EMOTIONS)
    with pytest.raises(ModelError, match="'.classifier.dense': projector.*tanh"):
        build_model(ModelArguments(model_name_or_path=str(folder)), EMOTIONS)


@pytest.mark.parametrize(
    "labels",
    [
        (*EMOTIONS[1:], EMOTIONS[0]),  # the same in another order
        [f"LABEL_{i}" for i in range(8)],
        ("neu", "hap", "ang", "sad"),
        [f"label {i}" for i in range(40)],
    ],
)
def test_a_classifier_of_other_labels_keeps_its_encoder_and_gets_a_new_head(encoder, tmp_path, caplog, labels):
    before = _classifier(tmp_path / "other", encoder, labels=labels)
    store_temperature(before, 2.0)
    before.save_pretrained(tmp_path / "other")
    with caplog.at_level("INFO", "hf_ser.training.checkpoints"):
        model, _ = build_model(ModelArguments(model_name_or_path=str(tmp_path / "other")), EMOTIONS)
    told = [record.getMessage() for record in caplog.records]
    assert (
        len(told) == 1 and str(labels[0]) in told[0] and told[0].endswith("the encoder is kept and the head is new.")
    )
    assert model.config.id2label == dict(enumerate(EMOTIONS)) and model.classifier.out_features == 8
    assert model.config.calibration_temperature is None
    for name, tensor in before.wav2vec2.state_dict().items():
        torch.testing.assert_close(model.wav2vec2.state_dict()[name], tensor, msg=name)
    assert not torch.equal(model.projector.weight, before.projector.weight)
    if len(labels) == 8:
        assert not torch.equal(model.classifier.weight, before.classifier.weight)


def test_labels_that_differ_in_case_are_the_same(encoder, tmp_path, caplog):
    before = _classifier(tmp_path / "upper", encoder, labels=[label.upper() for label in EMOTIONS])
    with caplog.at_level("INFO", "hf_ser.training.checkpoints"):
        model, _ = build_model(ModelArguments(model_name_or_path=str(tmp_path / "upper")), EMOTIONS)
    torch.testing.assert_close(model.classifier.weight, before.classifier.weight)
    assert not caplog.records and model.config.id2label == dict(enumerate(EMOTIONS))


@pytest.mark.parametrize("labels", [EMOTIONS, ("neu", "hap")], ids=["same-labels", "other-labels"])
def test_a_training_starts_without_the_abstention_threshold_of_its_checkpoint(encoder, tmp_path, labels):
    before = _classifier(tmp_path / "other", encoder, labels=labels)
    before.config.abstention_threshold = 0.6
    before.save_pretrained(tmp_path / "other")
    model, _ = build_model(ModelArguments(model_name_or_path=str(tmp_path / "other")), EMOTIONS)
    assert model.config.abstention_threshold is None


def test_a_weighted_sum_of_layers_is_part_of_the_head(encoder, tmp_path):
    """As in superb/wav2vec2-base-superb-er: four labels, and weights over the layers."""
    overrides = {"use_weighted_layer_sum": True}
    arguments = ModelArguments(model_name_or_path=str(encoder), config_overrides=overrides)
    before, extractor = build_model(arguments, ("neu", "hap", "ang", "sad"))
    torch.nn.init.constant_(before.layer_weights, 7.0)
    before.save_pretrained(tmp_path / "superb")
    extractor.save_pretrained(tmp_path / "superb")
    model, _ = build_model(ModelArguments(model_name_or_path=str(tmp_path / "superb")), ("yes", "no"))
    torch.testing.assert_close(model.layer_weights, torch.full((2,), 0.5))
    assert model.config.use_weighted_layer_sum and model.classifier.out_features == 2


def test_a_companion_of_other_labels_is_a_base_too(save_companion, tmp_path):
    folder = save_companion(tmp_path / "companion", EMOTIONS)
    before = load_file(folder / "model.safetensors")
    model, _ = build_model(ModelArguments(model_name_or_path=str(folder)), ("angry", "other"))
    head = [name for name, tensor in model.state_dict().items() if tensor.shape != before[name].shape]
    assert head == ["classifier.weight", "classifier.bias"]
    for name, tensor in model.state_dict().items():
        assert name in head or torch.equal(tensor, before[name])


def test_a_new_head_is_new_and_the_encoder_is_kept(encoder, tmp_path):
    before = _classifier(tmp_path / "whole", encoder).state_dict()
    folder = str(tmp_path / "whole")
    kept = build_model(ModelArguments(model_name_or_path=folder), EMOTIONS)[0].state_dict()
    model, _ = build_model(ModelArguments(model_name_or_path=folder, new_head=True), EMOTIONS)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(kept[name], before[name])
        is_head_matrix = name in ("classifier.weight", "projector.weight")
        assert torch.equal(tensor, before[name]) != is_head_matrix, name
    model.save_pretrained(tmp_path / "saved")
    assert set(load_file(tmp_path / "saved" / "model.safetensors")) == set(before)


def test_a_model_that_hears_no_waveforms_is_refused(tmp_path):
    BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is a bert model; expected an encoder of waveforms"):
        build_model(ModelArguments(model_name_or_path=str(tmp_path)), EMOTIONS)


@pytest.mark.parametrize("fields", [{"new_head": True}, {"model_config": {"model_type": "wav2vec2"}}])
def test_key_mappings_that_cannot_be_are_refused(fields):
    source = {} if "model_config" in fields else {"model_name_or_path": "x"}
    with pytest.raises(ConfigError, match="key_mapping"):
        ModelArguments(**source, **fields, key_mapping={"a": "b"})
    with pytest.raises(ConfigError, match="key_mapping is a string"):
        ModelArguments(model_name_or_path="x", key_mapping="a")


def test_another_sampling_rate_is_refused(encoder):
    file = encoder / "preprocessor_config.json"
    file.write_text(file.read_text().replace("16000", "8000"))
    with pytest.raises(ModelError, match="8000 Hz"):
        build_model(ModelArguments(model_name_or_path=str(encoder)), EMOTIONS)


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(ModelError, match="nothing"):
        build_model(ModelArguments(model_name_or_path=str(tmp_path / "nothing")), EMOTIONS)


def test_a_checkpoint_in_the_layout_of_facebook_wav2vec2_base_arrives_whole(tmp_path, tiny_config):
    """Pretraining architecture, weights below `wav2vec2.`, the positional convolution under torch's old names."""
    config = {key: value for key, value in tiny_config.items() if key != "model_type"}
    torch.manual_seed(0)
    pretrained = Wav2Vec2ForPreTraining(
        Wav2Vec2Config(**config, num_codevectors_per_group=4, codevector_dim=8, proj_codevector_dim=8)
    )
    pretrained.save_pretrained(tmp_path)
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = load_file(tmp_path / "model.safetensors")
    for new_name, old_name in old.items():
        weights = {key.replace(new_name, old_name): value for key, value in weights.items()}
    assert any(key.endswith("pos_conv_embed.conv.weight_g") for key in weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    _, extractor = build_model(ModelArguments(model_config=tiny_config), EMOTIONS)
    extractor.save_pretrained(tmp_path)

    model, _ = build_model(ModelArguments(model_name_or_path=str(tmp_path)), EMOTIONS)
    loaded = model.wav2vec2.state_dict()
    for name, tensor in pretrained.wav2vec2.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, msg=name)


def test_a_checkpoints_configuration_can_be_changed(encoder):
    overrides = {"use_weighted_layer_sum": True, "mask_time_prob": 0.2}
    model, _ = build_model(ModelArguments(model_name_or_path=str(encoder), config_overrides=overrides), EMOTIONS)
    assert model.config.mask_time_prob == 0.2 and model.layer_weights.shape == (2,)
    for name, tensor in Wav2Vec2Model.from_pretrained(encoder).state_dict().items():
        torch.testing.assert_close(model.wav2vec2.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"config_overrides": {"mask_tim_prob": 0.2}}, "mask_time_prob"),
        ({"config_overrides": {"hidden_size": 32}}, "encoder"),
        ({"attn_implementation": "flashy"}, "flashy"),
    ],
)
def test_changes_that_a_checkpoint_cannot_take_are_refused(encoder, fields, message):
    with pytest.raises((ConfigError, ModelError), match=message):
        build_model(ModelArguments(model_name_or_path=str(encoder), **fields), EMOTIONS)
