import pytest
import torch
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError
from hf_ser.training.losses import LOSSES, balanced_weights, make_loss

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
        loss(SequenceClassifierOutput(logits=part), its_labels, num_items_in_batch=8)
        for part, its_labels in zip(logits.split(sizes), labels.split(sizes), strict=True)
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
    with pytest.raises(ConfigError, match="no training clip of calm"):
        balanced_weights([0, 1], ["sad", "happy", "calm"])


@pytest.mark.parametrize("options", [{"name": "hinge"}, {"gamma": -1.0}, {"label_smoothing": 1.0}], ids=str)
def test_losses_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigError):
        make_loss(**options)
