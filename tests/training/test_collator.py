import numpy as np
import pytest

from hf_ser.labels import EMOTIONS
from hf_ser.models import min_samples
from hf_ser.training import ModelArguments, build_model
from hf_ser.training.collator import AudioCollator


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
