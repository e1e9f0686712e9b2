"""Speed and memory of preparation on real recordings, relative to a plain librosa loop over the same files.

python benchmarks/prepare.py [--corpora ../shared/corpora] [--rounds 5]
python benchmarks/prepare.py --rows 1000 10000 100000

The peer decodes, downmixes and resamples (also with soxr) in one process, and discards the result. Preparation also
hashes, checks for silence and damage, encodes FLAC, assigns splits and writes Parquet and the card, with one process
per CPU. Both run alternately, and the ratio is computed for each pair. The second table repeats this with WAV files,
the published format of the corpora: decoding is nearly free, but every clip must be encoded. The third table shows
peak memory for 1, 2 and 4 times the clips.

With --rows, a CSV file lists that many short segments of 200 generated recordings of one minute: clips per second and
peak memory show whether both stay flat.
"""

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import librosa
import numpy as np
import soundfile
from machine import describe_machine

from hf_ser.data import PrepareArguments, prepare

CORPORA = ("ravdess", "crema_d", "tess")
_RECORDINGS, _SECONDS = 200, 60
_CHILD = """
import resource, sys
from hf_ser.data import PrepareArguments, prepare
given = dict(item.split("=", 1) for item in sys.argv[2:])
if "csv" in given:
    given |= {"csv": [given["csv"]], "labels": ["all"]}
prepare(PrepareArguments(output_dir=sys.argv[1], **given), progress=False)
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
own = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024  # ru_maxrss counts the parent
print(f"{own:.0f} {child:.0f}")
"""


def recordings(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".wav", ".flac"))


def librosa_loop(files: list[Path]) -> float:
    start = time.perf_counter()
    for path in files:
        librosa.load(path, sr=16_000)
    return time.perf_counter() - start


def preparation(folders: dict[str, str], work: Path) -> float:
    shutil.rmtree(work / "dataset", ignore_errors=True)
    start = time.perf_counter()
    prepare(PrepareArguments(output_dir=str(work / "dataset"), **folders), progress=False)
    return time.perf_counter() - start


def compare(title: str, folders: dict[str, str], work: Path, rounds: int) -> None:
    files = [path for folder in folders.values() for path in recordings(Path(folder))]
    librosa_loop(files[:50])
    preparation(folders, work)  # warm-up: caches files, imports libraries
    pairs = [(librosa_loop(files), preparation(folders, work)) for _ in range(rounds)]
    ratios = [peer / own for peer, own in pairs]
    peer, own = (len(files) / statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    print(f"\n{title}: {len(files)} clips, {rounds} rounds, medians, {os.cpu_count()} CPUs")
    print("| what | processes | clips/s |\n|---|---|---|")
    print(f"| librosa.load(sr=16000) loop | 1 | {peer:.0f} |")
    print(f"| preparation | {os.cpu_count()} | {own:.0f} |")
    print(f"ratio per round: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


def as_wav(source: Path, target: Path) -> None:
    for path in recordings(source):
        out = target / path.relative_to(source).with_suffix(".wav")
        out.parent.mkdir(parents=True, exist_ok=True)
        samples, sampling_rate = soundfile.read(path, dtype="int16")
        soundfile.write(out, samples, sampling_rate, subtype="PCM_16")


def memory(corpora: Path, work: Path) -> None:
    print("\nPeak memory in MiB")
    print("| clips | main process | largest worker |\n|---|---|---|")
    for step in (4, 2, 1):
        subset = work / f"every_{step}"
        number = 0
        for corpus in CORPORA:
            for path in recordings(corpora / corpus)[::step]:
                link = subset / path.relative_to(corpora)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path.resolve())
                number += 1
        folders = [f"{corpus}={subset / corpus}" for corpus in CORPORA]
        command = [sys.executable, "-c", _CHILD, str(work / f"dataset_{step}"), *folders]
        own, child = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(f"| {number} | {own} | {child} |")


def segments(sizes: list[int], work: Path) -> None:
    """Prepare lists of different lengths over the same recordings."""
    (work / "audio").mkdir()
    rng = np.random.default_rng(0)
    for number in range(_RECORDINGS):
        noise = rng.integers(-8000, 8000, _SECONDS * 16_000, dtype=np.int16)
        soundfile.write(work / f"audio/{number}.wav", noise, 16_000)
    print(f"\nSegments of 0.4 s of {_RECORDINGS} recordings of {_SECONDS} s, {os.cpu_count()} CPUs; memory in MiB")
    print("| rows | clips/s | main process | largest worker |\n|---|---|---|---|")
    for size in sizes:
        per_recording = -(-size // _RECORDINGS)
        starts = np.linspace(0, _SECONDS - 0.5, per_recording).round(3)  # they overlap if there are many
        rows = [(number % _RECORDINGS, starts[number // _RECORDINGS], number) for number in range(size)]
        with open(work / f"{size}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "speaker", "start", "end"])
            labels = ("angry", "neutral", "happy", "other")
            writer.writerows((f"{n}.wav", labels[row % 4], row % 50, at, at + 0.4) for n, at, row in rows)
        command = [sys.executable, "-c", _CHILD, str(work / f"rows_{size}")]
        command += [f"csv={work / f'{size}.csv'}", f"audio_dir={work / 'audio'}"]
        start = time.perf_counter()
        own, child = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(f"| {size} | {size / (time.perf_counter() - start):.0f} | {own} | {child} |", flush=True)
        shutil.rmtree(work / f"rows_{size}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("HF_SER_CORPORA", str(Path(__file__).parents[2] / "shared" / "corpora"))
    parser.add_argument("--corpora", type=Path, default=default, help="folder with ravdess, crema_d and tess")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", help="measure lists with these numbers of rows instead")
    args = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory(prefix="hf_ser_benchmark_") as name:
        work = Path(name)
        if args.rows:
            segments(args.rows, work)
            return
        compare("FLAC", {corpus: str(args.corpora / corpus) for corpus in CORPORA}, work, args.rounds)
        for corpus in CORPORA:
            as_wav(args.corpora / corpus, work / "wav" / corpus)
        compare("WAV", {corpus: str(work / "wav" / corpus) for corpus in CORPORA}, work, args.rounds)
        shutil.rmtree(work / "wav")
        memory(args.corpora, work)


if __name__ == "__main__":
    main()
