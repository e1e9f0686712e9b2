"""Many clips with recipes/predict.py: one and two processes, kills at random moments, and hours for larger archives.

python benchmarks/batch.py [--clips 20000] [--kills 10] [--model MODEL] [--engines ray spark]

The clips are links to a few generated voices of one to three seconds. Each process computes with one thread. Rates
exclude the start of the processes, up to the listing of the clips. Memory is the largest resident memory of a process,
sampled every 0.2 s. Every answer is compared with that of one process; kills are `kill -9` of all processes. Engines
are the examples of their name, with two workers, including their start. Writes results/batch.json and the part of
docs/how-to/many_files.md between the markers.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from machine import describe_machine

from hf_ser import markdown
from hf_ser.batch.clip_listing import ListingFile
from hf_ser.corpora import synthetic
from hf_ser.default_model import default_model
from hf_ser.evaluation.training_jobs import python_command
from hf_ser.scoring.results import write_json, write_text

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- batch:begin -->", "<!-- batch:end -->"
NOT_MEASURED = "Nothing has been measured yet."
RECIPE, TWO = ROOT / "recipes" / "predict.py", ROOT / "recipes" / "accelerate" / "two_cpu.yaml"
MIB, HOUR_S, SAMPLE_S = 2**20, 3600, 0.2
READY = "; processes: "  # in the line that follows the listing
MILLION = 10**6


class Run:
    """A command that is started here, with its time and the memory of its processes."""

    def __init__(self, words: Sequence[str | Path], folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.started_s, self.ready_s, self.peak_mib, self.lines = time.monotonic(), 0.0, 0.0, list[str]()
        self.is_killed = False
        self._process = psutil.Popen(
            list(map(str, words)), cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip())
            if READY in self.lines[-1]:
                self.ready_s = time.monotonic()

    def wait(self, kill_after_s: float | None = None) -> float:
        """Wait for the end -> seconds since the listing; or kill all processes so many seconds after the listing."""
        while self._process.poll() is None:
            time.sleep(SAMPLE_S)
            tree = [self._process, *self._process.children(recursive=True)]
            for process in tree:
                try:
                    self.peak_mib = max(self.peak_mib, process.memory_info().rss / MIB)
                except psutil.NoSuchProcess:
                    continue
            if kill_after_s is not None and self.ready_s and time.monotonic() - self.ready_s > kill_after_s:
                self.is_killed = True
                for process in reversed(tree):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
        ended_s = time.monotonic()
        self._reader.join()
        if kill_after_s is None and self._process.returncode:
            raise SystemExit("\n".join([*self.lines[-20:], f"ended with exit code {self._process.returncode}"]))
        return ended_s - (self.ready_s or self.started_s)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--clips_per_part", type=int, default=None, help="default: a fortieth of the clips")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--model", default=None, help="default: the model that comes with hf_ser")
    parser.add_argument("--engines", nargs="*", default=[], choices=("ray", "spark"))
    parser.add_argument("--usd_per_core_hour", type=float, default=0.05, help="for the costs in the text")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "batch.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "how-to" / "many_files.md")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(args, Path(folder))
    write_json(args.output, results)
    before, after = markdown.around_part(args.docs.read_text(encoding="utf-8"), BEGIN, END, str(args.docs))
    write_text(args.docs, f"{before}\n\n{render(results)}\n\n{after}")


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures of the page."""
    model = args.model or default_model()
    clips = link_clips(folder, args.clips)
    size = args.clips_per_part or max(1, args.clips // 40)
    options = ["--input", clips, "--model", model, "--clips_per_part", size]
    rows, tables = [], {}
    for processes in (1, 2):
        output = folder / f"with_{processes}"
        run = Run([*command(processes), *options, "--output", output], folder)
        duration_s = run.wait()
        tables[processes] = pq.read_table(output / "answers.parquet")
        rows.append(row(f"{processes} process{'es' * (processes > 1)}", args.clips, duration_s, run.peak_mib))
        rows[-1]["largest_difference"] = difference(tables[processes], tables[1])
        print(rows[-1], flush=True)
    killed = kill_and_resume(args, [*options, "--output", folder / "killed"], rows[1]["seconds"], folder)
    killed |= counts(pq.read_table(folder / "killed" / "answers.parquet"), tables[1])
    print(killed, flush=True)
    for engine in args.engines:
        rows.append(run_engine(engine, [clips, folder / engine, "--model", model], args.clips, folder))
        rows[-1]["largest_difference"] = difference(read_answers(folder / engine), tables[1])
        print(rows[-1], flush=True)
    return {
        "machine": describe_machine(),
        "model": "default" if args.model is None else Path(args.model).name,
        "clips": args.clips,
        "clips_per_part": size,
        "rows": rows,
        "killed": killed,
        "listing": measure_listing(folder),
        "usd_per_core_hour": args.usd_per_core_hour,
    }


def command(processes: int) -> list[str]:
    """The first words of a command with so many processes."""
    return python_command(str(RECIPE), str(TWO) if processes == 2 else None)


def link_clips(folder: Path, clips: int) -> Path:
    """A folder with links to generated voices."""
    corpora = synthetic.generate(folder / "voices", corpora=("ravdess",), clips_per_class=2, duration_s=(1.0, 3.0))
    voices = sorted(corpora["ravdess"].rglob("*.wav"))[:40]
    place = folder / "clips"
    for number in range(clips):
        path = place / f"{number // 1000:04d}" / f"{number:07d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(voices[number % len(voices)], path)
    return place


def row(name: str, clips: int, duration_s: float, peak_mib: float) -> dict[str, Any]:
    return {
        "name": name,
        "seconds": round(duration_s, 2),
        "clips_per_s": round(clips / duration_s, 1),
        "peak_mib": round(peak_mib),
    }


def kill_and_resume(
    args: argparse.Namespace, options: Sequence[Any], duration_s: float, folder: Path
) -> dict[str, Any]:
    """Kill two processes at random moments, then let one or two complete the folder in turn."""
    moments, finished, killed = random.Random(0), [], 0
    for number in range(args.kills):
        run = Run([*command(1 + number % 2), *options], folder)
        run.wait(kill_after_s=moments.uniform(0.1, 1.0) * duration_s / args.kills)
        killed += run.is_killed  # False if it ended before that moment
        finished.append(len(list((folder / "killed" / "answers").glob("*.parquet"))))
    Run([*command(2), *options], folder).wait()
    return {"kills": killed, "parts_finished": finished}


def counts(found: Any, expected: Any) -> dict[str, Any]:
    """Clips without an answer and with more than one, and the largest difference between answers."""
    names = found["file"].to_pylist()
    lost = set(expected["file"].to_pylist()) - set(names)
    return {
        "lost": len(lost),
        "twice": len(names) - len(set(names)),
        "largest_difference": None if lost else difference(found, expected),
    }


def difference(found: Any, expected: Any) -> float | None:
    """The largest difference between probabilities of the same clips; None if the clips are not the same."""
    found, expected = found.sort_by("file"), expected.sort_by("file")  # engines write in any order
    if found["file"].to_pylist() != expected["file"].to_pylist():
        return None
    names = [name for name in expected.column_names if name.startswith("p_")]
    return max(float(np.abs(found[name].to_numpy() - expected[name].to_numpy()).max()) for name in names)


def run_engine(engine: str, words: Sequence[Any], clips: int, folder: Path) -> dict[str, Any]:
    os.environ["PYSPARK_PYTHON"] = sys.executable  # otherwise, the workers of Spark use python3 on the path
    run = Run([sys.executable, ROOT / "examples" / f"{engine}_predict.py", *words], folder)
    return row(f"{engine.title()}, 2 workers, with its start", clips, run.wait(), run.peak_mib)


def read_answers(folder: Path) -> Any:
    return ds.dataset(folder, format="parquet").to_table()


def measure_listing(folder: Path) -> dict[str, Any]:
    """Seconds and MiB for the names of a million clips, in the first process, and for the names of a part."""
    code = (
        "import json, pathlib, psutil, sys, time\n"
        "from hf_ser.batch.clip_listing import ListingFile\n"
        "memory = psutil.Process().memory_info\n"
        "base, started = memory().rss, time.monotonic()\n"
        f"names = [f'archive/{{n // 1000:05d}}/recording_{{n:09d}}.wav' for n in range({MILLION})]\n"
        "ListingFile.write(pathlib.Path(sys.argv[1]), names, 1000)\n"
        "used = memory().rss - base\n"
        "print(json.dumps({'seconds': time.monotonic() - started, 'mib': used / 2**20}))"
    )
    path = folder / "million.arrow"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, path], env=environment, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    started_s = time.monotonic()
    names = ListingFile(path).names(500)
    part_ms = 1000 * (time.monotonic() - started_s)
    return {"seconds": round(found["seconds"], 1), "mib": round(found["mib"]), "part": len(names), "part_ms": part_ms}


def render(results: Mapping[str, Any] | None) -> str:
    """The text between the markers of the page."""
    if results is None:
        return NOT_MEASURED
    one, two = results["rows"][:2]
    rows = []
    for found in results["rows"]:
        shown = "not the same clips" if found["largest_difference"] is None else f"{found['largest_difference']:.0e}"
        speed_up = f"{one['seconds'] / found['seconds']:.2f}"
        rows.append((found["name"], f"{found['clips_per_s']:,.0f}", speed_up, found["peak_mib"], shown))
    header = ("run", "clips/s", "speed-up", "MiB of the largest process", "largest difference of a probability")
    killed, listing = results["killed"], results["listing"]
    rate, cores = one["clips_per_s"], two["clips_per_s"] / 2
    core_hours, price = 1000 * MILLION / cores / HOUR_S, results["usd_per_core_hour"]
    return "\n\n".join(
        [
            f"{results['clips']:,} clips of 1 to 3 s, {results['clips_per_part']:,} per part, model: "
            f"{results['model']}, one thread for each process. Machine: {results['machine']}.",
            markdown.table(header, rows),
            f"Killed at {killed['kills']} random moments and resumed with one and two processes in turn: "
            f"{killed['lost']} clips lost, {killed['twice']} answered twice.",
            f"At {rate:,.0f} clips/s, one process needs {hours(MILLION / rate)} for a million clips. At the rate of "
            f"two processes side by side ({cores:,.0f} clips/s each), a million clips take "
            f"{hours(MILLION / cores / 16)} on 16 cores, and a billion {hours(1000 * MILLION / cores / 1000)} on "
            f"1,000 cores: {core_hours:,.0f} core-hours, or {core_hours * price:,.0f} USD at {price:.2f} USD per "
            "core-hour. These figures are computed from the rates above, not measured.",
            f"The first process holds all paths while it lists the clips: {listing['mib']:,} MiB and "
            f"{listing['seconds']:.1f} s for a million paths, beside the time of the file system. The others read "
            f"only the names of their parts. This is the limit: divide an archive of more than about "
            f"{limit(listing['mib'])} million files into several runs, or use Ray or Spark.",
        ]
    )


def hours(duration_s: float) -> str:
    """A duration in minutes, hours or days."""
    if duration_s < HOUR_S:
        return f"{duration_s / 60:.0f} minutes"
    return f"{duration_s / HOUR_S:,.1f} hours" if duration_s < 96 * HOUR_S else f"{duration_s / HOUR_S / 24:,.1f} days"


def limit(mib_per_million: float) -> str:
    """Millions of paths that fit in 16 GiB, rounded down to one digit."""
    millions = 16 * 1024 / max(1.0, mib_per_million)
    digit = 10 ** (len(str(int(millions))) - 1)
    return f"{int(millions // digit * digit):,}"


if __name__ == "__main__":
    main()
