"""Speech emotion recognition pipeline: from a recording to the scores of all emotions."""

import itertools
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import Pipeline

from .audio_errors import AudioError
from .audio_sources import describe
from .decoder import SAMPLING_RATE
from .encoder_inputs import (
    batches_by_length,
    keep_classifier_inputs,
    max_input_s,
    min_samples,
    model_inputs,
    takes_any_length,
)
from .forward_precision import ForwardPass, choose_precision
from .hardware import PrecisionChoice, check_device
from .preprocessing import Preprocessing, complete_preprocessing, trained_on_synthetic
from .reading_ahead import read_ahead
from .windows import Window, WindowPlan, check_seconds, read_windows

_LOGGER = logging.getLogger(__name__)
# Field of config.json that makes pipeline("audio-classification", ..., trust_remote_code=True) use the class below.
CUSTOM_PIPELINES = {
    "audio-classification": {
        "impl": "speech_emotion_pipeline.SpeechEmotionPipeline",
        "pt": ["AutoModelForAudioClassification"],
    }
}
PARAMETERS = (
    *("top_k", "window_s", "stride_s", "return_timeline", "return_embeddings"),
    *("on_error", "precision", "abstain"),
)
SYNTHETIC = "trained on synthetic recordings: its scores say nothing about real speech"
_NOTHING = np.zeros(0, np.float32)
_FLOAT32 = (torch.float32, "float32")
_AHEAD = 8  # number of batches that are decoded while the model processes the previous ones


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


def _not_finite(answer: _Answer) -> AudioError | None:
    """The error for scores that are NaN, which weights or an overflow in low precision can cause."""
    if all(np.isfinite(window.probabilities).all() for window in answer.windows if not window.silent):
        return None
    remedy = "Use precision fp32, or check the weights of the model."
    return AudioError("not_finite", answer.name, "scores that are not numbers", "probabilities", remedy)


class SpeechEmotionPipeline(Pipeline):
    """Classify recordings with a model of this package or of the wav2vec2 family.

    Without a model, the package's own is used: `SpeechEmotionPipeline()`.

    Scores are probabilities, calibrated if the model is. A recording has the same scores alone and in any batch, up to
    the fifth digit in float32 and about 0.01 in bfloat16 and float16.

    `precision` is auto, bf16, fp16 or fp32, for the pipeline or for one call. With auto, float32 models compute in
    bfloat16 if the hardware supports it natively, in float16 on older CUDA GPUs, and otherwise in float32. A model
    that was loaded in another dtype computes in that dtype.

    >>> import hf_ser.models
    >>> from transformers import pipeline
    >>> classify = pipeline("speech-emotion-recognition", model="runs/audio_cnn")
    >>> sorted(classify("voice.wav", top_k=1)[0])
    ['label', 'score']
    >>> classify(["voice.wav", "missing.wav"])[1]["reason"]
    'not_found'
    """

    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_feature_extractor = True  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]
    # Set by hf_ser.models; this file alone, as in a folder on the Hub, has no model.
    load_default: ClassVar[Callable[[], tuple[Any, Any]] | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not args and kwargs.get("model") is None:
            kwargs["model"], kwargs["feature_extractor"] = self._default_parts(kwargs.get("feature_extractor"))
        check_device(kwargs.get("device"))
        if kwargs.get("dtype") in _FLOAT32 and kwargs.get("precision") is None:
            kwargs["precision"] = "fp32"
        self._passes: dict[Any, ForwardPass] = {}
        super().__init__(*args, **kwargs)
        rate = getattr(self.feature_extractor, "sampling_rate", None)
        if rate != SAMPLING_RATE:
            got = "none" if rate is None else f"one for {rate} Hz"
            raise ValueError(f"feature_extractor: got {got}; expected a feature extractor for {SAMPLING_RATE} Hz.")
        name, commit = str(self.model.name_or_path), getattr(self.model.config, "_commit_hash", None)
        complete_preprocessing(self.model, self.feature_extractor, name, commit)
        if trained_on_synthetic(name, commit):
            warnings.warn(f"{name} was {SYNTHETIC}.", stacklevel=2)
        self.preprocessing = Preprocessing.of(self.feature_extractor)
        self.precision.log(_LOGGER)

    def _default_parts(self, extractor: Any) -> tuple[Any, Any]:
        """The model and feature extractor of a pipeline that was given no model."""
        if extractor is not None:
            raise ValueError("got a feature_extractor without a model; expected both or neither. Pass model=.")
        load = type(self).load_default
        if load is None:
            raise ValueError("got no model; expected a loaded model and its feature extractor. Pass model=.")
        return load()

    @property
    def precision(self) -> PrecisionChoice:
        """Precision of calls without the argument `precision`, and the reason for it."""
        return choose_precision(self.model, self._postprocess_params.get("precision", "auto"), self.device)

    def _forward_pass(self, precision: str) -> ForwardPass:
        key = precision, self.model.dtype, self.device  # the choice depends on these
        made = self._passes.get(key)
        if made is None or made.model is not self.model:
            taken = choose_precision(self.model, precision, self.device).precision
            made = self._passes[key] = ForwardPass(self.model, taken)
        return made

    def _sanitize_parameters(self, **pipeline_parameters: Any) -> Any:
        # on_error=None means the default. For the other parameters, None is a value that a call may go back to.
        given = {name: value for name, value in pipeline_parameters.items() if value is not None or name != "on_error"}
        unknown = sorted(set(given) - set(PARAMETERS))
        if unknown:
            raise ValueError(f"{unknown[0]} is not a parameter; expected one of {', '.join(PARAMETERS)}.")
        for name in ("window_s", "stride_s"):
            check_seconds(name, given.get(name))
        if given.get("top_k") is not None and (type(given["top_k"]) is not int or given["top_k"] < 1):
            raise ValueError(
                f"top_k: got {given['top_k']!r}; expected an integer of at least 1, or None for all labels."
            )
        if given.get("on_error", "raise") not in ("raise", "report"):
            raise ValueError(f"on_error: got {given['on_error']!r}; expected raise or report.")
        self._threshold(given.get("abstain"))
        if "precision" in given:
            choose_precision(self.model, given["precision"], self.device)
        return {}, {}, given

    def _threshold(self, abstain: Any) -> float | None:
        """The threshold for a value of the parameter `abstain`; None for no abstention."""
        if abstain is None or abstain is False:
            return None
        if abstain is True:
            stored = getattr(self.model.config, "abstention_threshold", None)
            if stored is None:
                raise ValueError(
                    "abstain: got True, but the model has no abstention threshold; expected a number from 0 to 1."
                )
            return float(stored)
        if not isinstance(abstain, (int, float)) or not 0 <= abstain <= 1:
            raise ValueError(f"abstain: got {abstain!r}; expected True, False or a number from 0 to 1.")
        return float(abstain)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Classify one or more recordings.

        Args:
            inputs: a path, URL, bytes, file object, array or tensor (samples,) at 16 kHz, dict with `raw` or `array`
                and `sampling_rate`, `datasets` audio dict, or a list, dataset column, generator or other iterable of
                these.
            *args: ignored.
            **kwargs: these parameters.
                `top_k`: number of labels to return; None for all.
                `batch_size`: windows per forward pass.
                `window_s`, `stride_s`: length and stride of overlapping windows. By default recordings of more than
                30 s are split into windows of 10 s every 5 s. If the model uses only the first seconds of a clip,
                windows have that length, and recordings of more than twice that length are split.
                `return_timeline`: return the scores of every window.
                `return_embeddings`: return the input of the classifier.
                `on_error`: "raise" (default for one recording) or "report" (default for several), which returns an
                error entry for recordings that cannot be used.
                `precision`: auto, bf16, fp16 or fp32.
                `abstain`: whether to report that the top score is below a threshold: False (default), True for the
                threshold of the model, which was chosen on validation clips, or a threshold from 0 to 1. The scores
                do not change.

        Returns:
            For one recording a list of `{"label", "score"}`, best first. With `return_timeline`,
            `return_embeddings` or `abstain` a dict: `scores` as before, `timeline` (`start` and `end` in seconds,
            `scores` and `silent` of every window), `embedding` (dim,), and `abstained` (whether the top score is
            below the threshold) with `threshold`. For a list a list of these, for other iterables an
            iterator. Recordings that cannot be used give `{"error", "reason"}`.

        Raises:
            AudioError: a recording cannot be used, because it is not found, undecodable, too short or silent.
        """
        batch_size = kwargs.pop("batch_size", None) or self._batch_size or 1
        if batch_size < 1:
            raise ValueError(f"batch_size: got {batch_size}; expected an integer of at least 1.")
        kwargs.pop("num_workers", None)
        one = _is_one(inputs)
        options = {"on_error": "raise" if one else "report", **self._postprocess_params}
        options |= self._sanitize_parameters(**kwargs)[2]
        if one:
            return next(self._classify([inputs], batch_size, options))
        answers = self._classify(inputs, batch_size, options)
        return list(answers) if isinstance(inputs, (list, tuple)) else answers

    def _classify(self, sources: Iterable[Any], batch_size: int, options: Mapping[str, Any]) -> Iterator[Any]:
        """Yield results in the order of the sources; recordings are decoded a few batches ahead of the model."""
        events = self._events(sources, options)

        def take() -> list[_Window | _Answer]:
            taken: list[_Window | _Answer] = []
            room = batch_size * _AHEAD
            while room and (event := next(events, None)) is not None:
                taken.append(event)
                room -= 1  # results count too, so that this ends if no recording can be used
            return taken

        taken = take()
        if len(taken) < batch_size * _AHEAD:  # these are all, so a thread would have nothing to do
            yield from self._answers(taken, batch_size, options)
            return
        with ThreadPoolExecutor(max_workers=1) as pool:
            while taken:
                coming = pool.submit(take)
                yield from self._answers(taken, batch_size, options)
                taken = coming.result()

    def _events(self, sources: Iterable[Any], options: Mapping[str, Any]) -> Iterator[_Window | _Answer]:
        """Yield the windows of every recording, then its result, which is complete once these are predicted."""
        plan = WindowPlan.for_model(
            max_input_s(self.model, self.preprocessing), options.get("window_s"), options.get("stride_s")
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
                answer.windows.append(self._prepared(window))
                yield answer.windows[-1]
        except AudioError as error:
            answer.error = error

    def _prepared(self, window: Window) -> _Window:
        silent = window.silent
        waveform = _NOTHING if silent else self.preprocessing(window.waveform)
        return _Window(window.start_s, window.end_s, silent, waveform)

    def _answers(
        self, taken: Sequence[_Window | _Answer], batch_size: int, options: Mapping[str, Any]
    ) -> Iterator[Any]:
        """Predict the windows among the events, then yield the results."""
        windows = [event for event in taken if isinstance(event, _Window)]
        forward = self._forward_pass(options.get("precision", "auto"))
        self._predict(windows, batch_size, bool(options.get("return_embeddings")), forward)
        for event in taken:
            if isinstance(event, _Answer):
                yield self._finish(event, options)

    def _predict(self, windows: list[_Window], batch_size: int, embeddings: bool, forward: ForwardPass) -> None:
        """Compute the probabilities and, if requested, the embeddings of windows, and store them in the windows."""
        sounding = [window for window in windows if not window.silent]
        any_length = takes_any_length(self.model.config, self.feature_extractor)
        kept: list[np.ndarray] = []
        hook = keep_classifier_inputs(forward.module, kept) if embeddings else None
        try:
            for numbers in batches_by_length([len(window.waveform) for window in sounding], batch_size, any_length):
                batch = [sounding[number] for number in numbers]
                inputs = self.preprocess([window.waveform for window in batch])
                probabilities = self.forward(inputs, forward=forward)["probabilities"]
                for row, window in enumerate(batch):
                    window.probabilities = probabilities[row].cpu().numpy()
                    window.embedding = kept[row - len(batch)] if embeddings else None
        finally:
            if hook is not None:
                hook.remove()
        for window in windows:
            window.waveform = _NOTHING  # no longer needed

    def preprocess(self, input_: Any, **preprocess_parameters: Any) -> Any:
        """Waveforms (samples,) at 16 kHz -> the model's inputs, padded to one length of at least the minimum."""
        extractor: Any = self.feature_extractor
        return model_inputs(extractor, input_, min_samples(self.model.config))

    def _forward(self, input_tensors: Any, **forward_parameters: Any) -> Any:
        forward = forward_parameters.get("forward") or self._forward_pass("auto")
        logits = forward(**input_tensors).logits.cpu()  # not every accelerator has float64
        return {"probabilities": torch.softmax(logits.double(), dim=-1)}

    def postprocess(self, model_outputs: Any, **postprocess_parameters: Any) -> Any:
        """Probabilities of one clip (1, labels) -> labels and scores, best first."""
        return self._ranked(model_outputs["probabilities"][0].cpu().numpy(), postprocess_parameters.get("top_k"))

    def save_pretrained(self, save_directory: str | PathLike, **kwargs: Any) -> None:
        """Save the model and its feature extractor to a folder that `pipeline` loads.

        The base class would add code to the folders of stock transformers models, and replace the field
        custom_pipelines of a companion model's configuration.
        """
        for part in (self.model, self.feature_extractor):
            part.save_pretrained(save_directory, **kwargs)  # type: ignore[union-attr]

    def _finish(self, answer: _Answer, options: Mapping[str, Any]) -> Any:
        answer.error = answer.error or _not_finite(answer)
        if answer.error is not None:
            if options["on_error"] == "raise":
                raise answer.error
            return {"error": str(answer.error), "reason": answer.error.reason}
        sounding = [window for window in answer.windows if not window.silent]
        top_k = options.get("top_k")
        lengths = np.asarray([window.end_s - window.start_s for window in sounding])
        weights = lengths / lengths.sum()
        scores = self._ranked(weights @ np.stack([window.probabilities for window in sounding]), top_k)
        threshold = self._threshold(options.get("abstain"))
        if threshold is None and not options.get("return_timeline") and not options.get("return_embeddings"):
            return scores
        whole: dict[str, Any] = {"scores": scores}
        if threshold is not None:
            whole |= {"abstained": scores[0]["score"] < threshold, "threshold": threshold}
        if options.get("return_timeline"):
            whole["timeline"] = [
                {
                    "start": window.start_s,
                    "end": window.end_s,
                    "silent": window.silent,
                    "scores": None if window.silent else self._ranked(window.probabilities, top_k),
                }
                for window in answer.windows
            ]
        if options.get("return_embeddings"):
            whole["embedding"] = weights @ np.stack([window.embedding for window in sounding])
        return whole

    def _ranked(self, probabilities: Any, top_k: int | None) -> list[dict[str, Any]]:
        names: Any = self.model.config.id2label
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        return [{"label": names[int(index)], "score": float(probabilities[index])} for index in order]


def _is_one(inputs: Any) -> bool:
    """Whether the input is one recording, not several."""
    if isinstance(inputs, (str, bytes, bytearray, memoryview, PathLike, Mapping, np.ndarray, torch.Tensor)):
        return True
    return (
        hasattr(inputs, "read")
        or hasattr(inputs, "get_all_samples")
        or not hasattr(inputs, "__getitem__")
        and (not hasattr(inputs, "__iter__"))
    )
