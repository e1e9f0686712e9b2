"""All measurements and checks on a GPU: speed of training and inference, agreement with the CPU, resuming, tests.

python benchmarks/gpu.py --dataset data/ravdess --recordings FOLDER [--sections chip base] [--seconds 400] [--tiny]

`benchmarks/gpu.sh` prepares a machine and starts this script. Each section is a separate process with a time limit, so
that failures do not affect other sections. When the time is up, the remaining sections are skipped and listed.
Sections that are not timed run in parallel. Their output is written to $OUT/gpu.log, tables to $OUT/gpu.md and numbers
to $OUT/gpu.json. `--tiny` runs all sections on the CPU with tiny models, to test the script.
"""

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

# Section -> title, time limit in seconds, and minimum time to start it. Sections of a group run in parallel. Groups
# run in this order, the most important first.
SECTIONS: dict[str, tuple[str, int, int]] = {
    "chip": ("The chip", 60, 15),
    "base": ("Training wav2vec2-base (random weights) through the package's Trainer", 230, 25),
    "checks": ("Agreement with the CPU, learning, resuming", 120, 20),
    "tests": ("Tests marked gpu", 120, 20),
    "recipe": ("recipes/train_companion.py and recipes/evaluate.py on real clips", 120, 25),
    "compile": ("torch.compile and activation checkpointing, clips of 3 s", 130, 40),
    "companions": ("Training companion models", 75, 20),
    "pipeline": ("Pipelines", 75, 20),
    "xlsr": ("Training a model of XLSR's size", 75, 25),
}
GROUPS = (("chip",), ("base",), ("checks", "tests", "recipe"), ("pipeline",), ("compile",), ("companions",), ("xlsr",))

PLACES = {
    **{"chip": ("gpu_training", "chip"), "base": ("gpu_training", "base"), "compile": ("gpu_training", "compiled")},
    **{"companions": ("gpu_training", "companions"), "xlsr": ("gpu_training", "xlsr")},
    **{"checks": ("gpu_checks", "checks"), "tests": ("gpu_checks", "tests"), "recipe": ("gpu_checks", "recipe")},
    "pipeline": ("gpu_checks", "pipelines"),
}


class Report:
    """Append lines to gpu.log, tables to gpu.md and numbers to gpu.json; thread-safe."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.start, self.lock = folder, time.monotonic(), threading.Lock()
        self.log = (folder / "gpu.log").open("a", encoding="utf-8", buffering=1)
        self.tables: dict[str, list[str]] = {}
        self.numbers: dict[str, list[object]] = {}

    def line(self, section: str, text: str) -> None:
        """Process a line of a section: numbers (JSON), a line of its table, or text for the log."""
        with self.lock:
            if text.startswith("JSON "):
                self.numbers.setdefault(section, []).append(json.loads(text.removeprefix("JSON ")))
                (self.folder / "gpu.json").write_text(json.dumps(self.numbers, indent=1), encoding="utf-8")
                return
            stamp = f"[{time.monotonic() - self.start:6.1f} s, {section}] {text}"
            print(stamp, file=self.log)
            print(stamp, flush=True)
            if text.startswith(("|", "- ")):
                self.tables.setdefault(section, []).append(text)
                (self.folder / "gpu.md").write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """Return all tables so far, in the order of the sections."""
        parts = []
        for section, lines in sorted(self.tables.items(), key=lambda item: list(SECTIONS).index(item[0])):
            title = SECTIONS[section][0]
            table = [line for line in lines if line.startswith("|")]
            notes = [line for line in lines if not line.startswith("|")]
            parts.append("\n".join([f"## {title}", "", *table, *([""] if table and notes else []), *notes, ""]))
        return "\n".join(parts)


def run_section(name: str, limit: float, args: argparse.Namespace, report: Report) -> None:
    """Run one section in a separate process group, which is killed at the time limit."""
    began = time.monotonic()
    words = ["--section", name, "--dataset", args.dataset, "--recordings", args.recordings, "--out", args.out]
    command = [sys.executable, __file__, *words]
    child = subprocess.Popen(
        [*command, *(["--tiny"] if args.tiny else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert child.stdout is not None
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        end(child)

    timer = threading.Timer(limit, stop)
    timer.start()
    for text in child.stdout:
        report.line(name, text.rstrip())
    status = child.wait()
    timer.cancel()
    end(child)  # remaining processes, such as data loaders
    seconds = time.monotonic() - began
    if stopped.is_set():
        report.line(name, f"- STOPPED at the time limit of {limit:.0f} s; the rows above are complete.")
    elif status:
        report.line(name, f"- FAILED with status {status}; see gpu.log.")
    report.line(name, f"took {seconds:.1f} s")
    report.line(name, "JSON " + json.dumps({"status": status, "seconds": round(seconds, 1)}))


def end(child: subprocess.Popen[str]) -> None:
    """Kill a section's process and its child processes."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="a folder made by recipes/prepare.py")
    parser.add_argument("--recordings", required=True, help="a folder of audio files")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seconds", type=float, default=400, help="time for all sections together")
    parser.add_argument("--out", default=os.environ.get("OUT", "build/gpu/out"))
    parser.add_argument("--tiny", action="store_true", help="use tiny models on the CPU, to test the script")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.section:
        module, function = PLACES[args.section]
        return getattr(importlib.import_module(module), function)(args)
    report = Report(Path(args.out))
    skipped = []
    for group in GROUPS:
        names = [name for name in group if name in args.sections]
        left = args.seconds - (time.monotonic() - report.start)
        skipped += [name for name in names if left < SECTIONS[name][2]]
        threads = [
            threading.Thread(
                target=run_section, args=(name, 600 if args.tiny else min(SECTIONS[name][1], left), args, report)
            )
            for name in names
            if name not in skipped
        ]
        for thread in threads:
            thread.start()
            if args.tiny:  # one at a time, because there may be only two cores
                thread.join()
        for thread in threads:
            thread.join()
    print("\n" + report.markdown(), flush=True)
    print(f"took {time.monotonic() - report.start:.0f} of {args.seconds:.0f} s")
    if skipped:
        text = f"skipped, because the time was up: {', '.join(skipped)}"
        print(text)
        print(text, file=report.log)


if __name__ == "__main__":
    main()
