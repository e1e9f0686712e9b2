"""One path for every encoder of the family, by checkpoints of the layouts that are on the Hub."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

from hf_ser.data import DataArguments, load_splits
from hf_ser.labels import EMOTIONS
from hf_ser.models import takes_attention_mask
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer

OLD_NAMES = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# name on the Hub -> model type and what sets its configuration apart from wav2vec2-base's
FAMILY = {
    "wav2vec2-base": ("wav2vec2", {}),
    "wav2vec2-large": ("wav2vec2", {}),
    "wav2vec2-large-xlsr-53": ("wav2vec2", LARGE),
    "hubert-base-ls960": ("hubert", {}),
    "hubert-large-ll60k": ("hubert", LARGE),
    "wavlm-base-plus": ("wavlm", {}),
    "wavlm-large": ("wavlm", LARGE | {"conv_bias": False}),
    "data2vec-audio-base": ("data2vec-audio", {"conv_pos_kernel_size": 9, "num_conv_pos_embeddings": 2}),
}


@pytest.fixture(params=FAMILY)
def checkpoint(request, tmp_path, tiny_config):
    """A pretrained encoder without a head, its positional convolution under torch's old names, and its weights."""
    model_type, changes = FAMILY[request.param]
    torch.manual_seed(0)
    config = {**tiny_config, **changes, "num_hidden_layers": 2}
    config.pop("model_type")
    encoder = AutoModel.from_config(AutoConfig.for_model(model_type, **config))
    encoder.save_pretrained(tmp_path / "encoder")
    weights = load_file(tmp_path / "encoder" / "model.safetensors")
    for new, old in (
        ("parametrizations.weight.original0", "weight_g"),
        ("parametrizations.weight.original1", "weight_v"),
    ):
        weights = {key.replace(new, old): value for key, value in weights.items()}
    save_file(weights, tmp_path / "encoder" / "model.safetensors", metadata={"format": "pt"})
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "encoder")
    return str(tmp_path / "encoder"), encoder.state_dict()


def test_its_weights_arrive_and_the_mask_follows_the_encoder(checkpoint, caplog):
    folder, weights = checkpoint
    with caplog.at_level("INFO"):
        model, extractor = build_model(ModelArguments(model_name_or_path=folder), EMOTIONS)
    loaded = model.base_model.state_dict()
    assert set(loaded) == set(weights)
    for name, tensor in weights.items():
        torch.testing.assert_close(loaded[name], tensor, msg=name)
    by_group = getattr(model.config, "feat_extract_norm", None) == "group"
    assert extractor.return_attention_mask == takes_attention_mask(model.config) != by_group
    assert model.config.layerdrop == 0.0
    assert [record.message for record in caplog.records] == [
        "new classification head: classifier.bias, classifier.weight, projector.bias, projector.weight"
    ]


def test_a_new_sum_of_layers_weighs_them_alike(checkpoint):
    garbage = [torch.full((3,), 7e30) for _ in range(1000)]  # what memory may hold that nobody initialises
    del garbage
    args = ModelArguments(model_name_or_path=checkpoint[0], config_overrides={"use_weighted_layer_sum": True})
    model, _ = build_model(args, EMOTIONS)
    assert model.layer_weights.tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"freeze_feature_encoder": True, "freeze_encoder_layers": 1, "layer_decay": 0.9, "head_learning_rate": 1e-2},
        {"lora_rank": 2, "activation_checkpointing": True},
        {"config_overrides": {"use_weighted_layer_sum": True}, "unfreeze_every": 1.0},
    ],
    ids=["plain", "frozen", "lora", "layer_sum"],
)
def test_it_trains_with_every_option(checkpoint, options, dataset_dir, tmp_path, run):
    folder, _ = checkpoint
    of_model = {name: value for name, value in options.items() if name in ModelArguments.__dataclass_fields__}
    rest = {name: value for name, value in options.items() if name not in of_model}
    data = load_splits(DataArguments(dataset=str(dataset_dir), configuration="ravdess", duration_s=0.4))
    model, extractor = build_model(ModelArguments(model_name_or_path=folder, **of_model), data.labels)
    args = SerTrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=3,
        learning_rate=1e-2,
        logging_strategy="steps",
        logging_steps=1,
        save_strategy="no",
        load_best_model_at_end=False,
        use_cpu=True,
        disable_tqdm=True,
        **rest,
    )
    trainer = make_trainer(model, extractor, data, args)
    start = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    losses = run(trainer)
    assert len(losses) == 3 and all(0 < loss < 5 for loss in losses)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad or torch.equal(parameter, start[name]), name
    moved = {name for name, weights in model.named_parameters() if not torch.equal(weights, start[name])}
    assert any("classifier" in name for name in moved)
    assert ("layer_weights" in moved) == ("config_overrides" in options)
