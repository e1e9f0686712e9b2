import librosa
import numpy as np
import pytest
import torch

from hf_ser.audio import load_audio
from hf_ser.models import LogMel


def _librosa(waveform):
    power = librosa.feature.melspectrogram(
        y=waveform, sr=16_000, n_fft=400, hop_length=160, n_mels=80, pad_mode="reflect"
    )
    return librosa.power_to_db(power, amin=1e-10, top_db=None)


def test_it_agrees_with_librosa(tone):
    waveform = tone(0.5)
    ours = LogMel()(torch.from_numpy(waveform)[None])[0]
    assert ours.shape == (80, 51)
    np.testing.assert_allclose(ours, _librosa(waveform), atol=2e-3)


@pytest.mark.corpora
def test_it_agrees_with_librosa_on_real_recordings(corpora_dir):
    for path in sorted((corpora_dir / "ravdess").rglob("*-01-01-*.flac"))[:8]:
        waveform = load_audio(path)
        ours = LogMel()(torch.from_numpy(waveform)[None])[0].numpy()
        # Near the floor of -100 dB, rounding of the Fourier transform is all there is.
        np.testing.assert_allclose(np.maximum(ours, -90), np.maximum(_librosa(waveform), -90), atol=0.01)


def test_batches_and_silence():
    batch = torch.zeros(3, 1600)
    assert (LogMel()(batch) == -100).all()
    batch[1] = torch.randn(1600)
    torch.testing.assert_close(LogMel()(batch)[1:2], LogMel()(batch[1:2]))


def test_it_can_be_built_inside_a_model_on_the_meta_device():
    with torch.device("meta"):
        frontend = LogMel(n_mels=40)
    assert frontend(torch.zeros(1, 1600)).shape == (1, 40, 11)
