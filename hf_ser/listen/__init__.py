"""`hf-ser listen`: classify speech from a microphone, a file or standard input while it arrives."""

from hf_ser.listen.listen_command import ListenArguments, listen

__all__ = ["ListenArguments", "listen"]
