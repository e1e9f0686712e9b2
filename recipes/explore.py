"""Draw the clips of a prepared dataset, and their number per class, split, gender and corpus.

python recipes/explore.py --dataset data/emotions --output_dir runs/explore
"""

from dataclasses import dataclass, field

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments, load_splits
from hf_ser.reporting.exploration import explore
from hf_ser.run_folder import held


@dataclass
class ExploreArguments:
    """The output folder."""

    output_dir: str = field(default="figures", metadata={"help": "folder for the figures and explore.md"})


def main() -> None:
    data_args, args = parse(DataArguments, ExploreArguments, description=__doc__)
    dataset = load_splits(data_args, needed=("train",))
    with held(args.output_dir) as folder:
        *figures, report = explore(dataset, folder)
    print(f"Wrote {len(figures)} figures, each as PNG and SVG, and {report}.")


if __name__ == "__main__":
    run(main)
