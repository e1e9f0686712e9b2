"""Score models on the same clips under noise, rooms, codecs and other conditions.

python recipes/robustness.py --dataset data/emotions --quick true --output_dir runs/robustness_quick
python recipes/robustness.py --models "runs/emobox/seed_0/fold_*" --dataset data/emotions --configuration ravdess \
    --conditions white_noise room telephone --levels white_noise=20,10,0 --output_dir runs/robustness
"""

import logging
from pathlib import Path

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments
from hf_ser.hub.card import add_robustness
from hf_ser.robustness import RobustnessArguments, measure_robustness, summary


def main() -> None:
    data_args, args = parse(DataArguments, RobustnessArguments, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    report = measure_robustness(args, data_args)
    if args.update_card:
        add_robustness(Path(args.model_names[0]), Path(args.output_dir))
    print(f"\n{summary(report)}\nWrote {args.output_dir} (see {args.output_dir}/robustness.md)")


if __name__ == "__main__":
    run(main)
