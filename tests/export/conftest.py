import pytest

from hf_ser.export import verification


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Measure one thread only: two threads of PyTorch take seconds per clip on a busy machine.

    Fixtures of modules measure all threads.
    """
    monkeypatch.setattr(verification, "available_processors", lambda: 1)
