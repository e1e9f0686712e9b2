"""Lengths are counted: all audio in a file is read whatever its header declares, and missing audio is reported."""

import io
import struct

import numpy as np
import pytest
import soundfile as sf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hf_ser.remote_code.audio_errors import AudioError
from hf_ser.remote_code.containers import SLACK_BYTES
from hf_ser.remote_code.decoder import decode

CONTAINERS = ("WAV", "RIFX", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "VOC", "SVX")
NUM_SAMPLES = 4000
# 16-bit samples that look like no chunk: a header that declares too little looks like a right one where what follows
# happens to be a well-formed chunk.
SOUND = np.random.default_rng(5).integers(-20_000, 20_000, NUM_SAMPLES).astype(np.int16)


def write(container: str, sound=SOUND) -> bytes:
    options = {"endian": "BIG"} if container == "RIFX" else {}
    buffer = io.BytesIO()
    format = "WAV" if container == "RIFX" else container
    sf.write(buffer, sound, 16_000, format=format, subtype="PCM_16", **options)
    return buffer.getvalue()


def place_of_sound(content: bytes) -> int:
    """Offset of the samples, in either byte order."""
    little = content.find(SOUND[:8].astype("<i2").tobytes())
    return little if little >= 0 else content.find(SOUND[:8].astype(">i2").tobytes())


def read(content: bytes) -> np.ndarray:
    samples = decode(content).samples[:, 0]
    return np.rint(samples * 32768).astype(np.int16) if samples.dtype != np.int16 else samples


@pytest.mark.parametrize("container", CONTAINERS)
def test_whole_files_are_read_without_a_note(container):
    content = write(container)
    assert np.array_equal(read(content), SOUND) and decode(content).notes == ()


@pytest.mark.parametrize("container", CONTAINERS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_file_cut_at_any_byte_is_refused_or_has_lost_next_to_nothing(container, data):
    content = write(container)
    size = data.draw(st.integers(0, len(content) - 1))
    try:
        samples = read(content[:size])
    except AudioError as error:
        assert error.reason in ("empty", "truncated", "undecodable")
        assert error.reason != "truncated" or any(digit in error.got for digit in "0123456789")
        # Of whole samples and a cut trailer nothing is lost, so that nothing is refused.
        assert size < place_of_sound(content) + 2 * NUM_SAMPLES
        return
    assert 0 <= 2 * (NUM_SAMPLES - len(samples)) <= SLACK_BYTES + 1
    assert np.array_equal(samples, SOUND[: len(samples)])


SIZES = {  # container -> format and place, before the sound, of the size of the sound; bytes that it counts beside it
    "WAV": ("<I", 4, 0),
    "RIFX": (">I", 4, 0),
    "AIFF": (">I", 12, 8),
    "AU": (">I", 16, 0),
    "CAF": (">q", 12, 4),
    "W64": ("<q", 8, 24),
    "SVX": (">I", 4, 0),
}


@pytest.mark.parametrize("container", SIZES)
@settings(max_examples=60)
@given(declared=st.one_of(st.integers(0, 3 * 2 * NUM_SAMPLES), st.integers(0, 2**31 - 2**13)))
@example(declared=0)
@example(declared=2 * NUM_SAMPLES - 2)
@example(declared=2 * NUM_SAMPLES + SLACK_BYTES)
@example(declared=2 * NUM_SAMPLES + SLACK_BYTES + 2)
def test_a_size_off_by_any_amount_loses_no_sound(container, declared):
    format, before, more = SIZES[container]
    content = bytearray(write(container))
    start = place_of_sound(content) - before
    there = struct.unpack_from(format, content, start)[0] - more
    assert there == 2 * NUM_SAMPLES
    struct.pack_into(format, content, start, declared + more)
    trailer = len(content) - (start + before + there)
    try:
        samples = read(bytes(content))
    except AudioError as error:
        assert error.reason == "truncated" and declared > there + SLACK_BYTES
        unit = 2 if "frames" in error.got else 1
        assert str(declared // unit) in error.got and str((there + trailer) // unit) in error.got  # both figures
        return
    assert declared <= there + trailer + SLACK_BYTES
    # Fewer than eight bytes cannot hold a chunk, and are taken for padding.
    assert NUM_SAMPLES - 4 <= len(samples) <= NUM_SAMPLES + trailer // 2
    assert np.array_equal(samples[:NUM_SAMPLES], SOUND[: len(samples)])


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF, 2**31])
@pytest.mark.parametrize("data", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8", "ULAW"])
def test_a_wav_whose_sizes_were_never_filled_in_is_read_whole(riff, data, subtype):
    buffer = io.BytesIO()
    sf.write(buffer, SOUND, 16_000, format="WAV", subtype=subtype)
    content = bytearray(buffer.getvalue())
    expected = decode(bytes(content)).samples
    start = content.index(b"data")
    struct.pack_into("<I", content, 4, riff)
    struct.pack_into("<I", content, start + 4, data)
    content = content[: start + 8 + len(expected) * {"PCM_24": 3, "FLOAT": 4, "PCM_16": 2}.get(subtype, 1)]
    np.testing.assert_array_equal(decode(bytes(content)).samples, expected)


@pytest.mark.parametrize("chunks", [b"LIST\x04\0\0\0INFO", b"id3 \x03\0\0\0abc\0", b"bext\x02\0\0\0ab" * 3, bytes(40)])
def test_chunks_and_padding_after_the_sound_are_no_sound(chunks):
    content = write("WAV")
    end = place_of_sound(content) + 2 * NUM_SAMPLES
    content = content[:end] + chunks
    assert np.array_equal(read(content), SOUND) and decode(content).notes == ()


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_tag_before_the_file_loses_no_frame(container):
    tag = b"ID3\x04\0\0\0\0\x10\0" + bytes(2048)
    if container in ("WAV", "RIFX", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "SVX"):
        assert np.array_equal(read(tag + write(container)), SOUND)


def test_long_files_are_read_in_blocks_from_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_ser.remote_code.audio_sources.READ_AT_ONCE", 1000)
    monkeypatch.setattr("hf_ser.remote_code.sound_blocks.SHORT_BLOCKS", 0)
    monkeypatch.setattr("hf_ser.remote_code.sound_blocks.BLOCK_S", 0.01)
    for container in CONTAINERS:
        content = write(container)
        (tmp_path / "clip").write_bytes(content)
        assert np.array_equal(read(tmp_path / "clip"), SOUND), container
        (tmp_path / "clip").write_bytes(content[: len(content) // 2])
        with pytest.raises(AudioError) as caught:
            decode(tmp_path / "clip")
        assert caught.value.reason == "truncated", container


# --- compressed ---------------------------------------------------------------------------------------------------


def lossy(format, subtype, seconds=1.0, **options):
    buffer = io.BytesIO()
    time_s = np.arange(round(16_000 * seconds)) / 16_000
    sf.write(buffer, 0.4 * np.sin(2 * np.pi * 300 * time_s), 16_000, format=format, subtype=subtype, **options)
    return buffer.getvalue()


MP3 = lossy("MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE")
FRAME = MP3.index(MP3[:2], 4)  # the first tells how many follow


@settings(max_examples=60)
@given(size=st.integers(0, len(MP3) - 1))
def test_an_mp3_cut_at_any_byte_is_refused_where_its_header_tells(size):
    try:
        samples = decode(MP3[:size]).samples
    except AudioError as error:
        assert error.reason in ("empty", "truncated", "undecodable")
        return
    assert size >= len(MP3) - 2 * 576 and len(samples) >= 16_000 - 2 * 576  # the last frame, which some do not count


@settings(max_examples=40)
@given(size=st.integers(FRAME + 1000, len(MP3) - 1))
def test_an_mp3_that_promises_nothing_is_read_as_far_as_it_goes(size):
    content = MP3[FRAME:size]
    decoded = decode(content)
    whole = len(decode(MP3[FRAME:]).samples)
    assert len(decoded.samples) == pytest.approx(whole * len(content) / len(MP3[FRAME:]), abs=0.12 * whole + 1152)
    assert decoded.notes in ((), ("the last frame is incomplete",))


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize("seconds", [0.3, 2.0, 20.0])
def test_an_mp3_without_a_length_is_read_to_its_end(mode, seconds):
    content = lossy("MP3", "MPEG_LAYER_III", seconds, bitrate_mode=mode)
    bare = decode(content[content.index(content[:2], 4) :]).samples
    assert len(bare) / 16_000 == pytest.approx(seconds, abs=0.08)  # the encoder's own silence stays


@pytest.mark.parametrize("junk", [bytes(500), b"\xff" * 50, b"TAG" + bytes(125), np.random.default_rng(0).bytes(3000)])
@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_what_is_no_frame_is_passed_over(junk, place):
    half = FRAME
    for _ in range(20):  # frames
        half = MP3.index(MP3[FRAME : FRAME + 2], half + 4)
    content = {"before": junk + MP3, "between": MP3[:half] + junk + MP3[half:], "after": MP3 + junk}[place]
    assert len(decode(content).samples) == pytest.approx(16_000, abs=1200)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@settings(max_examples=40)
@given(data=st.data())
def test_an_ogg_cut_at_any_byte_is_refused(subtype, data):
    content = lossy("OGG", subtype)
    size = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(AudioError) as caught:
        decode(content[:size])
    assert caught.value.reason in ("empty", "truncated", "undecodable")


@pytest.mark.parametrize(("format", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_joined_recordings_are_read_one_after_the_other(format, subtype):
    content = lossy(format, subtype)
    one, three = decode(content), decode(content * 3)
    assert three.notes == ("3 recordings concatenated in one file",)
    np.testing.assert_array_equal(three.samples, np.concatenate([one.samples] * 3))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@settings(max_examples=40)
@given(frames=st.integers(0, 2 * NUM_SAMPLES))
def test_a_flac_is_read_to_its_end_whatever_its_header_counts(subtype, frames):
    buffer = io.BytesIO()
    sf.write(buffer, SOUND, 16_000, format="FLAC", subtype=subtype)
    content = buffer.getvalue()
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | frames
    content = content[:18] + packed.to_bytes(8, "big") + content[26:]
    if frames > NUM_SAMPLES:
        with pytest.raises(AudioError, match=f"FLAC of {frames} frames that ends or is damaged after"):
            decode(content)
    else:
        assert np.array_equal(read(content), SOUND)
