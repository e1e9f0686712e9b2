"""Fit and score the baseline: logistic regression on the mean and standard deviation of log-mels.

python recipes/baseline.py --dataset data/emotions --configuration ravdess --output_dir runs/baseline
"""

from pathlib import Path

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments, load_splits
from hf_ser.hybrids.baseline import BaselineArguments, fit_baseline
from hf_ser.reporting import summary


def main() -> None:
    data_args, args = parse(DataArguments, BaselineArguments, description=__doc__)
    data = load_splits(data_args)
    results = fit_baseline(data, args, Path(args.output_dir).name)
    print(f"\n{summary(results)}\nWrote {args.output_dir}")


if __name__ == "__main__":
    run(main, after_interrupt="run the same command again")
