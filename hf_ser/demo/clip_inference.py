"""Classify one recording: its waveform, scores and timeline, which the page shows."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.audio import SAMPLING_RATE, AudioError
from hf_ser.default_model import TERMS, is_default
from hf_ser.demo.demo_errors import DemoError
from hf_ser.demo.model_words import details, summary
from hf_ser.inference import label_names, load_classifier
from hf_ser.models import SpeechEmotionPipeline
from hf_ser.page_words import SYNTHETIC
from hf_ser.remote_code.windows import WHOLE_S, WindowPlan, read_windows
from hf_ser.results_file import model_results

MAX_DURATION_S = 600.0  # other people wait while a recording is classified
_BATCH_SIZE = 8


@dataclass(frozen=True)
class DemoModel:
    """A model, loaded once for all recordings."""

    pipeline: Any  # SpeechEmotionPipeline
    labels: Sequence[str]
    summary: str  # what it was trained on and how often it is right, in plain words
    details: str  # scores and protocol
    warning: str = ""  # shown above the probabilities


@dataclass(frozen=True)
class Answer:
    """What a model predicts for one recording."""

    waveform: np.ndarray  # (samples,), float32 at 16 kHz
    scores: Mapping[str, float]  # by label, best first
    timeline: Sequence[Mapping[str, Any]]  # as `SpeechEmotionPipeline` gives it; one window for a short recording
    not_reached: float | None = None  # the abstention threshold of the model, if the top score is below it

    @property
    def is_long(self) -> bool:
        """Whether it was cut into several windows."""
        return len(self.timeline) > 1


def load_model(name: str, revision: str = "main", device: str | None = None, precision: str = "auto") -> DemoModel:
    """Load a model from a folder or the Hub.

    Args:
        name: folder or Hub id.
        revision: on the Hub.
        device: cpu, cuda, ...; None for a GPU if there is one.
        precision: auto, bf16, fp16 or fp32.

    Raises:
        SerError: the model does not exist or is incomplete, or the device or precision is not available.
    """
    model, extractor = load_classifier(name, revision)
    warnings.filterwarnings("ignore", ".* was trained on synthetic")  # the page shows it
    try:
        pipeline = SpeechEmotionPipeline(
            model=model,
            feature_extractor=extractor,
            device=device,
            precision=precision,
            task="audio-classification",
        )
    except (ValueError, RuntimeError) as error:
        raise DemoError(" ".join(str(error).split())) from error
    results = model_results(name, revision)
    warning = SYNTHETIC if results is not None and results["dataset"]["synthetic"] else ""
    terms = f" Acted English speech only; {TERMS}." if is_default(name) else ""
    return DemoModel(pipeline, label_names(model.config), summary(results) + terms, details(results), warning)


def classify(model: DemoModel, path: str | Path) -> Answer:
    """Classify a recording.

    Raises:
        DemoError: the recording cannot be used; the message names the file, what was got and what was expected.
    """
    name = Path(path).name
    waveform = _read(path)
    try:
        answer = model.pipeline(
            {"raw": waveform, "sampling_rate": SAMPLING_RATE, "path": name},
            return_timeline=True,
            abstain=getattr(model.pipeline.model.config, "abstention_threshold", None),
            batch_size=_BATCH_SIZE,
        )
    except AudioError as error:
        raise _shown(error, name) from error
    scores = {score["label"]: score["score"] for score in answer["scores"]}
    return Answer(waveform, scores, answer["timeline"], answer["threshold"] if answer.get("abstained") else None)


def _read(path: str | Path) -> np.ndarray:
    """Read a recording as (samples,), float32 at 16 kHz; stop at the limit."""
    name, pieces = Path(path).name, []
    try:
        # In pieces (windows without overlap), so that a recording of several hours is not read to its end.
        for window in read_windows(path, WindowPlan(WHOLE_S, WHOLE_S, WHOLE_S)):
            pieces.append(window.waveform)
            if window.end_s > MAX_DURATION_S:
                raise DemoError(
                    f"{name}: got more than {MAX_DURATION_S / 60:g} minutes; expected at most that. Cut the "
                    "recording, or use hf-ser predict, which takes any length."
                )
    except AudioError as error:
        raise _shown(error, name) from error
    return np.concatenate(pieces)


def _shown(error: AudioError, name: str) -> DemoError:
    """Build the message again: the original contains the path of the upload on the server."""
    return DemoError(f"{name}: got {error.got}; expected {error.expected}. {error.remedy}")
