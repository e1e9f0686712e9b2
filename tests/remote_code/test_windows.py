"""Recordings of any kind give a waveform or windows; unusable recordings raise an error with the reason."""

import http.server
import io
import os
import pickle
import struct
import threading
import time
import tracemalloc

import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sound_sources import ARRAYS, FILES, torchcodec

from hf_ser.audio import load_audio
from hf_ser.remote_code import addresses, audio_sources, sound_blocks, windows
from hf_ser.remote_code.audio_errors import AudioError
from hf_ser.remote_code.windows import WindowPlan, cut_waveform, is_silent

SPLIT = 1 << 15  # samples: 16-bit values below 1


def read_windows(source, window_s, stride_s, whole_s):
    """Windows as tuples."""
    for window in windows.read_windows(source, WindowPlan(window_s, stride_s, whole_s)):
        yield window.start_s, window.end_s, window.waveform


def whole(source):
    """The only window of a recording of up to a minute."""
    ((start_s, end_s, waveform),) = read_windows(source, 10.0, 5.0, 60.0)
    assert waveform.dtype == np.float32 and waveform.ndim == 1
    assert (start_s, end_s) == (0.0, len(waveform) / 16_000)
    return waveform


def refusal(source):
    with pytest.raises(AudioError) as caught:
        list(read_windows(source, 10.0, 5.0, 60.0))
    return caught.value


# --- whole recordings -------------------------------------------------------------------------------------------

FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "PCM_U8"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III"),
    ("AIFF", "PCM_16"),
]


MOST = {"MP3": (2, 48_000), "FLAC": (8, 192_000)}  # channels and Hz
RECORDINGS = [
    (format, subtype, sampling_rate, channels)
    for format, subtype in FORMATS
    for sampling_rate in (8_000, 16_000, 44_100, 48_000, 192_000)
    for channels in (1, 2, 12)
    if channels <= MOST.get(format, (12, 0))[0] and sampling_rate <= MOST.get(format, (0, 192_000))[1]
]


@pytest.mark.parametrize(("format", "subtype", "sampling_rate", "channels"), RECORDINGS)
def test_every_format_gives_what_the_packages_own_door_gives(tone, encode, format, subtype, sampling_rate, channels):
    content = encode(tone(0.35, sampling_rate, channels, frequency_hz=0.5), sampling_rate, format, subtype)
    np.testing.assert_allclose(whole(content), load_audio(content), atol=1e-6)


SOURCES = {**FILES, **{name: lambda path, content, samples, make=make: make(samples) for name, make in ARRAYS.items()}}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source_gives_the_same_waveform(tmp_path, tone, encode, kind):
    samples = tone(bits=8)  # which every type of array holds exactly
    path = tmp_path / "clip.wav"
    path.write_bytes(encode(samples))
    assert np.array_equal(whole(SOURCES[kind](path, path.read_bytes(), samples)), samples)


def test_an_open_file_is_a_source(tmp_path, tone, encode):
    (tmp_path / "clip.wav").write_bytes(encode(tone()))
    with (tmp_path / "clip.wav").open("rb") as file:
        assert np.array_equal(whole(file), tone())


@pytest.mark.parametrize("kind", ["mapping", "torchcodec"])
def test_arrays_that_come_with_another_rate_are_resampled(tone, kind):
    samples = tone(0.4, 44_100)
    source = {"raw": samples, "sampling_rate": 44_100} if kind == "mapping" else torchcodec(samples, 44_100)
    np.testing.assert_allclose(whole(source), load_audio(samples, 44_100), atol=1e-6)


def test_the_content_counts_and_not_the_name(tmp_path, tone, encode):
    (tmp_path / "clip.mp3").write_bytes(encode(tone(), format="FLAC"))
    assert np.array_equal(whole(tmp_path / "clip.mp3"), tone())


def flac_of_unknown_length(content):
    """FLAC as written to a pipe: the 36 bits of the length are 0."""
    return content[:21] + bytes([content[21] & 0xF0]) + bytes(4) + content[26:]


def wav_of_unknown_length(content):
    place = content.index(b"data") + 4
    return content[:4] + b"\xff" * 4 + content[8:place] + b"\xff" * 4 + content[place + 4 :]


@pytest.mark.parametrize(("format", "unknown"), [("FLAC", flac_of_unknown_length), ("WAV", wav_of_unknown_length)])
def test_recordings_that_were_streamed_do_not_know_their_length(tone, encode, format, unknown):
    content = unknown(encode(tone(12.0), format=format))
    assert np.array_equal(whole(content), tone(12.0))
    found = list(read_windows(content, 5.0, 5.0, 5.0))
    assert [end_s for _, end_s, _ in found] == [5.0, 10.0, 12.0]


# --- windows ----------------------------------------------------------------------------------------------------


def check_windows(found, waveform, window_s, stride_s, tolerance=0.0):
    """Windows start every stride, have the requested size except the last, and cover the recording."""
    size, step = round(window_s * 16_000), round(stride_s * 16_000)
    reached = 0
    for number, (start_s, end_s, samples) in enumerate(found):
        start = number * step
        assert start_s == start / 16_000 and end_s == (start + len(samples)) / 16_000
        assert samples.dtype == np.float32
        assert len(samples) == size or (number == len(found) - 1 and 0 < len(samples) < size)
        assert start <= reached < start + len(samples)  # no gap, and something new
        reached = start + len(samples)
        np.testing.assert_allclose(samples, waveform[start:reached], atol=tolerance)
    assert reached == len(waveform)


def noise(num_samples):
    """Samples without repetition, so that misplaced samples are detected."""
    drawn = np.random.default_rng(0).integers(-SPLIT // 2, SPLIT // 2, num_samples)
    return (drawn / SPLIT).astype(np.float32)


def sweep(duration_s, sampling_rate):
    """A rising tone below 3 kHz with silent ends, which resampling changes little."""
    time_s = np.arange(round(duration_s * sampling_rate)) / sampling_rate
    rising = np.sin(2 * np.pi * (200 * time_s + 400 * time_s**2 / duration_s))
    return (0.5 * np.sin(np.pi * time_s / duration_s) * rising).astype(np.float32)


@settings(max_examples=40)
@given(
    num_samples=st.integers(1_700, 60_000),
    window_s=st.floats(0.1, 2.0),
    overlap=st.floats(0.0, 0.95),
    block_s=st.floats(0.05, 1.0),
)
@example(32_000, 1.0, 0.0, 0.5)  # everything at one border
@example(32_001, 1.0, 0.0, 0.5)  # one sample beyond it
@example(24_000, 1.0, 0.5, 1.0)
def test_windows_are_the_recording_itself(num_samples, window_s, overlap, block_s):
    stride_s = max(0.1, window_s * (1 - overlap))
    stride_s = min(stride_s, window_s)
    buffer, waveform = io.BytesIO(), noise(num_samples)
    sf.write(buffer, waveform, 16_000, format="WAV", subtype="PCM_16")
    buffer.seek(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sound_blocks, "BLOCK_S", block_s)
        patch.setattr(sound_blocks, "SHORT_BLOCKS", 0)
        found = list(read_windows(buffer, window_s, stride_s, window_s))
    check_windows(found, waveform, window_s, stride_s)
    from_array = list(read_windows(waveform, window_s, stride_s, window_s))
    check_windows(from_array, waveform, window_s, stride_s)
    cut = cut_waveform(waveform, WindowPlan(window_s, stride_s, window_s))
    check_windows([(window.start_s, window.end_s, window.waveform) for window in cut], waveform, window_s, stride_s)


@settings(max_examples=20)
@given(
    duration_s=st.floats(0.2, 3.0),
    window_s=st.floats(0.1, 1.5),
    overlap=st.floats(0.0, 0.9),
    sampling_rate=st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000, 192_000]),
    block_s=st.floats(0.02, 1.0),
)
def test_windows_of_other_rates_are_the_resampled_recording(duration_s, window_s, overlap, sampling_rate, block_s):
    stride_s = min(window_s, max(0.1, window_s * (1 - overlap)))
    samples = sweep(duration_s, sampling_rate)
    buffer = io.BytesIO()
    sf.write(buffer, samples, sampling_rate, format="WAV", subtype="FLOAT")
    buffer.seek(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sound_blocks, "BLOCK_S", block_s)
        patch.setattr(sound_blocks, "SHORT_BLOCKS", 0)
        found = list(read_windows(buffer, window_s, stride_s, window_s))
    check_windows(found, load_audio(samples, sampling_rate), window_s, stride_s, tolerance=1e-3)


@pytest.mark.parametrize("sampling_rate", [8_000, 16_000, 22_050])
@pytest.mark.parametrize("duration_s", [9.99, 10.0, 10.01, 35.0])
def test_the_borders_of_blocks_leave_no_trace(encode, sampling_rate, duration_s):
    samples = sweep(duration_s, sampling_rate)
    content = encode(samples, sampling_rate, subtype="FLOAT")
    found = list(read_windows(content, 4.0, 3.0, 4.0))
    check_windows(found, load_audio(content), 4.0, 3.0, tolerance=1e-3 if sampling_rate != 16_000 else 0.0)


def test_a_recording_is_cut_only_above_the_length_that_is_read_at_once(tone):
    assert len(list(read_windows(tone(2.0), 1.0, 0.5, 2.0))) == 1
    assert len(list(read_windows(tone(2.001), 1.0, 0.5, 2.0))) == 4


def test_windows_share_no_memory(tone):
    waveform = tone(3.0)
    found = [samples for _, _, samples in read_windows(waveform, 1.0, 0.5, 1.0)]
    for number, samples in enumerate(found):
        assert np.array_equal(samples, waveform[number * 8000 : number * 8000 + 16_000])
        samples[:] = 0.0  # changing a window does not change the next ones
    assert np.abs(waveform).max() > 0.1


@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_memory_stays_far_below_the_whole_of_a_long_recording(tmp_path, kind):
    path, minute = tmp_path / "long.flac", sweep(60.0, 8_000)
    with sf.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for number in range(30):
            file.write(minute if number % 2 else np.zeros_like(minute))
    source = path if kind == "path" else path.read_bytes()
    tracemalloc.start()
    try:
        covered_s = sum(end_s - start_s for start_s, end_s, _ in read_windows(source, 10.0, 10.0, 30.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert covered_s == pytest.approx(1800.0)
    assert peak < 0.15 * (1800 * 16_000 * 4)  # of 115 MB


# --- silence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("peak", "silent"), [(0.0, True), (0.0009, True), (0.0011, False), (-0.5, False)])
def test_silence_is_judged_by_the_largest_sample(peak, silent):
    waveform = np.zeros(1000, np.float32)
    waveform[500] = peak
    assert is_silent(waveform) is silent


# --- refusals ---------------------------------------------------------------------------------------------------


def header(sampling_rate=16_000, channels=1, samples=None, size=None):
    """A 16-bit WAV file whose header may be wrong."""
    content = np.zeros(16_000, "<i2").tobytes() if samples is None else samples
    width = 2 * channels
    chunk = struct.pack("<HHIIHH", 1, channels, sampling_rate, sampling_rate * width & 0xFFFFFFFF, width, 16)
    data = b"data" + struct.pack("<I", len(content) if size is None else size) + content
    body = b"WAVEfmt " + struct.pack("<I", len(chunk)) + chunk + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


ENCODED = {"flac": ("FLAC", "PCM_16"), "wav": ("WAV", "PCM_16"), "aiff": ("AIFF", "PCM_16")}
ENCODED |= {"mp3": ("MP3", "MPEG_LAYER_III"), "ogg": ("OGG", "VORBIS")}
HOSTILE = {
    "0 bytes": b"",
    "text": b"no audio at all\n" * 100,
    "LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "random bytes": np.random.default_rng(0).bytes(5000),
    "RIFF alone": b"RIFF\xff\xff\xff\xffWAVE",
    "a rate of 0": header(sampling_rate=0),
    "a rate of 1 Hz": header(sampling_rate=1),  # 16,000 samples would become 256 million
    "a rate of 2 GHz": header(sampling_rate=2_000_000_000),
    "no channels": header(channels=0),
    "1000 channels": header(channels=1000, samples=bytes(2 * 1000 * 3200)),
    "a length beyond the end": header(size=64_000),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(1000),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_files_without_usable_audio_say_why(tmp_path, kind):
    path = tmp_path / "clip.wav"
    path.write_bytes(HOSTILE[kind])
    content = HOSTILE[kind]
    reasons = {"0 bytes": "empty", "LFS pointer": "lfs_pointer", "a length beyond the end": "truncated"}
    bare = f"{len(content)} bytes of audio"
    for source, name in ((path, path), (content, bare), ({"bytes": content, "path": "b.wav"}, "b.wav")):
        error = refusal(source)
        assert error.reason == reasons.get(kind, "undecodable")
        assert str(error).startswith(f"{name}: got")
        assert "object at 0x" not in str(error)


@pytest.mark.parametrize("kind", ENCODED)
@pytest.mark.parametrize("part", [0.3, 0.8])
def test_recordings_that_break_off_are_refused(tmp_path, tone, encode, kind, part):
    content = encode(tone(2.0), 16_000, *ENCODED[kind])
    path = tmp_path / f"clip.{kind}"
    path.write_bytes(content[: round(part * len(content))])
    error = refusal(path)
    assert error.reason == "truncated"
    assert str(path) in str(error)


def test_a_break_is_found_after_the_windows_before_it(tone, encode):
    content = encode(tone(40.0), format="FLAC")
    found = read_windows(content[: len(content) * 3 // 4], 5.0, 5.0, 5.0)
    assert len(next(found)[2]) == 80_000
    with pytest.raises(AudioError, match="ends or is damaged"):
        list(found)


NO_FILE = {
    "missing": "no such file",
    "folder": "a folder",
    "NUL": "embedded null",
    "lone surrogate": "surrogates not allowed",
    "pipe": "0 bytes from a pipe, then no data for 0 s",
    "empty": "no such file",
}


@pytest.mark.parametrize("kind", NO_FILE)
def test_paths_without_a_file_are_not_found(tmp_path, tone, encode, kind, monkeypatch):
    monkeypatch.setattr(audio_sources, "_PIPE_TIMEOUT_S", 0.1)
    (tmp_path / "clip.wav").write_bytes(encode(tone()))
    names = {"NUL": "clip.wav\0.flac", "lone surrogate": "\ud800.wav", "pipe": "pipe", "missing": "no.wav"}
    path = "" if kind == "empty" else str(tmp_path / names.get(kind, ""))
    if kind == "pipe":  # reading would block forever
        os.mkfifo(path)
    error = refusal(path)
    assert error.reason == "not_found" and NO_FILE[kind] in error.got
    assert str(error).startswith(path.encode("utf-8", "backslashreplace").decode())


@pytest.mark.parametrize("kind", ["slow", "fast", "descriptor"])
def test_pipes_are_read_to_their_end(tmp_path, tone, encode, kind):
    content = encode(tone(8.0))
    assert len(content) > 1 << 17  # more than a pipe holds
    read_end, write_end = os.pipe()
    path = f"/dev/fd/{read_end}" if kind == "descriptor" else str(tmp_path / "pipe.wav")
    if kind != "descriptor":
        os.mkfifo(path)

    def write():
        time.sleep(0.2 if kind == "slow" else 0.0)
        with open(write_end if kind == "descriptor" else path, "wb") as file:
            file.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert np.array_equal(whole(path), tone(8.0))
    finally:
        writer.join()
        os.close(read_end)
        if kind != "descriptor":
            os.close(write_end)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["array", "file", "late"])
def test_samples_that_are_not_finite_are_refused(tone, encode, value, kind):
    samples = tone(15.0 if kind == "late" else 0.5)
    samples[-3] = value
    error = refusal(samples if kind == "array" else encode(samples, subtype="FLOAT"))
    assert error.reason == "not_finite"


@pytest.mark.parametrize("num_samples", [0, 1, 1599])
def test_clips_below_a_tenth_of_a_second_are_too_short(encode, num_samples):
    samples = np.full(num_samples, 0.5, np.float32)
    for source in (samples, {"raw": samples, "sampling_rate": 16_000}, encode(samples)):
        error = refusal(source)
        assert error.reason == ("too_short" if num_samples else "empty")
        assert (f"{num_samples / 16_000:.3f} s" if num_samples else "0 samples") in str(error)
    assert len(whole(np.full(1600, 0.5, np.float32))) == 1600


BAD_ARGUMENTS = {
    "integers": np.zeros(16_000, np.int64),
    "integer tensor": torch.zeros(16_000, dtype=torch.int64),
    "complex": np.zeros(16_000, np.complex64),
    "strings": {"raw": ["a"], "sampling_rate": 16_000},
    "unequal rows": {"raw": [[0.0], [0.0, 1.0]], "sampling_rate": 16_000},
    "three dimensions": np.zeros((1, 2, 16_000)),
    "a number": np.array(0.5),
    "a thousand clips": np.zeros((1000, 16_000)),
    "no sampling_rate": {"array": np.zeros(16_000)},
    "a rate of 0": {"array": np.zeros(16_000), "sampling_rate": 0},
    "a rate of 999": {"array": np.zeros(16_000), "sampling_rate": 999},
    "a rate of a billion": {"array": np.zeros(16_000), "sampling_rate": 10**9},
    "half a hertz": {"array": np.zeros(16_000), "sampling_rate": 16_000.5},
    "a rate in words": {"array": np.zeros(16_000), "sampling_rate": "16000"},
    "None": None,
    "an integer": 16_000,
    "an empty mapping": {},
    "a mapping of nothing": {"bytes": None, "path": None},
    "raw that is None": {"raw": None, "sampling_rate": 16_000},
    "a class": object,
}


@pytest.mark.parametrize("kind", BAD_ARGUMENTS)
def test_what_is_no_recording_is_refused_as_an_argument(kind):
    error = refusal(BAD_ARGUMENTS[kind])
    assert error.reason == "argument"
    assert ": got " in str(error) and error.expected in str(error) and error.remedy in str(error)


def test_messages_name_the_path_that_a_mapping_brings():
    error = refusal({"array": np.zeros(5), "sampling_rate": 16_000, "path": "actor_01/clip.wav"})
    assert str(error).startswith("actor_01/clip.wav: got 0.000 s; expected at least 0.1 s. Remove")


def test_an_error_survives_the_way_to_another_process():
    error = AudioError("too_short", "clip.wav", "0.000 s", "more", "Record more.")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.reason) == (AudioError, str(error), "too_short")


# --- URLs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tone, encode):
    """Address of a local server: /clip, /redirect, /loop, /cut, /slow, /text, /elsewhere."""
    content = encode(tone())
    bodies = {"/clip": content, "/cut": content, "/slow": content, "/text": b"<html>", "/empty": b""}
    places = {"/redirect": "/clip", "/loop": "/loop", "/elsewhere": "file:///etc/passwd"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            body = bodies.get(self.path, b"")
            self.send_response(302 if self.path in places else 200 if self.path in bodies else 404)
            if self.path in places:
                self.send_header("Location", places[self.path])
            self.send_header("Content-Length", str(len(body) + (1000 if self.path == "/cut" else 0)))
            self.end_headers()
            if self.path == "/slow":
                released.wait(10)
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    released = threading.Event()
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    released.set()
    serving.shutdown()
    thread.join()
    serving.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("page", ["clip", "redirect"])
def test_urls_are_sources_and_redirects_are_followed(server, tone, page):
    assert np.array_equal(whole(f"{server}/{page}"), tone())
    assert np.array_equal(whole({"bytes": None, "path": f"{server}/{page}"}), tone())


@pytest.mark.parametrize(
    ("page", "reason", "says"),
    [
        ("loop", "not_found", "more than 10 redirects"),
        ("nowhere", "not_found", "HTTP status 404"),
        ("cut", "not_found", "no complete response"),
        ("elsewhere", "not_found", "a redirect to file:///etc/passwd"),
        ("text", "undecodable", "a file starting with b'<html>'"),
        ("empty", "empty", "0 bytes"),
    ],
)
def test_urls_without_a_recording_say_why(server, page, reason, says):
    error = refusal(f"{server}/{page}")
    assert error.reason == reason
    assert str(error).startswith(f"{server}/{page}: got ") and says in str(error)


def test_a_server_that_does_not_answer_is_given_up(server, monkeypatch):
    monkeypatch.setattr(addresses, "_CONNECT_S", 0.2)
    started = time.monotonic()
    error = refusal(f"{server}/slow")
    assert error.reason == "not_found" and "no complete response" in str(error)
    assert time.monotonic() - started < 5


def test_a_download_ends_at_its_largest_size(server, monkeypatch):
    monkeypatch.setattr(audio_sources, "MAX_BYTES", 1000)
    error = refusal(f"{server}/clip")
    assert error.reason == "not_found" and "more than" in str(error)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/clip", "http://", "http://[::1", f"http://{'a' * 70}.test/", "https://127.0.0.1:99999/"],
)
def test_addresses_that_lead_nowhere_are_not_found(url):
    error = refusal(url)
    assert error.reason == "not_found"
    assert str(error).startswith(f"{url}: got no complete response")
