import pytest
import torch
from transformers import AutoConfig, AutoModelForAudioClassification

from hf_ser.arguments import ConfigError
from hf_ser.labels import EMOTIONS
from hf_ser.models import MelCNNConfig
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model
from hf_ser.training.layerwise import freeze_layers, parameter_depths, rates

FAMILY = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech-sat")


@pytest.fixture
def family(tiny_config):
    """Make a tiny classifier with three encoder layers."""

    def make(model_type="wav2vec2", **changes):
        fields = {**tiny_config, "num_hidden_layers": 3, "num_labels": 4, **changes}
        fields.pop("model_type")
        return AutoModelForAudioClassification.from_config(AutoConfig.for_model(model_type, **fields))

    return make


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("model_type", FAMILY)
def test_depths_follow_the_layers(family, model_type, stable):
    model = family(model_type, do_stable_layer_norm=stable, use_weighted_layer_sum=True)
    depths, layers = parameter_depths(model)
    assert layers == 3 and depths.keys() == set(model.parameters())
    of_name = {name: depths[parameter] for name, parameter in model.named_parameters()}
    for name, depth in of_name.items():
        if ".encoder.layers." in name:
            assert depth == 1 + int(name.split(".encoder.layers.")[1].split(".")[0])
        elif name.startswith(("classifier", "projector", "layer_weights")):
            assert depth == 4
        elif ".encoder.layer_norm." in name:
            assert depth == (3 if getattr(model.config, "do_stable_layer_norm", False) else 0)
        else:
            assert depth == 0
    assert set(of_name.values()) == {0, 1, 2, 3, 4}


def test_a_model_without_layers_has_a_head_all_the_same():
    model = AutoModelForAudioClassification.from_config(MelCNNConfig(num_labels=4))
    depths, layers = parameter_depths(model)
    assert layers == 0
    deep = {name for name, weights in model.named_parameters() if depths[weights]}
    assert deep == {"classifier.weight", "classifier.bias"}


def test_frozen_layers_keep_their_values_and_the_rest_learns(family):
    model = family()
    freeze_layers(model, 2)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert all(
        "layers.2." in name or name.startswith(("projector", "classifier"))
        for name in {name for name, _ in model.named_parameters()} - frozen
    )
    assert any("feature_extractor" in name for name in frozen) and any("layers.1." in name for name in frozen)


@pytest.mark.parametrize("number", [3, 4])
def test_freezing_every_layer_is_refused(family, number):
    with pytest.raises(ConfigError, match="3 encoder layers"):
        freeze_layers(family(), number)


def test_freezing_through_the_arguments(tiny_config):
    args = ModelArguments(model_config={**tiny_config, "num_hidden_layers": 2}, freeze_encoder_layers=1)
    model, _ = build_model(args, EMOTIONS)
    assert not any(weights.requires_grad for weights in model.wav2vec2.encoder.layers[0].parameters())
    assert all(weights.requires_grad for weights in model.wav2vec2.encoder.layers[1].parameters())
    with pytest.raises(ConfigError, match="expected 0 or more"):
        ModelArguments(model_config=tiny_config, freeze_encoder_layers=-1)


def test_rates_fall_from_the_top():
    assert rates(1.0, None, 0.5, 3) == [0.125, 0.25, 0.5, 1.0, 1.0]
    assert rates(1.0, 9.0, 1.0, 2) == [1.0, 1.0, 1.0, 9.0]
    assert rates(1.0, 9.0, 1.0, 0) == [1.0, 9.0]


def _rates_of(trainer):
    """Learning rate of every parameter by name, and its weight decay."""
    named = {parameter: name for name, parameter in trainer.model.named_parameters()}
    groups = trainer.optimizer.param_groups
    return {named[weights]: (group["lr"], group["weight_decay"]) for group in groups for weights in group["params"]}


def test_every_parameter_has_the_rate_of_its_depth_and_keeps_its_weight_decay(trainer_for):
    plain = trainer_for("plain", weight_decay=0.1)
    plain.create_optimizer_and_scheduler(10)
    trainer = trainer_for(weight_decay=0.1, layer_decay=0.5, head_learning_rate=0.02, learning_rate=0.01)
    trainer.create_optimizer_and_scheduler(10)
    given, before = _rates_of(trainer), _rates_of(plain)
    assert given.keys() == before.keys()
    assert {name: decay for name, (_, decay) in given.items()} == {name: decay for name, (_, decay) in before.items()}
    assert given["classifier.weight"][0] == 0.02
    assert given["wav2vec2.encoder.layers.0.final_layer_norm.weight"][0] == 0.01
    assert given["wav2vec2.feature_projection.projection.weight"][0] == 0.005


def test_one_cycle_keeps_the_rates_apart(trainer_for, run):
    trainer = trainer_for(one_cycle=True, head_learning_rate=0.02, learning_rate=0.01, num_train_epochs=2)
    run(trainer)
    peaks = {group["max_lr"] for group in trainer.optimizer.param_groups}
    assert peaks == {0.02, 0.01}


@pytest.mark.parametrize("length", [{"num_train_epochs": 3}, {"max_steps": 12}])
def test_layers_wait_for_their_turn(trainer_for, run, length):
    settings = {"unfreeze_every": 1.0, "lr_scheduler_type": "constant", **length}
    settings |= {"save_total_limit": None, "load_best_model_at_end": False}
    trainer = trainer_for(**settings)
    start = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    run(trainer)

    def moved(epoch):
        from safetensors.torch import load_file

        steps = 4 * epoch
        now = load_file(f"{trainer.args.output_dir}/checkpoint-{steps}/model.safetensors")
        return {name for name, value in start.items() if not torch.equal(value, now[name])}

    assert moved(1) and all(name.startswith(("classifier", "projector")) for name in moved(1))
    assert any("encoder.layers.0" in name for name in moved(2)) and not any("projection." in name for name in moved(2))
    assert any("feature_projection" in name for name in moved(3))


def test_a_run_that_unfreezes_resumes_where_it_stopped(trainer_for, run):
    settings = {"unfreeze_every": 1.0, "num_train_epochs": 3, "save_total_limit": None}
    losses = run(trainer_for("whole", **settings))
    rest = trainer_for("whole", **settings)
    checkpoint = f"{rest.args.output_dir}/checkpoint-8"
    assert run(rest, resume_from_checkpoint=checkpoint) == losses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_decay": 0.0}, "layer_decay is 0.0"),
        ({"layer_decay": 1.5}, "layer_decay is 1.5"),
        ({"head_learning_rate": -1.0}, "head_learning_rate is -1.0"),
        ({"unfreeze_every": 0.0}, "unfreeze_every is 0.0"),
    ],
)
def test_values_that_cannot_be_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **changes)


def test_schedules_that_cannot_wait_are_refused(trainer_for):
    trainer = trainer_for(unfreeze_every=1.0, one_cycle=True)
    with pytest.raises(ConfigError, match="unfreeze_every does not work with OneCycleLR"):
        trainer.train()
