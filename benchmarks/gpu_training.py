"""Sections of `benchmarks/gpu.py` that train: rates of the chip, wav2vec2 and companions with the package's Trainer.

A job trains for warm-up steps, then for timed steps, on clips that are read from Parquet, decoded by worker processes,
collated and padded. Then the same steps run on batches in GPU memory; the difference is the time that the GPU waits
for data and the Trainer. The rate counts convolutions and matrix products only, on padded samples, without those
repeated by checkpointing, and without recurrent layers, which torch's counter does not support. Shares are relative to
a bfloat16 product of two 8192 x 8192 matrices, measured in the same process.
"""

import argparse
import gc
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

# isort: off
# Before hf_ser, which removes this folder from the path.
from finetuning_gpu import XLSR
from finetuning import BASE, TINY, now, operations
from machine import describe_machine

# isort: on
import numpy as np
import torch
import transformers
import yaml
from transformers import Trainer, TrainerCallback, set_seed

from hf_ser.data import DataArguments, load_splits
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer

WORKERS = min(12, max(1, (os.cpu_count() or 2) - 2))
TINY_COMPANION = {"n_mels": 16, "n_fft": 400, "hop_length": 320, "duration_s": 1.0}
HEADER = (
    "| model | options | precision | batch | clips/s | in GPU memory | without loss check | waiting | TFLOP/s | share "
    "| share in GPU memory | padding | peak GiB |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)

_COUNTED: dict[str, float] = {}


@dataclass(frozen=True)
class Job:
    """A timed training."""

    model: str
    config: dict[str, Any]
    options: str = "plain"
    settings: dict[str, Any] = field(default_factory=dict)  # fields of ModelArguments and SerTrainingArguments
    batch: int = 32
    steps: int = 60
    warm_up: int = 10
    duration_s: float | None = None
    stock: bool = False  # without the positional convolution as matrix products


class Clock(TrainerCallback):
    """Time the steps after the warm-up; count their samples, and the time that the loop waits for batches."""

    def __init__(self, trainer: Any, job: Job) -> None:
        self.job, self.start, self.end, self.samples, self.blocked = job, 0.0, 0.0, 0, 0.0
        fetch, train = trainer.get_batch_samples, trainer.training_step

        def timed_fetch(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            batch = fetch(*given, **named)
            self.blocked += time.perf_counter() - began
            return batch

        def counted(model: Any, inputs: dict[str, Any], *given: Any, **named: Any) -> Any:
            self.samples += inputs["input_values"].numel()
            return train(model, inputs, *given, **named)

        trainer.get_batch_samples, trainer.training_step = timed_fetch, counted
        trainer.add_callback(self)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start after the warm-up, and stop after the last step."""
        if state.global_step == self.job.warm_up:
            self.start, self.samples, self.blocked = now(args.device), 0, 0.0
        elif state.global_step == self.job.warm_up + self.job.steps:
            self.end = now(args.device)


def chip(args: argparse.Namespace) -> None:
    """Print the chip and software versions, and measure matrix products and copies."""
    device = "cpu" if args.tiny else "cuda"
    if not args.tiny:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit"]
        try:
            said = subprocess.run([*query, "--format=csv,noheader"], capture_output=True, text=True)
            print(f"- nvidia-smi: {said.stdout.strip()}")
        except OSError as error:
            print(f"- nvidia-smi: {error}")
        own = torch.cuda.get_device_properties(0)
        print(f"- {own.name}, compute capability {own.major}.{own.minor}, {own.multi_processor_count} multiprocessors")
    print(f"- {describe_machine()}")
    cudnn = torch.backends.cudnn.version() if device == "cuda" else "none"
    print(f"- CUDA {torch.version.cuda}, cuDNN {cudnn}, transformers {transformers.__version__}")
    print(f"- {WORKERS} decoding processes in the trainings below")
    print("| product of two 8192 x 8192 matrices | TFLOP/s |\n|---|---|")
    size = 256 if args.tiny else 8192
    for name, dtype, mode in (
        ("bfloat16", torch.bfloat16, "ieee"),
        ("float16", torch.float16, "ieee"),
        ("float32 as TF32", torch.float32, "tf32"),
        ("float32", torch.float32, "ieee"),
    ):
        torch.backends.cuda.matmul.fp32_precision = mode
        rate = product(size, device, dtype)
        print(f"| {name} | {rate:.4g} |")
        print("JSON " + json.dumps({"product": name, "tflops": rate}))
    source = torch.empty((1 << 20) if args.tiny else (1 << 32), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    start = now(source.device)
    for _ in range(10):
        target.copy_(source)
    rate = 10 * 2 * source.numel() / (now(source.device) - start) / 1e12
    print(f"- copy on the device, read and written: {rate:.3g} TB/s")


def product(size: int, device: str, dtype: torch.dtype) -> float:
    """TFLOP/s of a product of two random square matrices, median of several."""
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    times = []
    for number in range(13):
        start = now(left.device)
        for _ in range(4):
            left @ right
        if number >= 3:
            times.append((now(left.device) - start) / 4)
    return 2 * size**3 / float(np.median(times)) / 1e12


def base(args: argparse.Namespace) -> None:
    """Train wav2vec2-base in each precision, at several batch sizes, with recommended options; profile one job."""
    config = TINY if args.tiny else BASE
    jobs = [
        Job("wav2vec2-base", config, batch=64, steps=20),
        Job("wav2vec2-base", config, "stock positional convolution", batch=64, steps=20, stock=True),
        Job("wav2vec2-base", config, steps=30),
        Job("wav2vec2-base", config, "stock positional convolution", steps=30, stock=True),
        Job("wav2vec2-base", config, settings={"precision": "fp16"}, steps=30),
        Job("wav2vec2-base", config, settings={"precision": "fp32"}, steps=20),
        Job("wav2vec2-base", config, "frozen feature encoder", {"freeze_feature_encoder": True}, steps=30),
        Job("wav2vec2-base", config, "eager attention", {"attn_implementation": "eager"}, steps=30),
        Job("wav2vec2-base", config, batch=8, steps=60),
        # Last, because TF32 remains enabled in this process.
        Job("wav2vec2-base", config, "TF32", {"precision": "fp32", "tf32": True}, steps=20),
    ]
    run_all(jobs, args, profiled=0)


def companions(args: argparse.Namespace) -> None:
    """Train each companion model with its improved configuration, AudioCNN in each precision."""
    jobs = []
    for name in ("audio_cnn_plus", "mel_cnn_plus", "audio_lstm_plus", "cnn_lstm_plus", "cnn_gru_plus"):
        recipe = yaml.safe_load(Path(f"recipes/configs/{name}.yaml").read_text(encoding="utf-8"))
        config = {**recipe["model_config"], **(TINY_COMPANION if args.tiny else {})}
        optimizer = {"optim": recipe.get("optim", "adamw_torch")}
        if args.tiny:
            optimizer = {}
        precisions = ("auto", "fp16", "fp32") if name == "audio_cnn_plus" else ("auto",)
        jobs += [Job(name, config, settings={"precision": each, **optimizer}, steps=100) for each in precisions]
        if name == "audio_cnn_plus":
            jobs.append(Job(name, config, settings=optimizer, batch=256, steps=30))
    run_all(jobs, args, profiled=0)


def compiled(args: argparse.Namespace) -> None:
    """Train with torch.compile, with checkpointing and with neither, on clips of one length."""
    config = TINY if args.tiny else BASE
    known = {field.name for field in fields(SerTrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    shared: dict[str, Any] = {"duration_s": 1.0 if args.tiny else 3.0}
    jobs = [
        Job("wav2vec2-base", config, "3 s", **shared),
        Job("wav2vec2-base", config, "3 s, checkpointing", {name: True}, **shared),
        Job("wav2vec2-base", config, "3 s, torch.compile", {"torch_compile": True}, **shared),
        Job(
            "wav2vec2-base",
            config,
            "3 s, torch.compile, frozen feature encoder",
            {"torch_compile": True, "freeze_feature_encoder": True},
            **shared,
        ),
    ]
    run_all(jobs, args, profiled=2)


def xlsr(args: argparse.Namespace) -> None:
    """Train a model of XLSR's size: fully, with a frozen feature encoder, and with LoRA."""
    config = {**XLSR, **(TINY if args.tiny else {})}
    jobs = [
        Job("xlsr", config, batch=16, steps=20, warm_up=5),
        Job("xlsr", config, "frozen feature encoder", {"freeze_feature_encoder": True}, 32, 20, 5),
        Job("xlsr", config, "LoRA 16", {"lora_rank": 16, "freeze_feature_encoder": True}, 32, 20, 5),
    ]
    run_all(jobs, args)


def run_all(jobs: list[Job], args: argparse.Namespace, profiled: int | None = None) -> None:
    """Measure the jobs, one row each; failures and jobs that do not fit are reported."""
    device = "cpu" if args.tiny else "cuda"
    rate = product(256 if args.tiny else 8192, device, torch.bfloat16)
    print(f"- bfloat16 product: {rate:.4g} TFLOP/s")
    print(HEADER)
    for number, job in enumerate(jobs):
        if args.tiny:
            job = replace(job, batch=min(job.batch, 4), steps=3, warm_up=2)
        began = time.monotonic()
        try:
            print(f"starting {job}")
            found = measure(job, args, profile=number == profiled)
            print(row(job, found, rate))
            print("JSON " + json.dumps({"model": job.model, "options": job.options, "batch": job.batch, **found}))
        except torch.OutOfMemoryError:
            print(f"| {job.model} | {job.options} | | {job.batch} | does not fit | | | | | | | | |")
        except Exception as error:  # a failed job does not stop the others
            import traceback

            traceback.print_exc()
            said = " ".join(str(error).split())[:200].replace("|", "/")
            print(f"| {job.model} | {job.options} | | {job.batch} | {type(error).__name__}: {said} | | | | | | | | |")
        print(f"job took {time.monotonic() - began:.1f} s")
        gc.collect()
        torch._dynamo.reset()
        if not args.tiny:
            torch.cuda.empty_cache()


def row(job: Job, found: dict[str, Any], product_rate: float) -> str:
    own, still = found["tflops"], found["tflops_in_memory"]
    cells = [
        *(job.model, job.options, found["precision"], str(job.batch)),
        *(f"{found['clips_per_s']:.1f}", f"{found['clips_per_s_in_memory']:.1f}"),
        *(f"{found['clips_per_s_without_look']:.1f}", f"{found['waiting']:.0%}"),
        *(f"{own:.3g}", f"{own / product_rate:.1%}", f"{still / product_rate:.1%}"),
        *(f"{found['padding']:.0%}", f"{found['peak_gib']:.2f}"),
    ]
    return f"| {' | '.join(cells)} |"


def make(job: Job, args: argparse.Namespace, folder: str, steps: int, **changes: Any) -> tuple[Any, Any]:
    """Make the package's Trainer for a job, with enough clips for its steps; also return the clips' lengths."""
    names = {field.name for field in fields(ModelArguments)}
    of_model = {name: value for name, value in job.settings.items() if name in names}
    settings: dict[str, Any] = {
        **{"output_dir": folder, "max_steps": steps, "per_device_train_batch_size": job.batch, "learning_rate": 1e-4},
        **{"eval_strategy": "no", "save_strategy": "no", "logging_strategy": "no", "load_best_model_at_end": False},
        **{"report_to": "none", "disable_tqdm": True, "dataloader_drop_last": True, "use_cpu": args.tiny},
        **{"dataloader_num_workers": 2 if args.tiny else WORKERS, "dataloader_prefetch_factor": 2},
        **{name: value for name, value in job.settings.items() if name not in names},
        **changes,
    }
    set_seed(0)
    data = load_splits(DataArguments(dataset=args.dataset, protocol="random", duration_s=job.duration_s))
    own = len(data.splits["train"])
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.permutation(own) for _ in range(1 + steps * job.batch // own)])[: steps * job.batch]
    data = replace(data, splits={**data.splits, "train": data.splits["train"].select(rows)})
    model, extractor = build_model(ModelArguments(model_config=job.config, **of_model), data.labels)
    if job.stock:
        for module in model.modules():
            vars(module).pop("_conv_forward", None)
    trainer = make_trainer(model, extractor, data, SerTrainingArguments(**settings))
    return trainer, data.lengths("train")


def measure(job: Job, args: argparse.Namespace, profile: bool = False) -> dict[str, Any]:
    """Train and time a job."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, samples = make(job, args, folder, job.warm_up + job.steps)
        work = operations_of(job, args, folder)
        clock = Clock(trainer, job)
        device = trainer.args.device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
        seconds = clock.end - clock.start
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
        used = clock.samples
        padding = 1 - float(np.mean(samples)) * job.batch * job.steps / used
        losses = trainer.state.log_history[-1].get("train_loss")
        still, still_samples = in_memory(trainer, job, profile)
        # The package's training step checks the loss, which synchronizes with the GPU.
        apart, apart_samples = in_memory(trainer, job, False, Trainer.training_step)
    clips = job.batch * job.steps
    # Per padded sample, because the batches in memory are different.
    waiting = 1 - (still / still_samples) / (seconds / used)
    return {
        "precision": trainer.args.precision_choice.precision,
        "clips_per_s": clips / seconds,
        "clips_per_s_in_memory": clips / seconds / (1 - waiting),
        "clips_per_s_without_look": clips / seconds / (apart / apart_samples) * seconds / used,
        "waiting": waiting,
        "blocked_for_a_batch": clock.blocked / seconds,
        "tflops": work * used / seconds / 1e12,
        "tflops_in_memory": work * still_samples / still / 1e12,
        "padding": padding,
        "peak_gib": peak,
        "loss": losses,
        "ms_per_step": 1e3 * seconds / job.steps,
    }


def operations_of(job: Job, args: argparse.Namespace, folder: str) -> float:
    """Floating-point operations of a training step per padded sample, without those repeated by checkpointing."""
    left_out = ("torch_compile", "activation_checkpointing", "gradient_checkpointing", "precision", "tf32", "optim")
    left = {name: value for name, value in job.settings.items() if name not in left_out}
    key = json.dumps([job.config, left, job.duration_s])
    if key not in _COUNTED:
        plain, _ = make(replace(job, settings=left, batch=1), args, folder, 1)
        _COUNTED[key] = operations(plain)
    return _COUNTED[key]


def in_memory(trainer: Any, job: Job, profile: bool, step: Any = None) -> tuple[float, int]:
    """Continue training on four batches in device memory; return seconds and padded samples, and print a profile."""
    model, device, clips = trainer.model_wrapped, trainer.args.device, trainer.train_dataset
    batches = []
    for number in range(4):
        items = clips[number * job.batch % len(clips) : number * job.batch % len(clips) + job.batch]
        examples = [dict(zip(items, values, strict=True)) for values in zip(*items.values(), strict=True)]
        batch = trainer.data_collator(examples)
        batches.append({name: value.to(device) for name, value in batch.items()})
    optimizer, count = trainer.optimizer, torch.tensor(job.batch, device=device)
    train = step or type(trainer).training_step

    def steps(number: int) -> int:
        samples = 0
        for index in range(number):
            batch = dict(batches[index % 4])
            samples += batch["input_values"].numel()
            train(trainer, model, batch, count)
            trainer.accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            model.zero_grad()
        return samples

    model.train()
    steps(4)
    start = now(device)
    samples = steps(job.steps)
    seconds = now(device) - start
    if profile:
        print_profile(lambda: steps(3), device.type)
    return seconds, samples


def print_profile(work: Any, device: str) -> None:
    """Print a profile by kernel and by operator."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with profiled(activities=kinds) as found:
        work()
        now(torch.device(device))
    key = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    averages = [each for each in found.key_averages() if not each.key.startswith(("Optimizer.", "ProfilerStep"))]
    kernels = [each for each in averages if each.device_type == torch.autograd.DeviceType.CUDA]
    operators = [each for each in averages if each.device_type != torch.autograd.DeviceType.CUDA]
    for name, entries in (("kernels", kernels), ("operators", operators)):
        total = sum(getattr(each, key) for each in entries)
        print(f"profile of three steps on batches in memory, {name}, {total / 1e3:.1f} ms:")
        for each in sorted(entries, key=lambda entry: -getattr(entry, key))[:22]:
            spent = getattr(each, key)
            print(f"  {spent / max(total, 1):6.1%} {spent / 1e3:9.2f} ms {each.count:6d} x {each.key[:110]}")
