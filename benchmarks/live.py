"""Live speech: latency of a window's answer, real-time factor on one core, and agreement with the file.

python benchmarks/live.py [--rounds 5] [--rates 16000 48000]

Streams the example clips, joined, in chunks of 0.1 s through the model that comes with hf_ser, with PyTorch and as an
exported graph, each with one thread on one core. The latency of a window is the time from the arrival of its last
chunk to its answer. Windows and scores are compared with those of the pipeline for the same audio as a WAV file.
Writes results/live.json and the table of docs/how-to/live.md.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import torch
import transformers
from machine import describe_machine

from hf_ser import markdown
from hf_ser.audio import SAMPLING_RATE, decode, resample, to_mono
from hf_ser.default_model import default_model
from hf_ser.demo.examples import example_clips
from hf_ser.export import ExportArguments, export
from hf_ser.listen.answer_lines import StreamMeter
from hf_ser.listen.sound_block import BLOCK_S
from hf_ser.live import StreamingRecognizer
from hf_ser.models import SpeechEmotionPipeline
from hf_ser.runtime import OnnxPipeline
from hf_ser.scoring.results import write_json, write_text

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- live:begin -->", "<!-- live:end -->"
WINDOW_S, HOP_S = 3.0, 1.0


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rates", type=int, nargs="+", default=[SAMPLING_RATE, 48_000], help="of the stream, in Hz")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "live.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "how-to" / "live.md")
    args = parser.parse_args(argv)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder, one_core():
        pipelines = make_pipelines(Path(folder))
        rows = []
        for rate in args.rates:
            path = Path(folder) / "voices.wav"
            samples = voices(rate)
            sf.write(path, samples, rate, "PCM_16")
            rows += [measure(name, classify, samples, rate, path, args.rounds) for name, classify in pipelines.items()]
        results = {"machine": describe_machine(), "rows": rows}
    write_json(args.output, results)
    before, after = markdown.around_part(args.docs.read_text(encoding="utf-8"), BEGIN, END, str(args.docs))
    write_text(args.docs, f"{before}\n\n{render(results)}\n\n{after}")


class one_core:  # noqa: N801  # used as a function
    """Run this process on one core with one thread, where the system can do that."""

    def __enter__(self) -> None:
        self.threads = torch.get_num_threads()
        self.cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        torch.set_num_threads(1)
        if self.cores:
            os.sched_setaffinity(0, {max(self.cores)})

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self.threads)
        if self.cores:
            os.sched_setaffinity(0, self.cores)


def make_pipelines(folder: Path) -> dict[str, Any]:
    """The model that comes with the package, with PyTorch and as a graph that is exported to a folder."""
    export(ExportArguments(model=default_model(), output=str(folder / "graph")))
    (graph,) = (folder / "graph").glob("*.onnx")
    pipeline = SpeechEmotionPipeline(device="cpu", precision="fp32")
    return {"PyTorch": pipeline, "graph": OnnxPipeline(graph, num_threads=1)}


def voices(rate: int) -> np.ndarray:
    """The example clips, joined: (samples,), int16."""
    clips = [decode(path) for path in example_clips()]
    joined = np.concatenate([resample(to_mono(clip.samples), clip.sampling_rate, rate) for clip in clips])
    return np.rint(np.clip(joined, -1, 1) * 32_767).astype(np.int16)


def measure(name: str, classify: Any, samples: np.ndarray, rate: int, path: Path, rounds: int) -> dict[str, Any]:
    """Stream a recording several times, and compare the answers with those for its file."""
    recognizer, size = StreamingRecognizer(classify, window_s=WINDOW_S, hop_s=HOP_S), round(BLOCK_S * rate)
    meter, answers = StreamMeter(), []
    recognizer.feed(samples[: 4 * rate], rate)  # the first calls take longer
    recognizer.finish()
    for _ in range(rounds):
        answers = []
        for place in range(0, len(samples), size):
            chunk = samples[place : place + size]
            started_s = time.perf_counter()
            found = recognizer.feed(chunk, rate)
            spent_s = time.perf_counter() - started_s
            meter.add(len(chunk) / rate, spent_s, [spent_s] * len(found))
            answers += found
        answers += recognizer.finish()
    timeline = classify(str(path), window_s=WINDOW_S, stride_s=HOP_S, return_timeline=True)["timeline"]
    row = {
        "computed_with": name,
        "sampling_rate": rate,
        "windows": len(answers),
        "duration_s": round(len(samples) / rate, 2),
        "median_ms": meter.percentile_ms(50),
        "p99_ms": meter.percentile_ms(99),
        "real_time_factor": meter.real_time_factor,
        "same_windows": bounds(answers) == bounds(timeline),
        "largest_difference": largest_difference(answers, timeline),
    }
    print(row, flush=True)
    return row


def bounds(windows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, bool]]:
    """Start, end and silence of each window."""
    return [(window["start"], window["end"], window["silent"]) for window in windows]


def largest_difference(answers: Sequence[Mapping[str, Any]], timeline: Sequence[Mapping[str, Any]]) -> float:
    """The largest difference between scores of the same window and class."""
    differences = [0.0]
    for answer, window in zip(answers, timeline, strict=True):
        expected = {each["label"]: each["score"] for each in window["scores"] or ()}
        differences += [abs(each["score"] - expected[each["label"]]) for each in answer["scores"] or ()]
    return max(differences)


def render(results: Mapping[str, Any]) -> str:
    """The text between the markers of the page."""
    first = results["rows"][0]
    said = (
        f"The model that comes with hf_ser on {first['duration_s']:.0f} s of example clips, in chunks of "
        f"{BLOCK_S:g} s, with windows of {WINDOW_S:g} s every {HOP_S:g} s and one thread on one core. "
        f"Machine: {results['machine']}."
    )
    header = ("", "stream", "latency: median", "99th percentile", "real-time factor", "windows", "largest difference")
    rows = [
        (
            row["computed_with"],
            f"{row['sampling_rate'] / 1000:g} kHz",
            f"{row['median_ms']:.1f} ms",
            f"{row['p99_ms']:.1f} ms",
            f"{row['real_time_factor']:.3f}",
            f"{row['windows']}, {'as in the file' if row['same_windows'] else 'not those of the file'}",
            f"{row['largest_difference']:.0e}" if row["largest_difference"] else "0",
        )
        for row in results["rows"]
    ]
    return f"{said}\n\n{markdown.table(header, rows)}"


if __name__ == "__main__":
    main()
