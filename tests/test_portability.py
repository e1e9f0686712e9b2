"""Windows, simulated as far as Linux can: encodings, paths, missing modules, and files that cannot go while open."""

import ast
import io
import os
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pytest

from hf_ser.arguments import run
from hf_ser.audio import load_audio
from hf_ser.batch import appended_file
from hf_ser.batch.appended_file import AppendedFile
from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.parquet_output import ParquetOutput
from hf_ser.batch.run_stamp import RunStamp
from hf_ser.corpora import CORPORA, synthetic
from hf_ser.data import PrepareArguments, prepare, scan, workers

ROOT = Path(__file__).parents[1]
STAMP = RunStamp("model", "options")
ROW = {"file": "a.wav", "scores": [{"label": "happy", "score": 1.0}]}


def _calls(path):
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def _mode(call):
    given = [word.value for word in call.keywords if word.arg == "mode"] or call.args[1:2]
    return ast.unparse(given[0]) if given else "'r'"  # as Python writes it: 'wb' if ... else 'ab', too


def test_text_has_one_encoding_and_one_line_end_everywhere():
    """The defaults of Windows are cp1252 and carriage returns."""
    checked = 0
    for path in [*(ROOT / "hf_ser").rglob("*.py"), *(ROOT / "recipes").glob("*.py")]:
        for call in _calls(path):
            name = getattr(call.func, "attr", getattr(call.func, "id", None))
            words = {word.arg for word in call.keywords}
            is_open = isinstance(call.func, ast.Name) and name == "open" and "b'" not in _mode(call)
            if name not in ("read_text", "write_text") and not is_open or isinstance(call.func, ast.Name) != is_open:
                continue
            checked += 1
            assert "encoding" in words, f"{path}:{call.lineno} needs an encoding"
            written = name == "write_text" or is_open and _mode(call) != "'r'"
            assert not written or "newline" in words, f"{path}:{call.lineno} needs a newline"
    assert checked > 30


def test_tables_come_out_on_a_terminal_that_lacks_their_signs(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit, match="0"):
        run(
            lambda: print(
                "\N{MINUS SIGN}0.1 \N{LESS-THAN OR EQUAL TO} 0.2 \N{PLUS-MINUS SIGN} 1, \N{RIGHTWARDS ARROW}"
            )
        )
    out.flush()
    assert out.buffer.getvalue().decode("cp1252") == "-0.1 <= 0.2 \N{PLUS-MINUS SIGN} 1, \\u2192\n"


def test_paths_in_tables_have_forward_slashes(tmp_path):
    folder = PureWindowsPath(r"C:\corpora\ravdess")
    utterance = CORPORA["ravdess"].parse(Path("Actor_01/03-01-01-01-01-01-01.wav"))
    here, there = (replace(utterance, path=folder / name / "a.wav") for name in ("Actor_01", "copy"))
    refused = scan._relative(scan._repeated(here, there), folder)
    assert (refused.path, refused.detail) == ("Actor_01/a.wav", "same name as copy/a.wav")


def _open_files():
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:  # that of the listing itself
            continue
    return links


@pytest.fixture
def windows_files(monkeypatch):
    """Refuse to replace or remove a file that this process has open, or a folder above one."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("there is no /proc to see open files in")

    def guarded(function):
        def call(path, *others, **options):
            for given in (path, *others):
                if isinstance(given, str | os.PathLike) and options.get("dir_fd") is None:
                    full = os.path.abspath(given)
                    if any(name == full or name.startswith(f"{full}/") for name in _open_files()):
                        raise PermissionError(13, "The process cannot access the file", full)
            return function(path, *others, **options)

        return call

    for name in ("replace", "rename", "unlink", "remove"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    monkeypatch.setattr(shutil, "rmtree", guarded(shutil.rmtree))


def test_the_simulation_refuses_open_files(windows_files, tmp_path):
    path = tmp_path / "file"
    with path.open("w", encoding="utf-8"):
        for remove in (path.unlink, lambda: os.replace(path, tmp_path / "other"), lambda: shutil.rmtree(tmp_path)):
            with pytest.raises(PermissionError):
                remove()
    path.unlink()


def test_preparation_closes_what_it_replaces(windows_files, tmp_path):
    folders = synthetic.generate(
        tmp_path / "in", corpora=("savee",), clips_per_class=1, speakers_per_corpus=4, duration_s=(0.5, 0.6)
    )
    for seed in (0, 1):
        given = {"savee": str(folders["savee"]), "num_proc": 1, "seed": seed, "overwrite": True}
        prepare(PrepareArguments(str(tmp_path / "out"), **given), progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_answers_are_closed_before_they_are_replaced(windows_files, monkeypatch, tmp_path):
    monkeypatch.setattr(appended_file, "fcntl", None)
    for name in ("a.wav", "b.wav"):  # the second time, the Parquet file is there already
        output = ParquetOutput(tmp_path / "answers.parquet", STAMP)
        output.start(["happy"])
        output.write({**ROW, "file": name})
        output.close(complete=True)
        output.release()
    assert set(ParquetOutput(tmp_path / "answers.parquet", STAMP).failed) == {"a.wav", "b.wav"}
    AppendedFile(tmp_path / "empty.csv", "csv", STAMP).release()
    assert not (tmp_path / "empty.csv").exists()


def test_two_commands_cannot_append_to_one_file_without_fcntl(monkeypatch, tmp_path):
    monkeypatch.setattr(appended_file, "fcntl", None)
    first = AppendedFile(tmp_path / "answers.jsonl", "jsonl", STAMP)
    with pytest.raises(BatchError, match="another command is writing to it"):
        AppendedFile(tmp_path / "answers.jsonl", "jsonl", STAMP)
    first.start(["happy"])
    first.write(ROW)
    first.release()
    again = AppendedFile(tmp_path / "answers.jsonl", "jsonl", STAMP)
    assert set(again.failed) == {"a.wav"}
    again.release()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes of POSIX")
def test_a_pipe_is_read_where_none_can_be_opened_without_waiting(monkeypatch, tmp_path, tone, encode):
    monkeypatch.delattr(os, "O_NONBLOCK")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(encode(tone()),))
    writer.start()
    samples = load_audio(tmp_path / "pipe")
    writer.join()
    assert len(samples) == len(tone())


def test_a_worker_that_is_killed_is_told_in_one_line():
    with pytest.raises(workers.WorkerError, match="one of 1 worker processes ended unexpectedly.*__main__"):
        with workers.worker_pool(1) as pool:
            pool.submit(os._exit, 3).result()


def test_windows_pools_have_at_most_61_processes(monkeypatch):
    made = []
    pool_type = workers.ProcessPoolExecutor
    monkeypatch.setattr(workers, "ProcessPoolExecutor", lambda number, **rest: made.append(number) or pool_type(1))
    for platform in ("win32", "linux"):
        monkeypatch.setattr(sys, "platform", platform)
        with workers.worker_pool(64):
            pass
    assert made == [61, 64]
