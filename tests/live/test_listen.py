"""`hf-ser listen`: files, pipes and a microphone give the windows of the pipeline; bad sources are one line."""

import io
import json
import os
import re
import signal
import sys
import threading
import time
import types

import numpy as np
import pytest
import soundfile as sf

from hf_ser.cli import main
from hf_ser.listen import microphone_source
from hf_ser.runtime import OnnxPipeline

RATE = 22_050


@pytest.fixture(scope="module")
def samples():
    """Three seconds of noise, the last one silent, int16 (samples,)."""
    noise = (np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE) * 32_767).astype(np.int16)
    noise[round(1.9 * RATE) :] = 0
    return noise


@pytest.fixture(scope="module")
def timeline(tiny_graph, samples):
    """What the pipeline says about these samples as a whole."""
    source = {"array": samples, "sampling_rate": RATE}
    return OnnxPipeline(tiny_graph[1])(source, window_s=1.0, stride_s=0.5, return_timeline=True)["timeline"]


@pytest.fixture
def listen(tiny_graph, tmp_path, capsys, monkeypatch):
    """Run the command -> its exit code, the answers in its file, stdout and stderr."""

    def run(*words, stdin=b"", window=("--window_s", "1", "--hop_s", "0.5")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        path = tmp_path / "answers.jsonl"
        path.unlink(missing_ok=True)
        code = main(["listen", "--model", str(tiny_graph[1]), "--output", str(path), *window, *map(str, words)])
        answers = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return code, answers, *capsys.readouterr()

    return run


def raw(answers):
    return [{name: answer[name] for name in ("start", "end", "silent", "scores")} for answer in answers]


def test_a_file_gives_a_line_per_window_and_a_summary(listen, tmp_path, samples, timeline):
    for name, subtype in (("voice.wav", "PCM_16"), ("voice.flac", "PCM_16")):
        sf.write(tmp_path / name, samples, RATE, subtype)
        code, answers, out, errors = listen("--input", tmp_path / name)
        assert code == 0 and raw(answers) == timeline and len(timeline) == 5
    assert answers[0]["source"] == str(tmp_path / name) and re.fullmatch(r"\d{4}-.*\+00:00", answers[0]["started"])
    lines = out.splitlines()
    best = timeline[0]["scores"][0]
    unsure = "  not sure" if best["score"] < 0.6 else ""
    assert lines[0] == f"{0:8.1f} to {1:8.1f} s  {best['label']:<7}  {best['score']:.3f}{unsure}"
    assert lines[-1] == f"{2:8.1f} to {3:8.1f} s  silence" and len(lines) == 5
    summary = r"5 windows of 3.0 s of sound: latency per window \d+ ms \(median\), \d+ ms \(99th percentile\); "
    assert re.fullmatch(summary + r"real-time factor \d\.\d+\n", errors)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
def test_wave_from_a_pipe_is_read_while_it_is_written(listen, encode, samples, subtype):
    content = encode(samples / np.float32(32_768), RATE, subtype=subtype)
    place = content.index(b"data") + 4
    endless = content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :]  # as ffmpeg writes to a pipe
    whole = listen("--input", "-", stdin=content)[1]
    code, answers, _, _ = listen("--input", "-", stdin=endless)
    assert code == 0 and raw(answers) == raw(whole) and len(answers) == 5
    cut = listen("--input", "-", stdin=endless[:-1])[1]
    assert [each["scores"] for each in cut][:4] == [each["scores"] for each in answers][:4]


def test_raw_samples_and_their_channels(listen, tmp_path, samples, timeline):
    assert raw(listen("--input", "-", "--raw_rate", RATE, stdin=samples.tobytes())[1]) == timeline
    (tmp_path / "voice.raw").write_bytes(np.repeat(samples, 2).tobytes() + b"\0")
    words = ("--input", tmp_path / "voice.raw", "--raw_rate", RATE, "--raw_channels", 2)
    assert raw(listen(*words)[1]) == timeline


def test_real_time_waits_for_the_sound(listen, samples, monkeypatch):
    waited = []
    monkeypatch.setattr("hf_ser.listen.file_sources.time.sleep", waited.append)
    part = samples[: RATE // 2].tobytes()
    listen("--input", "-", "--raw_rate", RATE, "--realtime", stdin=part)
    assert len(waited) == 5 and max(waited) > 0.2  # without sleeping, the wait grows to the length of the sound
    listen("--input", "-", "--raw_rate", RATE, stdin=part)
    assert len(waited) == 5


def test_decisions_and_abstention(listen, tmp_path, samples):
    sf.write(tmp_path / "voice.wav", samples, RATE)
    path = tmp_path / "voice.wav"
    assert all(each["abstained"] or each["silent"] for each in listen("--input", path, "--abstain", "1")[1])
    assert "abstained" not in listen("--input", path, "--abstain", "off")[1][0]
    assert [each["silent"] for each in listen("--input", path, "--gate_dbfs", "-1")[1]] == [True] * 5
    words = ("--smooth_windows", 2, "--switch_margin", 0.2, "--switch_windows", 2, "--min_active_s", 0.1)
    assert raw(listen("--input", path, *words)[1])[:3] == raw(listen("--input", path)[1])[:3]


def test_answers_are_appended(listen, tiny_graph, tmp_path, samples):
    sf.write(tmp_path / "voice.wav", samples, RATE)
    words = ["listen", "--model", str(tiny_graph[1]), "--input", str(tmp_path / "voice.wav")]
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        assert main([*words, "--output", str(path)]) == 0
    assert len(path.read_text().splitlines()) == 2
    path.write_text('{"start": 0')
    assert main([*words, "--output", str(path)]) == 2 and path.read_text() == '{"start": 0'


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        (("--input", "missing.wav"), b"", r"missing.wav: got no such file; expected .*"),
        (("--input", "missing.raw", "--raw_rate", 8_000), b"", r"--input missing.raw: No such file or directory\..*"),
        (("--input", "-"), b"words, not sound" * 9, r"standard input: got .*; expected a WAV file with integer .*"),
        (("--input", "-"), b"", r"standard input: got no data; expected a WAV file .*"),
        (("--input", "-", "--raw_rate", 10), b"", r"--raw_rate 10; expected a rate from 1000 to 768000 Hz\."),
        (("--input", "-", "--raw_rate", 8_000, "--raw_channels", 0), b"", r"--raw_channels 0; expected a number .*"),
        (("--input", "-", "--microphone", "1"), b"", r"got both --input and --microphone; .*"),
        (("--realtime",), b"", r"--realtime needs --input\. .*"),
        (("--raw_channels", 2), b"", r"--raw_channels needs --raw_rate\. .*"),
        (("--input", "-", "--device", "cpu"), b"", r"--device has no effect on a graph\. Remove it\."),
        (("--input", "-", "--hop_s", 9), b"", r"hop_s: got 9.0; expected at most window_s, which is 1.0\."),
        (("--input", "-", "--abstain", "often"), b"", r"--abstain often; expected a number from 0 to 1, or off\."),
        (("--input", "-", "--output", "answers.csv"), b"", r"--output answers.csv: expected a file that ends in .*"),
    ],
)
def test_bad_sources_and_options_are_one_line(listen, words, stdin, message):
    code, _, out, errors = listen(*words, stdin=stdin)
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"(0 windows of 0.0 s of sound\n)?error: {message}\n", errors)


class FakeSounddevice(types.ModuleType):
    """A microphone that delivers samples from another thread, as PortAudio does, and then stays silent."""

    class PortAudioError(Exception):
        pass

    def __init__(self, samples, after=lambda microphone: None):
        super().__init__("sounddevice")
        self.samples, self.after, self.devices = samples, after, [{"name": "Fake", "default_samplerate": float(RATE)}]

    def query_devices(self, device, kind):
        if not self.devices:
            raise self.PortAudioError("Error querying device -1")
        if device not in (None, 0, "Fake"):
            raise ValueError(f"No input device matching {device!r}")
        return self.devices[0]

    def InputStream(self, *, samplerate, blocksize, callback, channels, dtype, device):  # noqa: N802
        assert (samplerate, channels, dtype) == (RATE, 1, "int16")
        fake = self

        class Stream:
            def __enter__(self):
                threading.Thread(target=self.play, daemon=True).start()

            def play(self):
                buffer = np.empty((blocksize, 1), np.int16)  # used again for each block
                for place in range(0, len(fake.samples) - blocksize + 1, blocksize):
                    buffer[:, 0] = fake.samples[place : place + blocksize]
                    callback(buffer, blocksize, None, None)
                fake.after(callback.__self__)

            def __exit__(self, *error):
                pass

        return Stream()


def press_ctrl_c(microphone):
    while not microphone._blocks.empty():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_microphone_until_ctrl_c(listen, samples, timeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice(samples, press_ctrl_c))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
    try:
        code, answers, out, errors = listen("--microphone", "Fake")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 0 and len(out.splitlines()) == 5 and raw(answers) == timeline
    assert errors.startswith(f"Listening to Fake at {RATE} Hz (press Ctrl-C to stop)\n")
    assert "\n5 windows of 3.0 s of sound: latency per window " in errors


def test_a_model_that_is_too_slow_loses_sound_and_says_so(samples, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice(samples))
    monkeypatch.setattr(microphone_source, "_MOST_BLOCKS", 10)
    microphone = microphone_source.Microphone()
    for _ in range(25):
        microphone._keep(np.zeros((2_205, 1), np.int16), 2_205, None, None)
    assert microphone.dropped_s == pytest.approx(1.5)


def test_no_microphone_is_one_line_that_says_what_to_do(listen, samples, monkeypatch):
    fake = FakeSounddevice(samples)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(microphone_source, "_PATIENCE_S", 0.05)
    remedy = "Connect a microphone, choose one with --microphone, or pass --input FILE."
    assert listen("--microphone", "7")[3] == (
        f"error: --microphone 7: got No input device matching 7; expected an input device. {remedy}\n"
    )
    fake.samples = samples[:0]
    code, _, _, errors = listen()
    assert (
        code == 2 and f"error: Fake: got no samples for 0.05 s; expected a microphone that records. {remedy}" in errors
    )
    fake.devices = []
    got = "got Error querying device -1; expected an input device."
    assert listen()[3] == f"error: the default microphone: {got} {remedy}\n"
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert 'Install it with: pip install "hf-ser[listen]"' in listen()[3]


def test_a_missing_portaudio_says_what_to_install(listen, tmp_path, monkeypatch):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    code, _, _, errors = listen()
    assert (
        code == 2 and errors.startswith("error: got no PortAudio library; expected one") and "libportaudio2" in errors
    )
