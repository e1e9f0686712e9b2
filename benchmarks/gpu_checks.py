"""Checks of `benchmarks/gpu.py`: agreement with the CPU, learning, resuming, tests, recipes, pipelines."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# isort: off
# Before hf_ser, which removes this folder from the path.
from gpu_training import TINY_COMPANION, Job, make
from finetuning import BASE, TINY

# isort: on
import numpy as np
import torch
import yaml
from transformers import AudioClassificationPipeline, set_seed

from hf_ser.audio import SAMPLING_RATE, load_audio
from hf_ser.labels import EMOTIONS
from hf_ser.models import SpeechEmotionPipeline, min_samples
from hf_ser.training import ModelArguments, build_model
from hf_ser.training.batches import AudioCollator

CONFIGS = ("mel_cnn", "audio_cnn", "audio_cnn_plus", "audio_lstm", "cnn_lstm", "cnn_gru")
# Maximum of ||GPU - CPU|| / ||CPU|| of the logits.
LIMITS = {"float32": 1e-3, "float32, torch's defaults": 1e-2, "float16": 5e-2, "bfloat16": 5e-2}


def files(args: argparse.Namespace, number: int) -> list[str]:
    """Return `number` recordings, spread over all speakers."""
    found = sorted(path for path in Path(args.recordings).rglob("*") if path.suffix in (".wav", ".flac"))
    return [str(path) for path in found[:: max(1, len(found) // number)]][:number]


def configs(tiny: bool) -> dict[str, dict[str, Any]]:
    """Name -> model configuration, for companion models and wav2vec2."""
    all_of_them: dict[str, dict[str, Any]] = {}
    for name in CONFIGS:
        recipe = yaml.safe_load(Path(f"recipes/configs/{name}.yaml").read_text(encoding="utf-8"))
        small = {name: value for name, value in TINY_COMPANION.items() if name != "n_mels" or "n_mfcc" not in recipe}
        all_of_them[name] = {**recipe["model_config"], **({"duration_s": small["duration_s"]} if tiny else {})}
    all_of_them["wav2vec2-base"] = TINY if tiny else BASE
    masked = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True, "num_hidden_layers": 4}
    all_of_them["wav2vec2 with mask"] = {**all_of_them["wav2vec2-base"], **masked}
    return all_of_them


def attempt(name: str, check: Callable[[], Any]) -> None:
    """Run one check; a failure does not stop the others."""
    try:
        check()
    except Exception as error:
        traceback.print_exc()
        said = " ".join(str(error).split())[:200].replace("|", "/")
        print(f"| {name} | {type(error).__name__}: {said} | | NO |")


def result(name: str, value: float, limit: float, ok: bool | None = None) -> None:
    """Print a row of the table of checks."""
    passed = value <= limit if ok is None else ok
    print(f"| {name} | {value:.2e} | {limit:g} | {'yes' if passed else 'NO'} |")
    print("JSON " + json.dumps({"check": name, "value": value, "limit": limit, "ok": bool(passed)}))


def checks(args: argparse.Namespace) -> None:
    """Check agreement of logits with the CPU, decreasing loss, and exact resuming."""
    print("| check | value | limit | passed |\n|---|---|---|---|")
    waveforms = [load_audio(file)[: (None, 24_000)[number % 2]] for number, file in enumerate(files(args, 8))]
    for name, config in configs(args.tiny).items():
        attempt(name, lambda name=name, config=config: agreement(name, config, waveforms, args.tiny))
    companion = configs(args.tiny)["audio_cnn_plus"]
    encoder = TINY if args.tiny else BASE
    attempt("loss", lambda: learning("AudioCNN", companion, args, 2e-3))
    attempt("loss", lambda: learning("wav2vec2-base", encoder, args, 1e-2 if args.tiny else 1e-4))
    for precision in ("auto",) if args.tiny else ("auto", "fp32"):
        attempt("resume", lambda precision=precision: resuming("AudioCNN", companion, args, precision))
        attempt("resume", lambda precision=precision: resuming("tiny wav2vec2", TINY, args, precision))


def ieee(strict: bool) -> None:
    """Use exact float32, or torch's defaults: TF32 for convolutions and recurrent layers."""
    mode = "ieee" if strict else "tf32"
    torch.backends.cudnn.conv.fp32_precision = mode
    torch.backends.cudnn.rnn.fp32_precision = mode
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def agreement(name: str, config: dict[str, Any], waveforms: list[np.ndarray], tiny: bool) -> None:
    """Compare the logits of clips of two lengths with those of the CPU."""
    set_seed(0)
    model, extractor = build_model(ModelArguments(model_config=config), EMOTIONS)
    collate = AudioCollator(extractor, min_samples(model.config))
    batch = collate([{"waveform": waveform, "label": 0} for waveform in waveforms])
    inputs = {key: batch[key] for key in ("input_values", "attention_mask")}
    model.eval()
    device = torch.device("cpu" if tiny else "cuda")
    with torch.inference_mode():
        expected = model(**inputs).logits.double()
        model.to(device)
        inputs = {key: value.to(device) for key, value in inputs.items()}
        for precision, limit in LIMITS.items():
            ieee(precision == "float32")
            dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                logits = model(**inputs).logits.double().cpu()
            result(f"{name}, logits, {precision}", float((logits - expected).norm() / expected.norm()), limit)
    ieee(False)


def learning(name: str, config: dict[str, Any], args: argparse.Namespace, rate: float) -> None:
    """Train on real clips and compare the first losses with the last ones."""
    steps = 30 if args.tiny else 80
    logs = {"logging_strategy": "steps", "logging_steps": 1}
    with tempfile.TemporaryDirectory() as folder:
        job = Job(name, config, batch=4 if args.tiny else 16, duration_s=1.0)
        trainer, _ = make(job, args, folder, steps, learning_rate=rate, lr_scheduler_type="constant", **logs)
        one = trainer.train_dataset[: job.batch]  # the same clips in every step
        items = [dict(zip(one, values, strict=True)) for values in zip(*one.values(), strict=True)]
        trainer.train_dataset = items * steps
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        first, last = float(np.mean(losses[:3])), float(np.mean(losses[-3:]))
        print(f"{name}: {' '.join(f'{loss:.3f}' for loss in losses[:: max(1, steps // 20)])}")
        precision = trainer.args.precision_choice.precision
    result(
        f"{name}, {precision}, loss of one batch after {steps} steps, relative to the loss before", last / first, 0.8
    )


def resuming(name: str, config: dict[str, Any], args: argparse.Namespace, precision: str) -> None:
    """Train four steps, and two plus two; compare the weights' difference with their change in the last two steps."""
    saving = {"save_strategy": "steps", "save_steps": 2, "precision": precision, "dataloader_num_workers": 2}
    job = Job(name, config, batch=8)
    with tempfile.TemporaryDirectory() as folder:

        def trained(place: str, resume: str | None) -> dict[str, torch.Tensor]:
            trainer, _ = make(job, args, f"{folder}/{place}", 4, **saving)
            trainer.train(resume_from_checkpoint=resume)
            return {key: value.detach().cpu().clone() for key, value in trainer.model.named_parameters()}

        once = trained("once", None)
        shutil.copytree(f"{folder}/once/checkpoint-2", f"{folder}/again/checkpoint-2")
        again = trained("again", f"{folder}/again/checkpoint-2")
        trainer, _ = make(job, args, f"{folder}/half", 4, **saving)
        trainer._load_from_checkpoint(f"{folder}/once/checkpoint-2")
        half = {key: value.detach().cpu() for key, value in trainer.model.named_parameters()}

    def distance(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
        return float(torch.stack([(left[key] - right[key]).double().norm() for key in left]).norm())

    apart, moved = distance(once, again), distance(once, half)
    exact = all(torch.equal(once[key], again[key]) for key in once)
    print(f"{name}, {precision}: bitwise equal after resuming: {exact}; moved {moved:.3e}")
    label = f"{name}, {precision}, resumed after 2 of 4 steps{', bitwise equal' if exact else ''}"
    result(label, apart / moved, 5e-2, moved > 0 and apart / moved <= 5e-2)


def tests(args: argparse.Namespace) -> None:
    """Run the tests marked gpu."""
    command = [sys.executable, "-m", "pytest", "tests/test_gpu.py", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    os.environ |= {"HF_SER_TEST_DEVICE": "cpu"} if args.tiny else {"HF_SER_REQUIRE_GPU": "1"}
    said = run(command)
    print(f"- {next((line for line in reversed(said) if line.strip()), 'nothing was printed')}")


def run(command: list[str]) -> list[str]:
    """Run a command, print its output, and return its lines."""
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    print("\n".join("  " + line for line in done.stdout.splitlines()[-150:]))
    if done.returncode:
        print(f"- FAILED with status {done.returncode}: {' '.join(command)}")
    print(f"{time.monotonic() - began:.1f} s: {' '.join(command[1:])}", flush=True)
    return done.stdout.splitlines()


def recipe(args: argparse.Namespace) -> None:
    """Train AudioCNN with its recipe, speaker-disjoint; evaluate it and classify recordings."""
    cpu = ["--use_cpu", "true"] if args.tiny else []
    with tempfile.TemporaryDirectory() as folder:
        words = ["--config", "recipes/configs/audio_cnn_plus.yaml", "--dataset", args.dataset, "--output_dir"]
        words += [f"{folder}/model", "--configuration", "ravdess", "--num_train_epochs", "2" if args.tiny else "20"]
        words += ["--disable_tqdm", "true", "--dataloader_num_workers", "2", *cpu]
        said = run([sys.executable, "recipes/train_companion.py", *words])
        for line in said:
            if line.startswith(("precision ", "validation", "test")):
                print(f"- {line}")
        results = json.loads(Path(folder, "model", "results.json").read_text(encoding="utf-8"))
        print("JSON " + json.dumps({"training": results["training"], "splits": sorted(results["splits"])}))
        trained = results["training"]
        print(f"- protocol {results['protocol']['name']}; trained in {trained['precision']}, {trained['seconds']} s")
        words = ["--model", f"{folder}/model", "--dataset", args.dataset, "--configuration", "ravdess"]
        run([sys.executable, "recipes/evaluate.py", *words, "--output_dir", f"{folder}/evaluated"])
        said = run([sys.executable, "-m", "hf_ser.cli", "predict", "--model", f"{folder}/model", *files(args, 3)])
        for line in said[-6:]:
            print(f"- {line}")


def pipelines(args: argparse.Namespace) -> None:
    """Clips per second of `SpeechEmotionPipeline` and the stock pipeline."""
    device = "cpu" if args.tiny else "cuda"
    names = files(args, 8 if args.tiny else 128)
    arrays = [{"raw": load_audio(file), "sampling_rate": SAMPLING_RATE} for file in names]
    seconds = sum(len(array["raw"]) for array in arrays) / len(arrays) / SAMPLING_RATE
    print(f"- {len(arrays)} clips of {seconds:.1f} s on average; the difference is the largest of any probability")
    print("| model | pipeline | batch | clips/s | ratio to stock, one by one | difference from CPU |")
    print("|---|---|---|---|---|---|")
    everything = configs(args.tiny)
    for name in ("audio_cnn_plus", "wav2vec2-base"):
        set_seed(0)
        model, extractor = build_model(ModelArguments(model_config=everything[name]), EMOTIONS)
        if name == "wav2vec2-base":
            model.base_model._forward_pre_hooks.clear()  # as in a model loaded from a folder
            model.base_model._forward_pre_hooks_with_kwargs.clear()
        model.eval()
        options = {"feature_extractor": extractor, "task": "audio-classification"}
        few = arrays[:16]
        expected = table(
            SpeechEmotionPipeline(model=model, device="cpu", precision="fp32", **options)(few, batch_size=8)
        )
        model.to(device)
        both = {
            "stock": AudioClassificationPipeline(model=model, device=device, top_k=None, **options),
            "ours": SpeechEmotionPipeline(model=model, device=device, precision="fp32", **options),
            "auto": SpeechEmotionPipeline(model=model, device=device, **options),
        }
        rows: list[tuple[str, int, float | None, str]] = []

        def timed(
            label: str, batch: int, pipeline: Any, inputs: list[Any], rows: Any = rows, own: Any = expected
        ) -> None:
            inputs = inputs[:32] if batch == 1 else inputs
            try:
                answers = pipeline([again(clip) for clip in inputs[:16]], batch_size=batch)
                near = f"{np.abs(table(answers) - own).max():.0e}"
                start = time.perf_counter()
                pipeline([again(clip) for clip in inputs], batch_size=batch)
                rows.append((label, batch, len(inputs) / (time.perf_counter() - start), near))
            except Exception as error:
                traceback.print_exc()
                rows.append((label, batch, None, " ".join(str(error).split())[:80].replace("|", "/")))

        sizes = (1, 8) if args.tiny else (1, 8, 32, 128)
        for batch in sizes:
            timed("stock, arrays", batch, both["stock"], arrays)
            timed("ours, arrays", batch, both["ours"], arrays)
        for batch in sizes[1:]:
            timed("ours, files", batch, both["ours"], names)
        auto = both["auto"].precision.precision
        for batch in sizes[1:]:
            timed(f"ours, arrays, auto ({auto})", batch, both["auto"], arrays)
            timed(f"ours, files, auto ({auto})", batch, both["auto"], names)
        slowest = rows[0][2]
        for label, batch, rate, near in rows:
            ratio = f"{rate / slowest:.2f}" if rate and slowest else ""
            print(f"| {name} | {label} | {batch} | {f'{rate:.1f}' if rate else 'failed'} | {ratio} | {near} |")
            print("JSON " + json.dumps({"model": name, "pipeline": label, "batch": batch, "clips_per_s": rate}))


def again(item: Any) -> Any:
    """Copy an input, because the stock pipeline removes entries from dicts."""
    return dict(item) if isinstance(item, dict) else item


def table(answers: list[list[dict[str, Any]]]) -> np.ndarray:
    """Answers -> probabilities (clips, labels), labels in alphabetical order."""
    return np.array([[entry["score"] for entry in sorted(row, key=lambda entry: entry["label"])] for row in answers])
