"""Decode clips of requests: bounded in length, with one kind of error for everything that can be wrong with them."""

import numpy as np

from hf_ser.remote_code.audio_errors import REPLACE, AudioError
from hf_ser.remote_code.decoder import SAMPLING_RATE
from hf_ser.remote_code.windows import WHOLE_S, WindowPlan, read_windows
from hf_ser.serving.request_content import Clip
from hf_ser.serving.serving_limits import RequestError


def decode_clip(clip: Clip, max_duration_s: float) -> np.ndarray:
    """Decode a clip to (samples,), float32 at 16 kHz; longer clips are not decoded to their end.

    Raises:
        RequestError: 400 for a clip that cannot be used, 413 for one that is too long; with the reason.
    """
    pieces, num_samples = [], 0
    try:
        # Windows without overlap are consecutive pieces.
        for window in read_windows({"bytes": clip.content, "path": clip.name}, WindowPlan(WHOLE_S, WHOLE_S, WHOLE_S)):
            pieces.append(window.waveform)
            num_samples += len(window.waveform)
            if num_samples > max_duration_s * SAMPLING_RATE:
                raise RequestError(
                    413,
                    f"{clip.name}: got more than {max_duration_s:g} s of audio; expected at most that. Split it.",
                    reason="too_long",
                )
    except AudioError as error:
        raise RequestError(400, str(error), reason=error.reason) from None
    except (RequestError, MemoryError):
        raise
    except Exception as error:  # of a decoder: the file is the cause
        text = f"{clip.name}: got content that cannot be decoded ({type(error).__name__}); expected audio. {REPLACE}"
        raise RequestError(400, text, reason="undecodable") from error
    return np.concatenate(pieces)
