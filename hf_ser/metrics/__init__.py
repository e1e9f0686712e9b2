"""The in-package `evaluate` metric."""

from hf_ser.extras import needs_extra

with needs_extra():
    from hf_ser.metrics.speech_emotion import SpeechEmotion

__all__ = ["SpeechEmotion"]
