"""Score a trained model, or train and score every fold of a protocol.

python recipes/evaluate.py --model runs/quickstart --dataset data/quickstart/dataset --output_dir runs/quickstart_test
python recipes/evaluate.py --model_recipe recipes/finetune.py --recipe_config recipes/configs/wav2vec2_base.yaml \
    --dataset data/emotions --configuration ravdess --protocol emobox --seeds 0 1 2 --jobs 2 --output_dir runs/emobox
"""

import logging
import sys
from pathlib import Path

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments, load_rows
from hf_ser.evaluation import CrossValidationArguments, EvaluateArguments, cross_validate, evaluate
from hf_ser.reporting import summary
from hf_ser.scoring.thresholds import missed_thresholds


def main() -> None:
    data_args, folds, args = parse(DataArguments, CrossValidationArguments, EvaluateArguments, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if folds.model_recipe is None:
        results = evaluate(args, data_args)
    else:
        args.refuse_model_options()
        folder = Path(args.output_dir)
        limits = args.thresholds
        results = cross_validate(load_rows(data_args), folds, data_args, folder, args.overwrite, args.figures, limits)
    print(f"\n{summary(results)}\nWrote {args.output_dir} (see {args.output_dir}/report.md)")
    if args.thresholds is not None:
        missed = missed_thresholds(results, args.thresholds)
        print("\n".join(["Thresholds missed:", *missed] if missed else ["All thresholds are met."]))
        sys.exit(3 if missed else 0)


if __name__ == "__main__":
    run(main)
