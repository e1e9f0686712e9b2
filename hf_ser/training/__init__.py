"""Training through `Trainer` and `accelerate`."""

from hf_ser.training.arguments import DataArguments, ModelArguments, SerTrainingArguments
from hf_ser.training.data import load_splits
from hf_ser.training.modeling import build_model
from hf_ser.training.run import claim_output_dir, finish, make_trainer, summary

__all__ = [
    "DataArguments",
    "ModelArguments",
    "SerTrainingArguments",
    "build_model",
    "claim_output_dir",
    "finish",
    "load_splits",
    "make_trainer",
    "summary",
]
