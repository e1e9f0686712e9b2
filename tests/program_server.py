"""Run programs in processes of their own, forked from one that has imported torch, transformers and datasets.

A new Python takes six seconds of processor time for these imports. Programs import this package themselves. Tests of
imports of other packages, of variables that these read on import, and of what is printed meanwhile need a new Python.
"""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PROGRAMS = {
    "python": [],
    "hf-ser": ["-m", "hf_ser.cli"],
    "accelerate": ["-m", "accelerate.commands.accelerate_cli"],
}
# A request is the words after `python`, the folder, the environment of each process, the files of stdout and stderr,
# and the time limit. Answers are the ids of the processes, and their exit codes once all have ended.
_SERVER = """
import atexit, gc, json, os, runpy, signal, sys, threading, time
import accelerate, av, datasets, jsonschema, peft, pyarrow.parquet, scipy.stats, sklearn.metrics, torch, torchaudio
import transformers.models.wav2vec2, wcwidth
from transformers import HfArgumentParser, Trainer, pipeline

def program(words, folder, environment, out, errors, limit_s):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(limit_s)
    for descriptor, path in ((1, out), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), descriptor)
    sys.stdin = open(os.devnull)
    os.dup2(sys.stdin.fileno(), 0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    name, *sys.argv = words
    if name == "-m":
        sys.path.insert(0, folder)
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif name == "-c":
        sys.path.insert(0, "")
        code, sys.argv[:1] = sys.argv[0], ["-c"]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv.insert(0, name)
        sys.path.insert(0, os.path.dirname(os.path.abspath(name)))
        runpy.run_path(name, run_name="__main__")

def exit_code(*request):
    code = 1
    try:
        program(*request)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    # As Python ends, but without the seconds that it takes to free every object that was imported.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code

def ended(children):
    codes, ends = {}, None
    while len(codes) < len(children):
        child, status = os.waitpid(-1, os.WNOHANG if ends else 0)
        if child:
            codes[child] = os.waitstatus_to_exitcode(status)
            if codes[child] and ends is None:  # the others, which may wait for it, get some time to notice
                ends = time.monotonic() + 20
        elif time.monotonic() > ends:
            [os.kill(other, signal.SIGKILL) for other in set(children) - set(codes)]
            ends = time.monotonic() + 20
        else:
            time.sleep(0.01)
    return [codes[child] for child in children]

gc.freeze()
for line in sys.stdin:
    words, folder, environments, *streams = json.loads(line)
    children = []
    for environment in environments:
        child = os.fork()
        if child == 0:
            os._exit(exit_code(words, folder, environment, *streams))
        children.append(child)
    print(json.dumps(children), flush=True)
    print(json.dumps(ended(children)), flush=True)
"""


@dataclass
class Started:
    """A program that runs."""

    server: subprocess.Popen
    words: list[str]
    out: Path
    errors: Path
    children: list[int]
    finished: bool = False

    def send_signal(self, number: int) -> None:
        """Send a signal to all processes."""
        for child in self.children:
            os.kill(child, number)

    def finish(self, *, check: bool = False) -> subprocess.CompletedProcess:
        """Wait for the end; with `check`, assert that no process failed."""
        codes = json.loads(self.server.stdout.readline())
        self.finished = True
        code = next((code for code in codes if code), 0)  # of the first process that failed
        out, errors = (path.read_text(encoding="utf-8") for path in (self.out, self.errors))
        assert not check or code == 0, f"{self.words}\n{out[-1500:]}\n{errors[-3000:]}"
        return subprocess.CompletedProcess(self.words, code, out, errors)


class ProgramServer:
    """Starts programs, one at a time, each in one process or in several as torchrun does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self._last: Started | None = None
        self.variables = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVER],
            cwd=folder,
            env={**os.environ, **self.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, *words, cwd=None, env=None, processes=1, timeout_s=600) -> Started:
        """Start `python` with these words in a folder; `env` changes the environment of this process, None removes."""
        self._end_last()
        words = list(map(str, words))
        self.count += 1
        out, errors = (self.folder / f"{self.count}_{name}.txt" for name in ("out", "errors"))
        changed = {**os.environ, **self.variables, **(env or {})}
        for path in (out, errors):
            path.touch()
        environment = {name: value for name, value in changed.items() if value is not None}
        environments = [environment | place for place in _places(processes)]
        request = [words, str(cwd or self.folder), environments, str(out), str(errors), timeout_s]
        print(json.dumps(request), file=self._server.stdin, flush=True)
        self._last = Started(self._server, words, out, errors, json.loads(self._server.stdout.readline()))
        return self._last

    def run(self, *words, check=True, **options) -> subprocess.CompletedProcess:
        """Start a program as `start` does, and wait for its end."""
        return self.start(*words, **options).finish(check=check)

    def run_command(self, command, **options) -> subprocess.CompletedProcess:
        """Run a command of a page, such as `python recipes/prepare.py`, as `run` does."""
        program, *words = shlex.split(command)
        return self.run(*_PROGRAMS[program], *words, **options)

    def close(self) -> None:
        """End the server."""
        self._end_last()
        self._server.stdin.close()
        self._server.wait(timeout=30)

    def _end_last(self) -> None:
        """Kill a program that a failed test left running."""
        if self._last is not None and not self._last.finished:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                self._last.send_signal(signal.SIGKILL)
            self._last.finish()


def _places(processes: int) -> list[dict[str, str]]:
    """The variables by which the processes of a program find each other."""
    if processes == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    common |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
