"""Classify speech while it is spoken: windows of a stream, with the scores that the same audio has as a file."""

from hf_ser.live.streaming_recognizer import StreamingRecognizer

__all__ = ["StreamingRecognizer"]
