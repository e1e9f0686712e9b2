"""Trainings at the same time: as many as allowed, equal to one after the other, and ended together."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hf_ser.arguments import parse
from hf_ser.data import DataArguments, load_rows, load_splits
from hf_ser.evaluation import CrossValidationArguments, TrainingJobError, cross_validate, training_jobs
from hf_ser.evaluation.training_jobs import JobSettings, Training, run_trainings
from hf_ser.hybrids.baseline import BaselineArguments, fit_baseline
from hf_ser.scoring import read_predictions

ROOT = Path(__file__).parents[2]
BASELINE = str(ROOT / "recipes/baseline.py")
# A recipe without this package: it meets the trainings named in its words, fails if asked to, and notes its end.
RECIPE = """
import json, os, pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in processes that a shell runs in background
folder, meets, how = pathlib.Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
folder.mkdir(parents=True)
(folder / "started").touch()
try:
    ends = time.monotonic() + 60
    while not all((folder.parent / other / "started").exists() for other in meets if other):
        assert time.monotonic() < ends, "the others have not started"
        time.sleep(0.01)
    while how == "wait":
        assert time.monotonic() < ends, "no Ctrl-C came"
        time.sleep(0.01)
except KeyboardInterrupt:
    (folder / "interrupted").touch()
    sys.exit(130)
print("output of", folder.name)
if how == "fail":
    sys.exit(3)
names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
(folder / "results.json").write_text(json.dumps([os.environ.get(name) for name in names]))
"""


@pytest.fixture
def training(tmp_path):
    """Make a training of the recipe above."""
    (tmp_path / "recipe.py").write_text(RECIPE)

    def make(name, meets=(), how="train"):
        words = [sys.executable, str(tmp_path / "recipe.py"), str(tmp_path / name), ",".join(meets), how]
        return Training(f"Run {name}", words, tmp_path / name)

    return make


def test_trainings_run_at_the_same_time_each_with_its_gpu_and_its_threads(training, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    together = [training("a", ["b"]), training("b", ["a"]), training("c", ["a", "b"])]
    run_trainings(together, JobSettings(jobs=2, threads=1))
    gpus = [json.loads((one.folder / "results.json").read_text()) for one in together]
    assert gpus[:2] == [["1", "3"], ["1", "5"]] and gpus[2] in gpus[:2]
    assert together[0].log.read_text() == "output of a\n"
    assert f"Run c: started, output in {tmp_path / 'c.log'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (JobSettings(), {}),
        (JobSettings(threads=3), {"OMP_NUM_THREADS": "3"}),
        (JobSettings(jobs=2, divide_gpus=False), {"OMP_NUM_THREADS": "4"}),
        (JobSettings(jobs=20), {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "b"}),
        (JobSettings(jobs=2, launcher="submitit"), {}),
    ],
)
def test_processors_and_gpus_are_divided(settings, expected, monkeypatch):
    monkeypatch.setattr(training_jobs, "available_processors", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a, b")
    assert settings.environment(slot=3) == expected


def test_after_a_failure_the_running_ones_end_and_the_message_names_the_log(training, capsys):
    failing, running, waiting = training("a", ["b"], "fail"), training("b", ["a"]), training("c")
    with pytest.raises(TrainingJobError, match=r"Run a: .*recipe.py ended with exit code 3 in .*; see .*a.log. Fin"):
        run_trainings([failing, running, waiting], JobSettings(jobs=2))
    assert (running.folder / "results.json").is_file() and not waiting.folder.exists()
    assert "Run a: failed" in capsys.readouterr().out


def test_ctrl_c_interrupts_every_training_and_keeps_what_is_finished(training, monkeypatch):
    done, first, second = training("a"), training("b", ["c"], "wait"), training("c", ["b"], "wait")
    slept = time.sleep

    def ctrl_c(seconds):
        slept(seconds)
        if all((one.folder / "started").exists() for one in (first, second)):
            monkeypatch.setattr(training_jobs.time, "sleep", slept)
            raise KeyboardInterrupt

    monkeypatch.setattr(training_jobs.time, "sleep", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        run_trainings([done, first, second], JobSettings(jobs=2))
    assert (done.folder / "results.json").is_file()
    assert all((one.folder / "interrupted").is_file() for one in (first, second))


class Forked:
    """A baseline that is fitted in a fork of this process, which spares the imports."""

    def __init__(self, command, env, **streams):
        assert command[:2] == [sys.executable, BASELINE]
        self.child = os.fork()
        if self.child == 0:
            signal.alarm(100)
            code = 1
            try:
                os.dup2(streams["stdout"].fileno(), 2)
                data_args, args = parse(DataArguments, BaselineArguments, argv=command[2:])
                fit_baseline(load_splits(data_args), args, Path(args.output_dir).name)
                code = 0
            finally:
                os._exit(code)

    def poll(self):
        child, status = os.waitpid(self.child, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if child else None


def test_runs_in_parallel_give_the_predictions_of_runs_in_sequence(dataset_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(training_jobs.subprocess, "Popen", Forked)
    data_args = DataArguments(str(dataset_dir), "ravdess", protocol="random")
    how = {"model_recipe": BASELINE, "recipe_overrides": ["penalties=1.0"], "seeds": [0, 1], "threads": 1}
    found = {}
    for jobs in (1, 2):
        args = CrossValidationArguments(**how, jobs=jobs)
        # A fork writes its output to a log, also that of one job.
        monkeypatch.setattr(CrossValidationArguments, "job_settings", JobSettings(jobs=jobs, threads=1))
        folder = tmp_path / f"jobs_{jobs}"
        results = cross_validate(load_rows(data_args), args, data_args, folder, overwrite=False, figures=False)
        tables = [read_predictions(folder / f"predictions_seed_{seed}.parquet") for seed in (0, 1)]
        found[jobs] = results["splits"]["test"], [table.probabilities for table in tables]
    assert found[1][0] == found[2][0]
    np.testing.assert_array_equal(found[1][1], found[2][1])


def test_jobs_of_submitit_write_the_same_log(training, tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed (extra slurm)")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    options = {"cluster": "local", "timeout_min": 2}
    settings = JobSettings(jobs=2, threads=1, launcher="submitit", slurm_options=options)
    with pytest.raises(TrainingJobError, match=r"Run b: .* ended with exit code 3 in .*; see .*b.log"):
        run_trainings([training("a", ["b"]), training("b", ["a"], "fail")], settings)
    assert json.loads((tmp_path / "a/results.json").read_text())[0] == "1"
    assert (tmp_path / "a.log").read_text() == "output of a\n"
