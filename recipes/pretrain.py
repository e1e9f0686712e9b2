r"""Pretrain a wav2vec 2.0 encoder on recordings without labels, or adapt one to them, before it is fine-tuned.

accelerate launch --config_file accelerate_config.yaml recipes/pretrain.py \
    --config recipes/configs/wav2vec2_base_pretrain.yaml --recordings data/calls

Any field of the YAML file can be overridden on the command line; unknown fields are rejected.
"""

from collections.abc import Sequence

from transformers import set_seed

from hf_ser.arguments import parse, run
from hf_ser.training import check_arguments, check_disk, claim_output_dir, finish_run, write_settings
from hf_ser.training.pretraining import (
    SCORES,
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
    build_encoder,
    check_segments,
    encoder_summary,
    load_speech,
    make_pretraining_trainer,
    save_encoder,
    write_pretraining,
)

AFTER_INTERRUPT = "add --resume_from_checkpoint true to continue from the last checkpoint"


def main(argv: Sequence[str] | None = None, description: str | None = __doc__) -> None:
    # Arguments
    types = (PretrainingModelArguments, PretrainingDataArguments, PretrainingArguments)
    model_args, data_args, args = parse(*types, argv=argv, description=description)
    check_arguments(args, SCORES)
    checkpoint = claim_output_dir(model_args, data_args, args)  # to resume from
    set_seed(args.seed)

    # Recordings
    with args.main_process_first(desc="checking the recordings"):
        speech = load_speech(data_args, args)

    # Model
    model, extractor = build_encoder(model_args)
    check_segments(model.config, model_args, speech, args)
    check_disk(model, args)

    # Trainer
    trainer = make_pretraining_trainer(model, extractor, speech, model_args, args)
    write_settings(model_args, data_args, args)

    # Training; at the end, the best checkpoint is loaded
    trainer.train(resume_from_checkpoint=checkpoint)

    # Evaluation and saving
    scores = trainer.evaluate()
    folder = save_encoder(trainer, model_args)

    # Results and card
    if trainer.is_world_process_zero():
        results = write_pretraining(trainer, speech, model_args, scores)
        finish_run(folder)
        print(f"\n{encoder_summary(results)}\nWrote {folder}")
    trainer.end()


if __name__ == "__main__":
    run(main, after_interrupt=AFTER_INTERRUPT)
