"""The fast path for 16-bit FLAC gives the samples of libsndfile, or falls back to it."""

import io

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hf_ser.remote_code.flac import FLACInfo, decode_flac16, encode_flac, flac_info, is_flac16_mono, to_pcm16

EVERY_INT16 = np.arange(-32768, 32768).astype(np.int16)


def read_with_libsndfile(content):
    return sf.read(io.BytesIO(content), dtype="int16", always_2d=True)


def first_frame_offset(content):
    """Walk the metadata blocks (RFC 9639, section 8): 1 bit last, 7 bits type, 24 bits length."""
    offset, last = 4, False
    while not last:
        last = bool(content[offset] & 0x80)
        offset += 4 + int.from_bytes(content[offset + 1 : offset + 4], "big")
    return offset


@given(arrays(np.int16, st.integers(1, 3000)), st.sampled_from([8000, 16_000, 24_414, 48_000]))
def test_16_bit_samples_survive(samples, sampling_rate):
    content = encode_flac(samples / np.float32(32768), sampling_rate)
    decoded, rate = decode_flac16(content)
    assert rate == sampling_rate
    assert decoded.dtype == np.int16
    assert np.array_equal(decoded, samples[:, None])
    assert np.array_equal(read_with_libsndfile(content)[0], samples[:, None])
    assert is_flac16_mono(content, sampling_rate)


def test_every_16_bit_value_survives():
    decoded, _ = decode_flac16(encode_flac(EVERY_INT16 / np.float32(32768), 16_000))
    assert np.array_equal(decoded[:, 0], EVERY_INT16)


@pytest.mark.parametrize("sampling_rate", [8000, 16_000, 22_050, 24_414, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_decodes_what_libsndfile_decodes(tone, encode, channels, sampling_rate):
    content = encode(tone(20_000 / sampling_rate, sampling_rate, channels), sampling_rate, "FLAC")
    expected, rate = read_with_libsndfile(content)
    decoded, decoded_rate = decode_flac16(content)
    assert decoded_rate == rate == sampling_rate
    assert decoded.shape == (20_000, channels)
    assert np.array_equal(decoded, expected)
    assert flac_info(content) == FLACInfo(sampling_rate, channels, 16, 20_000)


@pytest.mark.parametrize("signal", ["silence", "constant", "full_scale_square", "noise", "one_sample"])
def test_decodes_every_kind_of_subframe(encode, signal):
    samples = {
        "silence": np.zeros(9000),
        "constant": np.full(9000, 0.25),
        "full_scale_square": np.where(np.arange(9000) % 40 < 20, 32767 / 32768, -1.0),
        "noise": np.random.default_rng(0).uniform(-1, 1, 9000),
        "one_sample": np.full(1, -1.0),
    }[signal]
    content = encode(samples, format="FLAC")
    assert np.array_equal(decode_flac16(content)[0], read_with_libsndfile(content)[0])


@pytest.mark.parametrize(("format", "subtype"), [("FLAC", "PCM_24"), ("FLAC", "PCM_S8"), ("WAV", "PCM_16")])
def test_leaves_other_formats_to_libsndfile(tone, encode, format, subtype):
    assert decode_flac16(encode(tone(), 16_000, format, subtype)) is None


def test_info_is_read_from_24_bit_flac_and_from_nothing_else(tone, encode):
    content = encode(tone(), 44_100, "FLAC", "PCM_24")
    assert flac_info(content) == FLACInfo(44_100, 1, 24, 4800)
    for other in (b"", b"fLaC", content[:41], b"RIFF" + content[4:], b"fLaC\x04" + content[5:]):
        assert flac_info(other) is None
        assert decode_flac16(other) is None


def test_damage_is_left_to_libsndfile(tone):
    content = encode_flac(tone(0.5), 16_000)
    start = first_frame_offset(content)
    assert decode_flac16(content) is not None
    cuts = np.linspace(start, len(content) - 1, 25).astype(int)
    assert [cut for cut in cuts if decode_flac16(content[:cut]) is not None] == []
    undetected = []
    for bit in np.random.default_rng(0).integers(8 * start, 8 * len(content), 200):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        if decode_flac16(bytes(damaged)) is not None:
            undetected.append(bit)
    assert undetected == []


@pytest.mark.parametrize("frames", [4801, 1 << 20])
def test_a_doubtful_number_of_frames_is_left_to_libsndfile(tone, frames):
    content = encode_flac(tone(), 16_000)
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | frames
    assert decode_flac16(content[:18] + packed.to_bytes(8, "big") + content[26:]) is None


def test_is_flac16_mono_checks_rate_channels_and_bits(tone, encode):
    assert is_flac16_mono(encode(tone(), 16_000, "FLAC"), 16_000) is True
    assert is_flac16_mono(encode(tone(), 16_000, "FLAC"), 8000) is False
    assert is_flac16_mono(encode(tone(channels=2), 16_000, "FLAC"), 16_000) is False
    assert is_flac16_mono(encode(tone(), 16_000, "FLAC", "PCM_24"), 16_000) is False
    assert is_flac16_mono(encode(tone()), 16_000) is False
    assert is_flac16_mono(b"", 16_000) is False


def test_to_pcm16_is_exact_on_16_bit_values():
    for dtype in (np.float32, np.float64):
        rounded = to_pcm16(EVERY_INT16.astype(dtype) / dtype(32768))
        assert rounded.dtype == np.int16
        assert np.array_equal(rounded, EVERY_INT16)


def test_to_pcm16_rounds_and_clips():
    waveform = np.array([0.4, 0.6, -0.4, -0.6, 1.5, 2.5], np.float32) / 32768  # halves go to the even neighbour
    assert to_pcm16(waveform).tolist() == [0, 1, 0, -1, 2, 2]
    waveform = np.array([32767.6 / 32768, 1.0, 1.5, 1e9, -1.0, -1.0001, -1e9], np.float32)
    assert to_pcm16(waveform).tolist() == [32767, 32767, 32767, 32767, -32768, -32768, -32768]
