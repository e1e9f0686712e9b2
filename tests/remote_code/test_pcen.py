import librosa
import numpy as np
import pytest
import torch

from hf_ser.models import LogMel
from hf_ser.remote_code.pcen import per_channel_energy


@pytest.mark.parametrize(("hop_length", "duration_s"), [(160, 0.3), (160, 5.0), (320, 6.0)])
def test_it_agrees_with_librosa(hop_length, duration_s):
    rng = np.random.default_rng(0)
    samples = round(duration_s * 16_000)
    waveform = rng.standard_normal(samples).astype(np.float32) * np.geomspace(1e-4, 1, samples, dtype=np.float32)
    waveform[samples // 2 : samples // 2 + 1600] = 0
    log_mel = LogMel(hop_length=hop_length)(torch.from_numpy(waveform)[None])
    energy = 2**31 * 10 ** (log_mel[0].double().numpy() / 10)
    theirs = librosa.pcen(energy, sr=16_000, hop_length=hop_length)
    ours = per_channel_energy(log_mel, 16_000, hop_length)
    assert ours.dtype == torch.float32 and np.ptp(theirs) > 2
    np.testing.assert_allclose(ours[0], theirs, rtol=0, atol=1e-4)


def test_frames_depend_on_earlier_frames_only():
    log_mel = 20 * torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(0)) - 60
    changed = log_mel.clone()
    changed[:, :, 25:] = -100
    before, after = (per_channel_energy(each, 16_000, 160) for each in (log_mel, changed))
    torch.testing.assert_close(before[:, :, :25], after[:, :, :25], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(before[:, :, :25], per_channel_energy(log_mel[:, :, :25], 16_000, 160))
    assert not torch.allclose(before[:, :, 25:], after[:, :, 25:], atol=0.1)


def test_the_level_of_a_recording_hardly_matters():
    log_mel = 10 * torch.randn(1, 5, 200, generator=torch.Generator().manual_seed(0)) - 40
    quiet, loud = (per_channel_energy(log_mel + decibels, 16_000, 160) for decibels in (0, 20))
    ratio = loud / quiet
    assert 1 < ratio.min() and ratio.max() < 1.1  # at most 100 ** 0.02, for 100 times the energy


@pytest.mark.parametrize("decibels", [-100.0, 40.0])
def test_silence_and_full_scale_stay_finite_with_their_gradients(decibels):
    log_mel = torch.full((1, 3, 500), decibels, requires_grad=True)
    normalized = per_channel_energy(log_mel, 16_000, 160)
    normalized.sum().backward()
    assert torch.isfinite(normalized).all() and (normalized >= 0).all() and torch.isfinite(log_mel.grad).all()
