"""Clips per second of models on this machine, for the column of the leaderboard.

python benchmarks/model_speed.py [--models audio_cnn cnn_gru owner/model runs/stacking] [--output results/speeds.json]

A name of a companion's configuration, wav2vec2_base or xlsr gives that model with random weights, which does not
change its speed. All other names are folders or Hub ids. Clips are generated voices of three seconds, from samples to
calibrated probabilities through the pipeline, one by one, in float32 with one thread. Models take turns over all
rounds, and the median counts.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from export import COMPANIONS, ENCODERS
from export import load as load_model
from machine import describe_machine

from hf_ser.audio import SAMPLING_RATE
from hf_ser.corpora.voice import make_speaker, synthesize
from hf_ser.labels import EMOTIONS
from hf_ser.models import SpeechEmotionPipeline
from hf_ser.scoring.results import write_json

ROOT = Path(__file__).parents[1]
DEFAULT = [
    f"{name}{suffix}"
    for suffix in ("", "_plus", "_robust")
    for name in COMPANIONS
    if (ROOT / "recipes" / "configs" / f"{name}{suffix}.yaml").is_file()
]
UNTRAINED = {*DEFAULT, *ENCODERS}
CLIP_S, ROUNDS = 3.0, 5


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=DEFAULT)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "speeds.json")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    machine = describe_machine()
    pipelines = {name: load(name) for name in args.models}
    clips = voices()
    durations: dict[str, list[float]] = {name: [] for name in pipelines}
    for round_number in range(1 + args.rounds):
        for name, pipeline in pipelines.items():
            start = time.perf_counter()
            for clip in clips:
                pipeline(clip)
            if round_number:  # the first one warms up
                durations[name].append((time.perf_counter() - start) / len(clips))
    speeds = {name: 1 / statistics.median(of) for name, of in durations.items()}
    content = {"machine": machine, "clip_s": CLIP_S, "threads": 1, "precision": "float32", "clips_per_s": speeds}
    write_json(args.output, content)
    for name, speed in speeds.items():
        print(f"{name}: {speed:.0f} clips/s")  # noqa: T201


def load(name: str) -> SpeechEmotionPipeline:
    """The pipeline of a trained model, or of a configuration with random weights."""
    model, extractor = load_model(name if name in UNTRAINED else Path(name))
    options: Any = {"device": "cpu", "task": "audio-classification", "precision": "fp32"}
    return SpeechEmotionPipeline(model=model, feature_extractor=extractor, **options)


def voices() -> list[dict[str, Any]]:
    """A generated voice of CLIP_S seconds per emotion."""
    speaker = make_speaker(np.random.default_rng(0), male=False)
    made = [
        synthesize(emotion, speaker, sampling_rate=SAMPLING_RATE, duration_s=CLIP_S, seed=number)
        for number, emotion in enumerate(EMOTIONS)
    ]
    return [{"raw": clip, "sampling_rate": SAMPLING_RATE} for clip in made]


if __name__ == "__main__":
    main()
