import librosa
import numpy as np
import pytest
import torch

from hf_ser.remote_code.log_mel import LogMel
from hf_ser.remote_code.vocal_tract import hz_to_mel, mel_to_hz, warped_rows


def test_the_mel_scale_is_that_of_librosa():
    hz = np.linspace(0, 8000, 500, dtype=np.float32)
    mel = hz_to_mel(torch.from_numpy(hz))
    np.testing.assert_allclose(mel, librosa.hz_to_mel(hz), rtol=1e-5)
    np.testing.assert_allclose(mel_to_hz(mel), hz, rtol=1e-4, atol=1e-3)


def _paper(hz, factor, sampling_rate):
    """Equation 1 of Jaitly and Hinton 2013, for one frequency, with a boundary of 0.3 times the sampling rate."""
    high, half = 0.3 * sampling_rate, sampling_rate / 2
    lowest = min(factor, 1)
    if hz <= high * lowest / factor:
        return hz * factor
    return half - (half - high * lowest) / (half - high * lowest / factor) * (half - hz)


@pytest.mark.parametrize(("n_mels", "sampling_rate"), [(64, 16_000), (20, 8000)])
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.2, 1.5])
def test_rows_are_warped_in_hertz_as_in_the_paper(n_mels, sampling_rate, factor):
    assert _paper(5000, 0.9, 16_000) > 0.9 * 5000  # above the boundary
    rows = warped_rows(torch.arange(float(n_mels))[None], torch.tensor([[factor]]), n_mels, sampling_rate)[0]
    centres = librosa.mel_frequencies(n_mels + 2, fmin=0, fmax=sampling_rate / 2)
    expected = [_paper(hz, factor, sampling_rate) for hz in centres[1:-1]]
    found = np.interp(rows, np.arange(-1, n_mels + 1), librosa.hz_to_mel(centres))
    np.testing.assert_allclose(librosa.mel_to_hz(found), expected, rtol=1e-3)
    ends = torch.tensor([[-3.0, -1.0, float(n_mels), n_mels + 3.0]])  # outside is clamped to 0 Hz and half the rate
    outside = warped_rows(ends, torch.tensor([[factor]]), n_mels, sampling_rate)
    torch.testing.assert_close(outside, torch.tensor([[-1.0, -1.0, n_mels, n_mels]]), atol=1e-3, rtol=0)


def test_a_tone_moves_by_the_factor():
    times = torch.arange(16_000) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * hz * times) for hz in (2000.0, 2000 / 1.25)])
    tone, lower = LogMel(n_mels=64)(tones).mean(dim=2)
    rows = warped_rows(torch.arange(64.0)[None], torch.tensor([[1.25]]), 64, 16_000)[0]
    moved = np.interp(rows, np.arange(64), tone)
    assert moved.argmax() == lower.argmax() != tone.argmax()
