r"""Fine-tune a wav2vec2-family model for speech emotion recognition and keep the best checkpoint on validation.

accelerate launch --config_file accelerate_config.yaml recipes/finetune.py \
    --config recipes/configs/wav2vec2_base.yaml --dataset data/emotions

Any field of the YAML file can be overridden on the command line; unknown fields are rejected.
"""

from collections.abc import Sequence
from pathlib import Path

from transformers import set_seed

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments, load_splits
from hf_ser.hub import write_model_card
from hf_ser.reporting import summary
from hf_ser.training import (
    ModelArguments,
    SerTrainingArguments,
    build_model,
    check_arguments,
    check_clips,
    check_disk,
    check_pretraining,
    check_teachers,
    claim_output_dir,
    evaluate_saved,
    finish_run,
    make_trainer,
    outputs,
    save_model,
    with_dimensions,
    write_reports,
    write_settings,
)

AFTER_INTERRUPT = "add --resume_from_checkpoint true to continue from the last checkpoint"


def main(argv: Sequence[str] | None = None, description: str | None = __doc__) -> None:
    # Arguments
    types = (ModelArguments, DataArguments, SerTrainingArguments)
    train(*parse(*types, argv=argv, description=description))


def train(model_args: ModelArguments, data_args: DataArguments, args: SerTrainingArguments) -> Path:
    """Train, evaluate and save a model -> its folder."""
    check_arguments(args)
    checkpoint = claim_output_dir(model_args, data_args, args)  # to resume from
    set_seed(args.seed)

    # Dataset
    with args.main_process_first(desc="loading the dataset"):
        data = load_splits(data_args)
    data = with_dimensions(data, args)
    check_clips(data, args)
    data = check_teachers(args, check_pretraining(model_args, data))

    # Model
    model, extractor = build_model(model_args, outputs(data, args))
    data = data.with_steps_of(extractor)
    check_disk(model, args)

    # Trainer
    trainer = make_trainer(model, extractor, data, args)
    write_settings(model_args, data_args, args)

    # Training; at the end, the best checkpoint is loaded
    trainer.train(resume_from_checkpoint=checkpoint)

    # Saving and evaluation
    folder = save_model(trainer, keep_adapter=model_args.save_adapter)
    results, predictions = evaluate_saved(trainer, data)

    # Results and card
    if trainer.is_world_process_zero():
        write_reports(trainer, data, results, predictions)
        write_model_card(folder, results)
        finish_run(folder)
        print(f"\n{summary(results)}\nWrote {folder}")
    trainer.end()
    return folder


if __name__ == "__main__":
    run(main, after_interrupt=AFTER_INTERRUPT)
