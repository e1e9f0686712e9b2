from pathlib import Path

import pytest
import torch
from transformers import AutoModelForAudioClassification, Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from hf_ser.arguments import ConfigError, parse
from hf_ser.data import DataArguments
from hf_ser.labels import EMOTIONS
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, train
from hf_ser.training.lora import add_lora

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
    trained = {name: its for name, its in model.named_parameters() if its.requires_grad}
    assert all("lora_" in name or "projector" in name or "classifier" in name for name in trained)
    assert sum("lora_A" in name for name in trained) == 8  # queries and values of four layers
    matrices = sum(its.numel() for name, its in trained.items() if "lora_" in name)
    assert matrices < 0.02 * sum(its.numel() for its in model.parameters())


def test_at_first_the_answers_are_those_without_it(large_config):
    torch.manual_seed(0)
    plain, _ = build_model(ModelArguments(model_config=large_config), EMOTIONS)
    torch.manual_seed(0)
    model, _ = build_model(ModelArguments(model_config=large_config, lora_rank=4), EMOTIONS)
    inputs = torch.randn(2, 4000)
    torch.testing.assert_close(model.eval()(inputs).logits, plain.eval()(inputs).logits)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_run_leaves_a_native_model_that_answers_as_the_trained_one(tmp_path, dataset_dir, tiny_config, norm):
    output = tmp_path / "run"
    args = SerTrainingArguments(
        output_dir=str(output),
        num_train_epochs=2,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        calibrate=False,
        use_cpu=True,
        disable_tqdm=True,
        layer_decay=0.5,
    )
    config = {**tiny_config, "feat_extract_norm": norm}
    model_args = ModelArguments(model_config=config, lora_rank=2, save_adapter=True)
    data_args = DataArguments(dataset=str(dataset_dir), configuration="ravdess", duration_s=0.5)
    trainer, results = train(model_args, data_args, args)
    assert 0 < results["training"]["trainable_parameters"] < results["parameters"]
    assert (output / "adapter" / "adapter_model.safetensors").is_file()
    assert not (output / "adapter_config.json").exists() and not list(output.glob("*.bin"))
    loaded, info = AutoModelForAudioClassification.from_pretrained(output, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    inputs = torch.randn(1, 8000)
    torch.testing.assert_close(loaded(inputs).logits, trainer.model.eval()(inputs).logits, atol=1e-5, rtol=1e-4)
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
        ({"lora_rank": 2, "freeze_encoder_layers": 1}, "leave freeze_encoder_layers out"),
    ],
)
def test_what_cannot_be_is_refused(large_config, fields, message):
    with pytest.raises(ConfigError, match=message):
        build_model(ModelArguments(model_config=large_config, **fields), EMOTIONS)
