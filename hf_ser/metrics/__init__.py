"""The in-package `evaluate` metrics."""

from hf_ser.extras import needs_extra

with needs_extra():
    from hf_ser.metrics.emotion_votes import EmotionVotes
    from hf_ser.metrics.speech_emotion import SpeechEmotion

__all__ = ["EmotionVotes", "SpeechEmotion"]
