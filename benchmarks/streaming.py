"""Streaming a training split: completeness, speed and memory, compared with loading it.

python benchmarks/streaming.py [--dataset data/emotions] [--smaller data/ravdess] [--epochs 1 3]

Each row is a separate process that iterates over the train dataloader of `recipes/finetune.py` (batches of 32, decoded
and padded, without training) for one or more epochs, with the default `stream_buffer`. Peak memory is sampled at every
batch: resident memory, and private memory without pages of memory-mapped files, which the system can reclaim. With
streaming, it must not grow with the number of clips or epochs. The ids of each epoch are compared with those of the
loaded split.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from machine import describe_machine

from hf_ser.data import DataArguments, load_splits
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer

BATCH, MIB = 32, 2**20


def memory_mib(process: psutil.Process) -> tuple[float, float]:
    """Resident memory, and private memory without shared pages."""
    memory = process.memory_info()
    return memory.rss / MIB, (memory.rss - memory.shared) / MIB


def measure(dataset: str, epochs: int, streaming: bool) -> dict[str, Any]:
    """Iterate over the train dataloader; return clips per epoch, clips per second, and memory before and at peak."""
    process = psutil.Process()
    data = load_splits(DataArguments(dataset, streaming=streaming))
    model, extractor = build_model(ModelArguments(model_config={"model_type": "ser-audio-cnn"}), data.labels)
    with tempfile.TemporaryDirectory() as folder:
        args = SerTrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, use_cpu=True, disable_tqdm=True, report_to="none"
        )
        trainer = make_trainer(model, extractor, data, args)
        collate, seen = trainer.data_collator, []

        def counted(examples: list[dict[str, Any]]) -> Any:
            seen[-1] += [example.get("number") for example in examples]
            return collate(examples)

        trainer.data_collator = counted
        loader = trainer.get_train_dataloader()
        samples, start = [memory_mib(process)], time.perf_counter()
        for epoch in range(epochs):
            seen.append([])
            loader.set_epoch(epoch)
            samples += [memory_mib(process) for _ in loader]
        seconds = time.perf_counter() - start
    clips = len(data.splits["train"])
    if streaming:
        loaded = load_splits(DataArguments(dataset)).splits["train"]["id"][:]
        ids = data.splits["train"]["id"][:]
        same = all(sorted(ids[number] for number in numbers) == sorted(loaded) for numbers in seen)
        same = same and len({tuple(numbers) for numbers in seen}) == epochs  # each epoch in another order
    else:
        same = all(len(numbers) == clips for numbers in seen)
    resident, own = (max(column) for column in zip(*samples, strict=True))
    before = samples[0][1]
    return {
        "clips": clips,
        "same": same,
        "per_s": clips * epochs / seconds,
        "before": before,
        "own": own,
        "resident": resident,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="data/emotions", help="prepared dataset")
    parser.add_argument("--smaller", default="data/ravdess", help="prepared dataset with fewer clips")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # one row: dataset, epochs, stream or memory
    args = parser.parse_args()
    if args.one is not None:
        dataset, epochs, way = args.one
        print(json.dumps(measure(dataset, int(epochs), way == "stream")))
        return
    print(describe_machine())
    print(
        "| dataset | clips | epochs | read from | same clips | clips/s | private MiB, before | private, peak "
        "| resident, peak |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for way in ("stream", "memory"):
        for dataset in (args.smaller, args.dataset):
            for epochs in args.epochs:
                command = [sys.executable, __file__, "--one", dataset, str(epochs), way]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                row = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"| {Path(dataset).name} | {row['clips']} | {epochs} | {way} | {'yes' if row['same'] else 'NO'} "
                    f"| {row['per_s']:.0f} | {row['before']:.0f} | {row['own']:.0f} | {row['resident']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
