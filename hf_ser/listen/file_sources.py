"""Samples of recordings, WAV and raw samples from files and pipes, block by block."""

import sys
import time
import wave
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

import numpy as np

from hf_ser.listen.listen_error import ListenError
from hf_ser.listen.sound_block import BLOCK_S, SoundBlock
from hf_ser.remote_code.array_samples import MAX_CHANNELS, RATE_RANGE_HZ
from hf_ser.remote_code.decoder import Recording, open_recording

STDIN = "-"


def file_blocks(path: str) -> Iterator[SoundBlock]:
    """Open a recording of any supported format.

    Raises:
        AudioError: the recording cannot be used. Reading the blocks may raise it, too.
    """
    return _split(open_recording(path))


def _split(recording: Recording) -> Iterator[SoundBlock]:
    size = max(1, round(BLOCK_S * recording.sampling_rate))
    for block in recording.blocks:
        for place in range(0, len(block), size):
            yield SoundBlock(block[place : place + size], recording.sampling_rate, time.perf_counter())


def raw_blocks(path: str, sampling_rate: int, channels: int) -> Iterator[SoundBlock]:
    """Read raw samples, 16-bit little-endian integers, from a file or from standard input.

    Args:
        path: of the file; `-` for standard input.
        sampling_rate: Hz.
        channels: number of interleaved channels.

    Raises:
        ListenError: the file cannot be read, or the rate or number of channels is out of range.
    """
    low, high = RATE_RANGE_HZ
    if not low <= sampling_rate <= high:
        raise ListenError(f"--raw_rate {sampling_rate}; expected a rate from {low} to {high} Hz.")
    if not 1 <= channels <= MAX_CHANNELS:
        raise ListenError(f"--raw_channels {channels}; expected a number from 1 to {MAX_CHANNELS}.")
    frame = 2 * channels
    with closing(_open(path)) as file:
        while content := file.read(frame * max(1, round(BLOCK_S * sampling_rate))):
            whole = len(content) // frame * frame  # an incomplete sample at the end is left out
            samples = np.frombuffer(content[:whole], "<i2").reshape(-1, channels).astype(np.int16)
            yield SoundBlock(samples, sampling_rate, time.perf_counter())


def wave_blocks() -> Iterator[SoundBlock]:
    """Read a WAV file of integers from standard input while it is written, such as by ffmpeg.

    Its header may declare any length: such programs write it before they know the length.

    Raises:
        ListenError: the content is not a WAV file of integers.
    """
    with closing(_open(STDIN)) as file:
        try:
            reader = wave.open(file)  # noqa: SIM115  # closed with the file
        except (wave.Error, EOFError) as error:
            got = str(error) or "no data"
            raise ListenError(
                f"standard input: got {got}; expected a WAV file with integer samples. Convert it, for example with "
                "ffmpeg -i FILE -f wav -, or pass raw samples with --raw_rate."
            ) from error
        rate, channels, width = reader.getframerate(), reader.getnchannels(), reader.getsampwidth()
        while content := reader.readframes(max(1, round(BLOCK_S * rate))):
            whole = len(content) // (width * channels) * width * channels
            yield SoundBlock(_integers(content[:whole], width).reshape(-1, channels), rate, time.perf_counter())


def paced(blocks: Iterator[SoundBlock]) -> Iterator[SoundBlock]:
    """Yield each block once its last sample would have been recorded, as a microphone would."""
    started_s, played_s = time.perf_counter(), 0.0
    for block in blocks:
        played_s += len(block.samples) / block.sampling_rate
        time.sleep(max(0.0, started_s + played_s - time.perf_counter()))
        yield block._replace(arrived_s=time.perf_counter())


def _integers(content: bytes, width: int) -> np.ndarray:
    """Little-endian integers of 1 to 4 bytes -> (samples,), uint8, int16 or int32."""
    if width == 3:  # as the upper three bytes of four
        upper = np.frombuffer(content, np.uint8).reshape(-1, 3)
        return np.pad(upper, ((0, 0), (1, 0))).view("<i4")[:, 0].astype(np.int32)
    return np.frombuffer(content, {1: "u1", 2: "<i2", 4: "<i4"}[width])


def _open(path: str) -> BinaryIO:
    if path == STDIN:
        return sys.stdin.buffer
    try:
        return open(path, "rb")
    except OSError as error:
        raise ListenError(f"--input {path}: {error.strerror}. Check the path.") from error
