import pytest
import torch
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.training.losses import cross_entropy


def _batch(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 8, generator=generator), torch.randint(0, 8, (size,), generator=generator)


def test_without_a_count_it_is_the_mean_of_the_batch():
    logits, labels = _batch(6)
    loss = cross_entropy(SequenceClassifierOutput(logits=logits), labels)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, labels))


@pytest.mark.parametrize("sizes", [[8], [2, 2, 2, 2], [5, 3], [1] * 8])
def test_parts_of_an_accumulated_batch_add_up_to_the_whole(sizes):
    logits, labels = _batch(8)
    whole = functional.cross_entropy(logits, labels)
    parts = [
        cross_entropy(SequenceClassifierOutput(logits=part), its_labels, num_items_in_batch=8)
        for part, its_labels in zip(logits.split(sizes), labels.split(sizes), strict=True)
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_half_precision_logits_are_summed_in_single_precision():
    logits, labels = _batch(4)
    loss = cross_entropy(SequenceClassifierOutput(logits=logits.bfloat16()), labels)
    assert loss.dtype == torch.float32
