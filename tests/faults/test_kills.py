"""Programs killed at random moments: no child survives, nothing half written loads, reruns end as unbroken runs."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from hub_server import HubServer
from model_folders import contents, make_model

from hf_ser.run_folder import LOCK, UNFINISHED

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
WHOLE = os.environ.get("HF_SER_FAULTS") == "all"  # make faults
MOMENTS = 20 if WHOLE else 1
ALL = ["prepare", "train", "fit", "cross_validate", "predict", "search"]
_MARK = "HF_SER_FAULT_TRIAL"
_LEFT_BEHIND = (LOCK, UNFINISHED, ".partial", "settings.json")
# Of results.json, what differs between two runs of the same settings.
_CLOCK = ("seconds",)


@dataclass(frozen=True)
class Program:
    """A program that writes a folder.

    Args:
        words: of the command line, without the folder.
        again: what a person adds to finish a killed run, from what is in the folder.
        outcome: what must be the same after a rerun as in an unbroken run.
    """

    words: Sequence[str]
    again: Callable[[Path], Sequence[str]]
    outcome: Callable[[Path], Any]

    def start(self, folder: Path, *more: str, mark: str = "") -> subprocess.Popen:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *self.words, str(folder), *more]
        return subprocess.Popen(
            command,
            cwd=folder.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment | {_MARK: mark},
        )

    def finish(self, folder: Path, *more: str) -> Any:
        process = self.start(folder, *more)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
        return self.outcome(folder)


def _scores(folder: Path) -> Any:
    results = json.loads((folder / "results.json").read_text())
    for key in _CLOCK:
        results["training"].pop(key, None)
    left = [name for name in _LEFT_BEHIND if list(folder.rglob(name))]
    assert left == [] and list(folder.rglob("*.part")) == []
    return {key: results[key] for key in ("splits", "training", "protocol")}


def _dataset(folder: Path) -> Any:
    assert not folder.with_name(folder.name + ".incomplete").exists()
    summary = json.loads((folder / "preparation.json").read_text())
    assert {path.name: path.stat().st_size for path in (folder / "data").iterdir()} == summary["files"]
    return summary


def _trials(folder: Path) -> Any:
    assert (folder / "best.yaml").is_file() and not (folder / LOCK).exists()
    return (folder / "report.md").read_text().count("| ") > 0


def _rows(file: Path) -> Any:
    return sorted(file.read_text().splitlines())


@pytest.fixture(scope="module")
def programs(tmp_path_factory, dataset_dir, sounds_dir, companions, tiny_config):
    root = tmp_path_factory.mktemp("faults")
    corpora = dataset_dir.parent / "corpora"
    common = {"dataset": str(dataset_dir), "configuration": "ravdess", "disable_tqdm": True}
    train = {"model_config": tiny_config, "num_train_epochs": 3, "use_cpu": True, "figures": False, **common}
    (root / "train.yaml").write_text(yaml.safe_dump(train))
    (root / "space.yaml").write_text("learning_rate: {low: 1.0e-4, high: 1.0e-3}\n")
    recipe = lambda name: str(ROOT / f"recipes/{name}.py")  # noqa: E731
    bases = [f"{folder.parent.name}={folder}" for folder in companions]
    folds = ["--model_recipe", recipe("baseline"), "--protocol", "random", "--seeds", "0", "1", "--figures", "false"]
    overwrite = lambda folder: ["--overwrite", "true"] if (folder / "results.json").is_file() else []  # noqa: E731
    resume = lambda folder: (  # noqa: E731
        ["--resume_from_checkpoint", "true"] if list(folder.glob("checkpoint-*")) else []
    )
    nothing = lambda folder: []  # noqa: E731
    return {
        "prepare": Program(
            [recipe("prepare"), "--ravdess", str(corpora / "ravdess"), "--num_proc", "2", "--output_dir"],
            nothing,
            _dataset,
        ),
        "train": Program([recipe("finetune"), "--config", str(root / "train.yaml"), "--output_dir"], resume, _scores),
        "fit": Program(
            [
                *(recipe("fit_hybrid"), "--kind", "stacking", "--dataset", str(sounds_dir), "--figures", "false"),
                *("--configuration", "ravdess", "--protocol", "random", "--bases", *bases, "--output_dir"),
            ],
            overwrite,
            _scores,
        ),
        "cross_validate": Program(
            [recipe("evaluate"), *folds, "--dataset", str(dataset_dir), "--configuration", "ravdess", "--output_dir"],
            nothing,
            lambda folder: _scores(folder)["splits"],
        ),
        "predict": Program(
            ["-m", "hf_ser.cli", "predict", str(corpora), "--model", str(companions[0]), "--output"],
            nothing,
            _rows,
        ),
        "search": Program(
            [
                *(recipe("search"), "--config", str(root / "train.yaml"), "--search_space", str(root / "space.yaml")),
                *("--n_trials", "2", "--output_dir"),
            ],
            nothing,
            _trials,
        ),
    }


@pytest.fixture(scope="module")
def unbroken(programs, tmp_path_factory):
    """Name of a program -> seconds and outcome of an unbroken run, made when it is asked for."""
    known: dict[str, tuple[float, Any]] = {}

    def run(name):
        if name not in known:
            start = time.monotonic()
            outcome = programs[name].finish(_place(tmp_path_factory.mktemp(name), name))
            known[name] = time.monotonic() - start, outcome
        return known[name]

    return run


def _place(folder: Path, name: str) -> Path:
    return folder / ("answers.csv" if name == "predict" else "run")


@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.faults(f"`kill -9`: {name}")) for name in (ALL if WHOLE else ALL[:2])],
)
def test_a_program_killed_at_a_random_moment(programs, unbroken, tmp_path, name, moment):
    seconds, expected = unbroken(name)
    program, folder, mark = programs[name], _place(tmp_path, name), uuid.uuid4().hex
    process = program.start(folder, mark=mark)
    time.sleep(seconds * random.Random(f"{name} {moment}").uniform(0.2, 0.98))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert _survivors(mark) == []
    # No program loads a folder without config.json, transformers' own pipeline included.
    assert (folder / "results.json").is_file() or not (folder / "config.json").exists()
    assert program.finish(folder, *program.again(folder)) == expected
    assert [path for path in tmp_path.iterdir() if path != folder] == []


@pytest.fixture
def pushes(tmp_path_factory):
    """A model folder, and a function that makes an empty Hub and the start of a push of that folder to it."""
    folder = make_model(tmp_path_factory.mktemp("pushed") / "tiny")
    command = [sys.executable, str(ROOT / "recipes/push.py"), "--folder", str(folder), "--repository", "owner/tiny"]
    command += ["--tag", "v1", "--dry_run", "false"]
    hubs = []

    def make():
        hub = HubServer(tmp_path_factory.mktemp("hub"))
        hub.start()
        hubs.append(hub)
        environment = hub.environment("hf_owner") | {"PYTHONPATH": str(ROOT)}

        def push(mark=""):
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            return subprocess.Popen(command, env=environment | {_MARK: mark}, **pipes)

        return hub, push

    yield folder, make
    for hub in hubs:
        hub.stop()
        assert hub.errors == []


def _kill_at(hub, number, process, after_s):
    """Kill a client as soon as its request of this number has arrived, or a moment later."""
    strike = hub.strike

    def struck(line):
        if len(hub.requests) > number:
            time.sleep(after_s)
            process.kill()
        return strike(line)

    hub.strike = struck


@pytest.mark.skipif(not WHOLE, reason="make faults")
@pytest.mark.faults("`kill -9`: push")
def test_a_push_killed_at_each_request(pushes, subtests):
    folder, make = pushes
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    unbroken, push = make()
    output, _ = push().communicate(timeout=300)
    expected, requests = contents(unbroken), len(unbroken.requests)
    assert "Pushed to" in output and requests > 5, output[-2000:]
    for moment in range(MOMENTS):
        with subtests.test(moment=moment):
            (hub, push), mark = make(), uuid.uuid4().hex
            process = push(mark)
            _kill_at(hub, moment % requests, process, 0.1 * (moment // requests))
            process.communicate(timeout=300)
            assert process.returncode == -signal.SIGKILL and _survivors(mark) == []
            repo = hub.repos.get(("models", "owner/tiny"))
            assert repo is None or contents(hub) in ({}, expected)  # no half of it
            del hub.strike
            output, _ = push().communicate(timeout=300)
            repo = hub.stored("owner/tiny")
            assert "Pushed to" in output and contents(hub) == expected, output[-2000:]
            assert len(repo.history("main")) == 2 and repo.tags == {"v1": repo.head.sha}
            assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def _survivors(mark: str, within_s: float = 15.0) -> list[psutil.Process]:
    """Processes that inherited the mark and are still there after a while."""
    deadline = time.monotonic() + within_s
    while (left := [process for process in psutil.process_iter() if _has(process, mark)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.2)
    return left


def _has(process: psutil.Process, mark: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == mark
    except psutil.Error:
        return False
