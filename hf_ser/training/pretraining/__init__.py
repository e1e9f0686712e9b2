"""Masked contrastive pretraining of wav2vec 2.0 encoders on speech without labels."""

from hf_ser.extras import needs_extra

with needs_extra():
    from hf_ser.training.pretraining.masked_segments import check_segments
    from hf_ser.training.pretraining.pretraining_card import encoder_summary
    from hf_ser.training.pretraining.pretraining_model import build_encoder
    from hf_ser.training.pretraining.pretraining_run import save_encoder, write_pretraining
    from hf_ser.training.pretraining.pretraining_trainer import make_pretraining_trainer
    from hf_ser.training.pretraining.unlabelled_recordings import load_speech
    from hf_ser.training.pretraining_arguments import (
        SCORES,
        PretrainingArguments,
        PretrainingDataArguments,
        PretrainingModelArguments,
    )

__all__ = [
    "SCORES",
    "PretrainingArguments",
    "PretrainingDataArguments",
    "PretrainingModelArguments",
    "build_encoder",
    "check_segments",
    "encoder_summary",
    "load_speech",
    "make_pretraining_trainer",
    "save_encoder",
    "write_pretraining",
]
