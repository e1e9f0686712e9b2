"""One thread that classifies the clips of all requests, several at a time."""

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hf_ser.remote_code.decoder import SAMPLING_RATE
from hf_ser.serving.serving_limits import ServingLimits, busy
from hf_ser.serving.serving_metrics import ServingMetrics

_LONGEST_CLIPS = 6  # as many clips of the largest length wait at a time


@dataclass(eq=False)
class _Waiting:
    """A clip that waits for its answer."""

    waveform: np.ndarray  # (samples,), float32 at 16 kHz
    name: str
    options: Mapping[str, Any]
    future: Future = field(default_factory=Future)

    @property
    def source(self) -> dict[str, Any]:
        return {"raw": self.waveform, "sampling_rate": SAMPLING_RATE, "path": self.name}


class BatchingWorker:
    """Collect clips of several requests and classify them together.

    The thread waits up to `max_wait_s` for more clips, but only while other clips are being decoded.

    Args:
        classify: a `SpeechEmotionPipeline` or `OnnxPipeline`; called from one thread only.
        batch_size: clips per call, and windows per forward pass.
        max_wait_s: seconds to wait for more clips.
        limits: of the queue.
        metrics: of the server.
    """

    def __init__(
        self, classify: Any, batch_size: int, max_wait_s: float, limits: ServingLimits, metrics: ServingMetrics
    ) -> None:
        self.places_taken = 0  # changed by the event loop's thread only
        self._classify, self._batch_size, self._max_wait_s = classify, batch_size, max_wait_s
        self._queue_size, self._metrics = limits.queue_size, metrics
        self._max_samples = round(_LONGEST_CLIPS * limits.max_duration_s * SAMPLING_RATE)
        self._samples_waiting, self._lock = 0, threading.Lock()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hf-ser serve: model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Answer the clips that are waiting, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether clips are answered."""
        return self._thread.is_alive()

    def check_room(self, count: int = 1) -> None:
        """Raise `RequestError` (503) if so many clips have no place in the queue."""
        if self.places_taken + count > self._queue_size:
            raise busy(f"{self.places_taken} clips are in the queue, which has {self._queue_size} places")

    @contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Take places in the queue for the clips of one request, until they are answered.

        Raises:
            RequestError: 503 if the queue is full.
        """
        self.check_room(count)
        self.places_taken += count
        self._metrics.queue.set(self.places_taken)
        try:
            yield
        finally:
            self.places_taken -= count
            self._metrics.queue.set(self.places_taken)

    def submit(self, waveform: np.ndarray, name: str, options: Mapping[str, Any]) -> Future:
        """Add a clip, which is not classified if its future is cancelled before its turn.

        Args:
            waveform: (samples,), float32 at 16 kHz.
            name: in messages.
            options: of the call of the pipeline.

        Returns:
            The future of the answer.

        Raises:
            RequestError: 503 if the clips that wait are too long in total.
        """
        waiting = _Waiting(waveform, name, options)
        num_samples = len(waveform)
        with self._lock:
            if self._samples_waiting and self._samples_waiting + num_samples > self._max_samples:
                raise busy(f"{self._samples_waiting / SAMPLING_RATE:.0f} s of audio wait")
            self._samples_waiting += num_samples
        waiting.future.add_done_callback(lambda _: self._forget(num_samples))
        self._queue.put(waiting)
        return waiting.future

    def _forget(self, num_samples: int) -> None:
        with self._lock:
            self._samples_waiting -= num_samples

    def _run(self) -> None:
        while self._answer_next():  # its variables hold no waveforms while the thread waits
            pass

    def _answer_next(self) -> bool:
        """Answer the next clips; return whether more may follow."""
        batch, more = self._gather()
        for group in _groups(batch):
            running = [each for each in group if each.future.set_running_or_notify_cancel()]
            if running:
                self._answer(running)
        return more

    def _gather(self) -> tuple[list[_Waiting], bool]:
        """The next clips, and whether more may follow."""
        batch: list[_Waiting] = []
        until = None
        while len(batch) < self._batch_size:
            coming = self.places_taken > len(batch)
            try:
                if until is None:
                    each = self._queue.get()
                    until = time.monotonic() + self._max_wait_s
                elif coming and (left := until - time.monotonic()) > 0:
                    each = self._queue.get(timeout=left)
                else:
                    each = self._queue.get_nowait()
            except queue.Empty:
                break
            if each is None:
                return batch, False
            batch.append(each)
        return batch, True

    def _answer(self, group: list[_Waiting]) -> None:
        """Classify clips with the same options. An error of the model fails only the clip that causes it."""
        started_s = time.monotonic()
        try:
            answers = self._call(group)
        except Exception as error:
            if len(group) == 1:
                group[0].future.set_exception(error)
                return
            for each in group:
                self._answer([each])
            return
        seconds = sum(len(each.waveform) for each in group) / SAMPLING_RATE
        self._metrics.count_batch(len(group), seconds, time.monotonic() - started_s)
        for each, answer in zip(group, answers, strict=True):
            each.future.set_result(answer)

    def _call(self, group: list[_Waiting]) -> list[Any]:
        sources = [each.source for each in group]
        return self._classify(sources, batch_size=self._batch_size, on_error="report", **group[0].options)


def _groups(batch: list[_Waiting]) -> list[list[_Waiting]]:
    """Clips with the same options, which can share a call."""
    groups: dict[tuple, list[_Waiting]] = {}
    for each in batch:
        groups.setdefault(tuple((name, repr(value)) for name, value in sorted(each.options.items())), []).append(each)
    return list(groups.values())
