"""Decode broken copies of recordings in a process of its own, which may crash, hang or need too much memory."""

import random
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np
from mutations import mutate_bytes
from odd_files import encoded, media

from hf_ser.audio import AudioError, load_audio
from hf_ser.remote_code.media import Media, read_media

_MEMORY = 1 << 30  # bytes, beyond what the process has mapped when it starts
LIBSNDFILE = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III", "AIFF": "PCM_16"}
PYAV = {"ipod": "aac", "webm": "libopus", "mp4": "aac", "adts": "aac", "matroska": "flac"}


@contextmanager
def process() -> Iterator[ProcessPoolExecutor]:
    """A process with a limit of memory; `submit(decode, ...)` raises BrokenProcessPool if it crashes."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_limit_memory) as pool:
        yield pool


def _limit_memory() -> None:
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY, mapped + _MEMORY))


def decode(format: str, seed: int, *, with_pyav: bool = False) -> str:
    """Decode the broken copy of this seed -> "decoded" or "rejected".

    Args:
        format: of `LIBSNDFILE` or `PYAV`.
        seed: of the mutation.
        with_pyav: decode with PyAV what libsndfile would decode.
    """
    good = encoded(format, LIBSNDFILE[format]) if format in LIBSNDFILE else media(format, PYAV[format])
    content = mutate_bytes(good, random.Random(seed))
    try:
        if with_pyav:
            blocks, _ = read_media(content, Media(format), "recording")
            samples = np.concatenate(list(blocks))
        else:
            samples = load_audio(content)
            assert np.isfinite(samples).all()
    except AudioError as error:
        assert "\n" not in str(error), str(error)
        return "rejected"
    assert 0 < samples.size < 1 << 26
    return "decoded"
