import numpy as np
import pytest

from hf_ser.training.trainer import LengthGroupedSampler

LENGTHS = np.random.default_rng(0).integers(1_000, 80_000, 1003).tolist()


def _batches(order, size=8):
    return [order[start : start + size] for start in range(0, len(order), size)]


def test_every_clip_comes_once_in_batches_of_similar_length():
    sampler = LengthGroupedSampler(LENGTHS, batch_size=8, seed=0)
    order = list(sampler)
    assert sorted(order) == list(range(1003)) and len(sampler) == 1003
    spread = [max(LENGTHS[i] for i in batch) - min(LENGTHS[i] for i in batch) for batch in _batches(order)]
    assert np.median(spread) < 4_000  # at random it is about 60,000
    means = [np.mean([LENGTHS[i] for i in batch]) for batch in _batches(order)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2  # the batches come in no order of length


def test_epochs_and_seeds_differ_and_repeat():
    def order(seed, epoch):
        sampler = LengthGroupedSampler(LENGTHS, batch_size=8, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4) and order(0, 3) != order(1, 3)


@pytest.mark.parametrize("clips", [1, 7, 8, 9])
def test_few_clips(clips):
    assert sorted(LengthGroupedSampler(LENGTHS[:clips], batch_size=8, seed=0)) == list(range(clips))
