"""One recording's waveform, scores and timeline: all that the page shows comes from here."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.audio import SAMPLING_RATE, AudioError
from hf_ser.demo.demo_errors import DemoError
from hf_ser.inference import label_names, load_classifier
from hf_ser.models import SpeechEmotionPipeline
from hf_ser.remote_code.windows import WHOLE_S, WindowPlan, read_windows
from hf_ser.results_file import bounds, model_results, number

MAX_DURATION_S = 600.0  # more would keep others waiting
_BATCH_SIZE = 8
_SYNTHETIC = "This model was trained on synthetic voices: its answers say nothing about real speech."


@dataclass(frozen=True)
class DemoModel:
    """A model that is loaded once for many recordings."""

    pipeline: Any  # SpeechEmotionPipeline
    labels: Sequence[str]
    about: str  # what it was trained on and its scores, in a sentence or two
    warning: str = ""  # what a person must know before anything else


@dataclass(frozen=True)
class Answer:
    """What a model predicts for one recording."""

    waveform: np.ndarray  # (samples,), float32 at 16 kHz
    scores: Mapping[str, float]  # by label, best first
    timeline: Sequence[Mapping[str, Any]]  # as `SpeechEmotionPipeline` gives it; one window for a short recording

    @property
    def is_long(self) -> bool:
        """Whether it was cut into several windows."""
        return len(self.timeline) > 1


def load_model(name: str, revision: str = "main", device: str | None = None, precision: str = "auto") -> DemoModel:
    """Load a model from a folder or the Hub.

    Args:
        name: folder or Hub id.
        revision: on the Hub.
        device: cpu, cuda, ...; None for a GPU where there is one.
        precision: auto, bf16, fp16 or fp32.

    Raises:
        SerError: there is no such model, it is not whole, there is no such device, or it lacks the precision.
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
    warning = _SYNTHETIC if results is not None and results["dataset"]["synthetic"] else ""
    return DemoModel(pipeline, label_names(model.config), _about(results), warning)


def classify(model: DemoModel, path: str | Path) -> Answer:
    """Classify a recording.

    Raises:
        DemoError: it cannot be used; the message names the file, what was got and what was expected.
    """
    name = Path(path).name
    waveform = _read(path)
    try:
        answer = model.pipeline(
            {"raw": waveform, "sampling_rate": SAMPLING_RATE, "path": name},
            return_timeline=True,
            batch_size=_BATCH_SIZE,
        )
    except AudioError as error:
        raise _shown(error, name) from error
    scores = {score["label"]: score["score"] for score in answer["scores"]}
    return Answer(waveform, scores, answer["timeline"])


def _read(path: str | Path) -> np.ndarray:
    """A whole recording (samples,), float32 at 16 kHz, and no more of it than the limit."""
    name, pieces = Path(path).name, []
    try:
        # Windows that do not overlap: the recording in pieces, so that one of hours is not read to its end.
        for window in read_windows(path, WindowPlan(WHOLE_S, WHOLE_S, WHOLE_S)):
            pieces.append(window.waveform)
            if window.end_s > MAX_DURATION_S:
                raise DemoError(
                    f"{name}: got more than {MAX_DURATION_S / 60:.0f} minutes; expected less on this page. On the "
                    "command line, hf-ser predict takes any length."
                )
    except AudioError as error:
        raise _shown(error, name) from error
    return np.concatenate(pieces)


def _shown(error: AudioError, name: str) -> DemoError:
    """Not its own words: they hold the place at which the server keeps the upload."""
    return DemoError(f"{name}: got {error.got}; expected {error.expected}. {error.remedy}")


def _about(results: Mapping[str, Any] | None) -> str:
    if results is None:
        return "Its training data is unknown: there is no results.json beside it."
    dataset, protocol = results["dataset"], results["protocol"]
    parts = [f"Trained on {dataset['train_clips']} clips of {dataset['train_speakers']} speakers ({dataset['name']})."]
    test = results["splits"].get("test")
    if test is not None:
        uar, interval = number(test["scores"]["uar"]), bounds(test["intervals"][0].get("uar"))
        parts.append(f"UAR on test clips {uar} (95 % interval {interval}), protocol {protocol['name']}.")
        parts += [f"{note[0].upper()}{note[1:].rstrip('.')}." for note in protocol["notes"]]
    return " ".join(parts)
