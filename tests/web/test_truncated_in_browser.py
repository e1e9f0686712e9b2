"""Truncated recordings on the static page: the rules and, where the browser allows it, the messages of the decoder."""

import io
import json
import re

import numpy as np
import pytest

from hf_ser.audio import AudioError, load_audio

pytestmark = pytest.mark.browser
SECONDS = 1.5
# Kind -> format and subtype of libsndfile, channels.
KINDS = {
    "pcm16.wav": ("WAV", "PCM_16", 2),
    "float.wav": ("WAVEX", "FLOAT", 1),
    "ulaw.wav": ("WAV", "ULAW", 1),
    "voice.ogg": ("OGG", "VORBIS", 1),
    "voice.mp3": ("MP3", "MPEG_LAYER_III", 1),
    "voice.flac": ("FLAC", "PCM_16", 1),
}
SAME_WORDS = ("pcm16.wav", "float.wav", "ulaw.wav", "voice.ogg", "voice.m4a")


def _m4a(samples):
    av = pytest.importorskip("av", reason="PyAV is not installed (extra media)")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def contents(tone, encode):
    """Whole files by name."""
    made = {"voice.m4a": _m4a(tone(SECONDS))}
    for name, (format, subtype, channels) in KINDS.items():
        made[name] = encode(tone(SECONDS, channels=channels), format=format, subtype=subtype)
    return made


@pytest.fixture(scope="module")
def answers(contents, launch_chromium, serve, page_folder, tmp_path_factory):
    """Answers of the page for whole and truncated files and for odd headers."""
    folder, written = tmp_path_factory.mktemp("files"), []
    pcm16 = contents["pcm16.wav"]
    size = pcm16.index(b"data") + 4
    odd = {
        "streamed.wav": pcm16[:size] + b"\xff" * 4 + pcm16[size + 4 :],
        "counts_the_header.wav": pcm16[:size] + (len(pcm16)).to_bytes(4, "little") + pcm16[size + 4 :],
        "tagged.flac": b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + contents["voice.flac"],
    }
    cut = {f"cut_{name}": content[: len(content) * 2 // 3] for name, content in contents.items()}
    damaged = {"damaged.flac": contents["voice.flac"][:2000] + bytes(200)}
    for name, content in {**contents, **odd, **cut, **damaged}.items():
        written.append(folder / name)
        written[-1].write_bytes(content)
    page = launch_chromium("--disable-gpu").new_page()
    page.set_default_timeout(120_000)
    page.goto(serve(page_folder).address)
    page.locator("#status").get_by_text("Ready.").wait_for()
    page.locator("#files").set_input_files(written)
    page.locator("article").nth(len(written) - 1).wait_for()
    page.locator("#status:not(.busy)").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    with open(download.value.path(), encoding="utf-8") as file:
        return folder, {answer["file"]: answer for answer in json.load(file)}


def test_whole_recordings_are_classified(answers, contents):
    for name in (*contents, "streamed.wav", "counts_the_header.wav", "tagged.flac"):
        assert "scores" in answers[1][name], (name, answers[1][name])


def test_truncated_recordings_are_refused_as_in_python(answers, contents):
    folder, found = answers
    for name in contents:
        with pytest.raises(AudioError) as raised:
            load_audio(folder / f"cut_{name}")
        answer, error = found[f"cut_{name}"], raised.value
        assert (answer.get("reason"), error.reason) == ("truncated", "truncated"), (name, answer)
        ending = f"; expected {error.expected}. {error.remedy}"
        assert answer["error"].endswith(ending), name
        if name in SAME_WORDS:
            assert answer["error"] == f"got {error.got}{ending}"


def test_compressed_recordings_say_how_much_is_left(answers, contents):
    flac, mp3 = (answers[1][f"cut_voice.{kind}"]["error"] for kind in ("flac", "mp3"))
    left = re.match(r"got FLAC of 1\.5 s that ends or is damaged after (\d\.\d) s;", flac)
    assert left and 0 < float(left[1]) <= 2 / 3 * SECONDS
    size = len(contents["voice.mp3"])
    assert mp3.startswith(f"got MP3 with {size * 2 // 3} of {size} bytes;")
    assert answers[1]["damaged.flac"]["error"].startswith("got FLAC that ends early or is damaged;")
