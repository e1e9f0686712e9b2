"""Speed of `SpeechEmotionPipeline` relative to the stock audio pipeline, with the same model and real clips.

python benchmarks/pipeline.py [--recordings ../shared/corpora/ravdess] [--model runs/audio_cnn_plus_random/seed_0]
    [--precision auto]

The models are an AudioCNN, and a model of wav2vec2-base's size with random weights, without attention mask. The stock
pipeline needs the ffmpeg program for files, so it gets clips decoded in memory, one by one and in batches of 8. Ours
gets the same arrays and the files, in float32 and, if --precision is another precision, in that. Ratios above 1 mean
that a row is faster than the stock pipeline one by one; "difference" is the largest difference of any probability.
Calls are in random order in each round. Then a recording of ten minutes, made of real clips, is classified in windows
of 3 s every 1.5 s in float32, with the increase in peak memory, and by the stock pipeline called once per window.
"""

import argparse
import random
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine
from transformers import (
    AudioClassificationPipeline,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from hf_ser.audio import SAMPLING_RATE, load_audio
from hf_ser.inference import load_classifier
from hf_ser.labels import ID2LABEL
from hf_ser.models import SpeechEmotionPipeline
from hf_ser.remote_code.hardware import PRECISIONS, detect, resolve


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


def table(answers: list[list[dict[str, Any]]]) -> np.ndarray:
    """Answers -> probabilities (clips, labels), labels in alphabetical order."""
    return np.array([[entry["score"] for entry in sorted(row, key=lambda entry: entry["label"])] for row in answers])


def pipelines(model: Any, extractor: Any) -> dict[str, Any]:
    options = {"feature_extractor": extractor, "device": "cpu", "task": "audio-classification"}
    stock = AudioClassificationPipeline(model=model, top_k=None, **options)
    return {"stock": stock, "ours": SpeechEmotionPipeline(model=model, precision="fp32", **options)}


def clips(name: str, model: Any, extractor: Any, precision: str, files: list[str], rounds: int) -> None:
    arrays = [{"raw": load_audio(file), "sampling_rate": SAMPLING_RATE} for file in files]
    both = pipelines(model, extractor)
    calls: dict[str, Callable[[], Any]] = {
        "stock, one by one": lambda: [both["stock"](dict(array), top_k=None) for array in arrays],
        "stock, batches of 8": lambda: both["stock"]([dict(array) for array in arrays], batch_size=8, top_k=None),
        "ours, one by one": lambda: [both["ours"](array) for array in arrays],
        "ours, batches of 8": lambda: both["ours"](arrays, batch_size=8),
        "ours, batches of 32": lambda: both["ours"](arrays, batch_size=32),
        "ours, files, batches of 8": lambda: both["ours"](files, batch_size=8),
    }
    if precision != "fp32":
        low = {"batch_size": 8, "precision": precision}
        calls[f"ours, {precision}, one by one"] = lambda: [both["ours"](clip, precision=precision) for clip in arrays]
        calls[f"ours, {precision}, batches of 8"] = lambda: both["ours"](arrays, **low)
        calls[f"ours, files, {precision}, batches of 8"] = lambda: both["ours"](files, **low)
    seconds: dict[str, list[float]] = {label: [] for label in calls}
    rows = {}
    for number in range(rounds):
        # In random order, so that a temporary slowdown of the machine does not always affect the same calls.
        for label in random.Random(number).sample(list(calls), len(calls)):
            try:
                taken, rows[label] = timed(calls[label])
            except ValueError as error:  # the stock pipeline cannot batch clips of some models
                print(f"{label}: {error}")
                continue
            seconds[label].append(taken)
    first = "stock, one by one"
    for label, measured in seconds.items():
        if measured:
            ratios = [one / other for one, other in zip(seconds[first], measured, strict=True)]
            differ = np.abs(table(rows[label]) - table(rows[first])).max()
            same = (table(rows[label]).argmax(1) == table(rows[first]).argmax(1)).mean()
            print(
                f"| {name} | {label} | {len(files) / statistics.median(measured):.2f} "
                f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
                f"| {differ:.0e}, same label {100 * same:.0f} % |",
                flush=True,
            )


def long_recording(model: Any, extractor: Any, files: list[str], minutes: float) -> None:
    parts, length = [], 0
    for file in files * 1000:
        parts.append(load_audio(file))
        length += len(parts[-1])
        if length >= minutes * 60 * SAMPLING_RATE:
            break
    whole = np.concatenate(parts)[: round(minutes * 60 * SAMPLING_RATE)]
    both = pipelines(model, extractor)
    both["ours"](whole[:SAMPLING_RATE])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    options = {"window_s": 3.0, "stride_s": 1.5, "return_timeline": True, "batch_size": 16}
    ours, answer = timed(lambda: both["ours"]({"raw": whole, "sampling_rate": SAMPLING_RATE}, **options))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    size, step = 3 * SAMPLING_RATE, 3 * SAMPLING_RATE // 2
    cuts = [whole[start : start + size] for start in range(0, len(whole) - size + 1, step)]
    stock, _ = timed(lambda: [both["stock"]({"raw": cut, "sampling_rate": SAMPLING_RATE}, top_k=None) for cut in cuts])
    print(
        f"{minutes:.0f} min, {len(answer['timeline'])} windows: {60 * minutes / ours:.0f} times real time; the stock "
        f"pipeline per window {60 * minutes / stock:.0f} times; ratio {stock / ours:.2f}; memory +{grown:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", default="../shared/corpora/ravdess")
    parser.add_argument("--model", default="runs/audio_cnn_plus_random/seed_0")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--without_wav2vec2", action="store_true")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="precision measured in addition to float32"
    )
    args = parser.parse_args()
    found = sorted(path for path in Path(args.recordings).rglob("*") if path.suffix in (".wav", ".flac"))
    files = [str(path) for path in found[:: max(1, len(found) // args.clips)]][: args.clips]
    precision = resolve(args.precision, detect("cpu")).precision
    print(describe_machine("fp32" if precision == "fp32" else f"fp32 and {precision}"))
    print(f"{len(files)} clips, {args.rounds} rounds, medians, {torch.get_num_threads()} threads")
    print("| model | pipeline | clips/s | ratio to stock, one by one | difference |\n|---|---|---|---|---|")
    model, extractor = load_classifier(args.model)
    clips(model.config.model_type, model, extractor, precision, files, args.rounds)
    if not args.without_wav2vec2:
        torch.manual_seed(0)
        config = Wav2Vec2Config(num_labels=8, layerdrop=0.0, id2label=ID2LABEL)
        encoder = Wav2Vec2ForSequenceClassification(config).eval()
        own = Wav2Vec2FeatureExtractor(return_attention_mask=False)
        clips("wav2vec2-base", encoder, own, precision, files, args.rounds)
    long_recording(model, extractor, files, args.minutes)


if __name__ == "__main__":
    main()
