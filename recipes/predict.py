"""Classify any number of recordings with any number of processes, GPUs and machines.

accelerate launch recipes/predict.py --input FOLDER --output answers
accelerate launch --config_file recipes/accelerate/multi_gpu.yaml recipes/predict.py --model runs/quickstart \
    --input archive.csv --output answers --batch_size 32

--input is a folder of recordings, a CSV file with a column path, or a dataset. The clips are divided into parts of
--clips_per_part clips, and each process answers whole parts. After an interruption, run the same command again, also
with another number of processes: no clip is lost or answered twice. The answers are those of `hf-ser predict`, with
errors in the column error: load_dataset("parquet", data_dir="answers/answers") reads them.
"""

from hf_ser.arguments import parse, run
from hf_ser.batch.sharded_arguments import ShardedPredictArguments
from hf_ser.batch.sharded_predict import answer_parts, finish, join_processes, open_folder, parts_of_process


def main() -> None:
    # Arguments
    (args,) = parse(ShardedPredictArguments, description=__doc__)

    # Processes
    state = join_processes(args)

    # Listing, divided into parts that do not depend on the number of processes
    folder = open_folder(args, state)
    parts = parts_of_process(folder, state)

    # Model and answers
    answer_parts(args, folder, parts, state)

    # Counts and merged file, by the process that ends last
    finish(args, folder)


if __name__ == "__main__":
    run(main)
