"""Audio loading: every source gives the same waveform; unusable sources raise an error with the reason."""

import io
import pickle
import struct
import warnings

import librosa
import numpy as np
import pytest
import soundfile as sf
import soxr
import torch
from hypothesis import given
from hypothesis import strategies as st
from sound_sources import ARRAYS, FILES

from hf_ser.audio import (
    SAMPLING_RATE,
    AudioError,
    decode,
    fix_length,
    load_audio,
    normalize_peak,
    resample,
    to_mono,
    trim_silence,
)
from hf_ser.remote_code.containers import SLACK_BYTES


def is_waveform(waveform):
    return waveform.dtype == np.float32 and waveform.ndim == 1


def riff(*chunks, size=None):
    """A WAV file of (name, content) chunks, padded to even sizes; its RIFF size may be given."""
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body) if size is None else size) + b"WAVE" + body


def pcm16_format(sampling_rate=16_000, channels=1):
    return b"fmt ", struct.pack("<HHIIHH", 1, channels, sampling_rate, sampling_rate * 2 * channels, 2 * channels, 16)


# --- sources ----------------------------------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path, tone, encode):
    """A 16 kHz WAV: its path, its content and the waveform in it."""
    samples = tone()
    path = tmp_path / "clip.wav"
    path.write_bytes(encode(samples))
    return path, path.read_bytes(), samples


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_source_gives_the_same_waveform(clip, kind):
    waveform = load_audio(FILES[kind](*clip))
    assert is_waveform(waveform)
    assert np.array_equal(waveform, clip[2])


def test_an_open_file(clip):
    with clip[0].open("rb") as file:
        assert np.array_equal(load_audio(file), clip[2])


@pytest.mark.parametrize("kind", ARRAYS)
def test_every_kind_of_array_gives_the_same_waveform(tone, kind):
    samples = tone(bits=8)  # which every type here holds exactly
    waveform = load_audio(ARRAYS[kind](samples), 16_000)
    assert is_waveform(waveform)
    assert np.array_equal(waveform, samples)
    assert np.array_equal(load_audio({"array": ARRAYS[kind](samples), "sampling_rate": 16_000}), samples)


def test_extreme_integers():
    assert load_audio(np.array([-32768, 0, 32767], np.int16), 16_000).tolist() == [-1.0, 0.0, 32767 / 32768]
    assert load_audio(np.array([-(2**31), 0, 2**30], np.int32), 16_000).tolist() == [-1.0, 0.0, 0.5]
    assert load_audio(np.array([0, 128, 192, 255], np.uint8), 16_000).tolist() == [-1.0, 0.0, 0.5, 127 / 128]


def test_the_source_is_not_changed(tone):
    samples = tone(0.5)
    before = samples.copy()
    load_audio(samples, 16_000, trim_db=20, normalize=True, duration_s=1.0)
    assert np.array_equal(samples, before)


def test_a_bare_array_keeps_its_own_rate(tone):
    samples = tone(0.2, 48_000)
    assert np.array_equal(load_audio(samples, 48_000, target_sampling_rate=48_000), samples)
    assert np.array_equal(load_audio(samples, np.int32(48_000)), soxr.resample(samples, 48_000, 16_000, quality="HQ"))


@pytest.mark.parametrize("name", ["größe 音声.wav", "with space/a  b.wav", "clip.raw", "clip.mp3", "clip", "-"])
def test_names_of_files_do_not_matter(clip, tmp_path, name):
    path = tmp_path / "folder" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(clip[1])
    assert np.array_equal(load_audio(path), clip[2])
    assert np.array_equal(load_audio(str(path)), clip[2])
    with path.open("rb") as file:
        assert np.array_equal(load_audio(file), clip[2])


# --- formats ----------------------------------------------------------------------------------------------------

LOSSLESS = [
    *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    *(("WAVEX", subtype) for subtype in ("PCM_16", "PCM_24")),
    *(("AIFF", subtype) for subtype in ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    *(("FLAC", subtype) for subtype in ("PCM_S8", "PCM_16", "PCM_24")),
    *((container, "PCM_16") for container in ("AU", "CAF", "W64", "RF64", "NIST")),
]
LOSSY = [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")]


@pytest.mark.parametrize(("format", "subtype"), LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2])
def test_lossless_formats_are_exact(tone, encode, tmp_path, format, subtype, channels):
    samples = tone(channels=channels, bits=8)
    path = tmp_path / ("clip.wav" if format == "FLAC" else "clip.flac")  # the content counts, not the name
    path.write_bytes(encode(samples, 16_000, format, subtype))
    waveform = load_audio(path)
    assert is_waveform(waveform)
    assert np.array_equal(waveform, samples if channels == 1 else samples.mean(axis=1))
    decoded = decode(path)
    assert decoded.samples.shape == (4800, channels)
    assert decoded.samples.dtype == (np.int16 if subtype == "PCM_16" else np.float32)
    assert decoded.sampling_rate == 16_000


@pytest.mark.parametrize(("format", "subtype"), LOSSY)
def test_lossy_formats(tone, encode, tmp_path, format, subtype):
    samples = tone(0.5, noise=0)
    path = tmp_path / "clip.wav"
    path.write_bytes(encode(samples, 16_000, format, subtype))
    waveform = load_audio(path)
    expected, _ = sf.read(io.BytesIO(path.read_bytes()), dtype="float32")
    assert is_waveform(waveform)
    assert waveform.size == expected.size == samples.size
    assert np.abs(waveform - expected).max() < 1e-6
    assert np.corrcoef(waveform, samples)[0, 1] > 0.99


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_24"), ("FLAC", "PCM_24"), ("WAV", "FLOAT")])
def test_more_than_16_bits_are_kept(tone, encode, format, subtype):
    samples = tone(bits=24)
    assert np.array_equal(load_audio(encode(samples, 16_000, format, subtype)), samples)


def test_every_16_bit_value_is_exact(encode):
    values = np.arange(-32768, 32768).astype(np.int16)
    for format in ("WAV", "FLAC", "AIFF"):
        assert np.array_equal(load_audio(encode(values, 16_000, format)), values / np.float32(32768))


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("format", ["WAV", "AIFF", "CAF", "W64", "AU"])
def test_floats_beyond_full_scale_are_scaled_to_it_and_noted(encode, format, subtype):
    samples = np.array([1.5, -2.0, 0.0] * 20, np.float32)
    decoded = decode(encode(samples, 16_000, format, subtype))
    assert np.array_equal(decoded.samples[:, 0], samples / 2)
    assert decoded.notes == ("float samples reach 2 times full scale; they were scaled to full scale",)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_float_files_of_unscaled_integers_are_divided(tone, encode, subtype):
    samples = tone()
    decoded = decode(encode(np.rint(samples * 32768).astype(np.float64), subtype=subtype))
    assert np.array_equal(decoded.samples[:, 0], samples) and "the range of 16-bit integers" in decoded.notes[0]
    with pytest.raises(AudioError, match="Divide integer samples by their range") as caught:
        decode(encode(np.rint(samples * 2**23).astype(np.float64), subtype=subtype))  # possibly 24-bit
    assert caught.value.reason == "level"


def test_chunks_around_the_samples(tone):
    samples = (tone() * 32768).astype(np.int16)
    junk, trailer = (b"FLLR", b"\0" * 4051), (b"LIST", b"INFOISFT\x05\0\0\0Test\0\0")
    content = riff(pcm16_format(), junk, (b"data", samples.tobytes()), trailer)
    assert np.array_equal(load_audio(content), samples / np.float32(32768))
    end = content.index(b"LIST")
    assert np.array_equal(load_audio(content[: end + 10]), samples / np.float32(32768))  # the samples are whole
    with pytest.raises(AudioError) as caught:
        load_audio(content[: end - 50])
    assert (caught.value.reason, "(50 bytes are missing)" in caught.value.got) == ("truncated", True)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000 + 36, 0x7FFFFFFF])
def test_a_wav_of_unknown_size_from_a_pipe(tone, size):
    samples = (tone() * 32768).astype(np.int16)
    content = riff(pcm16_format(), (b"data", b""), size=size)[:-4] + struct.pack("<I", size) + samples.tobytes()
    assert np.array_equal(load_audio(content), samples / np.float32(32768))


def test_a_flac_of_unknown_size_from_a_pipe(tone, encode):
    samples = tone()
    content = encode(samples, format="FLAC")
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36  # 0 frames: unknown (RFC 9639, section 8.2)
    assert np.array_equal(load_audio(content[:18] + packed.to_bytes(8, "big") + content[26:]), samples)


# --- rates and channels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rate", [8000, 11_025, 16_000, 22_050, 24_000, 24_414, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000]
)
@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_resampling(tone, encode, rate, format):
    samples = tone(0.5, rate, noise=0)
    waveform = load_audio(encode(samples, rate, format))
    assert is_waveform(waveform)
    expected = samples if rate == 16_000 else soxr.resample(samples, rate, 16_000, quality="HQ")
    assert np.array_equal(waveform, expected)
    assert abs(waveform.size - samples.size * 16_000 / rate) <= 1
    middle = slice(2000, 6000)
    ideal = 0.5 * np.sin(2 * np.pi * 440 * np.arange(waveform.size) / 16_000)
    assert np.abs(waveform - ideal)[middle].max() < 2e-4  # no delay, no gain


def test_resampling_lets_nothing_alias(tone):
    inaudible = tone(0.5, 48_000, frequency_hz=10_000, noise=0)  # above half of 16 kHz
    assert np.abs(load_audio(inaudible, 48_000)[1000:-1000]).max() < 1e-4


@pytest.mark.parametrize("target", [8000, 22_050, 48_000])
def test_target_sampling_rate(tone, target):
    samples = tone(0.5)
    waveform = load_audio(samples, 16_000, target_sampling_rate=target)
    assert np.array_equal(waveform, soxr.resample(samples, 16_000, target, quality="HQ"))
    assert abs(waveform.size - 0.5 * target) <= 1


def test_resample_at_an_equal_rate_returns_its_input(tone):
    samples = tone()
    assert resample(samples, 16_000) is samples
    assert SAMPLING_RATE == 16_000


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_six_channels_are_averaged(tone, encode, format):
    samples = tone(channels=6)
    waveform = load_audio(encode(samples, 16_000, format))
    np.testing.assert_allclose(waveform, samples.mean(axis=1, dtype=np.float64), rtol=0, atol=1e-7)
    for array in (samples, samples.T):
        np.testing.assert_allclose(load_audio(array, 16_000), waveform, rtol=0, atol=1e-7)


def test_equal_and_opposite_channels(tone, encode):
    samples = tone()
    assert np.array_equal(load_audio(encode(np.stack([samples, samples], 1))), samples)
    assert not load_audio(encode(np.stack([samples, -samples], 1))).any()


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_to_mono(dtype):
    scale = 32768 if dtype == np.int16 else 1
    samples = (np.array([[0.5, -0.25], [0.125, 0.125]]) * scale).astype(dtype)
    assert to_mono(samples).tolist() == [0.125, 0.125]
    assert to_mono(samples[:, :1]).tolist() == [0.5, 0.125]
    assert to_mono(samples).dtype == to_mono(samples[:, :1]).dtype == np.float32
    loud = np.full((3, 2), 32767 if dtype == np.int16 else 1, dtype)  # whose sum overflows 16 bits
    assert np.array_equal(to_mono(loud), to_mono(loud[:, :1]))


# --- trimming, scale, length ------------------------------------------------------------------------------------


def utterance_like(seed):
    """Noise of up to a second with an envelope that rises and falls by 60 dB."""
    generator = np.random.default_rng(seed)
    num_samples = int(generator.integers(1, 16_000))
    corners = np.sort(generator.uniform(0, num_samples, 6))
    envelope = np.interp(np.arange(num_samples), corners, 10 ** generator.uniform(-3, 0, 6))
    return (0.3 * envelope * generator.standard_normal(num_samples)).astype(np.float32)


@given(seed=st.integers(0, 10_000), trim_db=st.sampled_from([6.0, 10, 20, 25.5, 30, 40]))
def test_trimming_is_librosas(seed, trim_db):
    waveform = utterance_like(seed)
    expected, (start, end) = librosa.effects.trim(waveform, top_db=trim_db)
    trimmed = trim_silence(waveform, trim_db)
    assert np.array_equal(trimmed, expected)
    assert np.array_equal(trimmed, waveform[start:end])


def test_trimming_cuts_both_ends_and_no_more(tone):
    silence, sound = np.zeros(8192, np.float32), tone(1.024)  # 16384 samples
    trimmed = trim_silence(np.concatenate([silence, sound, silence]), 20)
    # Frames of 2048 samples every 512 reach at most 1024 samples beyond the sound.
    assert 16_384 < trimmed.size <= 16_384 + 2 * 1024 + 512
    assert np.array_equal(np.trim_zeros(trimmed), np.trim_zeros(sound))


@pytest.mark.parametrize("num_samples", [1, 511, 512, 513, 2047, 2048, 2049, 16_000])
def test_trimming_keeps_silence_and_constants_whole(num_samples):
    for value in (0.0, 0.5):
        waveform = np.full(num_samples, value, np.float32)
        assert np.array_equal(trim_silence(waveform, 20), librosa.effects.trim(waveform, top_db=20)[0])
    assert trim_silence(np.zeros(num_samples, np.float32), 20).size == num_samples


@pytest.mark.parametrize(("amplitude", "trim_db"), [(1e-4, 20), (1e-3, 60), (5e-3, 60)])
def test_trimming_of_quiet_recordings_is_librosas(tone, amplitude, trim_db):
    silence = np.zeros(8192, np.float32)
    waveform = np.concatenate([silence, 2 * amplitude * tone(noise=0), silence]).astype(np.float32)
    assert np.array_equal(trim_silence(waveform, trim_db), librosa.effects.trim(waveform, top_db=trim_db)[0])


def test_load_audio_trims_after_resampling(tone):
    waveform = np.concatenate([np.zeros(30_000, np.float32), tone(0.5, 48_000), np.zeros(30_000, np.float32)])
    expected = librosa.effects.trim(soxr.resample(waveform, 48_000, 16_000, quality="HQ"), top_db=20)[0]
    assert np.array_equal(load_audio(waveform, 48_000, trim_db=20), expected)
    assert expected.size < 12_000


def test_normalize():
    waveform = np.array([0.1, -0.25, 0.0], np.float32)
    assert load_audio(waveform, 16_000, normalize=True).tolist() == pytest.approx([0.4, -1.0, 0.0], abs=1e-7)
    assert np.abs(normalize_peak(utterance_like(1))).max() == 1.0
    assert normalize_peak(waveform).dtype == np.float32
    assert load_audio(np.array([2.0, -4.0]), 16_000, normalize=True).tolist() == [0.5, -1.0]
    assert np.array_equal(load_audio(np.zeros(100), 16_000, normalize=True), np.zeros(100))
    assert normalize_peak(np.zeros(0, np.float32)).size == 0


def test_fix_length():
    waveform = np.arange(1, 11, dtype=np.float32)
    assert fix_length(waveform, 4).tolist() == [1, 2, 3, 4]
    assert fix_length(waveform, 4, "start").tolist() == [1, 2, 3, 4]
    assert fix_length(waveform, 4, "center").tolist() == [4, 5, 6, 7]
    assert fix_length(waveform, 5, "center").tolist() == [3, 4, 5, 6, 7]
    assert fix_length(waveform, 10, "center").tolist() == waveform.tolist()
    for position in ("start", "center", np.random.default_rng(0)):
        assert fix_length(waveform, 13, position).tolist() == [*waveform.tolist(), 0, 0, 0]
        assert fix_length(waveform, 13, position).dtype == np.float32


def test_a_random_crop_reaches_every_position_and_repeats_with_its_seed():
    waveform = np.arange(10, dtype=np.float32)
    generator = np.random.default_rng(0)
    crops = [fix_length(waveform, 7, generator) for _ in range(200)]
    assert all(np.array_equal(crop, np.arange(crop[0], crop[0] + 7)) for crop in crops)
    assert {int(crop[0]) for crop in crops} == {0, 1, 2, 3}
    again = np.random.default_rng(0)
    assert [fix_length(waveform, 7, again)[0] for _ in range(200)] == [crop[0] for crop in crops]


def test_duration_s_counts_seconds_of_the_result(tone):
    samples = tone(0.5, 48_000)
    whole = load_audio(samples, 48_000)
    assert np.array_equal(load_audio(samples, 48_000, duration_s=0.1), whole[:1600])
    assert np.array_equal(load_audio(samples, 48_000, duration_s=0.1, position="center"), whole[3200:4800])
    longer = load_audio(samples, 48_000, duration_s=1.0, target_sampling_rate=8000)
    assert longer.size == 8000
    assert not longer[4000:].any()
    assert longer[:4000].any()


def test_min_duration_s_is_measured_before_trimming(tone):
    samples = np.concatenate([np.zeros(48_000, np.float32), tone(0.5, 48_000), np.zeros(48_000, np.float32)])
    assert load_audio(samples, 48_000, min_duration_s=2.5, trim_db=20).size < 16_000
    with pytest.raises(AudioError) as caught:
        load_audio(samples, 48_000, min_duration_s=2.501, trim_db=20)
    assert caught.value.reason == "too_short"
    assert str(caught.value) == (
        "ndarray object: got 2.500 s; expected at least 2.501 s. Remove the recording or lower min_duration_s."
    )


def test_floats_in_the_thousands_are_taken_for_integers_or_refused(tone):
    with pytest.warns(
        UserWarning, match=r"float samples reach \d{5}, the range of 16-bit integers; they were divided by 32768"
    ):
        assert np.array_equal(load_audio(tone() * 32768, 16_000), tone())
    with pytest.raises(AudioError, match="Divide integer samples by their range"):
        load_audio(tone() * 30_000.3, 16_000)
    with pytest.raises(AudioError, match=r"reach 3e\+38"):
        load_audio(np.full(9, 3e38), 16_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_audio(tone() * 3, 16_000)
        load_audio((tone() * 32767).astype(np.int16), 16_000)


# --- errors -----------------------------------------------------------------------------------------------------


def wav(samples=None, subtype="PCM_16", format="WAV"):
    buffer = io.BytesIO()
    samples = 0.5 * np.sin(np.arange(1600) / 5) if samples is None else samples
    sf.write(buffer, samples, 16_000, format=format, subtype=subtype)
    return buffer.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 78638\n"
BAD_FILES = {
    "0 bytes": (b"", "empty", "0 bytes", "Download or copy the file again."),
    "header only": (wav(np.zeros(0)), "empty", "0 samples", "Remove or replace the recording."),
    "header that promises more": (wav()[:44], "truncated", "0 of 1600 frames (3200 bytes are", "Download"),
    "text": (b"actor,age\n1001,51\n", "undecodable", "a file starting with b'actor,age\\n10'", "convert it to WAV"),
    "html": (
        b"<!DOCTYPE html><html></html>",
        "undecodable",
        "a file starting with b'<!DOCTYPE ht",
        "Replace the file",
    ),
    "zeros": (b"\0" * 1000, "undecodable", "a file starting with b'\\x00", "Replace the file"),
    "LFS pointer": (POINTER, "lfs_pointer", "a Git LFS pointer", "Run `git lfs pull`"),
    "truncated WAV": (wav()[:2044], "truncated", "1000 of 1600 frames (1200 bytes are", "Download"),
    "WAV cut in its header": (wav()[:20], "undecodable", "a file starting with b'RIFF", "Replace the file"),
    "truncated AIFF": (
        wav(format="AIFF")[:2054],
        "truncated",
        "1000 of 1600 frames (1200 bytes are",
        "Download",
    ),
    "truncated FLAC": (
        wav(format="FLAC")[:-100],
        "truncated",
        "FLAC that ends or is damaged after 0 frames",
        "Download",
    ),
    "truncated 24-bit FLAC": (wav(None, "PCM_24", "FLAC")[:-100], "truncated", "FLAC that ends", "Download"),
    "truncated MP3": (
        wav(None, "MPEG_LAYER_III", "MP3")[:-60],
        "truncated",
        "of 5 frames",
        "Download",
    ),
    "NaN": (wav(np.array([0.0, np.nan, 0.5]), "FLOAT"), "not_finite", "1 NaN or infinite samples of 3", "Repair"),
    "inf": (wav(np.array([np.inf, -np.inf]), "DOUBLE"), "not_finite", "2 NaN or infinite samples of 2", "Repair"),
    "rate 0": (
        riff(pcm16_format(0), (b"data", b"\0" * 100)),
        "undecodable",
        "a header with 1 channels at 0 Hz",
        "Replace the file",
    ),
    "rate 100": (riff(pcm16_format(100), (b"data", b"\0" * 100)), "undecodable", "1 channels at 100 Hz", "Replace"),
    "100 channels": (
        riff(pcm16_format(16_000, 100), (b"data", b"\0" * 400)),
        "undecodable",
        "100 channels at 16000 Hz",
        "Replace the file",
    ),
}


def check(error, reason, path, got, remedy):
    """Check the parts of the error, its message, and that it can be pickled."""
    assert isinstance(error, ValueError)
    assert (error.reason, error.path) == (reason, path)
    assert got in error.got
    assert error.expected
    assert remedy in error.remedy
    assert str(error) == f"{path}: got {error.got}; expected {error.expected}. {error.remedy}"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is AudioError
    assert (str(copy), copy.args, vars(copy)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_content(tmp_path, kind):
    content, *expected = BAD_FILES[kind]
    path = tmp_path / "clip with space.wav"
    path.write_bytes(content)
    with path.open("rb") as file:
        for source, name in (
            (path, str(path)),
            (str(path), str(path)),
            (content, f"{len(content)} bytes of audio"),
            (io.BytesIO(content), "BytesIO object"),
            (file, str(path)),
            ({"bytes": content, "path": "Actor_01/a.wav"}, "Actor_01/a.wav"),
            ({"bytes": content, "path": None}, "audio dict with keys bytes, path"),
        ):
            with pytest.raises(AudioError) as caught:
                load_audio(source)
            check(caught.value, expected[0], name, *expected[1:])


BAD_ARGUMENTS = {
    "array without rate": (np.zeros(9), {}, "ndarray object", "an array without sampling rate"),
    "dict without rate": (
        {"array": np.zeros(9)},
        {},
        "audio dict with keys array",
        "an array without sampling rate",
    ),
    **{
        f"rate {rate!r}": (np.zeros(9), {"sampling_rate": rate}, "ndarray object", f"sampling rate {rate!r}")
        for rate in (0, -16_000, 999, 768_001, 16_000.0, "16000", True, float("nan"))
    },
    "3-D": (np.zeros((2, 3, 4)), {"sampling_rate": 16_000}, "ndarray object", "an array of shape (2, 3, 4)"),
    "0-D": (np.array(0.5), {"sampling_rate": 16_000}, "ndarray object", "an array of shape ()"),
    "65 channels": (np.zeros((65, 99)), {"sampling_rate": 16_000}, "ndarray object", "an array of shape (65, 99)"),
    **{
        f"{dtype} array": (np.zeros(9, dtype), {"sampling_rate": 16_000}, "ndarray object", f"samples of type {dtype}")
        for dtype in ("int64", "uint16", "int8", "complex64", "bool", "object", "<U1")
    },
    "list of ints": ([0, 1, 2], {"sampling_rate": 16_000}, "list object", "samples of type int64"),
    "unknown dict": ({"audio": b"RIFF"}, {}, "audio dict with keys audio", "an audio dict with audio and no content"),
    "empty dict": ({}, {}, "audio dict with keys ", "an audio dict with no keys and no content"),
    "dict of None": ({"bytes": None, "path": None}, {}, "audio dict with keys bytes, path", "no content"),
    "text file": (io.StringIO("RIFF"), {}, "StringIO object", "a file object that reads str"),
    "None": (None, {}, "NoneType object", "a NoneType"),
    "int": (7, {}, "int object", "a int"),
    "bytes with rate": (wav(), {"sampling_rate": 16_000}, "3244 bytes of audio", "encoded audio with"),
    "dict of bytes with rate": (
        {"bytes": wav(), "path": "a.wav"},
        {"sampling_rate": 16_000},
        "a.wav",
        "encoded audio with sampling_rate",
    ),
    **{
        f"{name}={value}": (wav(), {name: value}, "3244 bytes of audio", f"{name}={value}")
        for name in ("trim_db", "duration_s")
        for value in (0, -1, float("nan"))
    },
    "target rate 0": (wav(), {"target_sampling_rate": 0}, "3244 bytes of audio", "sampling rate 0"),
    "target rate 16e3": (wav(), {"target_sampling_rate": 16e3}, "3244 bytes of audio", "sampling rate 16000.0"),
}


@pytest.mark.parametrize("kind", BAD_ARGUMENTS)
def test_bad_arguments(kind):
    source, arguments, name, got = BAD_ARGUMENTS[kind]
    with pytest.raises(AudioError) as caught:
        load_audio(source, **arguments)
    check(caught.value, "argument", name, got, "")
    assert caught.value.remedy


def test_a_path_with_a_rate_is_refused(clip):
    with pytest.raises(AudioError) as caught:
        load_audio(clip[0], 16_000)
    check(caught.value, "argument", str(clip[0]), "encoded audio with sampling_rate", "declares its rate")


@pytest.mark.parametrize("samples", [np.array([0.0, np.nan]), np.array([np.inf, 0.0], np.float32)])
def test_arrays_that_are_not_finite(samples):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AudioError) as caught:
            load_audio(samples, 16_000)
    check(caught.value, "not_finite", "ndarray object", "1 NaN or infinite samples of 2", "Repair or remove")


@pytest.mark.parametrize("samples", [[], np.zeros((2, 0)), np.zeros((0, 2)), np.zeros(0, np.int16)])
def test_arrays_without_samples(samples):
    with pytest.raises(AudioError) as caught:
        load_audio(samples, 16_000)
    check(caught.value, "empty", f"{type(samples).__name__} object", "0 samples", "Remove or replace")


def test_files_that_cannot_be_read(tmp_path):
    for source, name, got, remedy in (
        (tmp_path / "none.wav", str(tmp_path / "none.wav"), "no such file", "Check the path."),
        ({"bytes": None, "path": "none.wav"}, "none.wav", "no such file", "Check the path."),
        (
            "http://127.0.0.1:1/a.wav",
            "http://127.0.0.1:1/a.wav",
            "no complete response",
            "or download the file first.",
        ),
        (tmp_path.as_uri() + "/none%20b.wav", tmp_path.as_uri() + "/none%20b.wav", "no such file", "Check the path."),
        ("file://elsewhere/a.wav", "file://elsewhere/a.wav", "the host elsewhere", "the path of the file"),
        (tmp_path, str(tmp_path), "a folder", "Check the path."),
        (f"{tmp_path}/{'a' * 300}.wav", f"{tmp_path}/{'a' * 300}.wav", "File name too long", "Check the path"),
    ):
        with pytest.raises(AudioError) as caught:
            load_audio(source)
        check(caught.value, "not_found", name, got, remedy)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in soundfile's seek, for AIFF
@pytest.mark.parametrize("format", ["WAV", "AIFF", "FLAC"])
def test_no_cut_passes_unnoticed(format):
    content = wav(format=format)
    slack = 0 if format == "FLAC" else SLACK_BYTES  # tolerance for wrong sizes
    for size in range(0, len(content) - slack, 7):
        with pytest.raises(AudioError) as caught:
            decode(content[:size])
        assert caught.value.reason in ("empty", "undecodable", "truncated")
    for size in range(len(content) - slack, len(content)):
        assert decode(content[:size]).notes == (f"the header declares {len(content) - size} bytes too many",)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_no_flipped_bit_in_a_flac_frame_passes_unnoticed(subtype):
    content = wav(np.random.default_rng(0).uniform(-0.5, 0.5, 6000), subtype, "FLAC")
    for bit in np.random.default_rng(1).integers(8 * (len(content) // 10), 8 * len(content), 100):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AudioError) as caught:
            decode(bytes(damaged))
        check(caught.value, "truncated", f"{len(content)} bytes of audio", "FLAC ", "Download")


# --- further input that must be refused --------------------------------------------------------------------------

LONG = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000)  # several pages of an OGG stream


@pytest.mark.parametrize(
    ("samples", "arguments"),
    [
        pytest.param([[0.0], [0.0, 0.5]], {"sampling_rate": 16_000}, id="ragged list"),
        pytest.param("a\0b.wav", {}, id="NUL in a path"),
        pytest.param(wav(), {"duration_s": float("inf")}, id="endless duration_s"),
        pytest.param(wav(), {"duration_s": 1e-5}, id="duration_s below one sample"),
        pytest.param(wav(), {"min_duration_s": float("nan")}, id="min_duration_s is NaN"),
        pytest.param(wav(), {"min_duration_s": -1.0}, id="negative min_duration_s"),
        pytest.param(wav(), {"duration_s": 0.01, "position": "end"}, id="unknown position, longer"),
        pytest.param(wav(), {"duration_s": 9.0, "position": "end"}, id="unknown position, shorter"),
        pytest.param({"array": np.zeros(99), "sampling_rate": 16_000}, {"sampling_rate": 8000}, id="two rates"),
        pytest.param(np.full(1, 0.5), {"sampling_rate": 48_000}, id="a sample that resampling loses"),
        pytest.param(wav(LONG, "VORBIS", "OGG")[:-20], {}, id="truncated Vorbis"),
        pytest.param(wav(LONG, "OPUS", "OGG")[:-20], {}, id="truncated Opus"),
    ],
)
def test_more_to_refuse(samples, arguments):
    with pytest.raises(AudioError):
        load_audio(samples, **arguments)


def test_a_real_file_in_text_mode(clip):
    with clip[0].open(encoding="utf-8") as file, pytest.raises(AudioError):
        load_audio(file)


def test_a_tensor_is_named_by_its_kind():
    with pytest.raises(AudioError) as caught:
        load_audio(torch.zeros(9))
    check(caught.value, "argument", "Tensor object", "an array without sampling rate", "Pass sampling_rate")


def test_flac_at_an_impossible_rate(tone, encode):
    with pytest.raises(AudioError):
        decode(encode(tone(), 500, "FLAC"))


def test_flac_that_declares_2_to_the_36_frames(tone, encode):
    content = encode(tone(), format="FLAC")
    packed = int.from_bytes(content[18:26], "big") | (1 << 36) - 1
    with pytest.raises(AudioError):
        decode(content[:18] + packed.to_bytes(8, "big") + content[26:])
