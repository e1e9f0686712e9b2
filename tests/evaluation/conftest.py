import os
import sys
from pathlib import Path

import pytest

from hf_ser.arguments import parse
from hf_ser.data import DataArguments, load_splits
from hf_ser.evaluation import training_jobs
from hf_ser.hybrids.baseline import BaselineArguments, fit_baseline

BASELINE = str(Path(__file__).parents[2] / "recipes/baseline.py")


class InProcess:
    """Stands for the recipe's process: runs the baseline here, as the command line asks."""

    commands: list[list[str]] = []
    interrupt_at: int | None = None
    fail_at: int | None = None

    def __init__(self, command, env):
        assert env["HF_SER_PARENT"].startswith(f"{os.getpid()}:")
        self.commands.append(command)
        self.command = command

    def wait(self):
        assert len(self.commands) == self.interrupt_at
        return 130

    def poll(self):
        if len(self.commands) == self.interrupt_at:
            raise KeyboardInterrupt
        if len(self.commands) == self.fail_at:
            return 1
        assert self.command[:2] == [sys.executable, BASELINE]
        data_args, args = parse(DataArguments, BaselineArguments, argv=self.command[2:])
        fit_baseline(load_splits(data_args), args, Path(args.output_dir).name)
        return 0


@pytest.fixture
def recipe(monkeypatch):
    InProcess.commands, InProcess.interrupt_at, InProcess.fail_at = [], None, None
    monkeypatch.setattr(training_jobs.subprocess, "Popen", InProcess)
    return InProcess
