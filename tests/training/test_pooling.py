import pytest
import torch

from hf_ser.labels import EMOTIONS
from hf_ser.training import ModelArguments, build_model
from hf_ser.training.pooling import pool_true_frames


@pytest.fixture
def batch():
    torch.manual_seed(0)
    mask = torch.ones(2, 5000, dtype=torch.long)
    mask[0, 2000:] = 0
    return {"input_values": torch.randn(2, 5000) * mask, "attention_mask": mask}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert"])
def test_the_head_averages_true_frames_of_an_encoder_that_hears_the_padding(tiny_config, batch, model_type, weighted):
    fields = {**tiny_config, "model_type": model_type, "use_weighted_layer_sum": weighted}
    model = build_model(ModelArguments(model_config=fields), EMOTIONS)[0].eval()
    stock = model(batch["input_values"]).logits
    pool_true_frames(model)
    with torch.no_grad():
        outputs = model.base_model(batch["input_values"], output_hidden_states=True)
        hidden = outputs.last_hidden_state
        if weighted:
            shares = model.layer_weights.softmax(0)
            hidden = sum(share * layer for share, layer in zip(shares, outputs.hidden_states, strict=True))
        frames = int(model._get_feat_extract_output_lengths(torch.tensor(2000)))
        pooled = [model.projector(hidden)[0, :frames].mean(0), model.projector(hidden)[1].mean(0)]
        expected = model.classifier(torch.stack(pooled))
        logits = model(**batch).logits
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(model(batch["input_values"]).logits, stock)  # as it is used: one clip, no mask
    assert not torch.allclose(logits[0], stock[0]) and torch.allclose(logits[1], stock[1], atol=1e-5)


def test_an_encoder_that_takes_masks_keeps_them(tiny_config, batch):
    model = build_model(ModelArguments(model_config={**tiny_config, "feat_extract_norm": "layer"}), EMOTIONS)[0].eval()
    before = model(**batch).logits
    pool_true_frames(model)
    torch.testing.assert_close(model(**batch).logits, before)
