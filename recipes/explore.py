"""Draw the clips of a prepared dataset, and their number per class, split, gender and corpus.

python recipes/explore.py --dataset data/emotions --output_dir runs/explore
"""

from dataclasses import dataclass, field
from pathlib import Path

from hf_ser.arguments import ConfigError, parse, run
from hf_ser.data import DataArguments, load_splits
from hf_ser.reporting.exploration import explore
from hf_ser.run_folder import held


@dataclass
class ExploreArguments:
    """The output folder."""

    output_dir: str = field(default="figures", metadata={"help": "folder for the figures and explore.md"})

    def __post_init__(self) -> None:
        if Path(self.output_dir).exists() and not Path(self.output_dir).is_dir():
            raise ConfigError(f"output_dir is {self.output_dir}, which is a file; expected a folder or a new name.")


def main() -> None:
    data_args, args = parse(DataArguments, ExploreArguments, description=__doc__)
    dataset = load_splits(data_args, needed=("train",))
    with held(args.output_dir) as folder:
        *figures, report = explore(dataset, folder)
    print(f"Wrote {len(figures)} figures, each as PNG and SVG, and {report}.")


if __name__ == "__main__":
    run(main)
