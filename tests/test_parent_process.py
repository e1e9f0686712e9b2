"""Children end when their parent is killed, directly and through another program."""

import os
import subprocess
import sys
import time

import psutil
import pytest

_CHILD = {
    "direct": "import os; from hf_ser.parent_process import end_with_parent; end_with_parent(os.getppid())",
    "named": "from hf_ser.parent_process import end_with_named_parent; end_with_named_parent()",
}
# The parent starts the child, in the second case through a program that knows nothing of this.
_PARENT = """
import os, subprocess, sys, time
from hf_ser.parent_process import as_parent
child = [sys.executable, "-c", sys.argv[1]]
between = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *child]
subprocess.Popen(child if sys.argv[2] == "direct" else between, env={**os.environ, **as_parent()})
time.sleep(60)
"""


@pytest.mark.parametrize("way", ["direct", "named"])
def test_a_child_ends_with_its_killed_parent(way):
    waits = f"{_CHILD[way]}; import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", _PARENT, waits, way], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(1.2)
        assert child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        parent.kill()
        assert _ends(child)


def _ends(process, within_s=10.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_a_process_whose_parent_has_gone_already_ends_at_once():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    created = psutil.Process(gone.pid).create_time()
    gone.wait()
    program = "from hf_ser.parent_process import end_with_named_parent as end; end(); import time; time.sleep(60)"
    environment = {**os.environ, "HF_SER_PARENT": f"{gone.pid}:{created}"}
    assert subprocess.run([sys.executable, "-c", program], env=environment, timeout=30).returncode == 1


# A worker process that starts its watch when the process that started it is gone and another one has adopted it.
_LATE_WORKER = """
import multiprocessing, os, time
from hf_ser.data import workers

def work(parent):
    print(os.getpid(), flush=True)
    while os.getppid() == parent:
        time.sleep(0.01)
    workers._start()
    time.sleep(60)

multiprocessing.get_context("fork").Process(target=work, args=(os.getpid(),)).start()
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_worker_whose_parent_is_killed_before_it_watches_ends():
    with subprocess.Popen([sys.executable, "-c", _LATE_WORKER], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        assert _ends(child)


def test_without_a_named_parent_nothing_is_watched():
    program = "from hf_ser.parent_process import end_with_named_parent as end; end({}); import threading; "
    program += "assert threading.active_count() == 1"
    subprocess.run([sys.executable, "-c", program], check=True)
