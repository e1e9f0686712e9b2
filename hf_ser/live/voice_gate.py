"""Skip windows without enough sound, by the silence rule of the package with another level."""

from dataclasses import dataclass

import numpy as np

from hf_ser.errors import SerError
from hf_ser.remote_code.decoder import SAMPLING_RATE
from hf_ser.remote_code.windows import SILENCE_DBFS, is_silent

FRAME_S = 0.02


@dataclass(frozen=True)
class VoiceGate:
    """A rule which windows are classified. It measures levels: loud sounds other than speech pass.

    Args:
        level_dbfs: frames of 20 ms whose peak is below this level, in dB of full scale, are silent.
        min_active_s: seconds in frames that are not silent which a window needs.

    Raises:
        SerError: a level above 0 or below the level of silence, or a negative duration.

    >>> VoiceGate(-40.0, 0.1).passes(np.full(16_000, 0.005, np.float32))
    False
    """

    level_dbfs: float = SILENCE_DBFS
    min_active_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        if not SILENCE_DBFS <= self.level_dbfs <= 0:
            raise SerError(f"gate_dbfs: got {self.level_dbfs}; expected a level from {SILENCE_DBFS:g} to 0 dBFS.")
        if not 0 <= self.min_active_s < float("inf"):
            raise SerError(f"min_active_s: got {self.min_active_s}; expected a number of seconds of at least 0.")

    def passes(self, waveform: np.ndarray) -> bool:
        """Whether a window (samples,), float32 at 16 kHz, is classified."""
        if is_silent(waveform, self.level_dbfs):
            return False
        if self.min_active_s == 0:
            return True
        size = round(FRAME_S * SAMPLING_RATE)
        frames = [waveform[place : place + size] for place in range(0, len(waveform), size)]
        active = sum(len(frame) for frame in frames if not is_silent(frame, self.level_dbfs))
        return active >= self.min_active_s * SAMPLING_RATE
