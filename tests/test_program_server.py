"""Programs of `launch` behave as those of a new Python: words, exit codes, streams, environment, several processes."""

import signal
import time

import pytest


@pytest.mark.parametrize(
    ("code", "returncode", "errors"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no space left')", 1, "no space left\n"),
        ("import atexit, sys; atexit.register(print, 'end', file=sys.stderr)", 0, "end\n"),
        (
            "import threading, sys\nthreading.Timer(0.1, print, ['end'], {'file': sys.stderr}).start()",
            0,
            "end\n",
        ),
    ],
)
def test_programs_end_as_those_of_a_new_python(launch, code, returncode, errors):
    done = launch("-c", code, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (returncode, "", errors)


def test_an_exception_is_a_traceback_and_fails(launch):
    done = launch("-c", "1 / 0", check=False)
    assert done.returncode == 1 and done.stderr.endswith("\nZeroDivisionError: division by zero\n")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        launch("-c", "1 / 0")


def test_words_folder_and_environment_are_those_of_the_call(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("OURS", "1")
    monkeypatch.setenv("ABSENT", "1")
    (tmp_path / "beside.py").write_text("name = __name__\n")
    (tmp_path / "program.py").write_text(
        "import beside, os, sys\nassert not any(name.startswith('hf_ser') for name in sys.modules)\n"
        "print(__name__, beside.name, sys.argv[1:], os.getcwd(), sys.stdin.read() == '')\n"
        "print(os.environ['OURS'], os.environ['MORE'], 'ABSENT' in os.environ)\n"
    )
    done = launch(tmp_path / "program.py", "a b", 2, cwd=tmp_path, env={"MORE": "2", "ABSENT": None})
    assert done.stdout == f"__main__ beside ['a b', '2'] {tmp_path} True\n1 2 False\n"


def test_several_processes_reduce_over_gloo_and_the_first_failure_is_told(launch):
    code = (
        "import os, sys, torch\nfrom torch import distributed\ndistributed.init_process_group('gloo')\n"
        "number = torch.tensor([distributed.get_rank() + 1])\ndistributed.all_reduce(number)\n"
        "distributed.destroy_process_group()\nprint(number.item(), flush=True)\n"
        "sys.exit(3 * int(os.environ['LOCAL_RANK']))"
    )
    done = launch("-c", code, processes=2, check=False)
    assert done.stdout == "3\n3\n" and done.returncode == 3, done.stderr


def test_a_program_is_killed_by_a_signal_and_at_its_time_limit(program_server, launch):
    started = program_server.start("-c", "import time; print('here', flush=True); time.sleep(60)")
    deadline = time.monotonic() + 60
    while not started.out.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    assert started.finish().returncode == -signal.SIGKILL
    program_server.start("-c", "import time; time.sleep(60)")  # killed by the next start
    done = launch("-c", "import time; time.sleep(60)", timeout_s=1, check=False)
    assert done.returncode == -signal.SIGALRM
