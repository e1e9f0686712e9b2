import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from hf_ser.arguments import ConfigError
from hf_ser.labels import EMOTIONS, LABEL2ID
from hf_ser.models import takes_attention_mask
from hf_ser.models.encoder_inputs import fewest_samples
from hf_ser.training.modeling import build_model
from hf_ser.training.training_arguments import ModelArguments


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


def test_a_frozen_feature_encoder_has_no_gradient(encoder):
    args = ModelArguments(model_name_or_path=str(encoder), freeze_feature_encoder=True)
    model, _ = build_model(args, EMOTIONS)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if "feature_extractor" in name}


@pytest.mark.parametrize("spec_augment", [True, False])
def test_the_shortest_clip_runs_through_the_real_geometry(tiny_config, spec_augment):
    real = {name: getattr(Wav2Vec2Config(), name) for name in ("conv_kernel", "conv_stride")}
    masking = {"apply_spec_augment": True, "mask_time_prob": 0.5 if spec_augment else 0.0}
    config = Wav2Vec2Config(**tiny_config | real | masking | {"conv_dim": [8] * 7, "num_feat_extract_layers": 7})
    model = Wav2Vec2ForSequenceClassification(config).train()
    floor = fewest_samples(config)
    assert floor == (10 - 1) * 320 + 400 if spec_augment else 400
    model(torch.zeros(2, floor))
    with pytest.raises((RuntimeError, ValueError)):
        model(torch.zeros(2, floor - 1))


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


@pytest.mark.parametrize(
    "options", [{}, {"freeze_feature_encoder": True}, {"freeze_encoder_layers": 1}, {"lora_rank": 2}], ids=str
)
def test_nothing_goes_back_through_a_frozen_feature_encoder(tiny_config, options):
    config = {**tiny_config, "num_hidden_layers": 2}
    model, _ = build_model(ModelArguments(model_config=config, **options), EMOTIONS)
    model = model.get_base_model() if "lora_rank" in options else model
    features = model.train().wav2vec2.feature_extractor
    assert features(torch.randn(1, 4000)).requires_grad == (not options)
