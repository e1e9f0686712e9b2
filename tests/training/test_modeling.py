from pathlib import Path

import pytest
import torch
from transformers import AutoModelForAudioClassification, Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from hf_ser.arguments import ConfigError, parse
from hf_ser.data import DataArguments
from hf_ser.labels import EMOTIONS, LABEL2ID
from hf_ser.models import takes_attention_mask
from hf_ser.remote_code.encoder_inputs import fewest_samples
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, run
from hf_ser.training.modeling import add_lora, pool_true_frames


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
    with pytest.raises(ConfigError, match="change model_config"):
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


@pytest.fixture
def batch():
    torch.manual_seed(0)
    mask = torch.ones(2, 5000, dtype=torch.long)
    mask[0, 2000:] = 0
    return {"input_values": torch.randn(2, 5000) * mask, "attention_mask": mask}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert"])
def test_the_head_averages_true_frames_of_an_encoder_that_hears_the_padding(tiny_config, batch, model_type, weighted):
    fields = {**tiny_config, "model_type": model_type, "use_weighted_layer_sum": weighted}
    model = build_model(ModelArguments(model_config=fields), EMOTIONS)[0].eval()
    stock = model(batch["input_values"]).logits
    pool_true_frames(model)
    with torch.no_grad():
        outputs = model.base_model(batch["input_values"], output_hidden_states=True)
        hidden = outputs.last_hidden_state
        if weighted:
            shares = model.layer_weights.softmax(0)
            hidden = sum(share * layer for share, layer in zip(shares, outputs.hidden_states, strict=True))
        frames = int(model._get_feat_extract_output_lengths(torch.tensor(2000)))
        pooled = [model.projector(hidden)[0, :frames].mean(0), model.projector(hidden)[1].mean(0)]
        expected = model.classifier(torch.stack(pooled))
        logits = model(**batch).logits
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(model(batch["input_values"]).logits, stock)  # as it is used: one clip, no mask
    assert not torch.allclose(logits[0], stock[0]) and torch.allclose(logits[1], stock[1], atol=1e-5)


def test_an_encoder_that_takes_masks_keeps_them(tiny_config, batch):
    model = build_model(ModelArguments(model_config={**tiny_config, "feat_extract_norm": "layer"}), EMOTIONS)[0].eval()
    before = model(**batch).logits
    pool_true_frames(model)
    torch.testing.assert_close(model(**batch).logits, before)


CONFIG = Path(__file__).parents[2] / "recipes" / "configs" / "wav2vec2_xlsr_recommended.yaml"
XLSR = Wav2Vec2Config(  # facebook/wav2vec2-large-xlsr-53
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
    feat_extract_norm="layer",
    do_stable_layer_norm=True,
    conv_bias=True,
    num_labels=8,
)


@pytest.fixture
def large_config(tiny_config):
    """Tiny, but with proportions in which an adapter is small."""
    return {**tiny_config, "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4}


def test_only_matrices_and_head_train(large_config):
    model, _ = build_model(ModelArguments(model_config=large_config, lora_rank=1), EMOTIONS)
    trained = {name: weights for name, weights in model.named_parameters() if weights.requires_grad}
    assert all("lora_" in name or "projector" in name or "classifier" in name for name in trained)
    assert sum("lora_A" in name for name in trained) == 8  # queries and values of four layers
    matrices = sum(weights.numel() for name, weights in trained.items() if "lora_" in name)
    assert matrices < 0.02 * sum(weights.numel() for weights in model.parameters())


def test_at_first_the_answers_are_those_without_it(large_config):
    torch.manual_seed(0)
    plain, _ = build_model(ModelArguments(model_config=large_config), EMOTIONS)
    torch.manual_seed(0)
    model, _ = build_model(ModelArguments(model_config=large_config, lora_rank=4), EMOTIONS)
    inputs = torch.randn(2, 4000)
    torch.testing.assert_close(model.eval()(inputs).logits, plain.eval()(inputs).logits)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_run_leaves_a_native_model_that_answers_as_the_trained_one(
    finetune, monkeypatch, tmp_path, dataset_dir, tiny_config, norm
):
    output, merged, merge = tmp_path / "run", [], run.merge_lora
    monkeypatch.setattr(run, "merge_lora", lambda *given: merged.append(merge(*given)) or merged[0])
    config = {**tiny_config, "feat_extract_norm": norm}
    results = finetune(
        model_config=config,
        lora_rank=2,
        save_adapter=True,
        dataset=str(dataset_dir),
        configuration="ravdess",
        duration_s=0.5,
        output_dir=str(output),
        num_train_epochs=2,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        calibrate=False,
        layer_decay=0.5,
    )
    assert 0 < results["training"]["trainable_parameters"] < results["parameters"]
    assert (output / "adapter" / "adapter_model.safetensors").is_file()
    assert not (output / "adapter_config.json").exists() and not list(output.glob("*.bin"))
    loaded, info = AutoModelForAudioClassification.from_pretrained(output, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    inputs = torch.randn(1, 8000)
    torch.testing.assert_close(loaded(inputs).logits, merged[0].eval()(inputs).logits, atol=1e-5, rtol=1e-4)
    start, _ = build_model(ModelArguments(model_config=config), EMOTIONS)
    assert loaded.state_dict().keys() == start.state_dict().keys()


def test_the_recommended_settings_train_less_than_two_percent_of_xlsr():
    argv = ["--config", str(CONFIG), "--use_cpu", "true"]
    args, *_ = parse(ModelArguments, DataArguments, SerTrainingArguments, argv=argv)
    with torch.device("meta"):  # 315 million parameters that take no memory
        model = add_lora(Wav2Vec2ForSequenceClassification(XLSR), args)
    trained, whole = model.get_nb_trainable_parameters()
    assert whole > 3e8 and 0.01 < trained / whole < 0.02


def test_a_sum_of_layers_is_refused(large_config):
    config = {**large_config, "use_weighted_layer_sum": True}
    with pytest.raises(ConfigError, match="use_weighted_layer_sum"):
        build_model(ModelArguments(model_config=config, lora_rank=2), EMOTIONS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lora_rank": -1}, "lora_rank is -1"),
        ({"lora_rank": 2, "lora_dropout": 1.0}, "lora_dropout 1.0"),
        ({"save_adapter": True}, "without lora_rank"),
        ({"lora_rank": 2, "lora_target_modules": ["q_proj", "qq"]}, "no layer named qq"),
        ({"lora_rank": 2, "freeze_encoder_layers": 1}, "Leave freeze_encoder_layers out"),
    ],
)
def test_what_cannot_be_is_refused(large_config, fields, message):
    with pytest.raises(ConfigError, match=message):
        build_model(ModelArguments(model_config=large_config, **fields), EMOTIONS)
