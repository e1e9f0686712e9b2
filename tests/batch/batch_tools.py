"""Run `hf-ser` in separate processes, and read and compare its output files."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

LABELS = ("neutral", "happy", "sad", "angry")


_SERVER = """
import json, os, signal, sys, time
import pyarrow.parquet
import hf_ser.evaluation, hf_ser.models
from hf_ser import cli
from hf_ser.batch import predict_command, written_answers
answer_row = written_answers.answer_row
answered = 0
def answer_slowly(*args):
    global answered
    answered += 1
    time.sleep(0.2 if answered > 150 else 0.001)
    return answer_row(*args)
written_answers.answer_row = answer_slowly
for line in sys.stdin:
    words, out, errors = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for descriptor, path in ((1, out), (2, errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        os._exit(cli.main(words))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Commands:
    """Starts `hf-ser` in processes of their own, from one that has imported everything.

    After 150 answers they are so slow that a signal comes before the last one.
    """

    def __init__(self, folder: Path) -> None:
        self.out, self.errors = folder / "out.txt", folder / "errors.txt"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._server = subprocess.Popen([sys.executable, "-c", _SERVER], cwd=folder, **pipes)

    def run_until(self, words, watched, num_bytes, sent) -> tuple[int, str, str]:
        """Send a signal once a file has so many bytes -> exit code, stdout, stderr."""
        self._server.stdin.write(json.dumps([[*map(str, words)], str(self.out), str(self.errors)]) + "\n")
        self._server.stdin.flush()
        child = int(self._server.stdout.readline())
        ends = time.monotonic() + 30
        while not (watched.exists() and watched.stat().st_size >= num_bytes):
            assert time.monotonic() < ends, self.errors.read_text()
            time.sleep(0.001)
        os.kill(child, sent)
        code = int(self._server.stdout.readline())
        return code, self.out.read_text(), self.errors.read_text()

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait(20)


def read(path):
    """The rows of an output file."""
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return pq.read_table(path).to_pylist()


def same_rows(ours, theirs):
    """Whether two tables (lists of mappings) hold the same, up to rounding."""
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert our.keys() == their.keys()
        for key, value in our.items():
            if isinstance(value, float):
                np.testing.assert_allclose(value, their[key], atol=1e-6, err_msg=f"{our} {key}")
            elif key == "scores" and value:
                by_label = {score["label"]: score["score"] for score in their[key]}
                assert {score["label"]: pytest.approx(score["score"], abs=1e-6) for score in value} == by_label
            elif key.startswith("p_") and value:  # text of six digits, of which the last may be rounded either way
                assert float(value) == pytest.approx(float(their[key]), abs=3e-6), (our, their)
            else:
                assert value == their[key], (our, their)
    return True
