"""Classify a stream of samples window by window."""

import os
from dataclasses import replace
from typing import Any

import numpy as np

from hf_ser.errors import SerError
from hf_ser.live.label_decisions import DecisionRule, LabelDecision
from hf_ser.live.stream_chunks import NAME, check_unchanged, read_chunk
from hf_ser.live.voice_gate import VoiceGate
from hf_ser.remote_code.array_samples import check_rate
from hf_ser.remote_code.audio_errors import AudioError
from hf_ser.remote_code.call_options import chosen_threshold
from hf_ser.remote_code.decoder import SAMPLING_RATE
from hf_ser.remote_code.dimensions import are_dimensions
from hf_ser.remote_code.windows import MIN_DURATION_S, SILENCE_DBFS, Window, WindowCutter, WindowPlan, to_mono
from hf_ser.runtime import OnnxPipeline
from hf_ser.runtime.graph_file import is_graph

_NOTHING = np.zeros(0, np.float32)


class StreamingRecognizer:
    """Classify speech while it arrives, in chunks of any size.

    The windows and their scores are exactly those of the pipeline's timeline for the same audio as a file, with
    `window_s`, `stride_s=hop_s`, `return_timeline=True` and one window per batch. The other parameters only change
    which windows are classified and which label is chosen. Memory is limited to one window and one chunk, however
    long the stream is.

    A window is ready once its last sample was resampled to 16 kHz. The filter delays that by less than 0.12 s: 0.04 s
    for 44.1 and 48 kHz, and not at all for 16 kHz.

    Args:
        model: a `SpeechEmotionPipeline`, an `OnnxPipeline`, a model folder, a Hub id, or the path of an exported graph
            (.onnx), which needs neither torch nor transformers. None for the model that comes with the package.
        window_s: length of a window in seconds.
        hop_s: seconds between the starts of windows.
        gate_dbfs: windows with a peak below this level, in dB of full scale, are silent; see `VoiceGate`.
        min_active_s: seconds above that level that a window needs, or it is silent.
        smooth_windows: number of windows whose scores are averaged; see `DecisionRule`.
        smooth_weight: weight of the newest window in an exponential average.
        switch_margin: how much the score of a new label must exceed that of the present one.
        switch_windows: number of successive windows for which it must do so.
        abstain: True for the abstention threshold of the model, or a threshold from 0 to 1.

    Raises:
        SerError: a parameter is invalid, or the model cannot be used.

    >>> import numpy as np
    >>> from hf_ser.live import StreamingRecognizer
    >>> recognizer = StreamingRecognizer("model.onnx", window_s=1.0, hop_s=0.5)
    >>> chunk = np.random.default_rng(0).uniform(-0.5, 0.5, 12_000).astype(np.float32)
    >>> recognizer.feed(chunk, sampling_rate=16_000)
    []
    >>> [(answer["start"], answer["end"]) for answer in recognizer.feed(chunk, sampling_rate=16_000)]
    [(0.0, 1.0), (0.5, 1.5)]
    >>> recognizer.finish()
    []
    """

    def __init__(
        self,
        model: Any = None,
        *,
        window_s: float = 3.0,
        hop_s: float = 1.0,
        gate_dbfs: float = SILENCE_DBFS,
        min_active_s: float = 0.0,
        smooth_windows: int = 1,
        smooth_weight: float | None = None,
        switch_margin: float = 0.0,
        switch_windows: int = 1,
        abstain: bool | float = False,
    ) -> None:
        try:
            self._plan = WindowPlan.for_model(None, window_s, hop_s)
        except ValueError as error:
            raise SerError(str(error).replace("stride_s", "hop_s")) from error
        self._gate = VoiceGate(gate_dbfs, min_active_s)
        if min_active_s > window_s:
            raise SerError(f"min_active_s: got {min_active_s}; expected at most window_s, which is {window_s}.")
        self._decide = LabelDecision(DecisionRule(smooth_windows, smooth_weight, switch_margin, switch_windows))
        self._classifier = _pipeline(model).window_classifier()
        if are_dimensions(self.labels):
            raise SerError(
                f"model: got one that predicts {', '.join(self.labels)}; expected a classifier of emotions. hf-ser "
                "predict --timeline prints the values of the windows of a recording."
            )
        try:
            self._threshold = chosen_threshold(abstain, self._classifier.abstention_threshold)
        except ValueError as error:
            raise SerError(str(error)) from error
        self._cutter: WindowCutter | None = None  # made by the first chunk
        self._rate, self._channels = SAMPLING_RATE, 1

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        labels = self._classifier.labels
        return list(labels.values() if hasattr(labels, "values") else labels)

    def feed(self, samples: Any, sampling_rate: int) -> list[dict[str, Any]]:
        """Add a chunk to the stream.

        Args:
            samples: (samples,) or (samples, channels) in any number: floats in [-1, 1], int16, int32 or uint8.
            sampling_rate: Hz; the same for the whole stream.

        Returns:
            An answer for each window that became ready: `start`, `end`, `silent` and `scores` as in the pipeline's
            timeline; `label` and `score`, after smoothing and hysteresis; and `abstained`, whether that score is below
            the threshold, if `abstain` was passed. `scores`, `label` and `score` are None for a silent window, and for
            a window with `error`, whose scores are not numbers.

        Raises:
            AudioError: the chunk cannot be used, or the sampling rate or the number of channels changed. The chunk is
                left out, and the stream continues with the next one.
        """
        check_rate(sampling_rate, NAME)
        chunk = read_chunk(samples)
        if len(chunk) == 0:
            return []
        if self._cutter is None:
            self._rate, self._channels = sampling_rate, chunk.shape[1]
            self._cutter = WindowCutter(self._plan, sampling_rate)
        check_unchanged("a sampling rate of", sampling_rate, self._rate, " Hz")
        check_unchanged("a number of channels of", chunk.shape[1], self._channels, "")
        return [self._answer(window) for window in self._cutter.feed(to_mono(chunk))]

    def finish(self) -> list[dict[str, Any]]:
        """End the stream and return the remaining answers. The next chunk starts a new stream, at 0 s.

        A stream of less than 0.1 s has no answers, and silence has silent windows. For a file, the pipeline raises an
        error for both.
        """
        cutter, self._cutter = self._cutter, None
        if cutter is None or cutter.frames < MIN_DURATION_S * self._rate:
            return []
        answers = [self._answer(window) for window in cutter.finish()]
        self._decide.reset()
        return answers

    def _answer(self, window: Window) -> dict[str, Any]:
        if not self._gate.passes(window.waveform):
            window = replace(window, waveform=_NOTHING)  # silent
        answer: dict[str, Any] = {"start": window.start_s, "end": window.end_s, "silent": False, "scores": None}
        try:
            answer |= self._classifier.timeline([window])[0]
        except AudioError as error:
            answer["error"] = str(error)
        if answer["scores"] is None:
            self._decide.reset()
            label, score = None, None
        else:
            label, score = self._decide({each["label"]: each["score"] for each in answer["scores"]})
        answer |= {"label": label, "score": score}
        if self._threshold is not None:
            answer["abstained"] = score is not None and score < self._threshold
        return answer


def _pipeline(model: Any) -> Any:
    """The pipeline of a model that is given by name, or a pipeline itself."""
    if hasattr(model, "window_classifier"):
        return model
    if model is not None and not isinstance(model, (str, os.PathLike)):
        got = type(model).__name__
        raise SerError(f"model: got {got}; expected a pipeline of hf_ser, a folder, a Hub id or the path of a graph.")
    if model is not None and is_graph(os.fspath(model)):
        return OnnxPipeline(model)
    # Graphs need neither torch nor transformers.
    from hf_ser.inference import load_classifier
    from hf_ser.models import SpeechEmotionPipeline

    if model is None:
        return SpeechEmotionPipeline()
    loaded, extractor = load_classifier(os.fspath(model))
    return SpeechEmotionPipeline(model=loaded, feature_extractor=extractor, task="audio-classification")
