import librosa
import numpy as np
import pytest
import torch

from hf_ser.audio import load_audio
from hf_ser.models import Functionals
from hf_ser.remote_code.filterbanks import a_weights, chroma_filters

SETTINGS = {"n_fft": 1024, "hop_length": 256}
# Largest difference from librosa in any frame. Contrast of a band whose valley is rounding error alone is left out.
TOLERANCES = {
    "mfcc": 0.01,
    "chroma": 1e-4,
    "spectral_contrast": 0.05,
    "zero_crossing_rate": 1e-6,
    "rms": 1e-6,
    "loudness_db": 0.01,
}


def _librosa(waveform):
    """Features per frame of `Functionals`, computed by librosa, and the magnitudes (bins, frames)."""
    magnitude = np.abs(librosa.stft(waveform, **SETTINGS))
    mel = librosa.feature.melspectrogram(y=waveform, sr=16_000, n_mels=80, **SETTINGS)
    frames = {"frame_length": 1024, "hop_length": 256}
    with np.errstate(divide="ignore"):
        weights = librosa.db_to_power(librosa.A_weighting(librosa.fft_frequencies(sr=16_000, n_fft=1024)))
    loudness = (weights[:, None] * magnitude**2).sum(axis=0, keepdims=True)
    return {
        "mfcc": librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=40),
        "chroma": librosa.feature.chroma_stft(y=waveform, sr=16_000, tuning=0.0, **SETTINGS),
        "spectral_contrast": librosa.feature.spectral_contrast(y=waveform, sr=16_000, **SETTINGS),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(waveform, **frames),
        "rms": librosa.feature.rms(y=waveform, **frames),
        "loudness_db": librosa.power_to_db(loudness, top_db=None),
    }, magnitude


def _compare(waveform):
    functionals = Functionals()
    values, num_frames = functionals.descriptors(torch.from_numpy(waveform)[None])
    ours, (theirs, magnitude) = values[0].T.numpy(), _librosa(waveform)
    assert int(num_frames) == ours.shape[1]
    for name, expected in theirs.items():
        rows = [row for row, full in enumerate(functionals.descriptor_names) if full.startswith(name)]
        assert len(rows) == len(expected) and ours[rows].shape == expected.shape
        difference = np.abs(ours[rows] - expected)
        if name == "spectral_contrast":
            for band, (first, end, _) in enumerate(functionals.bands):
                # A float32 Fourier transform is off by some 1e-7 of the frame's largest magnitude.
                sure = magnitude[first:end].min(axis=0) > 1e-4 * magnitude.max(axis=0)
                assert difference[band][sure].max(initial=0) < TOLERANCES[name], (name, band)
        else:
            assert difference.max() < TOLERANCES[name], name


def test_it_agrees_with_librosa(tone):
    _compare(tone(0.7))
    _compare(np.random.default_rng(0).normal(0, 0.1, 12_345).astype(np.float32))


@pytest.mark.corpora
@pytest.mark.parametrize(("corpus", "pattern"), [("ravdess", "*-01-01-*.flac"), ("crema_d", "*_IEO_*.flac")])
def test_it_agrees_with_librosa_on_real_recordings(corpora_dir, corpus, pattern):
    files = sorted((corpora_dir / corpus).rglob(pattern))[:4]
    assert files
    for path in files:
        _compare(load_audio(path))


def test_filters_are_those_of_librosa():
    chroma = librosa.filters.chroma(sr=16_000, n_fft=1024, tuning=0.0)
    np.testing.assert_allclose(chroma_filters(16_000, 1024), chroma, atol=1e-6)
    with np.errstate(divide="ignore"):
        decibels = librosa.A_weighting(librosa.fft_frequencies(sr=16_000, n_fft=1024))
    np.testing.assert_allclose(10 * torch.log10(a_weights(16_000, 1024)), decibels, atol=1e-3)


def test_statistics_are_those_of_numpy(tone):
    functionals = Functionals(statistics=("mean", "std", "min", "quartile_1", "median", "quartile_3", "max"))
    inputs = torch.from_numpy(tone(0.6))[None]
    values = functionals.descriptors(inputs)[0][0].numpy()
    row = dict(zip(functionals.names, functionals(inputs)[0].tolist(), strict=True))
    expected = {
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        **{
            name: np.quantile(values, share, axis=0)
            for name, share in {"min": 0, "quartile_1": 0.25, "median": 0.5, "quartile_3": 0.75, "max": 1}.items()
        },
    }
    for statistic, numbers in expected.items():
        ours = [row[f"{name}_{statistic}"] for name in functionals.descriptor_names]
        np.testing.assert_allclose(ours, numbers, rtol=1e-4, atol=1e-4)


def test_the_signal_to_noise_ratio_is_about_right():
    generator = torch.Generator().manual_seed(0)
    noise = 0.01 * torch.randn(1, 32_000, generator=generator)
    speech = torch.zeros(1, 32_000)
    speech[:, :16_000] = 0.1 * torch.randn(1, 16_000, generator=generator)
    column = Functionals().names.index("signal_to_noise_db")
    assert float(Functionals()(speech + noise)[0, column]) == pytest.approx(10 * np.log10(0.5 * 100), abs=1.5)
    assert float(Functionals()(torch.zeros(1, 32_000))[0, column]) == -20


def test_column_names_are_stable():
    names = Functionals().names
    assert len(names) == len(set(names)) == 311
    assert names[:2] == ("mfcc_1_mean", "mfcc_2_mean")
    assert names[40] == "chroma_1_mean" and names[52] == "spectral_contrast_1_mean"
    assert names[59:62] == ("zero_crossing_rate_mean", "rms_mean", "loudness_db_mean")
    assert names[62] == "mfcc_1_std" and names[-2:] == ("loudness_db_max", "signal_to_noise_db")


def test_a_clip_in_a_padded_batch_has_the_row_it_has_alone():
    functionals = Functionals()
    generator = torch.Generator().manual_seed(1)
    lengths = (1, 300, 5_000, 16_000, 12_288)
    clips = [0.1 * torch.randn(length, generator=generator) for length in lengths]
    padded = torch.full((len(clips), max(lengths)), 0.5)  # the mask, not the zeros, tells what is padding
    mask = torch.zeros(len(clips), max(lengths), dtype=torch.long)
    for row, clip in enumerate(clips):
        padded[row, : len(clip)] = clip
        mask[row, : len(clip)] = 1
    together = functionals(padded, mask)
    assert torch.isfinite(together).all()
    for row, clip in enumerate(clips):
        torch.testing.assert_close(together[row], functionals(clip[None])[0], rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(("n_fft", "hop_length"), [(400, 160), (512, 100), (1024, 1024)])
def test_other_windows(tone, n_fft, hop_length):
    functionals = Functionals(n_fft=n_fft, hop_length=hop_length, n_mels=40, n_mfcc=13)
    waveform = tone(0.5)
    values = functionals.descriptors(torch.from_numpy(waveform)[None])[0][0]
    rms = librosa.feature.rms(y=waveform, frame_length=n_fft, hop_length=hop_length)[0]
    rate = librosa.feature.zero_crossing_rate(waveform, frame_length=n_fft, hop_length=hop_length)[0]
    np.testing.assert_allclose(values[:, functionals.descriptor_names.index("rms")], rms, atol=1e-6)
    np.testing.assert_allclose(values[:, functionals.descriptor_names.index("zero_crossing_rate")], rate, atol=1e-6)


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match=r"statistics: got \['mode'\]; expected one or more of mean"):
        Functionals(statistics=("mode",))
    with pytest.raises(ValueError, match="sampling_rate: got 8000"):
        Functionals(8_000)
    with pytest.raises(ValueError, match="n_mfcc: got 90"):
        Functionals(n_mfcc=90)
    with pytest.raises(ValueError, match="NaN"):
        Functionals()(torch.full((1, 1600), float("nan")))
    with pytest.raises(ValueError, match=r"got shape \(1600,\)"):
        Functionals()(torch.zeros(1600))


def test_it_can_be_built_on_the_meta_device_and_saved():
    with torch.device("meta"):
        functionals = Functionals()
    waveform = torch.randn(1, 8000)
    again = Functionals()
    again.load_state_dict(functionals.state_dict())
    torch.testing.assert_close(functionals(waveform), again(waveform))
