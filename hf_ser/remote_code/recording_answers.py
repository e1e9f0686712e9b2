"""Classify recordings window by window, independently of what computes the probabilities of a batch.

The pipelines for PyTorch models and for exported graphs share this module. It imports neither torch nor transformers.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .audio_errors import AudioError
from .audio_sources import describe
from .call_options import chosen_threshold, is_one
from .dimensions import are_dimensions
from .reading_ahead import read_ahead
from .windows import Window, WindowPlan, read_windows

SYNTHETIC = "trained on synthetic recordings: its scores say nothing about real speech"
_NOTHING = np.zeros(0, np.float32)
_AHEAD = 8  # number of batches that are decoded while the model processes the previous ones


class BatchOutput(NamedTuple):
    """Probabilities (batch, labels) and, if requested, embeddings (batch, dim)."""

    probabilities: Any
    embeddings: Any = None


@dataclass(frozen=True)
class WindowClassifier:
    """How a model classifies windows of a recording.

    Args:
        compute: waveforms (samples,) of one batch, float32 at 16 kHz -> their probabilities.
        labels: names of the classes by index.
        any_length: whether a batch may contain waveforms of different lengths.
        max_input_s: number of seconds at the start of a clip that the model uses; None if it uses whole clips.
        abstention_threshold: threshold of the model; None if it has none.
        prepare: function of a waveform (samples,) that is called in the reading threads, such as trimming.
        finite_remedy: what to do about probabilities that are NaN.
    """

    compute: Callable[[list[np.ndarray]], BatchOutput]
    labels: Mapping[int, str] | Sequence[str]
    any_length: bool
    max_input_s: float | None
    abstention_threshold: float | None
    prepare: Callable[[np.ndarray], np.ndarray]
    finite_remedy: str

    def answer(self, inputs: Any, batch_size: int, options: Mapping[str, Any]) -> Any:
        """Classify one or more recordings.

        Args:
            inputs: one recording, or a list or other iterable of recordings.
            batch_size: maximum number of windows in a batch.
            options: see `SpeechEmotionPipeline.__call__`.

        Returns:
            An answer for one recording, a list for a list or tuple, and an iterator for other iterables.

        Raises:
            AudioError: a recording cannot be used, and `on_error` is "raise", the default for one recording.
            ValueError: the batch size is below 1, or the stride is longer than the window.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: got {batch_size}; expected an integer of at least 1.")
        one = is_one(inputs)
        call = _Call(self, batch_size, {"on_error": "raise" if one else "report", **options})
        if one:
            return next(call.answers([inputs]))
        answers = call.answers(inputs)
        return list(answers) if isinstance(inputs, (list, tuple)) else answers

    def timeline(self, windows: Sequence[Window], batch_size: int = 1) -> list[dict[str, Any]]:
        """Classify windows of one recording.

        Args:
            windows: of a recording or a stream.
            batch_size: maximum number of windows in a batch.

        Returns:
            The entry of each window in a timeline: `start` and `end` in seconds, `silent` and `scores`.

        Raises:
            AudioError: the scores are not numbers.
        """
        call, answer = _Call(self, batch_size, {}), _Answer("stream")
        answer.windows = [call.prepared(window) for window in windows]
        call.predict(answer.windows)
        error = call.not_finite(answer)
        if error is not None:
            raise error
        return [call.part(window) for window in answer.windows]

    @cached_property
    def _is_dimensional(self) -> bool:
        return are_dimensions(self.labels.values() if isinstance(self.labels, Mapping) else self.labels)

    def ranked(self, probabilities: np.ndarray, top_k: int | None) -> list[dict[str, Any]]:
        """Probabilities (labels,) -> labels and scores, best first; values of dimensions keep their order."""
        if self._is_dimensional:
            order = np.arange(len(probabilities))
        else:
            order = np.argsort(-probabilities, kind="stable")[:top_k]
        return [{"label": self.labels[int(index)], "score": float(probabilities[index])} for index in order]


def batches_by_length(lengths: Sequence[int], batch_size: int, any_length: bool) -> Iterator[list[int]]:
    """Yield the indices of clips in batches, longest first.

    Args:
        lengths: number of samples of each clip.
        batch_size: maximum number of clips in a batch.
        any_length: whether a batch may contain clips of different lengths.

    >>> list(batches_by_length([3, 5, 3], batch_size=2, any_length=False))
    [[1], [0, 2]]
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) == batch_size or not (any_length or lengths[index] == lengths[batch[0]])):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@dataclass
class _Window:
    start_s: float
    end_s: float
    silent: bool
    waveform: np.ndarray  # (samples,), preprocessed
    probabilities: Any = None  # (labels,)
    embedding: Any = None  # (dim,)


@dataclass
class _Answer:
    """Intermediate result of one recording."""

    name: str
    windows: list[_Window] = field(default_factory=list)
    error: AudioError | None = None


@dataclass(frozen=True)
class _Call:
    """One call of a pipeline."""

    classifier: WindowClassifier
    batch_size: int
    options: Mapping[str, Any]

    def answers(self, sources: Iterable[Any]) -> Iterator[Any]:
        """Yield results in the order of the sources; recordings are decoded a few batches ahead of the model."""
        events = self._events(sources)

        def take() -> list[_Window | _Answer]:
            taken: list[_Window | _Answer] = []
            room = self.batch_size * _AHEAD
            while room and (event := next(events, None)) is not None:
                taken.append(event)
                room -= 1  # results count too, so that this ends if no recording can be used
            return taken

        taken = take()
        if len(taken) < self.batch_size * _AHEAD:  # these are all, so a thread would have nothing to do
            yield from self._finished(taken)
            return
        with ThreadPoolExecutor(max_workers=1) as pool:
            while taken:
                coming = pool.submit(take)
                yield from self._finished(taken)
                taken = coming.result()

    def _events(self, sources: Iterable[Any]) -> Iterator[_Window | _Answer]:
        """Yield the windows of every recording, then its result, which is complete once these are predicted."""
        plan = WindowPlan.for_model(
            self.classifier.max_input_s, self.options.get("window_s"), self.options.get("stride_s")
        )
        for answer, windows in read_ahead(sources, lambda source: self._begin(source, plan)):
            yield from windows
            yield answer

    def _begin(self, source: Any, plan: WindowPlan) -> tuple[_Answer, Iterator[_Window]]:
        """Return a result and its windows. The first windows are read now, the others when they are needed."""
        answer = _Answer(describe(source))
        windows = self._windows(source, plan, answer)
        first = list(itertools.islice(windows, 2))  # all windows of a short recording
        return answer, itertools.chain(first, windows)

    def _windows(self, source: Any, plan: WindowPlan, answer: _Answer) -> Iterator[_Window]:
        try:
            for window in read_windows(source, plan):
                answer.windows.append(self.prepared(window))
                yield answer.windows[-1]
        except AudioError as error:
            answer.error = error

    def prepared(self, window: Window) -> _Window:
        """Preprocess a window that is not silent."""
        silent = window.silent
        waveform = _NOTHING if silent else self.classifier.prepare(window.waveform)
        return _Window(window.start_s, window.end_s, silent, waveform)

    def _finished(self, taken: Sequence[_Window | _Answer]) -> Iterator[Any]:
        """Predict the windows among the events, then yield the results."""
        self.predict([event for event in taken if isinstance(event, _Window)])
        for event in taken:
            if isinstance(event, _Answer):
                yield self._finish(event)

    def predict(self, windows: Sequence[_Window]) -> None:
        """Compute the probabilities and, if requested, the embeddings of windows, and store them in the windows."""
        sounding = [window for window in windows if not window.silent]
        lengths = [len(window.waveform) for window in sounding]
        for numbers in batches_by_length(lengths, self.batch_size, self.classifier.any_length):
            batch = [sounding[number] for number in numbers]
            output = self.classifier.compute([window.waveform for window in batch])
            for row, window in enumerate(batch):
                window.probabilities = output.probabilities[row]
                window.embedding = None if output.embeddings is None else output.embeddings[row]
        for window in windows:
            window.waveform = _NOTHING  # no longer needed

    def _finish(self, answer: _Answer) -> Any:
        answer.error = answer.error or self.not_finite(answer)
        if answer.error is not None:
            if self.options["on_error"] == "raise":
                raise answer.error
            return {"error": str(answer.error), "reason": answer.error.reason}
        sounding = [window for window in answer.windows if not window.silent]
        lengths = np.asarray([window.end_s - window.start_s for window in sounding])
        weights = lengths / lengths.sum()
        probabilities = weights @ np.stack([window.probabilities for window in sounding])
        scores = self.classifier.ranked(probabilities, self.options.get("top_k"))
        threshold = chosen_threshold(self.options.get("abstain"), self.classifier.abstention_threshold)
        whole: dict[str, Any] = {"scores": scores}
        if threshold is not None:
            whole |= {"abstained": scores[0]["score"] < threshold, "threshold": threshold}
        if self.options.get("return_timeline"):
            whole["timeline"] = [self.part(window) for window in answer.windows]
        if self.options.get("return_embeddings"):
            whole["embedding"] = weights @ np.stack([window.embedding for window in sounding])
        return whole if len(whole) > 1 else scores

    def not_finite(self, answer: _Answer) -> AudioError | None:
        """The error for scores that are NaN, which weights or an overflow in low precision can cause."""
        if all(np.isfinite(window.probabilities).all() for window in answer.windows if not window.silent):
            return None
        remedy = self.classifier.finite_remedy
        return AudioError("not_finite", answer.name, "scores that are not numbers", "probabilities", remedy)

    def part(self, window: _Window) -> dict[str, Any]:
        """The entry of a window in the timeline."""
        ranked = None if window.silent else self.classifier.ranked(window.probabilities, self.options.get("top_k"))
        return {"start": window.start_s, "end": window.end_s, "silent": window.silent, "scores": ranked}
