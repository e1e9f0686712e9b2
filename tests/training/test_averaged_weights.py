"""Averaged weights are validated and saved; the optimizer, and a resumed run, continue with the plain ones."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_splits
from hf_ser.scoring import read_results
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer
from hf_ser.training.averaged_weights import PLAIN_WEIGHTS, check_average

COMPANION = {"model_type": "ser-mel-cnn", "duration_s": 0.5, "n_mels": 16, "channels": [4, 4, 4]}  # batch norm
EVERY_STEP = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
EVERY_STEP |= {"num_train_epochs": 2, "save_total_limit": None}


@pytest.fixture
def companion_for(dataset_dir, tmp_path):
    """Make a Trainer of a tiny MelCNN, whose batch normalisation has buffers of both kinds: 4 steps per epoch."""

    def make(name="run", model_config=COMPANION, model_args=None, **changes):
        settings = {"per_device_train_batch_size": 8, "learning_rate": 3e-3, "logging_strategy": "steps"}
        settings |= {"logging_steps": 1, "use_cpu": True, "disable_tqdm": True, "output_dir": str(tmp_path / name)}
        args = SerTrainingArguments(**{**settings, **changes})
        torch.manual_seed(0)
        data = load_splits(DataArguments(dataset=str(dataset_dir), configuration="ravdess", duration_s=0.5))
        model, extractor = build_model(
            ModelArguments(**(model_args or {"model_config": dict(model_config)})), data.labels
        )
        return make_trainer(model, extractor, data, args)

    return make


def _at(trainer, step, name="model.safetensors"):
    return load_file(Path(trainer.args.output_dir) / f"checkpoint-{step}" / name)


def _losses(trainer, **options):
    trainer.train(**options)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    ("option", "kept_shares"),
    [
        # The decay is below (1 + n) / (10 + n) from step 3 on.
        ({"ema_decay": 0.3}, [2 / 11, 3 / 12, *[0.3] * 6]),
        ({"swa_start": 0.5}, [0, 0, 0, 0, 1 / 2, 2 / 3, 3 / 4, 4 / 5]),  # steps 4 to 8 are averaged
    ],
)
def test_the_average_is_that_of_the_formula_and_the_training_is_the_same(companion_for, option, kept_shares):
    aided = companion_for("aided", **option, **EVERY_STEP)
    losses = _losses(aided)
    plain = companion_for("plain", **EVERY_STEP)  # after the other run, which draws dropout from the same seed
    expected = {name: tensor.clone().double() for name, tensor in plain.model.state_dict().items()}
    assert losses == _losses(plain)
    integers = [name for name, tensor in plain.model.state_dict().items() if not tensor.is_floating_point()]
    running = [name for name in expected if name.endswith("running_var")]
    assert integers and running
    for step, d in enumerate(kept_shares, start=1):
        now, averaged, kept = _at(plain, step), _at(aided, step), _at(aided, step, PLAIN_WEIGHTS)
        for name, tensor in now.items():
            assert torch.equal(kept[name], tensor), name
            old = tensor if name in integers else d * expected[name] + (1 - d) * tensor.double()
            expected[name] = old
            torch.testing.assert_close(averaged[name].double(), old.double(), rtol=1e-5, atol=1e-6, msg=name)
    assert not torch.equal(averaged[running[0]], now[running[0]])
    if "swa_start" in option:
        first = kept_shares.count(0)  # its average is a copy
        mean = torch.stack([_at(plain, step)["classifier.weight"] for step in range(first, 9)]).mean(dim=0)
        torch.testing.assert_close(averaged["classifier.weight"], mean, rtol=1e-5, atol=1e-6)


def test_validation_and_the_saved_model_use_the_average(companion_for):
    trainer = companion_for(ema_decay=0.9, **EVERY_STEP)
    trainer.train()
    log = {entry["step"]: entry for entry in trainer.state.log_history if "eval_loss" in entry}
    best = trainer.state.best_global_step
    for step in (best, 8):
        model, _ = build_model(
            ModelArguments(f"{trainer.args.output_dir}/checkpoint-{step}"),
            tuple(trainer.model.config.id2label.values()),
        )
        again = companion_for(f"again_{step}")
        again.model.load_state_dict(model.state_dict())
        scores = again.evaluate()
        assert scores["eval_loss"] == pytest.approx(log[step]["eval_loss"], rel=1e-6)
        assert scores["eval_uar"] == log[step]["eval_uar"]
    for name, tensor in _at(trainer, best).items():
        assert torch.equal(trainer.model.state_dict()[name], tensor), name  # load_best_model_at_end
    assert trainer.evaluate()["eval_loss"] == pytest.approx(log[best]["eval_loss"], rel=1e-6)


def test_without_a_best_checkpoint_the_last_average_is_left_in_the_model(companion_for, tmp_path):
    trainer = companion_for(ema_decay=0.9, load_best_model_at_end=False, **EVERY_STEP)
    trainer.train()
    for name, tensor in _at(trainer, 8).items():
        assert torch.equal(trainer.model.state_dict()[name], tensor), name
    trainer.save_model(str(tmp_path / "saved"))
    assert not (tmp_path / "saved" / PLAIN_WEIGHTS).exists()
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert torch.equal(saved["classifier.weight"], _at(trainer, 8)["classifier.weight"])


@pytest.mark.parametrize(
    ("model_config", "option"),
    [(COMPANION, {"ema_decay": 0.9}), (None, {"ema_decay": 0.9}), (COMPANION, {"swa_start": 0.2})],
    ids=["companion", "wav2vec2", "swa"],
)
def test_a_resumed_run_ends_as_an_unbroken_one(companion_for, tiny_config, model_config, option):
    config = model_config or tiny_config
    trainer = companion_for("run", config, **option, **EVERY_STEP)
    losses = _losses(trainer)
    last = {name: _at(trainer, 8, name) for name in ("model.safetensors", PLAIN_WEIGHTS)}
    scores = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    resumed = companion_for("run", config, **option, **EVERY_STEP)
    assert _losses(resumed, resume_from_checkpoint=f"{trainer.args.output_dir}/checkpoint-3") == losses
    for name, weights in last.items():
        for key, tensor in _at(resumed, 8, name).items():
            assert torch.equal(tensor, weights[key]), (name, key)
    again = [entry for entry in resumed.state.log_history if "eval_loss" in entry]
    for before, after in zip(scores, again, strict=True):
        assert before["eval_loss"] == after["eval_loss"] and before["eval_uar"] == after["eval_uar"]


def test_lora_matrices_are_averaged_in_bfloat16_too(companion_for, encoder):
    pytest.importorskip("peft")
    model_args = {"model_name_or_path": str(encoder), "lora_rank": 2}
    settings = {**EVERY_STEP, "num_train_epochs": 1, "ema_decay": 0.9, "precision": "bf16"}
    trainer = companion_for(model_args=model_args, **settings)
    start = {name: tensor.clone() for name, tensor in trainer.model.named_parameters() if tensor.requires_grad}
    losses = _losses(trainer)
    plain = _at(trainer, 1, PLAIN_WEIGHTS)
    assert {name for name in plain if "lora" in name} == {name for name in start if "lora" in name}
    assert not any("base_layer" in name for name in plain)  # frozen
    adapter = {name: _at(trainer, step, "adapter_model.safetensors") for name, step in (("first", 1), ("last", 4))}
    name = next(name for name in start if "lora_B" in name and not torch.equal(start[name], plain[name]))
    stored = adapter["first"][name.replace(".default", "")]
    torch.testing.assert_close(stored, start[name] * 2 / 11 + plain[name] * 9 / 11)
    resumed = companion_for(model_args=model_args, **settings)
    assert _losses(resumed, resume_from_checkpoint=f"{trainer.args.output_dir}/checkpoint-2") == losses
    again = _at(resumed, 4, "adapter_model.safetensors")
    assert all(torch.equal(again[key], tensor) for key, tensor in adapter["last"].items())


def test_accumulated_batches_are_averaged_per_optimizer_step(companion_for):
    layout = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    config = {**COMPANION, "channels": [4, 4, 4]}
    trainer = companion_for(model_config=config, ema_decay=0.9, **layout, **EVERY_STEP)
    before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
    trainer.train()
    first, plain = _at(trainer, 1), _at(trainer, 1, PLAIN_WEIGHTS)
    for name, tensor in before.items():
        torch.testing.assert_close(first[name], tensor * 2 / 11 + plain[name] * 9 / 11, msg=name)


def test_accumulated_batches_give_the_same_average_of_the_last_steps(companion_for):
    layout = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    trainer = companion_for(swa_start=0.75, **layout, **EVERY_STEP)  # steps 6 to 8
    trainer.train()
    steps = [_at(trainer, step, PLAIN_WEIGHTS) for step in (6, 7, 8)]
    for name, tensor in _at(trainer, 8).items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, sum(step[name] for step in steps) / 3, rtol=1e-5, atol=1e-6, msg=name)


def test_an_average_learns(companion_for):
    settings = {"num_train_epochs": 12, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = companion_for(ema_decay=0.9, **settings)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before - 0.05


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, float("nan")])
def test_invalid_decays_are_rejected(tmp_path, decay):
    with pytest.raises(ConfigError, match="ema_decay is .*; expected a number between 0 and 1"):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, ema_decay=decay)


@pytest.mark.parametrize("start", [1.0, -0.5, float("nan")])
def test_invalid_starts_are_rejected(tmp_path, start):
    with pytest.raises(ConfigError, match="swa_start is .*; expected a number from 0 to below 1"):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, swa_start=start)


def test_invalid_combinations_are_rejected(tmp_path):
    with pytest.raises(ConfigError, match="ema_decay and swa_start are both given; expected only one of them"):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, ema_decay=0.9, swa_start=0.0)
    with pytest.raises(ConfigError, match="swa_start does not support FSDP and DeepSpeed. Leave swa_start out"):
        check_average(None, 0.5, True)
    with pytest.raises(ConfigError, match="ema_decay does not support FSDP"):
        check_average(0.5, None, True)
    check_average(None, None, True)


@pytest.mark.parametrize(("name", "value"), [("ema_decay", 0.5), ("swa_start", 0.0)])
def test_the_average_is_in_the_results(finetune, dataset_dir, tmp_path, name, value):
    fields = {"model_config": COMPANION, "dataset": str(dataset_dir), "configuration": "ravdess"}
    fields |= {"num_train_epochs": 1, "per_device_train_batch_size": 8, "output_dir": str(tmp_path / "run")}
    finetune(**fields, **{name: value})
    training = read_results(tmp_path / "run")["training"]
    assert training[name] == value and training.get("swa_first_step") == (1 if name == "swa_start" else None)
    assert not list((tmp_path / "run").glob("*.bin")) and not (tmp_path / "run" / PLAIN_WEIGHTS).exists()
