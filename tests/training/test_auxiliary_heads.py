"""The speaker adversary and the supervised contrastive loss: in training only, and not in the saved model."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_splits
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer
from hf_ser.training.auxiliary_heads import (
    AuxiliaryHeads,
    HeadOutputs,
    ReversedGradient,
    attach_heads,
    contrastive_losses,
    detach_heads,
    heads_of,
    speaker_loss,
    speaker_numbers,
)
from hf_ser.training.losses import Mix, make_loss

ROOT = Path(__file__).parents[2]
BOTH = {"speaker_adversary": 0.5, "supervised_contrastive": 0.2}
SHORT = {"num_train_epochs": 2, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def _vectors(size=6, width=5, dtype=torch.float64):
    return torch.randn(size, width, generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_the_contrastive_loss_is_that_of_its_paper():
    vectors, labels = _vectors(), torch.tensor([0, 1, 0, 2, 1, 0])
    units = vectors / vectors.norm(dim=1, keepdim=True)
    expected = []
    for i in range(6):
        others = [torch.exp(units[i] @ units[a] / 0.1) for a in range(6) if a != i]
        positives = [p for p in range(6) if p != i and labels[p] == labels[i]]
        each = [-torch.log(torch.exp(units[i] @ units[p] / 0.1) / sum(others)) for p in positives]
        expected.append(sum(each) / len(each) if each else torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(contrastive_losses(vectors, labels), torch.stack(expected))
    assert expected[3] == 0  # no other clip of its class


@pytest.mark.parametrize("labels", [[0, 1, 0, 1], [0, 1, 2, 3], [0, 0, 0, 0]], ids=str)
def test_gradients_of_the_contrastive_loss(labels):
    vectors = _vectors(len(labels)).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: contrastive_losses(given, torch.tensor(labels)), vectors)


def test_a_batch_of_one_has_no_contrastive_loss():
    vectors = _vectors(1).requires_grad_()
    losses = contrastive_losses(vectors, torch.tensor([0]))
    losses.sum().backward()
    assert losses.tolist() == [0] and vectors.grad.abs().sum() == 0


def test_the_gradient_of_the_speaker_loss_is_reversed_below_the_head_only():
    heads = AuxiliaryHeads(5, speakers=3, contrastive=0)
    vectors, speakers = _vectors(dtype=torch.float32).requires_grad_(), torch.tensor([0, 1, 2, 0, 1, 2])

    def gradients(reversal):
        heads.reversal, vectors.grad = reversal, None
        heads.zero_grad()
        loss = speaker_loss(HeadOutputs(**heads(vectors)), speakers)
        loss.backward()
        return loss.item(), vectors.grad, [weights.grad.clone() for weights in heads.parameters()]

    plain = functional.cross_entropy(heads.adversary(vectors), speakers)
    (expected,) = torch.autograd.grad(plain, vectors)
    for reversal in (0.0, 0.3, 1.0):
        loss, below, own = gradients(reversal)
        assert loss == pytest.approx(plain.item())
        torch.testing.assert_close(below, -reversal * expected)
        assert all(torch.equal(a, b) for a, b in zip(own, gradients(1.0)[2], strict=True))
    assert torch.equal(ReversedGradient.apply(vectors, 2.0), vectors)


@pytest.mark.parametrize("mix", [None, Mix(0.3, torch.tensor([1, 0]))])
def test_parts_of_an_accumulated_batch_add_up_to_the_whole(mix):
    """Speakers are independent clips; clips are contrasted, and mixed, within a part."""
    heads, loss = AuxiliaryHeads(5, speakers=3, contrastive=0 if mix else 0.7), make_loss()
    vectors, labels = _vectors(dtype=torch.float32), torch.tensor([0, 0, 1, 1, 2, 2])
    speakers, logits = torch.tensor([0, 1, 2, 0, 1, 2]), torch.randn(6, 3)
    parts = []
    for part in (slice(0, 2), slice(2, 4), slice(4, 6)):
        outputs = HeadOutputs(logits=logits[part], **heads(vectors[part]))
        plain = loss if mix is None else mix.loss(loss)
        parts.append(heads.added_to(plain, speakers[part], mix)(outputs, labels[part], num_items_in_batch=6))
    outputs = HeadOutputs(logits=logits, **heads(vectors))
    if mix is None:
        expected = loss(outputs, labels) + speaker_loss(outputs, speakers)
        each = [contrastive_losses(pair, torch.zeros(2)) for pair in outputs.projections.split(2)]
        expected = expected + 0.7 * torch.cat(each).mean()
    else:
        whole = Mix(0.3, torch.tensor([1, 0, 3, 2, 5, 4]))
        expected = whole.loss(loss)(outputs, labels) + whole.loss(speaker_loss)(outputs, speakers)
    torch.testing.assert_close(sum(parts), expected)


def _after_training(**options):
    """Train a linear body whose input shows class and speaker; its embeddings, outputs, labels and speakers."""
    generator = torch.Generator().manual_seed(0)
    labels, speakers = torch.randint(0, 3, (2, 600), generator=generator)
    inputs = torch.cat([functional.one_hot(labels, 3), functional.one_hot(speakers, 3)], dim=1).float()
    inputs = inputs + 0.3 * torch.randn(inputs.shape, generator=generator)
    torch.manual_seed(0)
    body, classifier = nn.Linear(6, 4), nn.Linear(4, 3)
    heads = AuxiliaryHeads(4, speakers=3, contrastive=options.get("contrastive", 0.0))
    heads.reversal = options.get("reversal", 0.0)
    slow = {"params": [*body.parameters(), *classifier.parameters()], "lr": 0.005}
    optimizer = torch.optim.Adam([slow, {"params": heads.parameters(), "lr": 0.025}])

    def outputs(clips):
        vectors = body(inputs[clips])
        return vectors, HeadOutputs(logits=classifier(vectors), **heads(vectors))

    for _ in range(options.get("steps", 400)):
        clips = torch.randperm(600)[:60]
        loss = heads.added_to(make_loss(), speakers[clips], None)(outputs(clips)[1], labels[clips])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        vectors, made = outputs(slice(None))
    assert options.get("steps") == 0 or (made.logits.argmax(dim=1) == labels).float().mean() > 0.97
    return vectors, made, labels, speakers


def _explained(vectors, classes):
    """Share of the variance of one-hot classes that a linear function of the vectors explains."""
    inputs = torch.cat([vectors, torch.ones(len(vectors), 1)], dim=1)
    targets = functional.one_hot(classes).float()
    rest = targets - inputs @ torch.linalg.lstsq(inputs, targets).solution
    return (1 - rest.square().sum() / (targets - targets.mean(dim=0)).square().sum()).item()


def test_the_adversary_removes_the_speaker_from_the_embedding_and_keeps_the_class():
    explained = {}
    for reversal in (0.0, 1.0):
        vectors, made, _, speakers = _after_training(reversal=reversal)
        explained[reversal] = _explained(vectors, speakers)
        if not reversal:
            assert (made.speaker_logits.argmax(dim=1) == speakers).float().mean() > 0.7  # the head learns
    assert explained[0.0] > 0.4 and explained[1.0] < 0.1


def test_the_contrastive_loss_draws_clips_of_a_class_together():
    losses, cosines = [], []
    for steps in (0, 400):
        _, made, labels, _ = _after_training(contrastive=1.0, steps=steps)
        units = functional.normalize(made.projections, dim=1)
        same = labels[:, None] == labels
        cosines.append(((units @ units.T)[same].mean() - (units @ units.T)[~same].mean()).item())
        losses.append(contrastive_losses(made.projections, labels).mean().item())
    assert losses[1] < losses[0] - 0.5 and cosines[1] > 0.8 > 4 * cosines[0], (losses, cosines)


def test_without_the_options_there_are_no_heads(trainer_for):
    trainer = trainer_for()
    assert heads_of(trainer.model) is None and not trainer.model._forward_hooks
    state = torch.get_rng_state()
    assert "speakers" not in next(iter(trainer.get_train_dataloader()))
    with_heads = trainer_for(**BOTH)
    assert torch.equal(torch.get_rng_state(), state)  # both start from the same seed
    assert with_heads.trainable_parameters == trainer.trainable_parameters
    scores = [name for name in trainer.evaluate() if not name.endswith(("time", "per_second"))]
    mine, plain = with_heads.evaluate(), trainer.evaluate()
    assert "eval_loss" in scores and {name: mine[name] for name in scores} == {name: plain[name] for name in scores}


def test_training_computes_the_losses_in_one_pass(trainer_for):
    trainer = trainer_for(**BOTH)
    model, batch = trainer.model.train(), next(iter(trainer.get_train_dataloader()))
    assert batch["speakers"].shape == (8,) and batch["speakers"].dtype == torch.long
    passes = []
    model.register_forward_hook(lambda module, args, outputs: passes.append(outputs))
    trainer.state.global_step, trainer.state.max_steps = 3, 12
    loss = trainer.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(16))
    (outputs,), heads = passes, heads_of(model)
    assert heads.reversal == 0.5 * 3 / 12 and outputs.projections.shape == (8, 64)
    expected = trainer.compute_loss_func(outputs, batch["labels"], num_items_in_batch=16)
    expected = expected + functional.cross_entropy(outputs.speaker_logits, batch["speakers"]) / 2
    expected = expected + 0.2 * contrastive_losses(outputs.projections, batch["labels"]).mean() / 2
    torch.testing.assert_close(loss, expected)
    model.eval()
    _, outputs = trainer.compute_loss(model, dict(batch), return_outputs=True)
    assert set(outputs) == {"logits"} or set(outputs) == {"loss", "logits"}


def test_a_run_continues_bit_for_bit_and_its_checkpoints_are_plain_models(trainer_for, run, caplog):
    settings = {**SHORT, **BOTH, "save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
    first = trainer_for("first", **settings)
    start = {name: tensor.clone() for name, tensor in heads_of(first.model).state_dict().items()}
    losses = run(first)
    assert len(losses) == 8
    trained = heads_of(first.model).state_dict()
    assert not any(torch.equal(trained[name], start[name]) for name in start)
    resumed = trainer_for("first", **settings)
    assert run(resumed, resume_from_checkpoint=f"{resumed.args.output_dir}/checkpoint-6") == losses
    assert all(torch.equal(tensor, trained[name]) for name, tensor in heads_of(resumed.model).state_dict().items())
    assert "missing keys" not in caplog.text
    plain = trainer_for("plain", **SHORT)
    saved = load_file(f"{resumed.args.output_dir}/checkpoint-6/model.safetensors")
    assert set(saved) == set(plain.model.state_dict())
    assert not any(a == pytest.approx(b, rel=1e-6) for a, b in zip(losses, run(plain), strict=True))
    detach_heads(resumed.model)
    assert set(resumed.model.state_dict()) == set(saved) and not resumed.model._forward_hooks
    assert heads_of(resumed.model) is None and not resumed.model.classifier._forward_pre_hooks


def test_accumulation_does_not_change_the_adversary(trainer_for, run):
    losses = run(trainer_for("whole", **SHORT, speaker_adversary=0.5))
    layout = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    parts = run(trainer_for("parts", **SHORT, **layout, speaker_adversary=0.5))
    assert len(losses) == 8 and parts == pytest.approx(losses, rel=1e-3)


def test_the_best_checkpoint_is_loaded_without_a_warning_and_heads_have_the_rate_of_the_head(trainer_for, caplog):
    trainer = trainer_for(**BOTH, num_train_epochs=1, head_learning_rate=0.02)
    trainer.train()
    assert "missing keys" not in caplog.text
    groups = [group for group in trainer.optimizer.param_groups if group["initial_lr"] == 0.02]
    fast = {id(weights) for group in groups for weights in group["params"]}
    assert {id(weights) for weights in heads_of(trainer.model).parameters()} < fast


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2, "lora_target_modules": ["q_proj"]}], ids=["whole", "lora"])
def test_a_recipe_saves_the_model_without_heads(finetune, dataset_dir, tiny_config, tmp_path, options):
    if options:
        pytest.importorskip("peft")
    fields = {"model_config": tiny_config, "dataset": str(dataset_dir), "configuration": "ravdess", "duration_s": 0.4}
    fields |= {
        "num_train_epochs": 1,
        "per_device_train_batch_size": 16,
        "output_dir": str(tmp_path / "run"),
        **options,
    }
    results = finetune(**fields, **BOTH)
    assert {name: results["training"][name] for name in BOTH} == BOTH
    model, _ = build_model(
        ModelArguments(model_config=tiny_config), load_splits(DataArguments(str(dataset_dir), "ravdess")).labels
    )
    assert set(load_file(tmp_path / "run" / "model.safetensors")) == set(model.state_dict())
    assert results["parameters"] == sum(weights.numel() for weights in model.parameters())
    assert "auxiliary" not in json.dumps(json.loads((tmp_path / "run" / "config.json").read_text()))


def test_streamed_clips_have_their_speakers(dataset_dir, tiny_config, tmp_path):
    data = load_splits(DataArguments(str(dataset_dir), "ravdess", duration_s=0.4, streaming=True))
    args = SerTrainingArguments(str(tmp_path), use_cpu=True, disable_tqdm=True, **BOTH)
    trainer = make_trainer(*build_model(ModelArguments(model_config=tiny_config), data.labels), data, args)
    items = list(trainer.train_dataset)
    batch = trainer.data_collator(items)
    names = sorted(set(data.splits["train"]["speaker"]))
    expected = [names.index(data.splits["train"]["speaker"][item["number"]]) for item in items]
    assert batch["speakers"].tolist() == expected and len(set(expected)) == len(names) > 1


def test_unknown_speakers_are_rejected(dataset_dir, tmp_path):
    data = load_splits(DataArguments(str(dataset_dir), "ravdess"))
    args = SerTrainingArguments(str(tmp_path), use_cpu=True, **BOTH)
    train, one = data.splits["train"], data.splits["train"][0]["speaker"]
    data.splits["train"] = train.map(lambda row: {"speaker": None if row["speaker"] == one else row["speaker"]})
    with pytest.raises(ConfigError, match=r"speaker_adversary: \d+ of \d+ training clips have no speaker; expected"):
        speaker_numbers(data, args)
    data.splits["train"] = train.filter(lambda row: row["speaker"] == one)
    with pytest.raises(ConfigError, match="train has one speaker; expected at least two"):
        speaker_numbers(data, args)


def test_models_without_a_classifier_are_rejected(tiny_config, tmp_path):
    model, _ = build_model(ModelArguments(model_config=tiny_config), ("calm", "sad"))
    args = SerTrainingArguments(str(tmp_path), use_cpu=True, **BOTH)
    with pytest.raises(ConfigError, match="need a linear classifier, which wav2vec2 does not have"):
        attach_heads(model.wav2vec2, [0, 1], args)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speaker_adversary": -0.1}, "speaker_adversary is -0.1; expected 0"),
        ({"supervised_contrastive": float("nan")}, "supervised_contrastive is nan; expected 0"),
        ({"supervised_contrastive": 0.1, "mixup_alpha": 0.2}, "has no single class. Leave one of them out"),
        ({"supervised_contrastive": 0.1, "per_device_train_batch_size": 1}, "expected several clips per class"),
    ],
    ids=str,
)
def test_invalid_values_are_rejected(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **options)


def test_small_batches_get_a_warning(trainer_for, caplog):
    trainer_for(supervised_contrastive=0.1)
    assert (
        "per_device_train_batch_size 8 has fewer than two clips for each of 8 classes; use at least 16" in caplog.text
    )


@pytest.mark.slow
def test_two_processes_train_the_heads_as_one(launch, dataset_dir, tiny_config, tmp_path):
    """The adversary and clips at other speeds; the contrastive loss compares the clips of a process."""
    fields = {"model_config": tiny_config, "dataset": str(dataset_dir), "configuration": "ravdess", "duration_s": 0.4}
    fields |= {"num_train_epochs": 2, "learning_rate": 3e-3, "logging_strategy": "steps", "logging_steps": 1}
    fields |= {"speaker_adversary": 0.5, "speed_factors": [0.9, 1.1]}
    fields |= {"use_cpu": True, "disable_tqdm": True, "figures": False}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(fields))
    losses = {}
    for processes in (1, 2):
        words = ["--config", tmp_path / "config.yaml", "--output_dir", tmp_path / str(processes)]
        words += ["--per_device_train_batch_size", 8 // processes]
        launch(ROOT / "recipes/finetune.py", *words, processes=processes)
        history = json.loads((tmp_path / str(processes) / "training_history.json").read_text())
        losses[processes] = [entry["loss"] for entry in history if "loss" in entry]
    assert len(losses[1]) == 8 and losses[2] == pytest.approx(losses[1], rel=1e-3)
