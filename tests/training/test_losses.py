import functools
import math

import pytest
import torch
from torch.nn import functional
from transformers import Trainer
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError
from hf_ser.training import SerTrainingArguments
from hf_ser.training.losses import LOSSES, Mix, balanced_weights, make_loss

cross_entropy = make_loss()


def _batch(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 8, generator=generator), torch.randint(0, 8, (size,), generator=generator)


def test_without_a_count_it_is_the_mean_of_the_batch():
    logits, labels = _batch(6)
    loss = cross_entropy(SequenceClassifierOutput(logits=logits), labels)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, labels))


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"class_weights": [0.5, 2.0] * 4}], ids=str)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("sizes", [[2, 2, 2, 2], [5, 3], [1] * 8], ids=str)
def test_parts_of_an_accumulated_batch_add_up_to_the_whole(sizes, name, options):
    logits, labels = _batch(8)
    loss = make_loss(name, **options)
    whole = loss(SequenceClassifierOutput(logits=logits), labels)
    parts = [
        loss(SequenceClassifierOutput(logits=part), own, num_items_in_batch=8)
        for part, own in zip(logits.split(sizes), labels.split(sizes), strict=True)
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_half_precision_logits_are_summed_in_single_precision():
    logits, labels = _batch(4)
    loss = cross_entropy(SequenceClassifierOutput(logits=logits.bfloat16()), labels)
    assert loss.dtype == torch.float32


def test_the_focal_loss_is_that_of_its_paper():
    logits, labels = _batch(16)
    right = logits.softmax(dim=1)[torch.arange(16), labels]
    for gamma in (0.0, 1.0, 2.5):
        loss = make_loss("focal", gamma=gamma)(SequenceClassifierOutput(logits=logits), labels)
        torch.testing.assert_close(loss, (-((1 - right) ** gamma) * right.log()).mean())


def test_label_smoothing_is_that_of_torch():
    logits, labels = _batch(16)
    loss = make_loss(label_smoothing=0.2)(SequenceClassifierOutput(logits=logits), labels)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, labels, label_smoothing=0.2))


def test_balanced_weights_have_a_mean_of_one_over_the_clips():
    labels = [0] * 6 + [1] * 3 + [2]
    weights = balanced_weights(labels, ["sad", "happy", "calm"])
    assert sum(weights[label] for label in labels) == pytest.approx(len(labels))
    assert weights[2] == pytest.approx(6 * weights[0]) and weights[1] == pytest.approx(2 * weights[0])
    with pytest.raises(ConfigError, match="no training clips of calm"):
        balanced_weights([0, 1], ["sad", "happy", "calm"])


@pytest.mark.parametrize("options", [{"name": "hinge"}, {"gamma": -1.0}, {"label_smoothing": 1.0}], ids=str)
def test_losses_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigError):
        make_loss(**options)


def _waveforms(size=4, samples=10):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.arange(samples - size + 1, samples + 1)
    mask = (torch.arange(samples) < lengths[:, None]).long()
    return {
        "input_values": torch.randn(size, samples, generator=generator) * mask,
        "attention_mask": mask,
        "labels": torch.randint(0, 8, (size,), generator=generator),
    }


def _outputs(size=4):
    return SequenceClassifierOutput(logits=torch.randn(size, 8, generator=torch.Generator().manual_seed(1)))


def test_waveforms_are_weighted_sums_and_masks_span_the_longer_clip():
    batch, order = _waveforms(), torch.tensor([3, 2, 1, 0])
    mixed, values = Mix(0.25, order).inputs(batch), batch["input_values"]
    torch.testing.assert_close(mixed["input_values"], 0.25 * values + 0.75 * values.flip(0))
    assert mixed["attention_mask"].sum(dim=1).tolist() == [10, 9, 9, 10]
    assert mixed["attention_mask"].dtype == torch.long and mixed["labels"] is batch["labels"]
    del batch["attention_mask"]
    assert set(Mix(0.25, order).inputs(batch)) == {"input_values", "labels"}


@pytest.mark.parametrize("name", LOSSES)
def test_a_share_of_one_is_no_mixup(name):
    batch, mix, loss = _waveforms(), Mix(1.0, torch.tensor([1, 2, 3, 0])), make_loss(name)
    assert torch.equal(mix.inputs(batch)["input_values"], batch["input_values"])
    for count in (None, 16, torch.tensor(16)):
        mixed = mix.loss(loss)(_outputs(), batch["labels"], num_items_in_batch=count)
        assert torch.equal(mixed, loss(_outputs(), batch["labels"], num_items_in_batch=count))


def test_the_loss_is_the_cross_entropy_of_mixed_targets():
    labels, order = _waveforms()["labels"], torch.tensor([2, 0, 3, 1])
    targets = functional.one_hot(labels, 8).double()
    expected = functional.cross_entropy(_outputs().logits.double(), 0.3 * targets + 0.7 * targets[order])
    loss = Mix(0.3, order).loss(make_loss())(_outputs(), labels)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sizes", [[4, 4], [5, 3], [1, 7]], ids=str)
def test_mixed_parts_of_an_accumulated_batch_add_up_to_the_whole(sizes):
    """Where the parts are mixed within themselves, as they are."""
    labels, logits = _waveforms(8)["labels"], _outputs(8).logits
    orders = [torch.arange(size).roll(1) for size in sizes]
    whole = torch.cat([orders[0], orders[1] + sizes[0]])
    expected = Mix(0.3, whole).loss(make_loss())(SequenceClassifierOutput(logits=logits), labels)
    parts = [
        Mix(0.3, order).loss(make_loss())(SequenceClassifierOutput(logits=part), own, num_items_in_batch=8)
        for order, part, own in zip(orders, logits.split(sizes), labels.split(sizes), strict=True)
    ]
    torch.testing.assert_close(sum(parts), expected)


def test_a_batch_of_one_stays_as_it_is():
    batch, mix = _waveforms(1), Mix.draw(1, 0.4)
    torch.testing.assert_close(mix.inputs(batch)["input_values"], batch["input_values"])
    loss = mix.loss(make_loss())(_outputs(1), batch["labels"])
    torch.testing.assert_close(loss, make_loss()(_outputs(1), batch["labels"]))


def test_draws_follow_the_global_generator():
    torch.manual_seed(0)
    drawn = [Mix.draw(6, 0.4) for _ in range(300)]
    torch.manual_seed(0)
    again = Mix.draw(6, 0.4)
    assert again.share == drawn[0].share and torch.equal(again.order, drawn[0].order)
    shares = torch.tensor([mix.share for mix in drawn])
    assert abs(shares.mean() - 0.5) < 0.07 and 0 <= shares.min() and shares.max() <= 1
    assert abs(shares.var() - 1 / (4 * (2 * 0.4 + 1))) < 0.03  # of Beta(alpha, alpha)
    assert all(sorted(mix.order.tolist()) == list(range(6)) for mix in drawn)


def test_models_of_other_inputs_are_refused():
    with pytest.raises(ConfigError, match="input_features, labels; expected input_values"):
        Mix(0.5, torch.tensor([0])).inputs({"input_features": torch.zeros(1, 2), "labels": torch.zeros(1)})


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf])
def test_alphas_that_cannot_be_are_refused(tmp_path, alpha):
    with pytest.raises(ConfigError, match="mixup_alpha"):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, mixup_alpha=alpha)


def test_training_mixes_in_one_pass_and_evaluation_does_not(trainer_for):
    trainer = trainer_for(mixup_alpha=0.4)
    batch, model = next(iter(trainer.get_train_dataloader())), trainer.model
    passes = []
    model.register_forward_hook(lambda module, args, outputs: passes.append(outputs))

    def loss(compute):
        torch.manual_seed(3)
        return compute(model, dict(batch), num_items_in_batch=torch.tensor(16))

    stock = functools.partial(Trainer.compute_loss, trainer)
    model.train()
    mixed, plain = loss(trainer.compute_loss), loss(stock)
    torch.manual_seed(3)
    mix = Mix.draw(8, 0.4)
    inputs = mix.inputs(batch)
    labels = inputs.pop("labels")
    expected = mix.loss(trainer.compute_loss_func)(model(**inputs), labels, num_items_in_batch=torch.tensor(16))
    torch.testing.assert_close(mixed, expected)
    assert not torch.isclose(mixed, plain) and len(passes) == 3
    returned, outputs = loss(functools.partial(trainer.compute_loss, return_outputs=True))
    assert torch.equal(returned, mixed) and outputs.logits.shape == (8, 8)
    model.eval()
    assert torch.equal(loss(trainer.compute_loss), loss(stock))


def test_the_loss_is_put_back_after_an_error(trainer_for):
    trainer = trainer_for(mixup_alpha=0.4)
    before = trainer.compute_loss_func
    with pytest.raises(ConfigError):
        trainer.compute_loss(trainer.model, {"labels": torch.zeros(2)})
    with pytest.raises(RuntimeError):  # labels are whole numbers
        trainer.compute_loss(trainer.model, {"input_values": torch.zeros(2, 8000), "labels": torch.zeros(2)})
    assert trainer.compute_loss_func is before


def test_scores_of_an_untrained_model_are_those_without_mixup(trainer_for):
    mixed, plain = (trainer_for(f"run{alpha}", mixup_alpha=alpha).evaluate() for alpha in (0.4, 0.0))
    scores = [name for name in plain if not name.endswith(("time", "per_second"))]
    assert "eval_loss" in scores and {name: mixed[name] for name in scores} == {name: plain[name] for name in scores}


def test_a_run_with_mixup_differs_from_one_without(trainer_for, run):
    short = {"num_train_epochs": 1, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    mixed, again, plain = (run(trainer_for(mixup_alpha=alpha, **short)) for alpha in (0.4, 0.4, 0.0))
    assert mixed == again and not any(a == pytest.approx(b, rel=1e-6) for a, b in zip(mixed, plain, strict=True))
