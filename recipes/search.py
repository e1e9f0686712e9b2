"""Search hyperparameters with Optuna. Trials are scored on validation; the test split is not read.

python recipes/search.py --config recipes/configs/wav2vec2_base.yaml \
    --search_space recipes/search_spaces/wav2vec2.yaml --dataset data/emotions --n_trials 20 --output_dir runs/search

The YAML file is that of a training recipe; the search space lists the fields to vary. Run the same command again to
continue an interrupted search. Needs `pip install "hf-ser[search]"`.
"""

from pathlib import Path

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments
from hf_ser.models import COMPANIONS
from hf_ser.search import SearchArguments, search
from hf_ser.training import ModelArguments, SerTrainingArguments


def main() -> None:
    types = (ModelArguments, DataArguments, SerTrainingArguments, SearchArguments)
    model_args, data_args, args, search_args = parse(*types, description=__doc__)
    trainer, table = search(model_args, data_args, args, search_args)
    if trainer.is_world_process_zero():
        folder = Path(str(args.output_dir))
        print(f"\n{table}\n\nSelected on validation; the test split was not read. Wrote {folder / 'report.md'}. Next:")
        model_type = (model_args.model_config or {}).get("model_type")
        companion = model_type in [config.model_type for config in COMPANIONS]
        recipe = "train_companion" if companion else "finetune"
        print(f"python recipes/{recipe}.py --config {folder / 'best.yaml'}")
    trainer.end()


if __name__ == "__main__":
    run(main)
