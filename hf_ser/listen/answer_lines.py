"""The answers of `hf-ser listen`: a line for each window, a JSONL file, and a summary."""

import json
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.listen.listen_error import ListenError

_MOST_LATENCIES = 100_000  # of the last windows; a stream may never end


def answer_line(answer: Mapping[str, Any], width: int) -> str:
    """Describe a window in one line.

    Args:
        answer: see `StreamingRecognizer.feed`.
        width: columns of the longest label.

    >>> answer_line({"start": 1.0, "end": 4.0, "silent": False, "label": "sad", "score": 0.9, "abstained": False}, 7)
    '     1.0 to      4.0 s  sad      0.900'
    """
    said = "silence"
    if "error" in answer:
        said = "error: " + answer["error"]
    elif not answer["silent"]:
        said = f"{answer['label']:<{width}}  {answer['score']:.3f}"
        if answer.get("abstained"):
            said += "  not sure"
    return f"{answer['start']:8.1f} to {answer['end']:8.1f} s  {said}"


class AnswerFile:
    """A JSONL file to which each answer is appended in one write.

    Args:
        path: of the file; created if it does not exist.
        **origin: fields that each line starts with, such as the source.

    Raises:
        ListenError: the file has another ending, is not writable, or does not end with a complete line.
    """

    def __init__(self, path: str, **origin: str) -> None:
        self._origin = origin
        if Path(path).suffix.lower() != ".jsonl":
            raise ListenError(f"--output {path}: expected a file that ends in .jsonl.")
        try:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115  # open until the end of the stream
            if self._file.tell():
                self._file.seek(-1, os.SEEK_END)
                if self._file.read() != b"\n":
                    self._file.close()
                    raise ListenError(
                        f"--output {path}: got an incomplete last line; expected JSON lines. Complete it."
                    )
        except OSError as error:
            raise ListenError(f"--output {path}: {error.strerror}. Name another file.") from error

    def write(self, answer: Mapping[str, Any]) -> None:
        """Append an answer."""
        self._file.write(json.dumps({**self._origin, **answer}).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class StreamMeter:
    """How fast windows are answered.

    >>> meter = StreamMeter()
    >>> meter.add(duration_s=1.0, computed_s=0.02, latencies_s=[0.02])
    >>> meter.summary()
    '1 window of 1.0 s of sound: latency per window 20 ms (median), 20 ms (99th percentile); real-time factor 0.020'
    """

    windows: int = 0
    duration_s: float = 0.0  # of the sound
    computed_s: float = 0.0
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_LATENCIES))

    def add(self, duration_s: float, computed_s: float, latencies_s: list[float]) -> None:
        """Count a block of sound.

        Args:
            duration_s: seconds of sound.
            computed_s: seconds for its answers.
            latencies_s: for each window, seconds from the arrival of its last block to its answer.
        """
        self.duration_s += duration_s
        self.computed_s += computed_s
        self.windows += len(latencies_s)
        self.latencies_s.extend(latencies_s)

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing per second of sound."""
        return self.computed_s / self.duration_s if self.duration_s else 0.0

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the latency per window in milliseconds."""
        return 1000 * float(np.percentile(self.latencies_s, percent)) if self.latencies_s else 0.0

    def summary(self) -> str:
        """Number of windows, seconds of sound, latency and real-time factor, in one line."""
        counted = f"{self.windows:,} window{'' if self.windows == 1 else 's'} of {self.duration_s:,.1f} s of sound"
        if not self.latencies_s:
            return counted
        median, most = (f"{self.percentile_ms(percent):.0f} ms" for percent in (50, 99))
        return (
            f"{counted}: latency per window {median} (median), {most} (99th percentile); "
            f"real-time factor {self.real_time_factor:.3f}"
        )
