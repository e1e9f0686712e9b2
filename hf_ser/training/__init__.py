"""Training through `Trainer` and `accelerate`."""

from hf_ser.extras import needs_extra

with needs_extra():
    from hf_ser.training.modeling import build_model
    from hf_ser.training.output_dir import claim_output_dir
    from hf_ser.training.run import finish, make_trainer, train
    from hf_ser.training.training_arguments import ModelArguments, SerTrainingArguments

__all__ = [
    "ModelArguments",
    "SerTrainingArguments",
    "build_model",
    "claim_output_dir",
    "finish",
    "make_trainer",
    "train",
]
