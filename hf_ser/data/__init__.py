"""From recordings on disk to one dataset with honest splits."""

from hf_ser.data.prepare import PrepareArguments, Prepared, prepare
from hf_ser.data.protocols import PROTOCOLS, Assignment, Row, SpeakerLeakWarning, assign, folds

__all__ = [
    "PROTOCOLS",
    "Assignment",
    "PrepareArguments",
    "Prepared",
    "Row",
    "SpeakerLeakWarning",
    "assign",
    "folds",
    "prepare",
]
