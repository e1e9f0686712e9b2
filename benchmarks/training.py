"""Speed of training AudioCNN on a CPU with real recordings, relative to a plain PyTorch loop.

python benchmarks/training.py [--dataset data/ravdess] [--rounds 3] [--steps 40] [--precision auto]

The peer is a loop as in a notebook: the same model made of torch's layers (its logits are compared with ours first),
in float32 and NCHW, with AdamW, on waveforms decoded in memory. Ours is the package's Trainer as in
`recipes/train_companion.py`: clips are read from Parquet, decoded and collated; it computes in --precision with
channels last, and reuses memory between steps. Batches have 32 clips of 3 s. Both run alternately in separate
processes, and the ratio is computed for each pair. The rate counts the model's convolutions and matrix products only,
as torch's FlopCounterMode does, over the time of the whole step. It is compared with a float32 product of two 4096 x
4096 matrices. Waiting is the time per step in which the Trainer has no batch.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchaudio
from machine import describe_machine
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hf_ser.data import DataArguments, load_splits
from hf_ser.memory import keep_freed_memory
from hf_ser.models import AudioCNNConfig
from hf_ser.remote_code.audio_cnn import AudioCNNForAudioClassification
from hf_ser.remote_code.hardware import PRECISIONS, detect, resolve
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer

BATCH, NUM_SAMPLES, WARM_UP = 32, 48_000, 3


class PlainAudioCNN(nn.Module):
    """The published AudioCNN as in a notebook: waveforms (batch, samples) -> logits (batch, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            16_000, n_fft=400, hop_length=160, n_mels=80, norm="slaney", mel_scale="slaney"
        )
        self.decibels = torchaudio.transforms.AmplitudeToDB(top_db=80)
        sizes = [1, 32, 64, 128, 256]
        blocks = [
            layer
            for before, after in zip(sizes, sizes[1:], strict=False)
            for layer in (
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Dropout(0.3),
            )
        ]
        head = [nn.Linear(256 * 5 * 18, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.3), nn.Linear(512, 8)]
        self.layers = nn.Sequential(*blocks, nn.Flatten(), *head)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        decibels = self.decibels(self.mel(waveforms)[:, None])  # (batch, 1, 80, frames)
        return self.layers(decibels - decibels.amax(dim=(2, 3), keepdim=True))


def waveforms_in_memory(dataset: str, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    clips = load_splits(DataArguments(dataset=dataset, protocol="random")).decoded("train")
    items = clips[: min(number, len(clips))]
    clips = torch.zeros(len(items["label"]), NUM_SAMPLES)
    for row, waveform in enumerate(items["waveform"]):
        clip = torch.as_tensor(waveform)[:NUM_SAMPLES]
        clips[row, : len(clip)] = clip
    return clips, torch.tensor(items["label"])


def plain(dataset: str, steps: int) -> dict[str, float]:
    """Run the peer and return clips per second."""
    clips, labels = waveforms_in_memory(dataset, BATCH * 16)
    model = PlainAudioCNN().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    start = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            start = time.perf_counter()
        rows = torch.randint(0, len(clips), (BATCH,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(clips[rows]), labels[rows]).backward()
        optimizer.step()
    return {"clips_per_s": BATCH * steps / (time.perf_counter() - start)}


def ours(dataset: str, steps: int, precision: str = "auto") -> dict[str, float]:
    """Run the package's Trainer; return clips per second, and seconds per step of waiting for a batch."""
    model_args = ModelArguments(model_config={"model_type": "ser-audio-cnn"})
    data_args = DataArguments(dataset=dataset, protocol="random")
    with tempfile.TemporaryDirectory() as folder:
        args = SerTrainingArguments(
            output_dir=folder,
            max_steps=WARM_UP + steps,
            per_device_train_batch_size=BATCH,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            precision=precision,
            use_cpu=True,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            dataloader_drop_last=True,
            disable_tqdm=True,
            report_to="none",
        )
        keep_freed_memory()  # as in `train`
        data = load_splits(data_args)
        trainer = make_trainer(*build_model(model_args, data.labels), data, args)
        ends, waits = [], []
        fetch, train = trainer.get_batch_samples, trainer.training_step

        def timed_fetch(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            batch = fetch(*given, **named)
            waits.append(time.perf_counter() - start)
            return batch

        def timed_step(*given: Any, **named: Any) -> Any:
            ends.append(time.perf_counter())
            return train(*given, **named)

        trainer.get_batch_samples, trainer.training_step = timed_fetch, timed_step  # type: ignore[method-assign]
        trainer.train()
    # From start to start of steps, which excludes the last step.
    seconds = ends[-1] - ends[WARM_UP]
    return {"clips_per_s": BATCH * (len(ends) - 1 - WARM_UP) / seconds, "wait_s": statistics.mean(waits[WARM_UP:])}


def same_model(dataset: str) -> float:
    """Largest difference between the logits of both sides with the same weights, on 8 real clips."""
    theirs, own = PlainAudioCNN().eval(), AudioCNNForAudioClassification(AudioCNNConfig(num_labels=8)).eval()
    values = [value for name, value in own.state_dict().items() if not name.startswith("frontend")]
    names = theirs.layers.state_dict()
    theirs.layers.load_state_dict(dict(zip(names, values, strict=True)))
    clips, _ = waveforms_in_memory(dataset, 8)
    with torch.inference_mode():
        return (theirs(clips) - own(clips).logits).abs().max().item()


def operations() -> float:
    """Floating-point operations of convolutions and matrix products in one training step, per clip."""
    model = PlainAudioCNN().train()
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(BATCH, NUM_SAMPLES)).sum().backward()
    return counter.get_total_flops() / BATCH


def matrix_product() -> float:
    """Floating-point operations per second of a float32 4096 x 4096 matrix product."""
    left, right = torch.randn(4096, 4096), torch.randn(4096, 4096)
    left @ right
    start = time.perf_counter()
    for _ in range(3):
        left @ right
    return 3 * 2 * 4096**3 / (time.perf_counter() - start)


def side(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Run one side in a separate process, because memory settings apply to the whole process."""
    command = [sys.executable, __file__, "--side", name, "--dataset", args.dataset, "--steps", str(args.steps)]
    command += ["--precision", args.precision]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default=str(Path("data") / "ravdess"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="precision of our side")
    parser.add_argument("--side", choices=("plain", "ours"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side_of = {"plain": plain, "ours": partial(ours, precision=args.precision)}
        print(json.dumps(side_of[args.side](args.dataset, args.steps)))
        return
    print(describe_machine(resolve(args.precision, detect("cpu")).precision))
    work = operations()
    print(f"{torch.get_num_threads()} threads, {args.rounds} rounds of {args.steps} steps of {BATCH} clips")
    print(f"{work / 1e9:.2f} GFLOP per clip; largest difference of the logits {same_model(args.dataset):.1e}\n")
    print("| round | plain clips/s | ours clips/s | ratio | matrix product GFLOP/s | plain | ours | waiting |")
    print("|---|---|---|---|---|---|---|---|")
    ratios, rates = [], []
    for number in range(args.rounds):
        product, theirs, own = matrix_product(), side("plain", args), side("ours", args)
        ratios.append(own["clips_per_s"] / theirs["clips_per_s"])
        rates.append(own["clips_per_s"] * work / product)
        achieved = [speed["clips_per_s"] * work / 1e9 for speed in (theirs, own)]
        speeds = f"{theirs['clips_per_s']:.1f} | {own['clips_per_s']:.1f} | {ratios[-1]:.2f}"
        gigaflops = f"{product / 1e9:.0f} | {achieved[0]:.0f} | {achieved[1]:.0f}"
        waiting = f"{own['wait_s'] * 1e3:.1f} of {1e3 * BATCH / own['clips_per_s']:.0f} ms per step"
        print(f"| {number + 1} | {speeds} | {gigaflops} | {waiting} |", flush=True)
    print()
    for name, values in (("ratio of clips per second", ratios), ("rate relative to the matrix product", rates)):
        print(f"{name}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
