"""Classify the recordings of a folder on a Ray cluster, in actors that load the model once.

pip install "ray[data]" "hf-ser[train]"
python examples/ray_predict.py examples/clips answers

The output is a folder of Parquet files with the columns of `hf-ser predict`.
"""

import argparse
from collections.abc import Sequence

import ray

from hf_ser.batch import BatchPredictor
from hf_ser.batch.recordings_listing import list_recordings


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", help="files, URLs or folders that all machines can read")
    parser.add_argument("output", help="folder for the Parquet files")
    parser.add_argument("--model", help="model folder, Hub id or graph (default: the model that comes with hf_ser)")
    parser.add_argument("--actors", type=int, default=2, help="number of processes with a model")
    parser.add_argument("--num_gpus", type=float, default=0, help="GPUs of each actor; 0.5 shares one between two")
    args = parser.parse_args(argv)
    names, _ = list_recordings(args.recordings)
    answers = ray.data.from_items([{"path": name} for name in names]).map_batches(
        BatchPredictor,
        fn_constructor_kwargs={"model": args.model},
        batch_size=256,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=args.actors),
        num_gpus=args.num_gpus,
    )
    answers.write_parquet(args.output)


if __name__ == "__main__":
    main()
