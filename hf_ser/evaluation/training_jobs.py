"""Run recipes as processes: one or several at a time on this machine, or as jobs of SLURM."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hf_ser.errors import SerError
from hf_ser.extras import needs_extra
from hf_ser.parent_process import as_parent, run_logged
from hf_ser.remote_code.reading_ahead import available_processors
from hf_ser.results_file import RESULTS

LOCAL, SUBMITIT = "local", "submitit"
_POLL_S = 0.1


class TrainingJobError(SerError):
    """A recipe that ended with an error or without results."""


class Training(NamedTuple):
    """A run of a recipe: its name in messages, the words of its command, and the folder that it writes."""

    name: str
    command: Sequence[str]
    folder: Path

    @property
    def log(self) -> Path:
        """File with the output of the recipe if it does not go to the terminal."""
        return self.folder.with_suffix(".log")


@dataclass(frozen=True)
class JobSettings:
    """How trainings are run.

    Args:
        jobs: number of trainings at the same time.
        threads: CPU threads of each training; None for those of this process, divided by the number of jobs.
        launcher: local or submitit.
        slurm_options: parameters of `submitit.AutoExecutor`, such as slurm_partition.
        to_terminal: whether the output of the recipe goes to the terminal; otherwise it goes to `Training.log`.
        divide_gpus: whether each job gets one of the GPUs, in turn.
    """

    jobs: int = 1
    threads: int | None = None
    launcher: str = LOCAL
    slurm_options: Mapping[str, Any] = field(default_factory=dict)
    to_terminal: bool = False
    divide_gpus: bool = True

    def environment(self, slot: int) -> dict[str, str]:
        """Variables for the training in a slot, from 0; results on CPU depend on the number of threads."""
        threads, found = self.threads, {}
        if threads is None and self.jobs > 1 and self.launcher == LOCAL:
            threads = max(1, available_processors() // self.jobs)
        if threads is not None:
            found["OMP_NUM_THREADS"] = str(threads)
        gpus = _gpus() if self.divide_gpus and self.jobs > 1 and self.launcher == LOCAL else []
        if len(gpus) > 1:
            found["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
        return found


class _Job(Protocol):
    def poll(self) -> int | None:
        """Return the exit code, or None while the job is running."""

    def interrupt(self) -> None:
        """End the job as Ctrl-C does."""

    def terminate(self) -> None:
        """End the job as SIGTERM does."""

    def wait(self) -> int:
        """Wait for the end."""


def run_trainings(trainings: Iterable[Training], settings: JobSettings) -> None:
    """Run trainings, as many at a time as the settings allow, and wait for all.

    After a failure, no training is started and the running ones are completed. After Ctrl-C, the running ones end as
    they do after a Ctrl-C of their own; a second one ends them at once.

    Raises:
        TrainingJobError: a recipe failed; the message names its log.
        KeyboardInterrupt: Ctrl-C; finished trainings are kept.
    """
    waiting, errors = deque(trainings), list[str]()
    running: dict[int, tuple[Training, _Job]] = {}  # by slot
    with _forwarded(running):
        try:
            while (waiting and not errors) or running:
                while waiting and not errors and len(running) < settings.jobs:
                    slot = min(set(range(settings.jobs)) - running.keys())
                    running[slot] = (waiting[0], _start(waiting.popleft(), settings, slot))
                for slot, (training, job) in list(running.items()):
                    code = job.poll()
                    if code is None:
                        continue
                    del running[slot]
                    errors += _outcome(training, code, settings)
                if running:
                    time.sleep(_POLL_S)
        except KeyboardInterrupt:
            _end([job for _, job in running.values()])
            raise
    if errors:
        raise TrainingJobError(f"{errors[0]} Finished trainings are kept: run the same command again to resume.")


def _outcome(training: Training, code: int, settings: JobSettings) -> list[str]:
    """Print the end of a training that has a log -> the error, if there is one."""
    failed = code != 0 or not (training.folder / RESULTS).is_file()
    if not settings.to_terminal:
        print(f"{training.name}: {'failed' if failed else 'finished'}", flush=True)  # noqa: T201
    if not failed:
        return []
    recipe = next((word for word in training.command if word.endswith(".py")), training.command[0])
    place = "its message above" if settings.to_terminal else training.log
    return [f"{training.name}: {recipe} ended with exit code {code} in {training.folder}; see {place}."]


def _start(training: Training, settings: JobSettings, slot: int) -> _Job:
    environment = settings.environment(slot)
    if settings.to_terminal:
        print(f"\n{training.name}", flush=True)  # noqa: T201 - progress of the program
    else:
        training.log.parent.mkdir(parents=True, exist_ok=True)
        print(f"{training.name}: started, output in {training.log}", flush=True)  # noqa: T201
    if settings.launcher == SUBMITIT:
        return _SubmittedJob(training, settings, environment)
    return _Process(training, environment, settings.to_terminal)


class _Process:
    """A training in a process of this machine."""

    def __init__(self, training: Training, environment: Mapping[str, str], to_terminal: bool) -> None:
        variables = {**os.environ, **environment, **as_parent()}
        self._has_terminal = to_terminal
        if to_terminal:
            self._process = subprocess.Popen(training.command, env=variables)
            return
        with training.log.open("ab") as log:
            # In a session of its own, so that a Ctrl-C on the terminal comes once, from this program.
            streams: dict[str, Any] = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL}
            self._process = subprocess.Popen(training.command, env=variables, start_new_session=True, **streams)

    def poll(self) -> int | None:
        return self._process.poll()

    def interrupt(self) -> None:
        if self._has_terminal:  # it received the same Ctrl-C: let it finish writing
            return
        if os.name == "posix":
            self._process.send_signal(signal.SIGINT)
        else:
            self._process.terminate()

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> int:
        return self._process.wait()


class _SubmittedJob:
    """A training as a job of SLURM, or of another executor of submitit."""

    def __init__(self, training: Training, settings: JobSettings, environment: Mapping[str, str]) -> None:
        with needs_extra("slurm"):
            import submitit
        options = dict(settings.slurm_options)
        executor = submitit.AutoExecutor(training.log.with_suffix(".submitit"), cluster=options.pop("cluster", None))
        executor.update_parameters(name="hf_ser", **options)
        command = [str(word) for word in training.command]
        self._job = executor.submit(run_logged, command, dict(environment), str(training.log.resolve()), os.getcwd())

    def poll(self) -> int | None:
        return self.wait() if self._job.done() else None

    def interrupt(self) -> None:
        self._job.cancel(check=False)

    terminate = interrupt

    def wait(self) -> int:
        error = self._job.exception()
        return self._job.result() if error is None else 1


def _end(jobs: Sequence[_Job]) -> None:
    """Interrupt jobs and wait until they have ended; after another Ctrl-C, terminate them."""
    for job in jobs:
        job.interrupt()
    try:
        for job in jobs:
            job.wait()
    except KeyboardInterrupt:
        for job in jobs:
            job.terminate()
        raise


@contextmanager
def _forwarded(running: Mapping[int, tuple[Training, _Job]]) -> Iterator[None]:
    """Forward SIGTERM, which schedulers send to end a program, so that no recipe keeps training."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield
        return

    def terminate(*_: Any) -> None:
        for _, job in list(running.values()):
            job.terminate()

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _gpus() -> list[str]:
    """The GPUs that this process may use, as in CUDA_VISIBLE_DEVICES."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def python_command(recipe: str, launch_config: str | None = None) -> list[str]:
    """Return the first words of a command that runs a recipe: Python, or `accelerate launch` with a configuration."""
    launcher = [sys.executable]
    if launch_config is not None:
        launcher += ["-m", "accelerate.commands.launch", "--config_file", launch_config]
    return [*launcher, recipe]
