"""What a source of sound yields."""

from typing import NamedTuple

import numpy as np

BLOCK_S = 0.1  # seconds that files are read and microphones are asked for at a time


class SoundBlock(NamedTuple):
    """Samples and when they arrived."""

    samples: np.ndarray  # (samples, channels), int16, int32, uint8 or float32
    sampling_rate: int  # Hz
    arrived_s: float  # time.perf_counter()
