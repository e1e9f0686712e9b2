"""Servers on free ports, with one tiny model for all tests, and a gate in front of it."""

import asyncio
import contextlib
import socket
import threading
import time
from dataclasses import replace

import httpx
import pytest

LABELS = ("neutral", "happy", "sad", "angry")


class Gate:
    """Calls the pipeline once the gate is open, and keeps the number of clips of every call."""

    def __init__(self, classify):
        self.classify, self.model, self.preprocessing = classify, classify.model, classify.preprocessing
        self.is_open, self.batches, self.breaks_at = threading.Event(), [], None
        self.is_open.set()

    def __call__(self, sources, **options):
        self.batches.append(len(sources))
        assert self.is_open.wait(60)
        if any(self.breaks_at and self.breaks_at in source["path"] for source in sources):
            raise RuntimeError(f"no scores for {self.breaks_at}")
        return self.classify(sources, **options)


class Running:
    """A running server: its address, a client and the parts that tests look into."""

    def __init__(self, server, service, gate, address):
        self.server, self.service, self.gate, self.address = server, service, gate, address
        self.client = httpx.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=60, trust_env=False)

    def post(self, content, kind="audio/wav", **options):
        headers = {"content-type": kind} if kind else {}
        return self.client.post("/predict", content=content, headers=headers, **options)

    def connect(self):
        return socket.create_connection(self.address, timeout=60)

    def wait_for(self, condition):
        until = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.005)


@pytest.fixture(scope="session")
def served_model(tmp_path_factory, save_companion):
    """A tiny model, loaded as `hf-ser serve` does it."""
    from hf_ser.batch.loaded_model import load_model

    folder = save_companion(tmp_path_factory.mktemp("serving") / "model", LABELS)
    return load_model(str(folder), "main", "cpu", "fp32", {})


@pytest.fixture(scope="session")
def serving(served_model):
    """A context with a running server; its arguments are limits."""
    from hf_ser.serving import ServingLimits
    from hf_ser.serving.prediction_service import PredictionService
    from hf_ser.serving.serve_command import http_server

    @contextlib.contextmanager
    def run(*, batch_size=8, max_wait_s=0.005, **limits):
        gate = Gate(served_model.classify)
        model = replace(served_model, classify=gate)
        service = PredictionService(model, ServingLimits(**limits), batch_size, max_wait_s)
        server = http_server(service, "tiny")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serve = server.serve(sockets=[listener])
            thread = threading.Thread(target=asyncio.run, args=(serve,))
            thread.start()
            running = Running(server, service, gate, listener.getsockname())
            try:
                running.wait_for(lambda: server.started)
                yield running
            finally:
                gate.is_open.set()
                running.client.close()
                server.should_exit = True
                thread.join(60)
        assert not thread.is_alive()

    return run


@pytest.fixture(scope="module")
def server(serving):
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def clips(tone, encode):
    """WAV files with different tones, all of them shorter than a second."""
    return [encode(tone(0.3 + 0.05 * number, frequency_hz=200.0 + 90 * number)) for number in range(8)]
