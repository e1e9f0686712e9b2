"""Ctrl-C and kill -9 in the middle of 500 recordings lose nothing, and the same command completes the file."""

import csv
import io
import json
import signal

import pytest
from batch_tools import read, same_rows

from hf_ser import cli

pytestmark = pytest.mark.slow
# After which a signal is sent: more than the 64 recordings that are classified together, fewer than 150.
NUM_BYTES = {"csv": 12_000, "jsonl": 30_000, "parquet": 30_000, "json": 30_000}


@pytest.fixture(scope="module")
def unbroken(tiny_model, many_recordings, tmp_path_factory):
    """Read the file that a command writes which nothing interrupts."""
    folder = tmp_path_factory.mktemp("unbroken")

    def make(kind, *words):
        path = folder / f"a.{kind}"
        if not path.exists():
            words = ["predict", str(many_recordings), "--model", str(tiny_model), "--output", str(path), *words]
            assert cli.main(words) == cli.SOME_FAILED  # one of the recordings is empty
        return read(path)

    return make


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_ctrl_c_leaves_whole_answers_that_the_same_command_completes(
    commands, predict, unbroken, tiny_model, many_recordings, tmp_path, kind
):
    path = tmp_path / f"a.{kind}"
    watched = tmp_path / "a.parquet.part" if kind == "parquet" else path
    words = [many_recordings, "--output", path]
    code, out, error = commands.run_until(
        ["predict", *words, "--model", tiny_model], watched, NUM_BYTES[kind], signal.SIGINT
    )
    present = read(path)
    assert code == cli.INTERRUPTED and out == "" and "Traceback" not in error
    assert error.splitlines()[-1] == (
        f"interrupted: {len(present)} of 500 recordings answered in {path}; run the same command to continue"
    )
    assert 40 < len(present) < 499
    code, _, error = predict(*words)
    assert code == cli.SOME_FAILED and f"{len(present)} had answers before" in error
    assert same_rows(read(path), unbroken(kind)) and not (tmp_path / "a.parquet.part").exists()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_kill_leaves_a_file_that_the_same_command_completes(
    commands, predict, unbroken, tiny_model, many_recordings, tmp_path, kind
):
    path = tmp_path / f"a.{kind}"
    watched = tmp_path / "a.parquet.part" if kind == "parquet" else path
    words = [many_recordings, "--output", path]
    code, _, _ = commands.run_until(
        ["predict", *words, "--model", tiny_model], watched, NUM_BYTES[kind], signal.SIGKILL
    )
    assert code == -signal.SIGKILL and (kind != "parquet" or not path.exists())
    code, _, error = predict(*words)
    assert code == cli.SOME_FAILED and " had answers before" in error
    assert same_rows(read(path), unbroken(kind)) and not (tmp_path / "a.parquet.part").exists()


@pytest.mark.parametrize("form", ["json", "csv"])
def test_ctrl_c_leaves_what_was_printed_readable(commands, tiny_model, many_recordings, form):
    words = ["predict", many_recordings, "--format", form, "--model", tiny_model]
    commands.out.unlink(missing_ok=True)
    code, out, error = commands.run_until(words, commands.out, NUM_BYTES[form], signal.SIGINT)
    rows = json.loads(out) if form == "json" else list(csv.DictReader(io.StringIO(out)))
    assert code == cli.INTERRUPTED and error.endswith(f"interrupted: {len(rows)} of 500 recordings answered\n")
    assert 40 < len(rows) < 499 and len(rows[-1]) >= 2
