"""Generated recordings of unusual kinds, and the expected outcome for each.

python tests/odd_files.py > docs/odd_files.md
"""

import io
import os
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile as sf

RATE = 16_000
SECONDS = 1.0


class Odd(NamedTuple):
    """An odd file.

    Args:
        name: of the file.
        what: is odd about it, for a person.
        content: bytes.
        seconds: expected duration; None if the file must be rejected.
        reason: of the refusal.
        exact: whether the samples must be those of `tone`.
        needs_av: whether PyAV must be installed.
    """

    name: str
    what: str
    content: bytes
    seconds: float | None = SECONDS
    reason: str = ""
    exact: bool = True
    needs_av: bool = False


def tone(rate: int = RATE, seconds: float = SECONDS) -> np.ndarray:
    """A tone in a little noise, on the grid of 16 bits: (samples,), float32."""
    count = round(rate * seconds)
    samples = 0.4 * np.sin(2 * np.pi * 440 * np.arange(count) / rate)
    samples += 0.02 * np.random.default_rng(count).uniform(-1, 1, count)
    return (np.rint(samples * 32768) / 32768).astype(np.float32)


def encoded(format: str, subtype: str = "PCM_16", samples: np.ndarray | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, tone() if samples is None else samples, RATE, format=format, subtype=subtype, **options)
    return buffer.getvalue()


def wav(riff: int | None = None, data: int | None = None, tail: bytes = b"") -> bytes:
    """A WAV file whose declared sizes may be given."""
    sound = (tone() * 32768).astype("<i2").tobytes()
    sizes = [36 + len(sound) + len(tail) if riff is None else riff, len(sound) if data is None else data]
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", sizes[0], b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16,
                       b"data", sizes[1])  # fmt: skip
    return head + sound + tail


def mp3_without_header(content: bytes) -> bytes:
    """An MP3 without its first frame, which declares the number of frames."""
    return content[content.index(content[:2], 4) :]


def id3(size: int = 3000) -> bytes:
    """A tag with a picture, as players put before a recording."""
    lengths = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + lengths + b"APIC" + bytes(size - 4)


def flac_of(frames: int) -> bytes:
    """A FLAC file whose header declares `frames` frames; 0 for unknown."""
    content = encoded("FLAC")
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | frames
    return content[:18] + packed.to_bytes(8, "big") + content[26:]


def media(format: str, codec: str, rate: int = 48_000) -> bytes:
    """What PyAV writes: M4A, WebM."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        samples = tone(rate)
        size = stream.codec_context.frame_size or 960
        for number, start in enumerate(range(0, len(samples), size)):
            part = np.ascontiguousarray(samples[start : start + size])
            frame = av.AudioFrame.from_ndarray(part[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, number * size
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def amr(frames: int = 50) -> bytes:
    """AMR of 12.2 kbit/s, 20 ms a frame."""
    drawn = np.random.default_rng(0).bytes(31 * frames)
    return b"#!AMR\n" + b"".join(b"\x3c" + drawn[31 * number : 31 * number + 31] for number in range(frames))


def has_av() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def make_odd_files() -> list[Odd]:
    """All of them; those that need PyAV only if it is installed."""
    return [*_sound(), *_headers(), *_cut(), *_unusable(), *(_media() if has_av() else [])]


def _sound() -> list[Odd]:
    formats = [
        ("u8.wav", "8-bit WAV", "WAV", "PCM_U8", False),
        ("pcm24.wav", "24-bit WAV", "WAV", "PCM_24", True),
        ("float.wav", "float WAV", "WAV", "FLOAT", True),
        ("double.wav", "64-bit float WAV", "WAV", "DOUBLE", True),
        ("extensible.wav", "WAVE_FORMAT_EXTENSIBLE", "WAVEX", "PCM_16", True),
        ("ulaw.wav", "mu-law WAV (telephone)", "WAV", "ULAW", False),
        ("adpcm.wav", "IMA ADPCM WAV", "WAV", "IMA_ADPCM", False),
        ("flac24.flac", "24-bit FLAC", "FLAC", "PCM_24", True),
        ("vorbis.ogg", "OGG Vorbis", "OGG", "VORBIS", False),
        ("opus.ogg", "OGG Opus", "OGG", "OPUS", False),
        ("mp3.mp3", "MP3 with a length in its first frame", "MP3", "MPEG_LAYER_III", False),
        ("aiff.wav", "AIFF named .wav", "AIFF", "PCM_16", True),
        ("au.au", "AU", "AU", "PCM_16", True),
        ("caf.caf", "CAF", "CAF", "PCM_16", True),
        ("w64.wav", "W64 named .wav", "W64", "PCM_16", True),
        ("rf64.wav", "RF64 named .wav", "RF64", "PCM_16", True),
        ("nist.sph", "NIST", "NIST", "PCM_16", True),
        ("voc.voc", "VOC", "VOC", "PCM_16", True),
        ("svx.iff", "8SVX/16SV", "SVX", "PCM_16", True),
    ]
    files = [Odd(name, what, encoded(form, sub), exact=exact) for name, what, form, sub, exact in formats]
    big = encoded("WAV", endian="BIG")
    stereo = np.stack([tone(), tone()], axis=1)
    mp3, vorbis = encoded("MP3", "MPEG_LAYER_III"), encoded("OGG", "VORBIS")
    return [
        *files,
        Odd("rifx.wav", "big-endian WAV (RIFX)", big),
        Odd("stereo.wav", "stereo, both channels equal", encoded("WAV", samples=stereo)),
        Odd("no_length.mp3", "MP3 without a length (no Xing header)", mp3_without_header(mp3), exact=False),
        Odd("tagged.mp3", "MP3 with cover art before and tags after", id3() + mp3 + b"TAG" + bytes(125), exact=False),
        Odd("joined.mp3", "two MP3 files, concatenated", mp3 + mp3, 2 * SECONDS, exact=False),
        Odd("joined.ogg", "two OGG files, concatenated", vorbis + vorbis, 2 * SECONDS, exact=False),
        Odd("loud.wav", "float WAV that reaches 2 (scaled)", encoded("WAV", "FLOAT", 5 * tone()), exact=False),
        Odd("integers.wav", "float WAV of 16-bit integers (divided)", encoded("WAV", "FLOAT", tone() * 32768)),
    ]


def _headers() -> list[Odd]:
    size = 2 * round(RATE * SECONDS)
    flac = encoded("FLAC")
    au = bytearray(encoded("AU"))
    au[8:12] = b"\xff" * 4
    return [
        Odd("size_0.wav", "sizes not filled in (0 and 0)", wav(0, 0)),
        Odd("size_36.wav", "sizes not filled in (36 and 0)", wav(36, 0)),
        Odd("size_max.wav", "sizes not filled in (FFFFFFFF)", wav(0xFFFFFFFF, 0xFFFFFFFF)),
        Odd("size_44_more.wav", "data size 44 bytes too large", wav(None, size + 44)),
        Odd("size_half.wav", "data size half of the actual size", wav(36 + size // 2, size // 2)),
        Odd("trailer.wav", "chunks after the audio data", wav(tail=b"LIST\x04\0\0\0INFO")),
        Odd("junk.wav", "zeros after the audio data", wav(36 + size, tail=bytes(64))),
        Odd("tag.wav", "ID3 tag before RIFF", id3() + wav()),
        Odd("unknown.au", "AU of unknown length", bytes(au)),
        Odd("unknown.flac", "FLAC of unknown length", flac_of(0)),
        Odd("short_count.flac", "FLAC that declares too few frames", flac_of(1000)),
        Odd("tags.flac", "FLAC with ID3 tags before and after", id3() + flac + b"TAG" + bytes(125)),
        Odd("caf\udce9.wav", "file name that is not UTF-8", wav()),
    ]


def _cut() -> list[Odd]:
    formats = [("wav", "WAV"), ("rf64.wav", "RF64"), ("w64", "W64"), ("au", "AU"), ("aiff", "AIFF"), ("caf", "CAF")]
    formats += [("sph", "NIST"), ("voc", "VOC"), ("iff", "SVX"), ("flac", "FLAC")]
    lossy = [("ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS"), ("mp3", "MP3", "MPEG_LAYER_III")]
    every = [*((suffix, format, "PCM_16") for suffix, format in formats), *lossy]
    files = [(suffix, encoded(format, subtype)) for suffix, format, subtype in every]
    return [
        Odd(f"cut.{suffix}", f"{suffix.upper()} cut after 60 %", content[: len(content) * 3 // 5], None, "truncated")
        for suffix, content in files
    ]


def _unusable() -> list[Odd]:
    opposite = np.stack([tone(), -tone()], axis=1)
    broken = tone()
    broken[100] = np.nan
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    fork = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(100)
    return [
        Odd("opposite.wav", "stereo, channels that cancel", encoded("WAV", samples=opposite), None, "silent"),
        Odd("silent.wav", "silence", encoded("WAV", samples=np.zeros(RATE)), None, "silent"),
        Odd("nan.wav", "NaN in a float WAV", encoded("WAV", "FLOAT", broken), None, "not_finite"),
        Odd("huge.wav", "float samples of 3e38", encoded("WAV", "FLOAT", np.full(RATE, 3e38)), None, "level"),
        Odd("empty.wav", "empty file", b"", None, "empty"),
        Odd("header.wav", "header without audio data", wav()[:40] + bytes(4), None, "empty"),
        Odd("pointer.wav", "Git LFS pointer", pointer, None, "lfs_pointer"),
        Odd("text.wav", "text", b"no audio at all\n" * 100, None, "undecodable"),
        Odd("headerless.raw", "samples without a header", wav()[44:], None, "undecodable"),
        Odd("._fork.wav", "macOS resource fork", fork, None, "undecodable"),
        Odd("short.wav", "0.05 s", encoded("WAV", samples=tone(seconds=0.05)), None, "too_short"),
    ]


def _media() -> list[Odd]:
    m4a, webm = media("ipod", "aac"), media("webm", "libopus")
    cut = {"needs_av": True, "seconds": None, "reason": "truncated"}
    return [
        Odd("phone.m4a", "M4A (AAC) from a phone", m4a, exact=False, needs_av=True),
        Odd("browser.webm", "WebM (Opus) from a browser", webm, exact=False, needs_av=True),
        Odd("adts.aac", "AAC without a container", media("adts", "aac"), exact=False, needs_av=True),
        Odd("voice.amr", "AMR", amr(), exact=False, needs_av=True),
        Odd("cut.m4a", "M4A cut after 60 %", m4a[: len(m4a) * 3 // 5], **cut),
        Odd("cut.webm", "WebM cut after 60 %", webm[: len(webm) * 3 // 5], **cut),
        Odd("cut.amr", "AMR cut within a frame", amr()[:-7], **cut),
    ]


def write(folder: Path, odd: Odd) -> str:
    """Write a file and return its path; its name may not be UTF-8."""
    path = os.path.join(str(folder), odd.name)
    with open(path, "wb") as file:
        file.write(odd.content)
    return path


def outcome(path: str) -> str:
    """Outcome of `load_audio` for a file: seconds and notes, or the reason why it is rejected."""
    from hf_ser.audio import AudioError, decode, silence_error, to_mono
    from hf_ser.remote_code.windows import MIN_DURATION_S, is_silent

    try:
        decoded = decode(path)
        seconds = len(decoded.samples) / decoded.sampling_rate
        if seconds < MIN_DURATION_S:
            return "rejected: too_short"
        if is_silent(to_mono(decoded.samples)):
            raise silence_error("", float(np.abs(decoded.samples).max()))
    except AudioError as error:
        return f"rejected: {error.reason}"
    return f"{seconds:.2f} s" + "".join(f"; {note}" for note in decoded.notes)


def table() -> str:
    """The page docs/odd_files.md."""
    lines = [
        "# Odd files",
        "",
        "`tests/odd_files.py` generates these files. Tests pass each of them to `load_audio`, the pipeline, the scan",
        "of `recipes/prepare.py` and `hf-ser predict`, and assert that all four give the outcome shown here and that",
        "the decoded samples equal the original ones.",
        "",
        "Two limits differ by purpose. `load_audio` accepts silence and clips below 0.1 s, which a model cannot",
        "classify. Preparation rejects clips below 0.3 s (`--min_duration_s`). M4A, WebM, AAC and AMR require PyAV",
        '(`pip install "hf-ser[media]"`). Without it they are rejected with this command in the message.',
        "",
        "| file | what it is | outcome |",
        "|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for odd in make_odd_files():
            name = odd.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            lines.append(f"| `{name}` | {odd.what} | {outcome(write(Path(folder), odd))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
