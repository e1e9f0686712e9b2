"""Train a companion model (MelCNN, AudioCNN, AudioLSTM, CNN-LSTM, CNN-GRU) from scratch, as recipes/finetune.py does.

accelerate launch --config_file accelerate_config.yaml recipes/train_companion.py \
    --config recipes/configs/audio_cnn.yaml --dataset data/emotions

Any field of the YAML file can be overridden on the command line; unknown fields are refused.
"""

from pathlib import Path

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments
from hf_ser.hub import write_model_card
from hf_ser.reporting import summary
from hf_ser.training import ModelArguments, SerTrainingArguments, train


def main() -> None:
    model_args, data_args, args = parse(ModelArguments, DataArguments, SerTrainingArguments, description=__doc__)
    trainer, results = train(model_args, data_args, args)
    if trainer.is_world_process_zero():
        write_model_card(Path(str(args.output_dir)), results)
        print(f"\n{summary(results)}\nWrote {args.output_dir}")
    trainer.end()


if __name__ == "__main__":
    run(main, after_interrupt="add --resume_from_checkpoint true to go on from the last checkpoint")
