import numpy as np
import pytest

from hf_ser.evaluation import min_samples
from hf_ser.labels import EMOTIONS
from hf_ser.training import ModelArguments, build_model
from hf_ser.training.collator import AudioCollator


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_batch_has_a_mask_only_for_encoders_trained_with_one(tiny_config, norm):
    model, extractor = build_model(ModelArguments(model_config={**tiny_config, "feat_extract_norm": norm}), EMOTIONS)
    collate = AudioCollator(extractor, min_samples(model.config))
    examples = [{"waveform": np.ones(length, np.float32), "label": 1} for length in (10, 5000)]
    batch = collate(examples)
    assert batch["input_values"].shape == (2, 5000)
    assert batch["labels"].tolist() == [1, 1]
    assert ("attention_mask" in batch) == (norm == "layer")
    if norm == "layer":
        assert batch["attention_mask"].sum(dim=1).tolist() == [min_samples(model.config), 5000]
