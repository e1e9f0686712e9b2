"""`hf-ser serve` as a person starts it: options, a port in use, an exported graph without torch, and its end."""

import importlib.metadata
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import httpx
import pytest
from import_blocker import BLOCK_IMPORTS
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hf_ser import cli
from hf_ser.default_model import NAME, default_model
from hf_ser.runtime import OnnxPipeline
from hf_ser.serving import ServeArguments, ServingLimits
from hf_ser.serving.serve_command import shown_name

ROOT = Path(__file__).parents[2]
# Runs `hf-ser serve` where some packages cannot be imported.
PROGRAM = (
    """
import json, sys

hidden = set(json.loads(sys.argv.pop(1)))
is_hidden = hidden.__contains__
"""
    + BLOCK_IMPORTS
    + """
from hf_ser.cli import main
sys.exit(main(sys.argv[1:]))
"""
)


def hidden_modules():
    """Modules that the image of docker/Dockerfile does not have."""
    todo, kept = (ROOT / "docker/requirements.txt").read_text().splitlines()[1:], {"hf-ser", "pip", "setuptools"}
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in kept:
            kept.add(name)
            needed = [Requirement(text) for text in importlib.metadata.requires(name) or []]
            todo += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    modules = importlib.metadata.packages_distributions()
    return sorted(module for module, owners in modules.items() if not kept & set(map(canonicalize_name, owners)))


@pytest.fixture(scope="module")
def process(tiny_graph):
    """A server of an exported graph, with the packages of the image, and its address."""
    absent = hidden_modules()
    assert {"torch", "transformers", "datasets", "gradio"} <= set(absent)
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        json.dumps(absent),
        "serve",
        "--model",
        str(tiny_graph[1]),
        "--port",
        "0",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as started:
        try:
            line = started.stdout.readline()
            yield started, line.removeprefix("Serving model.onnx at ").split(" ")[0].strip(), line
        finally:
            started.kill()


def test_a_graph_is_served_without_torch_and_sigterm_ends_it_after_the_last_answer(process, tiny_graph, clips):
    started, address, line = process
    assert line == f"Serving model.onnx at {address} as a graph (press Ctrl-C to stop)\n", started.stderr.read()
    expected = OnnxPipeline(tiny_graph[1])(clips[0], abstain=True)
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        answer = client.post(
            "/predict", content=clips[0], headers={"content-type": "audio/wav"}, params={"abstain": True}
        )
        assert answer.json()["threshold"] == 0.6 and answer.json()["abstained"] == expected["abstained"]
        for row, other in zip(answer.json()["scores"], expected["scores"], strict=True):
            assert row["label"] == other["label"] and row["score"] == pytest.approx(other["score"], abs=1e-5)
        assert cli.main(["serve", "--port", address.rpartition(":")[2]]) == 2  # in use, which is checked first
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        headers = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: {len(clips[1])}"
        connection.sendall(f"{headers}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # the server reads the body
        started.send_signal(signal.SIGTERM)
        with pytest.raises(OSError):  # it soon accepts no other connections
            for _ in range(10_000):
                socket.create_connection((host, int(port)), timeout=60).close()
        connection.sendall(clips[1])
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    assert b"".join(parts).startswith(b"HTTP/1.1 200 ")
    assert started.wait(60) == 0
    logged = started.stderr.read().splitlines()
    assert [line.partition(" POST")[2].rpartition(",")[0] for line in logged] == [" /predict 200, clips: 1"] * 2


def test_the_image_is_built_from_what_the_context_has_and_starts_with_known_options():
    docker = (ROOT / "docker/Dockerfile").read_text()
    words = [json.loads(re.search(rf"^{name} (\[.*\])$", docker, re.MULTILINE)[1]) for name in ("ENTRYPOINT", "CMD")]
    given = cli._parser().parse_args([*words[0][1:], *words[1]])
    assert (given.host, given.port, given.model) == ("0.0.0.0", 8000, "/model/model.onnx")
    assert docker.rindex("\nUSER 10001") > docker.rindex("\nRUN ")
    names = (ROOT / "docker/requirements.txt").read_text().splitlines()[1:]
    pinned = {canonicalize_name(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extra = {Requirement(text).name for text in project["project"]["optional-dependencies"]["serve"]}
    assert extra <= set(names) <= pinned
    sources = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert {"hf_ser", "pyproject.toml", "README.md", "LICENSE", "constraints.txt", *included} <= sources
    assert all((ROOT / source).exists() for source in sources)


def test_a_port_in_use_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("hf_ser.serving.serve_command.load_model", lambda *_: pytest.fail("the model was loaded"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert cli.main(["serve", "--port", str(port)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: --host 127.0.0.1 --port {port}: cannot listen there (Address already in use); ")
    assert line.endswith("Choose another --port, or end the program that uses it.")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--port", "70000"], "--port 70000; expected a number from 1 to 65535, or 0 for a free port."),
        (["--batch_size", "0"], "--batch_size 0; expected at least 1."),
        (["--max_wait_ms", "nan"], "--max_wait_ms nan; expected a number from 0 to 1000."),
        (["--max_body_mb", "0"], "--max_body_mb 0.0; expected a positive number."),
        (["--queue_timeout_s", "nan"], "--queue_timeout_s nan; expected a positive number."),
        (["--queue_size", "8"], "--max_clips 32 is above --queue_size 8; expected at most that: all clips of a "),
        (["--model", "a.onnx", "--device", "cpu"], "--device cpu has no effect on a graph, which runs on CPU. "),
        (
            ["--host", "no.such.host.invalid"],
            "--host no.such.host.invalid --port 8000: no such address; expected one ",
        ),
        (
            ["--host", "192.0.2.1"],
            "--host 192.0.2.1 --port 8000: cannot listen there (Cannot assign requested address)",
        ),
        (["--model", "missing", "--port", "0"], "--model missing: no such folder"),
    ],
)
def test_wrong_options_are_one_line(words, error, capsys):
    assert cli.main(["serve", *words]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {error}")


def test_the_options_have_the_defaults_of_the_arguments():
    given = cli._parser().parse_args(["serve"])
    arguments, limits = ServeArguments("model"), ServingLimits()
    for field in fields(ServeArguments):
        if field.name not in ("model", "limits"):
            assert getattr(given, field.name) == getattr(arguments, field.name), field.name
    for field in fields(ServingLimits):
        assert getattr(given, field.name) == getattr(limits, field.name), field.name


def test_clients_see_no_folders(tmp_path):
    assert shown_name(str(tmp_path)) == tmp_path.name and shown_name("owner/name") == "owner/name"
    assert shown_name(default_model()) == NAME
