"""The lock and the mark of a run folder, across processes."""

import json
import os
import subprocess
import sys

import pytest

from hf_ser.run_folder import (
    LOCK,
    UNFINISHED,
    RunFolderError,
    begin_run,
    finish_run,
    hold,
    is_unfinished,
    refuse_unfinished,
    release,
)
from hf_ser.system_errors import SystemTroubleError

_HOLDS = """
import sys, time
from hf_ser.run_folder import begin_run, hold
hold(sys.argv[1])
begin_run(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path):
    """A process that writes a run into `tmp_path / "run"`."""
    process = subprocess.Popen([sys.executable, "-c", _HOLDS, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_that_another_process_holds(owner, tmp_path):
    with pytest.raises(RunFolderError, match=f"in use by .*process {owner.pid} on "):
        hold(tmp_path / "run")


def test_a_killed_owner_leaves_the_mark_and_no_lock(owner, tmp_path):
    folder = tmp_path / "run"
    owner.kill()
    owner.wait()
    with pytest.raises(RunFolderError, match="--model .* holds an unfinished run"):
        refuse_unfinished(folder, "--model")
    hold(folder)
    refuse_unfinished(folder, "--model")  # this process writes it
    assert is_unfinished(folder)
    finish_run(folder)
    assert list(folder.iterdir()) == []


def test_holding_twice_and_releasing(tmp_path):
    folder = tmp_path / "a" / "b"
    hold(folder)
    hold(str(folder))
    begin_run(folder)
    assert json.loads((folder / UNFINISHED).read_text())["pid"] == os.getpid()
    release(folder)
    release(folder)
    assert {path.name for path in folder.iterdir()} == {UNFINISHED}


def test_the_lock_ends_with_the_process(tmp_path):
    program = f"from hf_ser.run_folder import hold; hold({str(tmp_path / 'run')!r})"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert not (tmp_path / "run" / LOCK).exists()


def test_hub_ids_and_other_folders_pass(tmp_path):
    refuse_unfinished("owner/model", "--model")
    refuse_unfinished(tmp_path, "--model")


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SystemTroubleError, match="file is a file; expected a folder"):
        hold(tmp_path / "file" / "run")
