import librosa
import numpy as np
import pytest
import torch

from hf_ser.audio import load_audio
from hf_ser.models import MFCC

WINDOWS = {"n_fft": 400, "hop_length": 160, "pad_mode": "reflect"}


def _librosa(waveform, n_mfcc=80, top_db=None):
    power = librosa.feature.melspectrogram(y=waveform, sr=16_000, n_mels=80, **WINDOWS)
    return librosa.feature.mfcc(S=librosa.power_to_db(power, top_db=top_db), n_mfcc=n_mfcc)


@pytest.mark.parametrize("n_mfcc", [13, 80])
def test_it_agrees_with_librosa(tone, n_mfcc):
    waveform = tone(0.5)
    ours = MFCC(n_mfcc)(torch.from_numpy(waveform)[None])[0]
    assert ours.shape == (n_mfcc, 51)
    np.testing.assert_allclose(ours, _librosa(waveform, n_mfcc), atol=5e-3)


def test_with_top_db_80_it_is_librosa_feature_mfcc(tone):
    waveform = tone(0.5) * np.linspace(0, 1, 8000, dtype=np.float32) ** 8
    theirs = librosa.feature.mfcc(y=waveform, sr=16_000, n_mfcc=80, n_mels=80, **WINDOWS)
    ours = MFCC(top_db=80.0)(torch.from_numpy(waveform)[None])[0]
    np.testing.assert_allclose(ours, theirs, atol=5e-3)
    assert np.abs(theirs - _librosa(waveform)).max() > 10  # the floor matters here


def test_deltas_agree_with_librosa_to_the_edges(tone):
    waveform = tone(0.4)
    ours = MFCC(20, deltas=2)(torch.from_numpy(waveform)[None])[0]
    theirs = _librosa(waveform, 20)
    np.testing.assert_allclose(ours[20:40], librosa.feature.delta(theirs), atol=2e-3)
    np.testing.assert_allclose(ours[40:], librosa.feature.delta(theirs, order=2), atol=2e-3)
    torch.testing.assert_close(MFCC(20, deltas=1)(torch.from_numpy(waveform)[None])[0], ours[:40])


@pytest.mark.corpora
def test_it_agrees_with_librosa_on_real_recordings(corpora_dir):
    for path in sorted((corpora_dir / "ravdess").rglob("*-01-01-*.flac"))[:8]:
        waveform = load_audio(path)
        ours = MFCC(deltas=2, top_db=80.0)(torch.from_numpy(waveform)[None])[0]
        theirs = librosa.feature.mfcc(y=waveform, sr=16_000, n_mfcc=80, n_mels=80, **WINDOWS)
        np.testing.assert_allclose(ours[:80], theirs, atol=0.01)
        np.testing.assert_allclose(ours[80:160], librosa.feature.delta(theirs), atol=0.001)
        np.testing.assert_allclose(ours[160:], librosa.feature.delta(theirs, order=2), atol=0.001)


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match="n_mfcc: got 81; expected 1 to n_mels, which is 80"):
        MFCC(81)
    with pytest.raises(ValueError, match="deltas: got 3; expected 0, 1"):
        MFCC(deltas=3)
    with pytest.raises(ValueError, match="got 8 frames; expected at least 9"):
        MFCC(deltas=1)(torch.zeros(1, 1200))
