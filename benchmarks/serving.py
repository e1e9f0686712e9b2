"""Load test of `hf-ser serve` on this machine: throughput, latency, memory, and what happens at overload.

python benchmarks/serving.py [--models MODEL ...] [--requests 2000] [--clients 1 8 32] [--memory_requests 10000]

Starts a server per model, by default for the model in the package with PyTorch and as an exported graph, and sends it
the recordings of examples/clips as they are, from threads that keep their connection. Clients and server share the
processors. Memory is the resident memory of the server's process. At overload, four times as many clients as the queue
has places send requests to a server with a queue of 16. Writes results/serving.json and the table of
docs/how-to/serve.md.
"""

import argparse
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from machine import describe_machine

from hf_ser import markdown
from hf_ser.default_model import default_model
from hf_ser.scoring.results import write_json, write_text

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- serving:begin -->", "<!-- serving:end -->"
CLIPS = sorted((ROOT / "examples" / "clips").glob("*.flac"))
QUEUE, OVERLOAD_CLIENTS = 16, 64
WARM_UP = 100
MIB = 2**20


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="folders, Hub ids or graphs (default: the model in the package)")
    parser.add_argument("--requests", type=int, default=2000, help="per number of clients, and at overload")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--memory_requests", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "serving.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "how-to" / "serve.md")
    args = parser.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models or [default_model(), export_default(Path(folder))]:
            rows.append(measure(model, args.requests, args.clients, args.memory_requests))
            print(rows[-1], flush=True)
    audio_s = statistics.mean(_duration_s(clip) for clip in CLIPS)
    results = {"machine": describe_machine(), "mean_clip_s": round(audio_s, 2), "rows": rows}
    write_json(args.output, results)
    before, after = markdown.around_part(args.docs.read_text(encoding="utf-8"), BEGIN, END, str(args.docs))
    write_text(args.docs, f"{before}\n\n{render(results)}\n\n{after}")


def export_default(folder: Path) -> str:
    """The model in the package as a graph."""
    from hf_ser.export import ExportArguments, export

    export(ExportArguments(model=default_model(), output=str(folder / "graph")))
    return str(folder / "graph" / "model.onnx")


def measure(model: str, requests: int, clients: Sequence[int], memory_requests: int) -> dict[str, Any]:
    """All measurements of one model."""
    with running_server(model) as (address, process):
        send(address, WARM_UP, clients=8)
        load = {str(number): summary(send(address, requests, number)) for number in clients}
        memory = [rss_mib(process)]
        step = max(1, memory_requests // 10)
        for _ in range(0, memory_requests, step):
            send(address, step, clients=8)
            memory.append(rss_mib(process))
    with running_server(model, "--queue_size", str(QUEUE), "--max_clips", str(QUEUE)) as (address, process):
        send(address, WARM_UP, clients=8)
        overload = summary(send(address, requests, OVERLOAD_CLIENTS))
        overload["memory_mib"] = rss_mib(process)
        overload["answered_afterwards"] = all(status == 200 for status, _ in send(address, 10, clients=1)["answers"])
    engine = "onnxruntime" if model.lower().endswith(".onnx") else "PyTorch"
    return {"engine": engine, "load": load, "memory_requests": memory_requests, "memory_mib": memory} | {
        "overload": overload
    }


@contextmanager
def running_server(model: str, *options: str) -> Iterator[tuple[tuple[str, int], psutil.Process]]:
    """A server in a process of its own: its address and process."""
    command = [sys.executable, "-m", "hf_ser.cli", "serve", "--model", model, "--port", "0", *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as started:
        try:
            assert started.stdout is not None
            line = started.stdout.readline()
            host, _, port = line.partition("http://")[2].split(" ")[0].partition(":")
            yield (host, int(port)), psutil.Process(started.pid)
        finally:
            started.terminate()


def rss_mib(process: psutil.Process) -> float:
    """Resident memory."""
    return round(process.memory_info().rss / MIB, 1)


def send(address: tuple[str, int], requests: int, clients: int) -> dict[str, Any]:
    """Send requests from several threads -> status and seconds of each, and the seconds of all."""
    contents = [path.read_bytes() for path in CLIPS]
    numbers = iter(range(requests))
    lock, answers = threading.Lock(), []
    start = threading.Barrier(clients + 1)

    def client() -> None:
        connection = http.client.HTTPConnection(*address, timeout=120)
        start.wait()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            started_s = time.perf_counter()
            headers = {"Content-Type": "audio/flac"}
            try:
                connection.request("POST", "/predict", contents[number % len(contents)], headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):  # counted as unanswered
                connection.close()
                continue
            seconds = time.perf_counter() - started_s
            with lock:
                answers.append((answer.status, seconds))
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    start.wait()
    started_s = time.perf_counter()
    for thread in threads:
        thread.join()
    return {"answers": answers, "seconds": time.perf_counter() - started_s, "requests": requests}


def summary(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Throughput, latency of the answers with scores, and how many requests had which status."""
    by_status = Counter(str(status) for status, _ in sent["answers"])
    times = sorted(seconds for status, seconds in sent["answers"] if status == 200)
    refused = sorted(seconds for status, seconds in sent["answers"] if status != 200)
    return {
        "requests": sent["requests"],
        "unanswered": sent["requests"] - len(sent["answers"]),
        "status": dict(by_status),
        "per_s": round(len(times) / sent["seconds"], 1),
        "median_ms": _ms(times, 0.5),
        "p99_ms": _ms(times, 0.99),
        "refused_p99_ms": _ms(refused, 0.99),
    }


def _ms(ordered: Sequence[float], share: float) -> float | None:
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None


def _duration_s(path: Path) -> float:
    import soundfile as sf

    return sf.info(path).duration


def render(results: Mapping[str, Any]) -> str:
    """The text between the markers of the page."""
    said = (
        f"FLAC recordings of {results['mean_clip_s']} s on average, one per request. Clients and server share the "
        f"processors. Machine: {results['machine']}."
    )
    header = ("engine", "clients", "requests", "requests/s", "median (ms)", "99th percentile (ms)", "failed")
    rows, lines = [], []
    for row in results["rows"]:
        for clients, load in row["load"].items():
            failed = load["requests"] - load["status"].get("200", 0)
            shown = (load["per_s"], load["median_ms"], load["p99_ms"], failed)
            rows.append((row["engine"], clients, f"{load['requests']:,}", *shown))
        memory, overload = row["memory_mib"], row["overload"]
        refused = overload["status"].get("503", 0)
        lines.append(
            f"- {row['engine']}, memory: {memory[0]:.0f} MiB before and {memory[-1]:.0f} MiB after "
            f"{row['memory_requests']:,} requests, at most {max(memory):.0f} MiB."
        )
        ended = "Afterwards, all requests had scores." if overload["answered_afterwards"] else "It did not recover."
        lines.append(
            f"- {row['engine']}, overload ({OVERLOAD_CLIENTS} clients, a queue of {QUEUE}): of "
            f"{overload['requests']:,} requests, {overload['status'].get('200', 0):,} had scores (median "
            f"{overload['median_ms']} ms, 99th percentile {overload['p99_ms']} ms), {refused:,} were answered with "
            f"503 (99th percentile {overload['refused_p99_ms']} ms), and {overload['unanswered']} had no answer. "
            f"Memory: {overload['memory_mib']:.0f} MiB. {ended}"
        )
    return "\n\n".join([said, markdown.table(header, rows), "\n".join(lines)])


if __name__ == "__main__":
    main()
