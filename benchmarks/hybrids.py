"""Duration of complete fits of hybrids on a dataset: features of all clips, four fits, models, scores and reports.

python benchmarks/hybrids.py [--dataset data/ravdess] [--bases runs/audio_cnn_plus_random/seed_0 ...] [--layer 12]
    [--precision auto]

Every fit is `recipes/fit_hybrid.py` in a separate process with an empty cache: a stack on the base models' stored
predictions, LightGBM on the embeddings of the last base model, a random forest on functionals, and a random forest on
a layer of an encoder of wav2vec2-base's size with random weights, all in --precision. A plain float32 loop with the
same encoder over some clips, one by one, shows the encoder's share of the last fit.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from machine import describe_machine
from tqdm import tqdm
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from hf_ser.data import DataArguments, load_splits
from hf_ser.data.splits import decoded
from hf_ser.remote_code.hardware import PRECISIONS, detect, resolve

ROOT = Path(__file__).parents[1]


def fit(name: str, words: list[str], root: Path, args: argparse.Namespace) -> float:
    """Run one fit and return its duration in seconds."""
    command = [sys.executable, str(ROOT / "recipes" / "fit_hybrid.py"), "--config"]
    command += [str(ROOT / "recipes" / "configs" / f"{name}.yaml"), "--dataset", args.dataset, "--protocol", "random"]
    environment = os.environ | {"HF_DATASETS_CACHE": str(root / "cache")}
    start = time.perf_counter()
    subprocess.run(
        [*command, "--precision", args.precision, "--output_dir", str(root / name), *words],
        env=environment,
        check=True,
    )
    return time.perf_counter() - start


def make_encoder(folder: Path, layer: int) -> Wav2Vec2Model:
    torch.manual_seed(0)
    encoder = Wav2Vec2Model(Wav2Vec2Config(num_hidden_layers=layer, layerdrop=0.0)).eval()
    encoder.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return encoder


def plain_loop(encoder: Wav2Vec2Model, args: argparse.Namespace) -> float:
    """Run the encoder over some clips, decoded in memory, and return clips per second."""
    clips = load_splits(DataArguments(dataset=args.dataset, protocol="random")).splits["test"]
    some = clips.select(range(min(args.loop_clips, len(clips))))
    waveforms = [torch.from_numpy(waveform) for waveform in decoded(some)[:]["waveform"]]
    start = time.perf_counter()
    with torch.inference_mode():
        for waveform in tqdm(waveforms, desc="Plain loop"):
            standardized = (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-7).sqrt()
            encoder(standardized[None]).last_hidden_state.mean(dim=1)
    return len(waveforms) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="data/ravdess")
    parser.add_argument(
        "--bases", nargs="+", default=["runs/audio_cnn_plus_random/seed_0", "runs/cnn_gru_plus_random/seed_0"]
    )
    parser.add_argument("--layer", type=int, default=12, help="layer of the encoder; 0 to skip its fit")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="precision of the base models")
    parser.add_argument("--loop_clips", type=int, default=64)
    args = parser.parse_args()
    print(describe_machine(resolve(args.precision, detect("cpu")).precision), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        root, rows = Path(temporary), []
        rows.append(("stacking", fit("stacking", ["--bases", *args.bases], root, args)))
        rows.append(("deep_features", fit("deep_features", ["--bases", args.bases[-1]], root, args)))
        rows.append(("random_forest", fit("random_forest", [], root, args)))
        if args.layer:
            encoder = make_encoder(root / "encoder", args.layer)
            words = ["--bases", str(root / "encoder"), "--layer", str(args.layer)]
            rows.append(("wav2vec2_random_forest", fit("wav2vec2_random_forest", words, root, args)))
            speed = plain_loop(encoder, args)
    print(f"{torch.get_num_threads()} threads")
    print("| fit | seconds |\n|---|---|")
    for name, taken in rows:
        print(f"| {name} | {taken:.0f} |")
    print(f"| all | {sum(taken for _, taken in rows):.0f} |")
    if args.layer:
        print(f"a plain loop of the encoder: {speed:.2f} clips/s")


if __name__ == "__main__":
    main()
