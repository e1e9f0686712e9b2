"""Compare finished runs: one table and one ranking per protocol, with seeds, intervals, paired tests and figures.

python recipes/compare.py runs/quickstart runs/baseline --output_dir runs/comparison
python recipes/compare.py "runs/*_emobox" --names audio_cnn_plus="AudioCNN (ours)" --readme README.md
"""

from hf_ser.arguments import parse, run
from hf_ser.reporting import CompareArguments, compare_runs


def main() -> None:
    (args,) = parse(CompareArguments, description=__doc__, positional="runs")
    text, written = compare_runs(args)
    print(f"\n{text}" + "".join(f"\nWrote {path}" for path in written))


if __name__ == "__main__":
    run(main, after_interrupt="start again")
