"""Samples of a microphone, recorded by PortAudio through sounddevice."""

import queue
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from hf_ser.extras import needs_extra
from hf_ser.listen.listen_error import ListenError
from hf_ser.listen.sound_block import BLOCK_S, SoundBlock

_MOST_BLOCKS = 300  # blocks that wait for the model, 30 s
_PATIENCE_S = 5.0  # a working microphone also delivers silence
_REMEDY = "Connect a microphone, choose one with --microphone, or pass --input FILE."


class Microphone:
    """An iterator over the blocks of a microphone, at its own sampling rate.

    Args:
        name: number or part of the name of a device; None for the default one of the system.

    Raises:
        ListenError: there is no such microphone, or it cannot be opened.
        MissingExtraError: sounddevice is not installed.
    """

    def __init__(self, name: str | None = None) -> None:
        self.dropped_s = 0.0  # seconds of sound that were lost because the model is slower than the microphone
        self._blocks: queue.Queue[tuple[np.ndarray, float]] = queue.Queue(_MOST_BLOCKS)
        self._sounddevice = _sounddevice()
        device = int(name) if name is not None and name.isdecimal() else name
        try:
            found = self._sounddevice.query_devices(device, "input")
            self.sampling_rate = round(found["default_samplerate"])
            self._stream = self._sounddevice.InputStream(
                samplerate=self.sampling_rate,
                blocksize=round(BLOCK_S * self.sampling_rate),
                device=device,
                channels=1,
                dtype="int16",
                callback=self._keep,
            )
        except (self._sounddevice.PortAudioError, ValueError) as error:
            wanted = "the default microphone" if name is None else f"--microphone {name}"
            raise ListenError(f"{wanted}: got {_said(error)}; expected an input device. {_REMEDY}") from error
        self.name = str(found["name"])

    def __iter__(self) -> Iterator[SoundBlock]:
        """Record until the caller stops.

        Raises:
            ListenError: the microphone cannot be started, or stopped delivering samples.
        """
        try:
            with self._stream:
                while True:
                    samples, arrived_s = self._blocks.get(timeout=_PATIENCE_S)
                    yield SoundBlock(samples, self.sampling_rate, arrived_s)
        except self._sounddevice.PortAudioError as error:
            raise ListenError(f"{self.name}: got {_said(error)}; expected samples. {_REMEDY}") from error
        except queue.Empty:
            got = f"no samples for {_PATIENCE_S:g} s"
            raise ListenError(f"{self.name}: got {got}; expected a microphone that records. {_REMEDY}") from None

    def _keep(self, samples: np.ndarray, frames: int, times: Any, status: Any) -> None:
        """Store a block; called by PortAudio's thread, whose buffer is used again afterwards."""
        try:
            self._blocks.put_nowait((samples.copy(), time.perf_counter()))
        except queue.Full:
            self.dropped_s += frames / self.sampling_rate


def _sounddevice() -> Any:
    with needs_extra("listen"):
        try:
            import sounddevice
        except OSError as error:  # the wheel for Linux does not contain PortAudio
            raise ListenError(
                "got no PortAudio library; expected one for the microphone. Install it, for example with: "
                "apt-get install libportaudio2"
            ) from error
    return sounddevice


def _said(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
