"""Dataset preparation, split protocols and loading of prepared datasets."""

from hf_ser.extras import needs_extra

with needs_extra():
    from hf_ser.data.dataset_error import DatasetError
    from hf_ser.data.prepare import PrepareArguments, prepare
    from hf_ser.data.protocols import PROTOCOLS, Assignment, Row, SpeakerLeakWarning, assign, folds
    from hf_ser.data.splits import DataArguments, SplitData, decoded, load_rows, load_splits

__all__ = [
    "PROTOCOLS",
    "Assignment",
    "DataArguments",
    "DatasetError",
    "PrepareArguments",
    "Row",
    "SpeakerLeakWarning",
    "SplitData",
    "assign",
    "decoded",
    "folds",
    "load_rows",
    "load_splits",
    "prepare",
]
