r"""Make the model that comes with hf_ser: train it, check its licences, and write the folder `hf_ser/pretrained`.

python recipes/prepare.py --ravdess data/raw/ravdess --crema_d data/raw/crema_d --output_dir data/pretrained
python recipes/make_pretrained.py --config recipes/configs/pretrained.yaml --dataset data/pretrained

Only corpora whose licences allow sharing a model are accepted (RAVDESS and CREMA-D). An existing folder is compared
with the new one and replaced. `--run_folder RUN` packages a finished run on the same dataset instead of training. The
numbers in README.md and docs are updated.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments, load_splits
from hf_ser.default_model import is_default
from hf_ser.hub.pretrained_folder import PackageArguments, check_licences, package
from hf_ser.hub.pretrained_pages import write_pages
from hf_ser.training import ModelArguments, SerTrainingArguments

sys.path.append(str(Path(__file__).parent))  # at the end, so that evaluate.py does not hide the library evaluate
import finetune  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    # Arguments
    types = (PackageArguments, ModelArguments, DataArguments, SerTrainingArguments)
    package_args, model_args, data_args, args = parse(*types, argv=argv, description=__doc__)

    # Dataset; its licences are checked before any training
    with args.main_process_first(desc="loading the dataset"):
        data = load_splits(data_args, needed=("train", "validation", "test"))
    check_licences(data)

    # Training
    folder = package_args.run_folder or finetune.train(model_args, data_args, args)

    # Packaging and documentation
    if args.process_index == 0:
        print(package(folder, data, package_args.package_dir, device=str(args.device)))
        if is_default(package_args.package_dir):
            print("\n".join(f"Updated {path}" for path in write_pages(Path(__file__).parents[1])))


if __name__ == "__main__":
    run(main, after_interrupt=finetune.AFTER_INTERRUPT)
