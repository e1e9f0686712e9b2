"""Fine-tuning a full-size wav2vec2-base on a CPU with each option, relative to a plain `Trainer`.

python benchmarks/finetuning.py [--dataset data/emotions] [--rounds 3] [--steps 4] [--variants recommended ...]

The weights are random, which does not change the cost. The peer is the stock `Trainer` in float32, as in tutorials, on
clips decoded, normalised and padded to the longest clip of the dataset in advance, in memory. Ours is the package's
Trainer, which reads Parquet, decodes, collates and pads to the longest clip of the batch: without options, with each
option alone, and with the recommended options (--precision and a frozen feature encoder), with and without length
grouping. In a round, all variants train on the same random clips of the training split, with the same batch size. Each
variant runs in a separate process: a warm-up step, then an epoch over these clips, including loading.

The rate counts convolutions and matrix products only, as torch's FlopCounterMode does, including those on padding and
those repeated by checkpointing. It is compared with a float32 product of two 4096 x 4096 matrices. Memory is the peak
of the process. In such a short epoch, length grouping leaves more padding than in a full epoch, in which it sorts the
clips of 50 batches together.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    Wav2Vec2FeatureExtractor,
    set_seed,
)

from hf_ser.arguments import run
from hf_ser.audio import SAMPLING_RATE
from hf_ser.data import DataArguments, load_splits
from hf_ser.data.splits import SplitData
from hf_ser.errors import SerError
from hf_ser.remote_code.hardware import PRECISIONS, detect, resolve
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer

BASE: dict[str, Any] = {"model_type": "wav2vec2"}
TINY: dict[str, Any] = {
    **BASE,
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    **{"conv_dim": [16, 16], "conv_kernel": [20, 16], "conv_stride": [16, 10], "num_feat_extract_layers": 2},
    **{"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16},
}
GROUPED = {"train_sampling_strategy": "group_by_length"}
# As in recipes/configs/wav2vec2_base_recommended.yaml.
RECOMMENDED = {"precision": "auto", "freeze_feature_encoder": True}
PEER = "plain Trainer"
VARIANTS: dict[str, dict[str, Any]] = {
    PEER: {},
    "ours": {},
    "length-grouping": GROUPED,
    "bfloat16": {"bf16": True},
    "frozen-feature-encoder": {"freeze_feature_encoder": True},
    "gradient-checkpointing": {"activation_checkpointing": True},
    "lora": {"lora_rank": 8},
    "recommended": RECOMMENDED,
    "recommended, length-grouping": {**RECOMMENDED, **GROUPED},
}


@dataclass(frozen=True)
class Job:
    """Training of one process."""

    dataset: str
    config: dict[str, Any]
    options: dict[str, Any]  # fields of ModelArguments and SerTrainingArguments
    batch: int
    steps: int
    warm_up: int = 1
    seed: int = 0
    device: str = "cpu"
    peer: bool = False


class Stopwatch(TrainerCallback):
    """Stop the first of two epochs after the warm-up steps, and time the second one."""

    def __init__(self, warm_up: int, trainer: Trainer) -> None:
        self.warm_up, self.start, self.end, self.padded_samples = warm_up, 0.0, 0.0, 0
        train = trainer.training_step

        def counted(model: Any, inputs: dict[str, Any], *given: Any) -> torch.Tensor:
            self.padded_samples += inputs["input_values"].numel()
            return train(model, inputs, *given)

        trainer.training_step = counted  # type: ignore[method-assign]

    def on_epoch_begin(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Reset, so that only the second epoch counts."""
        self.padded_samples, self.start = 0, now(args.device)

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Stop the first epoch after the warm-up; end the measurement after the second."""
        control.should_epoch_stop = state.global_step == self.warm_up
        if state.epoch == 2:
            self.end = now(args.device)


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(job: Job) -> dict[str, float]:
    """Train, and return clips per second, GFLOP/s, the share of padding, and peak memory in GiB."""
    set_seed(job.seed)
    data = load_splits(DataArguments(dataset=job.dataset))
    train = data.splits["train"]
    longest, needed = max(data.lengths("train")), job.batch * job.steps
    if len(train) < needed or job.warm_up > job.steps:
        raise SerError(
            f"got {len(train)} training clips and {job.steps} steps; expected at least {needed} clips and "
            f"{job.warm_up} steps. Pass another --steps."
        )
    rows = np.random.default_rng(job.seed).permutation(len(train))[:needed]
    validation = data.splits["validation"].select([0])  # not used
    data = replace(data, splits={"train": train.select(rows), "validation": validation})
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_peer(job, folder, data, longest) if job.peer else make_ours(job, folder, data)
        stopwatch = Stopwatch(job.warm_up, trainer)
        trainer.add_callback(stopwatch)
        work = operations(trainer)
        if job.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
    seconds = stopwatch.end - stopwatch.start
    return {
        "clips_per_s": needed / seconds,
        "gflops": work * stopwatch.padded_samples / seconds / 1e9,
        "padding": 1 - sum(data.lengths("train")) / stopwatch.padded_samples,
        "peak_gib": peak_gib(job.device),
    }


def settings(job: Job, folder: str) -> dict[str, Any]:
    """TrainingArguments of both sides."""
    return {
        "output_dir": folder,
        "num_train_epochs": 2,
        "per_device_train_batch_size": job.batch,
        "learning_rate": 1e-5,
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_strategy": "no",
        "use_cpu": job.device == "cpu",
        "disable_tqdm": True,
        "report_to": "none",
        "seed": job.seed,
    }


def make_peer(job: Job, folder: str, data: SplitData, longest: int) -> Trainer:
    """Make the stock Trainer on clips padded to `longest` samples."""
    clips = data.decoded("train")[:]
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    padded = extractor(clips["waveform"], sampling_rate=SAMPLING_RATE, padding="max_length", max_length=longest)
    values = zip(padded["input_values"], clips["label"], strict=True)
    model = AutoModelForAudioClassification.from_config(
        AutoConfig.for_model(**job.config, num_labels=len(data.labels), layerdrop=0.0)
    )
    items: Any = [{"input_values": clip, "labels": label} for clip, label in values]
    return Trainer(model=model, args=TrainingArguments(**settings(job, folder)), train_dataset=items)


def make_ours(job: Job, folder: str, data: SplitData) -> Trainer:
    """Make the package's Trainer with the job's options."""
    of_model = {field.name for field in fields(ModelArguments)}
    model_args = ModelArguments(model_config=job.config, **{k: v for k, v in job.options.items() if k in of_model})
    options = {name: value for name, value in job.options.items() if name not in of_model}
    options.setdefault("precision", "bf16" if options.get("bf16") else "fp32")  # by default as the peer
    args = SerTrainingArguments(**settings(job, folder), load_best_model_at_end=False, **options)
    return make_trainer(*build_model(model_args, data.labels), data, args)


def operations(trainer: Trainer) -> float:
    """Floating-point operations of a training step per padded sample, counted on one clip."""
    model: Any = trainer.model
    model.to(trainer.args.device).train()
    if getattr(trainer.args, "activation_checkpointing", False):
        model.activation_checkpointing_enable()
    dataset: Any = trainer.train_dataset
    batch = {name: value.to(trainer.args.device) for name, value in trainer.data_collator([dataset[0]]).items()}
    # The counter does not support the CPU's attention kernel.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(**batch).loss.backward()
    model.zero_grad()
    return counter.get_total_flops() / batch["input_values"].numel()


def peak_gib(device: str) -> float:
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**30
    # Not `ru_maxrss`, which a process inherits from its parent.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def matrix_product(size: int = 4096, device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations per second of a product of two square matrices."""
    left, right = torch.randn(2, size, size, device=device, dtype=dtype)
    times = 3 if device == "cpu" else 30
    left @ right
    start = now(left.device)
    for _ in range(times):
        left @ right
    return times * 2 * size**3 / (now(left.device) - start)


def in_its_own_process(job: Job) -> dict[str, float]:
    """Measure in a separate process, so that memory is the job's only; empty if it does not fit on the GPU."""
    command = [sys.executable, __file__, "--job", json.dumps(asdict(job))]
    one_gpu = {"CUDA_VISIBLE_DEVICES": "0", **os.environ}  # the Trainer would use all GPUs
    done = subprocess.run(command, capture_output=True, text=True, env=one_gpu)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2].removeprefix("error: ")
        raise SerError(last or f"a training process failed with status {done.returncode}.")
    return json.loads(done.stdout.splitlines()[-1])


def answer(job: Job) -> None:
    """Print the measurements as the last line of the job's process."""
    try:
        print(json.dumps(measure(job)))
    except torch.OutOfMemoryError:
        print("{}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default=str(Path("data") / "emotions"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="measured steps, on the same clips for all variants")
    parser.add_argument("--batch", type=int, default=8)
    chosen = [name for name in VARIANTS if name != PEER]
    parser.add_argument(
        "--variants", nargs="+", choices=chosen, default=chosen, help="variants to compare with the plain Trainer"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="precision of the recommended variants"
    )
    parser.add_argument("--tiny", action="store_true", help="use a tiny model and product, to test the script")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        return answer(Job(**json.loads(args.job)))
    print(describe_machine(resolve(args.precision, detect("cpu")).precision))
    config, size = (TINY, 512) if args.tiny else (BASE, 4096)
    products: list[float] = []
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS if name in (PEER, *args.variants)}
    for number in range(args.rounds):
        products.append(matrix_product(size) / 1e9)
        for name, rounds in measured.items():
            options = VARIANTS[name]
            options = options | {"precision": args.precision} if "precision" in options else options
            job = Job(args.dataset, config, options, args.batch, args.steps, seed=number, peer=name == PEER)
            rounds.append(in_its_own_process(job))
            print(f"round {number + 1}, {name}: {rounds[-1]['clips_per_s']:.2f} clips/s", file=sys.stderr)
    print(f"{torch.get_num_threads()} threads, {args.rounds} rounds of {args.steps} steps of {args.batch} clips")
    middle = statistics.median(products)
    print(f"float32 matrix product: {middle:.0f} GFLOP/s ({min(products):.0f} to {max(products):.0f})\n")
    print("| variant | clips/s | ratio to plain Trainer | padding | GFLOP/s | share of product | peak memory, GiB |")
    print("|---|---|---|---|---|---|---|")
    for name, rounds in measured.items():
        print(f"| {name} | {row(rounds, measured[PEER], products)} |")


def row(rounds: list[dict[str, float]], peer: list[dict[str, float]], products: list[float]) -> str:
    """Columns of one variant: medians over the rounds, and the range of the ratio to the peer."""
    speed, padding, rate, peak = (
        statistics.median(each[name] for each in rounds) for name in ("clips_per_s", "padding", "gflops", "peak_gib")
    )
    ratios = [own["clips_per_s"] / theirs["clips_per_s"] for own, theirs in zip(rounds, peer, strict=True)]
    share = statistics.median(each["gflops"] / product for each, product in zip(rounds, products, strict=True))
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"{speed:.2f} | {ratio} | {padding:.0%} | {rate:.0f} | {share:.0%} | {peak:.2f}"


if __name__ == "__main__":
    run(main, after_interrupt="start it again")
