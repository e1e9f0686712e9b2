"""Proof that a graph says the same as its model: probabilities side by side, and the time that both take."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from hf_ser.audio import SAMPLING_RATE, AudioError
from hf_ser.corpora.voice import make_speaker, synthesize
from hf_ser.export.classifier_graph import ClassifierGraph
from hf_ser.export.export_error import ExportError
from hf_ser.labels import EMOTIONS
from hf_ser.models import model_inputs
from hf_ser.remote_code.dimensions import is_dimensional
from hf_ser.remote_code.encoder_inputs import max_input_s
from hf_ser.remote_code.reading_ahead import available_processors
from hf_ser.remote_code.windows import WindowPlan, read_windows

LARGEST_DIFFERENCE = {"float32": 1e-3, "float16": 1e-2}  # of a probability or value; larger ones mean a broken graph
_REPEATS = 5
_ENOUGH_S = 10.0  # after which no clip is repeated


class Program(Protocol):
    """An exported graph that is ready to run."""

    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities (clips, classes) of waveforms (samples,) at 16 kHz, or values (clips, dimensions)."""
        ...


@dataclass(frozen=True)
class Verification:
    """Comparison of a graph with its model in PyTorch, both in float32.

    Args:
        clips: number of windows of recordings.
        source: where they come from.
        largest_difference: of a probability, or of a value of a dimension.
        same_label: share of windows with the same most probable class; None for values of dimensions.
        seconds: median seconds per window, one by one: program and threads -> seconds.
    """

    clips: int
    source: str
    largest_difference: float
    same_label: float | None
    seconds: dict[str, float]


def verify(
    graph: ClassifierGraph, extractor: Any, session: Callable[[int], Program], recordings: Sequence[str]
) -> Verification:
    """Compare a graph with its model on windows of recordings, or on generated voices if there are none.

    Args:
        graph: the model.
        extractor: its feature extractor.
        session: makes a session with a number of threads.
        recordings: paths; the windows are those of the pipeline.

    Raises:
        ExportError: a recording cannot be used.
    """
    waveforms = [part for name in recordings for part in _windows(graph, name)] or generated_voices()
    expected = np.stack([_in_torch(graph, extractor, waveform) for waveform in waveforms])
    running = session(1)
    got = np.stack([_in_graph(running, waveform) for waveform in waveforms])
    return Verification(
        clips=len(waveforms),
        source=f"{len(recordings)} recordings" if recordings else "generated voices",
        largest_difference=float(np.abs(got - expected).max()),
        same_label=None if is_dimensional(graph.model.config) else _share_of_same(got, expected),
        seconds=_seconds(graph, extractor, session, waveforms),
    )


def _share_of_same(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean(got.argmax(axis=1) == expected.argmax(axis=1)))


def _windows(graph: ClassifierGraph, recording: str) -> list[np.ndarray]:
    plan = WindowPlan.for_model(max_input_s(graph.model, graph.steps))
    try:
        return [window.waveform for window in read_windows(recording, plan) if not window.silent]
    except AudioError as error:
        raise ExportError(f"--verify {error}") from error


def generated_voices() -> list[np.ndarray]:
    """One synthetic utterance of each emotion, of different lengths."""
    speaker = make_speaker(np.random.default_rng(0), male=False)
    return [
        synthesize(emotion, speaker, sampling_rate=SAMPLING_RATE, duration_s=1.0 + number / 2, seed=number)
        for number, emotion in enumerate(EMOTIONS)
    ]


def _in_torch(graph: ClassifierGraph, extractor: Any, waveform: np.ndarray) -> np.ndarray:
    inputs = model_inputs(extractor, [graph.steps(waveform)], graph.floor)
    with torch.inference_mode():
        return graph.answers(graph.model(**inputs).logits)[0].numpy()


def _seconds(
    graph: ClassifierGraph, extractor: Any, session: Callable[[int], Program], waveforms: Sequence[np.ndarray]
) -> dict[str, float]:
    before, most = torch.get_num_threads(), available_processors()
    taken = {}
    try:
        for threads in sorted({1, most}):
            torch.set_num_threads(threads)
            suffix = f"{threads} thread{'s' * (threads > 1)}"
            in_torch = functools.partial(_in_torch, graph, extractor)
            in_graph = functools.partial(_in_graph, session(threads))
            taken[f"pytorch, {suffix}"], taken[f"graph, {suffix}"] = _median_s(in_torch, in_graph, waveforms)
    finally:
        torch.set_num_threads(before)
    return taken


def _in_graph(session: Program, waveform: np.ndarray) -> np.ndarray:
    return session.probabilities([waveform])[0]


def _median_s(
    one: Callable[[np.ndarray], Any], other: Callable[[np.ndarray], Any], waveforms: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Median seconds of two programs, in turns, so that other work on the machine slows both down."""
    times: tuple[list[float], list[float]] = ([], [])
    begun = time.perf_counter()
    for number, waveform in enumerate([waveforms[0], *[*waveforms] * _REPEATS]):
        if number > len(waveforms) and time.perf_counter() - begun > _ENOUGH_S:
            break
        for program, taken in zip((one, other), times, strict=True):
            start = time.perf_counter()
            program(waveform)
            if number:  # the first call prepares buffers
                taken.append(time.perf_counter() - start)
    return float(np.median(times[0])), float(np.median(times[1]))
