"""Speed of the frontends on real recordings, relative to librosa on the same waveforms.

python benchmarks/frontends.py [--corpora ../shared/corpora] [--clips 768] [--rounds 5]

The peer is librosa, clip by clip in one process as in a notebook, with the same windows. Its BLAS uses one thread:
more threads are not faster, and would slow down ours by spinning. Ours computes batches of 32 clips, cut or padded to
3 seconds, on all CPUs. Both process the same decoded clips in memory alternately, and the ratio is computed for each
pair. The last column is the largest difference over the first 16 clips (for functionals, relative to librosa and by
column).
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported

import librosa
import numpy as np
import torch
from machine import describe_machine

from hf_ser.audio import load_audio
from hf_ser.memory import keep_freed_memory
from hf_ser.models import MFCC, Functionals, LogMel

SAMPLING_RATE, NUM_SAMPLES, BATCH = 16_000, 48_000, 32
NARROW = {"n_fft": 400, "hop_length": 160, "pad_mode": "reflect"}
WIDE = {"n_fft": 1024, "hop_length": 256}
Waveforms = np.ndarray


def librosa_log_mel(waveform: Waveforms) -> np.ndarray:
    power = librosa.feature.melspectrogram(y=waveform, sr=SAMPLING_RATE, n_mels=80, **NARROW)
    return librosa.power_to_db(power, top_db=None)


def librosa_mfcc(waveform: Waveforms) -> np.ndarray:
    return librosa.feature.mfcc(S=librosa_log_mel(waveform), n_mfcc=80)


def librosa_mfcc_deltas(waveform: Waveforms) -> np.ndarray:
    coefficients = librosa_mfcc(waveform)
    deltas = [librosa.feature.delta(coefficients, order=order) for order in (1, 2)]
    return np.concatenate([coefficients, *deltas])


def librosa_functionals(waveform: Waveforms) -> np.ndarray:
    """Functionals by librosa, with one spectrum for all functions that accept it."""
    magnitude = np.abs(librosa.stft(waveform, **WIDE))
    power, common = magnitude**2, {"sr": SAMPLING_RATE}
    mel = librosa.feature.melspectrogram(S=power, n_mels=80, **common)
    frames = {"frame_length": WIDE["n_fft"], "hop_length": WIDE["hop_length"]}
    rms = librosa.feature.rms(y=waveform, **frames)
    rows = np.concatenate(
        [
            librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=40),
            librosa.feature.chroma_stft(S=power, tuning=0.0, **common),
            librosa.feature.spectral_contrast(S=magnitude, **common),
            librosa.feature.zero_crossing_rate(waveform, **frames),
            rms,
            librosa.power_to_db(A_WEIGHTS[None] @ power, top_db=None),
        ]
    )
    columns = [rows.mean(axis=1), rows.std(axis=1), rows.min(axis=1), np.median(rows, axis=1), rows.max(axis=1)]
    noise = max(np.quantile(rms**2, 0.1), 1e-10)
    ratio = np.clip(10 * np.log10(max(np.mean(rms**2) - noise, 1e-20) / noise), -20, 100)
    return np.concatenate([*columns, [ratio]])


with np.errstate(divide="ignore"):
    A_WEIGHTS = librosa.db_to_power(librosa.A_weighting(librosa.fft_frequencies(sr=SAMPLING_RATE, n_fft=1024)))

PAIRS: dict[str, tuple[Callable[[], torch.nn.Module], Callable[[Waveforms], np.ndarray]]] = {
    "log-mel (80)": (LogMel, librosa_log_mel),
    "MFCC (80)": (MFCC, librosa_mfcc),
    "MFCC, delta, delta-delta (240)": (lambda: MFCC(deltas=2), librosa_mfcc_deltas),
    "functionals (311 columns)": (Functionals, librosa_functionals),
}


def clips(corpora: Path, number: int) -> np.ndarray:
    """Waveforms (number, samples) from RAVDESS and CREMA-D, each cut or padded to 3 seconds."""
    files = [path for corpus in ("ravdess", "crema_d") for path in sorted((corpora / corpus).rglob("*.flac"))]
    batch = np.zeros((number, NUM_SAMPLES), dtype=np.float32)
    for row, path in enumerate(files[:: max(1, len(files) // number)][:number]):
        waveform = load_audio(path)[:NUM_SAMPLES]
        batch[row, : len(waveform)] = waveform
    return batch


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ours(frontend: torch.nn.Module, waveforms: torch.Tensor) -> None:
    with torch.inference_mode():
        for batch in waveforms.split(BATCH):
            frontend(batch)


def difference(frontend: torch.nn.Module, peer: Callable[[Waveforms], np.ndarray], waveforms: np.ndarray) -> str:
    with torch.inference_mode():
        own = frontend(torch.from_numpy(waveforms)).numpy()
    theirs = np.stack([peer(waveform) for waveform in waveforms])
    if own.ndim == 3:
        return f"{np.abs(np.maximum(own, -90) - np.maximum(theirs, -90)).max():.4f}"
    share = np.abs(own - theirs) / np.maximum(np.abs(theirs), 1)
    return f"{np.median(share.max(axis=0)):.1e} (median column)"


def compare(name: str, waveforms: np.ndarray, rounds: int) -> None:
    build, peer = PAIRS[name]
    frontend, tensors = build().eval(), torch.from_numpy(waveforms)
    ours(frontend, tensors[:BATCH])
    apart = difference(frontend, peer, waveforms[:16])  # warm: librosa compiles on its first call
    pairs = [
        (seconds(lambda: [peer(waveform) for waveform in waveforms]), seconds(lambda: ours(frontend, tensors)))
        for _ in range(rounds)
    ]
    ratios = [theirs / own for theirs, own in pairs]
    theirs, own = (len(waveforms) / statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
    print(f"| {name} | {theirs:.0f} | {own:.0f} | {spread} | {apart} |", flush=True)


def main() -> None:
    keep_freed_memory()  # for both sides
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("HF_SER_CORPORA", str(Path(__file__).parents[2] / "shared" / "corpora"))
    parser.add_argument("--corpora", type=Path, default=default, help="folder with ravdess and crema_d")
    parser.add_argument("--clips", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(describe_machine("fp32"))
    waveforms = clips(args.corpora, args.clips)
    print(f"{len(waveforms)} clips of 3 s, {args.rounds} rounds, medians, {os.cpu_count()} CPUs, float32")
    print("| frontend | librosa clips/s | ours clips/s | ratio (range) | largest difference |\n|---|---|---|---|---|")
    for name in PAIRS:
        compare(name, waveforms, args.rounds)


if __name__ == "__main__":
    main()
