"""Training through `Trainer` and `accelerate`."""

from hf_ser.extras import needs_extra
from hf_ser.run_folder import finish_run

with needs_extra():
    from hf_ser.training.dimension_targets import outputs, with_dimensions
    from hf_ser.training.distillation import check_teachers
    from hf_ser.training.modeling import build_model
    from hf_ser.training.output_dir import claim_output_dir, write_settings
    from hf_ser.training.preflight import check_arguments, check_clips, check_disk, check_pretraining
    from hf_ser.training.run import evaluate_saved, save_model, write_reports
    from hf_ser.training.trainer import make_trainer
    from hf_ser.training.training_arguments import ModelArguments, SerTrainingArguments

__all__ = [
    "ModelArguments",
    "SerTrainingArguments",
    "build_model",
    "check_arguments",
    "check_clips",
    "check_disk",
    "check_pretraining",
    "check_teachers",
    "claim_output_dir",
    "evaluate_saved",
    "finish_run",
    "make_trainer",
    "outputs",
    "save_model",
    "with_dimensions",
    "write_reports",
    "write_settings",
]
