import numpy as np
import pytest

from hf_ser.labels import EMOTIONS
from hf_ser.models import min_samples
from hf_ser.training import ModelArguments, build_model
from hf_ser.training.batches import AudioCollator, LengthGroupedSampler

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


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_batch_is_masked_and_clips_are_normalised_over_their_own_samples(tiny_config, norm):
    model, extractor = build_model(ModelArguments(model_config={**tiny_config, "feat_extract_norm": norm}), EMOTIONS)
    before = extractor.return_attention_mask
    collate = AudioCollator(extractor, min_samples(model.config))
    rng = np.random.default_rng(0)
    examples = [{"waveform": rng.normal(0, 1, length).astype(np.float32), "label": 1} for length in (2000, 5000)]
    batch = collate(examples)
    assert batch["input_values"].shape == (2, 5000) and batch["labels"].tolist() == [1, 1]
    assert batch["attention_mask"].sum(dim=1).tolist() == [2000, 5000]
    alone = collate(examples[:1])["input_values"][0]
    np.testing.assert_allclose(batch["input_values"][0, :2000], alone, atol=1e-6)
    assert not batch["input_values"][0, 2000:].any()
    assert extractor.return_attention_mask is before is (norm == "layer")


def test_short_clips_are_padded_to_the_floor(tiny_config):
    model, extractor = build_model(ModelArguments(model_config=tiny_config), EMOTIONS)
    collate = AudioCollator(extractor, min_samples(model.config))
    batch = collate([{"waveform": np.ones(10, np.float32), "label": 1}])
    assert batch["input_values"].shape == (1, min_samples(model.config))
