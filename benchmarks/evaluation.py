"""Overhead of evaluation relative to the model's forward passes, on real recordings.

python benchmarks/evaluation.py [--dataset data/ravdess] [--rounds 3] [--clips 217] [--precision auto]

The model has wav2vec2-base's size and random weights. The peer runs only the forward passes, over the same batches,
decoded and padded in memory. The evaluation stage reads Parquet, decodes, sorts, batches, predicts and writes
predictions.parquet. Both run alternately, and the overhead is computed for each pair. Scoring, the bootstrap and the
figures do not depend on the model and are timed separately.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from machine import describe_machine
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_ser.data import DataArguments, load_splits
from hf_ser.evaluation import predict_logits
from hf_ser.evaluation.clip_sources import clips_of_split
from hf_ser.remote_code.forward_precision import ForwardPass
from hf_ser.remote_code.hardware import PRECISIONS, detect, resolve
from hf_ser.reporting.run_report import draw_figures
from hf_ser.scoring import Predictions, score_split, softmax
from hf_ser.scoring.predictions import write_predictions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="data/ravdess")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=217)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="precision of both sides")
    args = parser.parse_args()
    precision = resolve(args.precision, detect("cpu")).precision
    print(describe_machine(precision))

    data_args = DataArguments(dataset=args.dataset, protocol="random")
    data = load_splits(data_args)
    test = data.splits["test"].select(range(min(args.clips, len(data.splits["test"]))))
    torch.manual_seed(0)
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=8, layerdrop=0.0)).eval()
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    batches: list[torch.Tensor] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, inputs: batches.append(inputs["input_values"]), with_kwargs=True
    )
    predictions = stage(model, extractor, test, data_args, data.labels, precision)[1]
    hook.remove()

    pairs = []
    for _ in range(args.rounds):
        bare = forward_passes(ForwardPass(model, precision), batches)
        pairs.append((bare, stage(model, extractor, test, data_args, data.labels, precision)[0]))
        print(f"forward passes {pairs[-1][0]:.1f} s, stage {pairs[-1][1]:.1f} s", flush=True)
    overheads = [100 * (whole / bare - 1) for bare, whole in pairs]
    seconds = sum(test["duration"])
    print(f"\n{len(test)} clips, {seconds:.0f} s of audio, {len(batches)} batches, {torch.get_num_threads()} threads")
    print(f"overhead {statistics.median(overheads):.1f} % (from {min(overheads):.1f} to {max(overheads):.1f} %)")
    start = time.perf_counter()
    scored = score_split(predictions, files=["p.parquet"])
    middle = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        draw_figures(Path(folder), {"splits": {"test": scored}}, {"test": [predictions]})
    print(f"scores and intervals {middle - start:.1f} s, figures {time.perf_counter() - middle:.1f} s")


def forward_passes(forward: ForwardPass, batches: list[torch.Tensor]) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            forward(input_values=batch)
    return time.perf_counter() - start


def stage(
    model, extractor, test, data_args: DataArguments, labels: tuple[str, ...], precision: str
) -> tuple[float, Predictions]:
    start = time.perf_counter()
    clips = clips_of_split(test)
    options = {"batch_size": 8, "precision": precision, "progress": False}
    rows, logits = predict_logits(model, extractor, clips.durations, clips.decode, **options)
    columns = clips.columns | {"label": [labels.index(label) for label in clips.columns["label"]]}
    predictions = Predictions(columns, softmax(logits[rows.argsort()]), labels)
    with tempfile.TemporaryDirectory() as folder:
        write_predictions(Path(folder) / "predictions.parquet", predictions)
    return time.perf_counter() - start, predictions


if __name__ == "__main__":
    main()
