import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining, Wav2Vec2ForSequenceClassification, Wav2Vec2Model

from hf_ser.arguments import ConfigError
from hf_ser.evaluation import min_samples, takes_attention_mask
from hf_ser.labels import EMOTIONS, LABEL2ID
from hf_ser.training.arguments import ModelArguments
from hf_ser.training.modeling import ModelError, build_model


@pytest.fixture
def encoder(tmp_path, tiny_config):
    """A pretrained encoder in the layout of facebook/wav2vec2-base: no head, a preprocessor beside it."""
    config = {key: value for key, value in tiny_config.items() if key != "model_type"}
    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config(**config, layerdrop=0.1))
    model.save_pretrained(tmp_path / "encoder")
    _, extractor = build_model(ModelArguments(model_config=tiny_config), EMOTIONS)
    extractor.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def _classifier(folder, encoder, labels=EMOTIONS):
    model, extractor = build_model(ModelArguments(model_name_or_path=str(encoder)), tuple(labels))
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model


def test_from_scratch_has_the_labels_and_no_layerdrop(tiny_config):
    model, extractor = build_model(ModelArguments(model_config=tiny_config), EMOTIONS)
    assert model.config.label2id == LABEL2ID and model.config.id2label[4] == "angry"
    assert model.config.layerdrop == 0.0
    assert extractor.return_attention_mask is False and takes_attention_mask(model.config) is False


@pytest.mark.parametrize(("key", "hint"), [("hiden_size", "hidden_size"), ("zzz", "no field zzz")])
def test_a_misspelt_configuration_key_is_refused(tiny_config, key, hint):
    with pytest.raises(ConfigError, match=hint):
        build_model(ModelArguments(model_config={**tiny_config, key: 3}), EMOTIONS)


@pytest.mark.parametrize("content", [{"hidden_size": 4}, {"model_type": "wav2vec9"}])
def test_the_model_type_must_be_known(content):
    with pytest.raises(ConfigError, match="model_type"):
        build_model(ModelArguments(model_config=content), EMOTIONS)


def test_exactly_one_source():
    for given in ({}, {"model_name_or_path": "x", "model_config": {"model_type": "wav2vec2"}}):
        with pytest.raises(ConfigError, match="neither|both"):
            ModelArguments(**given)


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


def test_a_classifier_with_an_unknown_head_is_refused(encoder, tmp_path):
    _classifier(tmp_path / "whole", encoder)
    weights = load_file(tmp_path / "whole" / "model.safetensors")
    renamed = {key.replace("classifier.", "classifier.dense."): value for key, value in weights.items()}
    save_file(renamed, tmp_path / "whole" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="classifier.weight"):
        build_model(ModelArguments(model_name_or_path=str(tmp_path / "whole")), EMOTIONS)
    build_model(ModelArguments(model_name_or_path=str(tmp_path / "whole"), new_head=True), EMOTIONS)


def test_a_classifier_of_other_labels_needs_a_new_head(encoder, tmp_path):
    _classifier(tmp_path / "four", encoder, labels=EMOTIONS[:4])
    with pytest.raises(ModelError, match="--new_head"):
        build_model(ModelArguments(model_name_or_path=str(tmp_path / "four")), EMOTIONS)
    model, _ = build_model(ModelArguments(model_name_or_path=str(tmp_path / "four"), new_head=True), EMOTIONS)
    assert model.classifier.out_features == 8


def test_another_sampling_rate_is_refused(encoder):
    file = encoder / "preprocessor_config.json"
    file.write_text(file.read_text().replace("16000", "8000"))
    with pytest.raises(ModelError, match="8000 Hz"):
        build_model(ModelArguments(model_name_or_path=str(encoder)), EMOTIONS)


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(ModelError, match="nothing"):
        build_model(ModelArguments(model_name_or_path=str(tmp_path / "nothing")), EMOTIONS)


def test_a_frozen_feature_encoder_has_no_gradient(encoder):
    args = ModelArguments(model_name_or_path=str(encoder), freeze_feature_encoder=True)
    model, _ = build_model(args, EMOTIONS)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if "feature_extractor" in name}


@pytest.mark.parametrize("spec_augment", [True, False])
def test_the_shortest_clip_runs_through_the_real_geometry(spec_augment):
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=[8] * 7,
        mask_time_prob=0.5 if spec_augment else 0.0,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    model = Wav2Vec2ForSequenceClassification(config).train()
    floor = min_samples(config)
    assert floor == (10 - 1) * 320 + 400 if spec_augment else 400
    model(torch.zeros(2, floor))
    with pytest.raises((RuntimeError, ValueError)):
        model(torch.zeros(2, floor - 1))


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


def test_overrides_are_a_mapping_beside_a_checkpoint(tiny_config):
    with pytest.raises(ConfigError, match="expected --config_overrides.FIELD VALUE"):
        ModelArguments(model_name_or_path="x", config_overrides="a")
    with pytest.raises(ConfigError, match="change model_config itself"):
        ModelArguments(model_config=tiny_config, config_overrides={"hidden_size": 4})


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_attention_is_chosen_by_name_and_gives_the_same_answer(tiny_config, name):
    torch.manual_seed(0)
    model, _ = build_model(ModelArguments(model_config=tiny_config, attn_implementation=name), EMOTIONS)
    assert model.config._attn_implementation == name
    torch.manual_seed(0)
    default, _ = build_model(ModelArguments(model_config=tiny_config), EMOTIONS)
    inputs = torch.randn(2, 4000)
    torch.testing.assert_close(model.eval()(inputs).logits, default.eval()(inputs).logits, atol=1e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match="flashy"):
        build_model(ModelArguments(model_config=tiny_config, attn_implementation="flashy"), EMOTIONS)
