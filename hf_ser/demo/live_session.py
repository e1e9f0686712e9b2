"""Live speech on the page: the chunks of a browser's microphone, and the last windows of a session."""

import io
import logging
import wave
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.audio import AudioError
from hf_ser.demo.clip_inference import MAX_DURATION_S, DemoModel
from hf_ser.demo.live_page import render_live
from hf_ser.demo.page import render_error
from hf_ser.live import StreamingRecognizer

WINDOW_S, HOP_S = 3.0, 1.0
SHOWN = 30  # windows
_LOGGER = logging.getLogger(__name__)


class LiveSession:
    """The stream of one visitor. It has the size of a window and the last answers, however long the stream is."""

    def __init__(self, model: DemoModel, name: str) -> None:
        self.model, self.name = model, name
        self.answers: deque[dict[str, Any]] = deque(maxlen=SHOWN)
        self.duration_s = 0.0
        abstains = getattr(model.pipeline.model.config, "abstention_threshold", None) is not None
        self._recognizer = StreamingRecognizer(model.pipeline, window_s=WINDOW_S, hop_s=HOP_S, abstain=abstains)

    def feed(self, samples: np.ndarray, sampling_rate: int) -> str | None:
        """Add a chunk (samples, channels) and return the answer as HTML; None if no window is complete.

        Raises:
            AudioError: the chunk cannot be used; the session continues with the next one.
        """
        self.duration_s += len(samples) / sampling_rate
        found = self._recognizer.feed(samples, sampling_rate)
        self.answers.extend(found)
        return render_live(self.answers, self.model) if found else None


def live_answer(
    models: Mapping[str, DemoModel], session: LiveSession | None, chunk: str | None, model: str
) -> tuple[str | None, LiveSession | None]:
    """Classify a chunk of a microphone.

    Args:
        models: by name.
        session: of this visitor; None for a new one.
        chunk: path of a WAV file, which is deleted; None if there is none.
        model: name of the selected model. Another one than that of the session starts a new session.

    Returns:
        The answer or an error message as HTML, None for no change, and the session.

    >>> live_answer({}, None, None, "runs/audio_cnn")
    (None, None)
    """
    if chunk is None or not Path(chunk).is_file():  # Gradio passes a chunk again if the next one is late
        return None, session
    try:
        samples, sampling_rate = _take(Path(chunk))
        if model not in models:
            return render_error(f"Got the model {model}; expected one of {', '.join(models)}."), None
        if session is None or session.name != model:
            session = LiveSession(models[model], model)
        if session.duration_s > MAX_DURATION_S:
            limit = f"{MAX_DURATION_S / 60:g} minutes"
            return render_error(f"Live speech ends after {limit}. Stop, and press Record to start again."), session
        return session.feed(samples, sampling_rate), session
    except (AudioError, wave.Error, EOFError) as error:
        return render_error(f"This sound cannot be used. {error}"), None
    except Exception:  # such as a full memory: the page stays up for everybody else
        _LOGGER.exception("the demo failed to classify live speech")
        return render_error("Something went wrong on the machine that runs this page. Start again."), None


def _take(path: Path) -> tuple[np.ndarray, int]:
    """Read and delete a chunk: an hour of them would take hundreds of megabytes.

    The header of a chunk is that of the whole recording and declares an unknown length.

    Returns:
        Samples (samples, channels), int16, and their rate in Hz.

    Raises:
        wave.Error: not a WAV file of 16-bit integers; or EOFError.
    """
    content = path.read_bytes()
    path.unlink()
    with wave.open(io.BytesIO(content)) as file:
        rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
        if width != 2:
            raise wave.Error(f"Got samples of {width} bytes; expected 2. Use another browser.")
        data = file.readframes(file.getnframes())
    whole = len(data) // (2 * channels) * channels
    return np.frombuffer(data, "<i2", whole).reshape(-1, channels), rate
