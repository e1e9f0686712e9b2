"""A tiny model, small recordings, and `hf-ser predict` in this process and in others."""

import pytest
import soundfile as sf
from batch_tools import LABELS, Commands

from hf_ser import cli


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, save_companion):
    return save_companion(tmp_path_factory.mktemp("batch") / "model", LABELS)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory, save_companion):
    """The same configuration with other weights."""
    return save_companion(tmp_path_factory.mktemp("batch") / "other", LABELS, seed=1)


@pytest.fixture(scope="session")
def many_recordings(tmp_path_factory, tone, encode):
    """A folder with 500 recordings of 0.15 to 0.3 s, of which the 301st is empty."""
    folder = tmp_path_factory.mktemp("many")
    contents = [encode(tone(0.15 + 0.01 * (number % 16), frequency_hz=200.0 + 40 * number)) for number in range(20)]
    for number in range(500):
        (folder / f"{number:03d}.wav").write_bytes(b"" if number == 300 else contents[number % 20])
    return folder


@pytest.fixture
def few_recordings(tmp_path, tone):
    """A folder with three recordings."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, duration_s in enumerate((0.3, 0.9, 0.5)):
        sf.write(folder / f"{number}.wav", tone(duration_s), 16_000)
    return folder


@pytest.fixture
def predict(capsys, tiny_model):
    """Run `hf-ser predict WORDS --model` here -> exit code, stdout, stderr."""

    def run(*words, model=tiny_model):
        code = cli.main(["predict", *map(str, words), "--model", str(model)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    started = Commands(tmp_path_factory.mktemp("commands"))
    yield started
    started.close()
