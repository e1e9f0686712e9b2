"""The demo under load and at its end."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

pytestmark = [pytest.mark.faults, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(companions, tmp_path):
    """A running demo whose temporary files are in `tmp_path / "temporary"`, and its address."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("GRADIO_TEMP_DIR", None)
    command = [sys.executable, "-P", "-m", "hf_ser.cli", "demo", "--model", str(companions[0])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    line = process.stdout.readline()
    try:
        yield process, re.search(r"http://\S+", line)[0], folder
    finally:
        process.kill()
        process.communicate()


def test_twenty_requests_at_once_and_sigterm_leave_nothing(demo, companions, tmp_path):
    process, address, folder = demo
    name = companions[0].name
    good, bad = next((ROOT / "examples/clips").glob("*.flac")), tmp_path / "text.wav"
    bad.write_text("no sound")

    def ask(number):
        client = Client(address, verbose=False, download_files=tmp_path / f"client_{number}")
        return client.predict(handle_file(bad if number % 4 == 0 else good), name, api_name="/recognise")

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert sum("Sounds most like: " in answer for answer in answers) == 15
    assert sum("cannot be used" in answer for answer in answers) == 5
    assert any(path.is_file() for path in folder.rglob("*"))  # the uploads
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in errors
    assert [path for path in folder.rglob("*.flac")] + [path for path in folder.rglob("*.wav")] == []
    assert list(folder.glob("hf_ser_demo_*")) == []
