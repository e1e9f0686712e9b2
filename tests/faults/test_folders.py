"""Output folders that two programs want, that are read-only, full or below a file: one line each, nothing broken."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
WHOLE = os.environ.get("HF_SER_FAULTS") == "all"


def _recipe(name):
    return str(ROOT / f"recipes/{name}.py")


@pytest.fixture(scope="module")
def commands(tmp_path_factory, dataset_dir, sounds_dir, companions, tiny_config):
    """Name -> words of a command line that ends in the flag of its output folder."""
    root = tmp_path_factory.mktemp("folders")
    data = ["--dataset", str(dataset_dir), "--configuration", "ravdess"]
    config = {"model_config": tiny_config, "num_train_epochs": 1, "use_cpu": True, "figures": False}
    (root / "train.yaml").write_text(yaml.safe_dump({**config, "disable_tqdm": True}))
    (root / "space.yaml").write_text("learning_rate: {low: 1.0e-4, high: 1.0e-3}\n")
    train = ["--config", str(root / "train.yaml"), *data]
    search = ["--search_space", str(root / "space.yaml"), "--n_trials", "1"]
    bases = [f"{folder.parent.name}={folder}" for folder in companions]
    corpora = str(dataset_dir.parent / "corpora/ravdess")
    plain = ["--figures", "false"]
    folds = ["--model_recipe", _recipe("baseline"), "--protocol", "random"]
    sounds = ["--dataset", str(sounds_dir), "--configuration", "ravdess", "--protocol", "random"]
    hybrid = ["--kind", "stacking", *sounds]
    words = {
        "prepare": [_recipe("prepare"), "--ravdess", corpora, "--num_proc", "1"],
        "train": [_recipe("finetune"), *train],
        "fit": [_recipe("fit_hybrid"), *hybrid, *plain, "--bases", *bases],
        "baseline": [_recipe("baseline"), *data, *plain],
        "evaluate": [_recipe("evaluate"), "--model", str(companions[0]), *sounds, *plain],
        "cross_validate": [_recipe("evaluate"), *folds, *data, *plain],
        "search": [_recipe("search"), *train, *search],
        "explore": [_recipe("explore"), *data],
        "compare": [_recipe("compare"), *map(str, companions)],
    }
    return {name: [*command, "--output_dir"] for name, command in words.items()}


def _environment():
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _start(words, folder, **options):
    return subprocess.Popen(
        [sys.executable, *words, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(),
        **options,
    )


@pytest.fixture
def ends(launch, commands, tmp_path):
    """Run a program, by its name, with an output folder -> exit code, stdout and stderr."""

    def run(name, folder):
        done = launch(*commands[name], folder, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def _ends(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def _is_one_line(code, output, *parts):
    assert code == 2, output[-2000:]
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in output and lines, output[-3000:]
    # Cross-validation adds a line of its own to that of a fold.
    assert all(part in " ".join(lines) for part in parts), lines


ALL = ["prepare", "train", "fit", "baseline", "evaluate", "cross_validate", "search", "explore", "compare"]


@pytest.mark.skipif(not WHOLE, reason="make faults")
@pytest.mark.faults("two programs start at once in one folder")
@pytest.mark.parametrize("second", ["train", "fit"])
def test_two_programs_start_at_once(commands, tmp_path, second):
    folder = tmp_path / "run"
    ends = [_ends(process) for process in [_start(commands[name], folder) for name in ("train", second)]]
    codes = sorted(code for code, _ in ends)
    refused = [output for code, output in ends if code]
    # The later one meets the lock, or the finished run of the earlier one.
    assert codes == [0, 2], [output[-1000:] for _, output in ends]
    assert any(words in refused[0] for words in ("is in use by", "holds a finished run", "holds other files"))
    assert not (folder / ".lock").exists() and not (folder / "unfinished.json").exists()


@pytest.mark.faults("one program writes a folder, another starts in it")
@pytest.mark.parametrize("first", ALL if WHOLE else ["prepare"])
def test_every_pair_of_programs(commands, ends, tmp_path, first, subtests):
    """The first program is stopped while it holds the folder, the second one is rejected, the first one finishes."""
    folder = tmp_path / "run"
    process = _start(commands[first], folder)
    while not ((folder / ".lock").is_file() and (folder / ".lock").read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(signal.SIGSTOP)
    try:
        for second in ALL if WHOLE else ["train"]:
            with subtests.test(first=first, second=second):
                kept = sorted(folder.rglob("*"))
                code, output = ends(second, folder)
                found = Path(commands[first][0]).name + f" (process {process.pid}"
                # Preparation accepts no folder with files of other programs, in use or not.
                foreign = second == "prepare" and (folder / "unfinished.json").is_file()
                _is_one_line(code, output, *([] if foreign else ["is in use by", found]))
                assert sorted(folder.rglob("*")) == kept
    finally:
        process.send_signal(signal.SIGCONT)
    code, output = _ends(process)
    assert code == 0, output[-2000:]
    assert not (folder / ".lock").exists() and not (folder / "unfinished.json").exists()


@pytest.mark.faults("output below or at a file")
@pytest.mark.parametrize("name", ALL if WHOLE else ["prepare", "evaluate", "explore"])
@pytest.mark.parametrize("place", ["file/run", "file"])
def test_below_or_at_a_file(ends, tmp_path, name, place):
    (tmp_path / "file").write_text("mine")
    _is_one_line(*ends(name, tmp_path / place), str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of some kilobytes, where this is allowed."""
    mounted = []

    def mount(*options):
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("file systems cannot be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.faults("full disk")
@pytest.mark.parametrize("name", ALL if WHOLE else ["train", "fit"])
def test_a_full_disk(ends, small_disk, name):
    folder = small_disk("-o", "size=16k") / "run"
    code, output = ends(name, folder)
    _is_one_line(code, output)
    assert re.search("No space left|disk is full|are free", output), output[-2000:]
    assert not (folder / "results.json").exists()


@pytest.mark.faults("read-only disk")
@pytest.mark.parametrize("name", ALL if WHOLE else ["cross_validate"])
def test_a_read_only_disk(ends, small_disk, name):
    folder = small_disk("-o", "ro")
    _is_one_line(*ends(name, folder / "run"), "cannot be written to")


@pytest.mark.faults("file that cannot grow")
@pytest.mark.parametrize("name", ALL if WHOLE else ["train", "search"])
def test_a_file_that_cannot_grow(commands, tmp_path, name):
    """As on a disk that fills up in the middle of a file, where nothing can be mounted."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # noqa: E731
    code, output = _ends(_start(commands[name], tmp_path / "run", preexec_fn=limit))
    if code == 0:  # all files are small
        return
    _is_one_line(code, output)
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.faults("name that is too long")
@pytest.mark.parametrize("name", ALL if WHOLE else ["fit"])
def test_a_name_that_is_too_long(ends, tmp_path, name):
    _is_one_line(*ends(name, tmp_path / ("x" * 244)), "244 bytes; expected at most")
