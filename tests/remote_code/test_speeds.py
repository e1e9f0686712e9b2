"""Models that average over speeds of a clip in inference."""

import pytest
import torch

from hf_ser.models import AudioCNNConfig, AudioCNNForAudioClassification, CNNRNNConfig, CNNRNNForAudioClassification
from hf_ser.remote_code.speeds import at_speed

SMALL = {
    "channels": [4, 4],
    "kernel_sizes": [3, 3],
    "hidden_size": 8,
    "duration_s": 1.0,
    "n_mels": 16,
    "num_labels": 8,
}


def _tone(frequency: float, samples: int = 16_000) -> torch.Tensor:
    return torch.sin(2 * torch.pi * frequency * torch.arange(samples) / 16_000)


def _model(**options) -> AudioCNNForAudioClassification:
    torch.manual_seed(0)
    return AudioCNNForAudioClassification(AudioCNNConfig(**{**SMALL, "trim_db": 30.0, **options})).eval()


def _clips() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    clips, mask = 0.1 * torch.randn(3, 20_000), torch.ones(3, 20_000, dtype=torch.long)
    mask[1, 9_000:], mask[2, 12_345:] = 0, 0
    return clips * mask, mask


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.25])
def test_pitch_and_tempo_change_by_the_factor(factor):
    changed, mask = at_speed(_tone(500.0)[None], None, factor)
    assert mask is None and abs(changed.shape[1] - 16_000 / factor) < 1
    middle = slice(1_000, 11_000)  # away from the ends, where the filter meets zeros
    torch.testing.assert_close(changed[0, middle], _tone(500.0 * factor)[middle], atol=5e-3, rtol=0)


def test_padding_does_not_change_a_clip():
    clips, mask = _clips()
    clips[1, 9_000:] = 5.0  # what a collator leaves there must not leak into the clip
    changed, changed_mask = at_speed(clips, mask, 1.1)
    alone, _ = at_speed(clips[1:2, :9_000], None, 1.1)
    assert changed_mask.sum(dim=1)[1] == alone.shape[1] and changed_mask.dtype == mask.dtype
    torch.testing.assert_close(changed[1, : alone.shape[1]], alone[0], atol=1e-6, rtol=0)


def test_logits_are_the_mean_over_speeds():
    clips, mask = _clips()
    plain, averaging = _model(), _model(inference_speeds=[0.9, 1.0, 1.1])
    averaging.load_state_dict(plain.state_dict())
    with torch.no_grad():
        each = [plain(*at_speed(clips, mask, factor)).logits for factor in (0.9, 1.0, 1.1)]
        found = averaging(clips, mask).logits
        alone = averaging(clips[1:2, :9_000]).logits
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0))
    torch.testing.assert_close(found[1:2], alone, atol=1e-5, rtol=1e-5)
    assert (each[0] - each[2]).abs().max() > 1e-3  # speeds differ, so that the mean is one of different answers


def test_training_and_gradients_use_clips_as_they_are():
    clips, mask = _clips()
    plain, averaging = (
        _model(dropout=0.0, head_dropout=0.0),
        _model(dropout=0.0, head_dropout=0.0, inference_speeds=[0.9, 1.1]),
    )
    averaging.load_state_dict(plain.state_dict())
    assert torch.equal(plain.train()(clips, mask).logits, averaging.train()(clips, mask).logits)


def test_it_is_stored_and_off_by_default(tmp_path):
    assert AudioCNNConfig().inference_speeds == []
    model = _model(inference_speeds=(0.9, 1.0))
    model.save_pretrained(tmp_path)
    loaded = AudioCNNForAudioClassification.from_pretrained(tmp_path).eval()
    assert loaded.config.inference_speeds == [0.9, 1.0]
    clips, mask = _clips()
    with torch.no_grad():
        assert torch.equal(model(clips, mask).logits, loaded(clips, mask).logits)


def test_recurrent_models_average_too():
    torch.manual_seed(0)
    config = CNNRNNConfig(duration_s=1.0, num_labels=8, inference_speeds=[0.9, 1.1])
    model = CNNRNNForAudioClassification(config).eval()
    with torch.no_grad():
        assert model(*_clips()).logits.isfinite().all()


@pytest.mark.parametrize("value", [[0.4], [3.0], ["fast"], [True]])
def test_invalid_speeds_are_rejected(value):
    with pytest.raises(ValueError, match=r"inference_speeds: got .*; expected a list of numbers from 0.5 to 2"):
        AudioCNNConfig(inference_speeds=value)
