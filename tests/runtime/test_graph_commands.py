"""`hf-ser predict` and `hf-ser info` with a graph, and what a process that uses one imports."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import soundfile as sf
import torch
from import_blocker import BLOCK_IMPORTS

from hf_ser import cli
from hf_ser.remote_code.reading_ahead import available_processors

ROOT = Path(__file__).parents[2]
# What docs/how-to/runtime.md installs, and what these packages need.
INSTALLED = {"hf_ser", "numpy", "onnxruntime", "soundfile", "soxr", "cffi", "flatbuffers", "google", "packaging"}
INSTALLED |= {"_soundfile", "_soundfile_data", "_cffi_backend", "pycparser", "typing_extensions"}  # of soundfile, soxr
COMMAND_LINE = {"filelock", "tqdm"}
# Makes the packages whose names are not in the first argument fail to import, then runs the second one.
PROGRAM = (
    """
import json, sys

installed = set(json.loads(sys.argv[1])) | sys.stdlib_module_names
is_hidden = lambda name: name not in installed
"""
    + BLOCK_IMPORTS
    + """
before = set(sys.modules)
exec(sys.argv[2])
loaded = {name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names
print(json.dumps(sorted(name for name in loaded if not name.startswith("_") and name != "cython_runtime")))
"""
)


@pytest.fixture
def folder(tmp_path, tone, tiny_graph):
    """A folder with three recordings, the second one silent, and the graph."""
    for number, samples in enumerate((tone(0.4), tone(0.4) * 0, tone(1.6))):
        sf.write(tmp_path / f"{number}.wav", samples, 16_000)
    (tmp_path / "model.onnx").symlink_to(tiny_graph[1])
    return tmp_path


@pytest.fixture
def run(capsys, monkeypatch, folder):
    """Run `hf-ser` in the folder -> exit code, stdout, stderr."""
    monkeypatch.chdir(folder)

    def command(*words):
        return cli.main(list(map(str, words))), *capsys.readouterr()

    return command


def in_a_fresh_process(folder, code, installed):
    """Run code where only some packages can be imported -> stdout, and the packages that it imported."""
    *printed, loaded = _fresh_process(folder, code, installed).stdout.splitlines()
    return printed, set(json.loads(loaded))


def error_in_a_fresh_process(folder, words, installed):
    """Run `hf-ser` where only some packages can be imported -> stderr."""
    code = f"from hf_ser.cli import main\nassert main({words}) == 2"
    return _fresh_process(folder, code, installed).stderr


def _fresh_process(folder, code, installed):
    command = [sys.executable, "-c", PROGRAM, json.dumps(sorted(installed)), code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_importing_the_runtime_loads_neither_torch_nor_onnxruntime(folder):
    _, loaded = in_a_fresh_process(folder, "import hf_ser.runtime", INSTALLED)
    assert {"hf_ser", "numpy", "soundfile", "soxr"} <= loaded <= INSTALLED - {"onnxruntime"}


def test_four_packages_are_enough_to_classify(folder):
    code = (
        "from hf_ser import OnnxPipeline\n"
        "answers = OnnxPipeline('model.onnx')(['0.wav', '1.wav', '2.wav', 'https://example.org/a.wav'])\n"
        "print(len(answers[0]), answers[1]['reason'], answers[3]['error'])"
    )
    (printed,), loaded = in_a_fresh_process(folder, code, INSTALLED)
    assert printed.startswith("4 silent https://example.org/a.wav: got a URL, which cannot be read because")
    assert "onnxruntime" in loaded and loaded <= INSTALLED


def test_the_example_of_the_guide_runs(folder):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/how-to/runtime.md").read_text("utf-8"), re.DOTALL)
    (folder / "recording.wav").symlink_to("2.wav")
    (answers, timeline, labels), _ = in_a_fresh_process(folder, code, INSTALLED)
    assert "missing.wav: got no such file" in answers and "'start': 0.5" in timeline
    assert labels == "('neutral', 'happy', 'sad', 'angry')"


def test_the_command_line_needs_two_more(folder):
    code = (
        "from hf_ser.cli import main\n"
        "assert main(['info', 'model.onnx']) == 0\n"
        "assert main(['predict', '0.wav', '--model', 'model.onnx', '--format', 'csv']) == 0\n"
        "assert main(['predict', '0.wav', '--model', 'model.onnx', '--output', 'answers.csv']) == 0"
    )
    printed, loaded = in_a_fresh_process(folder, code, INSTALLED | COMMAND_LINE)
    assert printed[0].startswith("model") and printed[-1].startswith("0.wav,")
    assert (folder / "answers.csv").read_text().startswith("file,start,end,emotion,p_neutral")
    assert "onnxruntime" in loaded and loaded <= INSTALLED | COMMAND_LINE


PREDICT = ["predict", "0.wav", "--model", "model.onnx"]


@pytest.mark.parametrize(
    ("absent", "words", "purpose", "package"),
    [
        ("onnxruntime", ["info", "model.onnx"], "exported graphs", '"hf-ser[onnx]"'),
        ("tqdm", PREDICT, "the command line", "filelock tqdm"),
        ("torch", [*PREDICT[:3], "folder"], "models other than exported graphs", "hf-ser"),
        ("transformers", ["info", "folder"], "models other than exported graphs", "hf-ser"),
    ],
)
def test_an_absent_package_is_one_line(folder, absent, words, purpose, package):
    installed = (INSTALLED | COMMAND_LINE) - {absent}
    remedy = f"Install it with: pip install {package}"
    expected = f"error: {absent} is not installed; it is needed for {purpose}. {remedy}\n"
    assert error_in_a_fresh_process(folder, words, installed) == expected


@pytest.mark.parametrize("options", [["--timeline"], ["--abstain", "off"], ["--top_k", "2", "--window_s", "0.4"]])
def test_the_answers_are_those_of_the_folder(run, tiny_graph, options):
    answers = []
    for model in ("model.onnx", tiny_graph[0]):
        precision = [] if model == "model.onnx" else ["--precision", "fp32"]
        words = ["0.wav", "1.wav", "2.wav", "--format", "json", *options]
        code, out, _ = run("predict", *words, "--model", model, *precision)
        assert code == 1  # the silent recording
        answers.append(json.loads(out))
    rounded = [json.loads(json.dumps(each), parse_float=lambda text: round(float(text), 4)) for each in answers]
    assert len(rounded[0]) == 3
    for ours, theirs in zip(*rounded, strict=True):
        assert ours.keys() == theirs.keys() and ours.get("error") == theirs.get("error")
        assert [row["label"] for row in ours.get("scores", ())] == [row["label"] for row in theirs.get("scores", ())]
        assert [row["score"] for row in ours.get("scores", ())] == pytest.approx(
            [row["score"] for row in theirs.get("scores", ())], abs=2e-4
        )
        assert len(ours.get("timeline", ())) == len(theirs.get("timeline", ()))


def test_files_are_resumed_and_stamped_with_the_hash_of_the_graph(run, folder, tiny_graph):
    words = ["--model", "model.onnx", "--output", "answers.csv"]
    assert run("predict", "0.wav", *words)[0] == 0
    code, _, errors = run("predict", "0.wav", "1.wav", "2.wav", *words)
    assert code == 1 and "1 recordings answered, 1 failed" in errors and "1 had answers before" in errors
    with (folder / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["0.wav", "1.wav", "2.wav"]
    digest = hashlib.sha256(tiny_graph[1].read_bytes()).hexdigest()
    assert {row["model"] for row in rows} == {f"model.onnx#{digest[:12]}"} and {row["options"] for row in rows} == {""}
    (folder / "other.onnx").write_bytes(tiny_graph[1].read_bytes() + b"\0\0")
    code, _, errors = run("predict", "2.wav", "--model", "other.onnx", "--output", "answers.csv")
    assert code == 2 and "got answers of model.onnx#" in errors


@pytest.mark.parametrize(
    ("words", "variable", "expected"),
    [([], None, available_processors()), ([], "3", 3), (["--num_threads", "2"], "3", 2)],
    ids=["default", "variable", "option"],
)
def test_the_number_of_threads_is_chosen(run, monkeypatch, words, variable, expected):
    used = []
    opened = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, **more: used.append(options.intra_op_num_threads) or opened(path, options, **more),
    )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert run("predict", "0.wav", "--model", "model.onnx", *words)[0] == 0
    assert used == [expected]


def test_the_number_of_threads_of_pytorch_is_chosen(run, tiny_graph, monkeypatch):
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    assert run("predict", "0.wav", "--model", tiny_graph[0], "--num_threads", "3")[0] == 0
    assert used == [3]
    for number in ("0", "1025"):
        code, _, errors = run("predict", "0.wav", "--model", tiny_graph[0], "--num_threads", number)
        assert (code, errors) == (2, f"error: --num_threads {number}; expected a number from 1 to 1024.\n")
    assert used == [3]


@pytest.mark.parametrize("options", [["--device", "cuda"], ["--precision", "bf16"]])
def test_options_of_pytorch_are_rejected(run, options):
    code, out, errors = run("predict", "0.wav", "--model", "model.onnx", *options)
    assert (code, out) == (2, "")
    assert errors.startswith(f"error: {' '.join(options)} has no effect on a graph, ") and errors.endswith("it.\n")


@pytest.mark.parametrize("command", [["info"], ["predict", "0.wav", "--model"], ["predict", "0.wav", "--model"]])
def test_graphs_that_cannot_be_used_are_one_line(run, folder, command):
    (folder / "broken.onnx").write_bytes(b"no graph")
    output = ["--output", "answers.csv"] if command[0] == "predict" else []
    for name, got in (("broken.onnx", "got 8 bytes"), ("none.onnx", "got no such file")):
        code, out, errors = run(*command, name, *output)
        assert (code, out) == (2, "") and errors.startswith(f"error: {name}: {got}") and errors.count("\n") == 1
        assert not (folder / "answers.csv").exists()


def test_info_shows_the_metadata(run, exported_graph, tiny_graph, folder):
    code, out, _ = run("info", "model.onnx")
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    rows = {name: value.strip() for name, value in rows.items()}
    assert code == 0 and rows["labels"] == "neutral, happy, sad, angry"
    assert rows["type"] == "ser-audio-cnn, exported to ONNX" and rows["precision"] == "float32"
    assert rows["exported from"] == "tiny model (tiny)" and rows["licence"] == "unknown"
    assert rows["abstains"] == "below a top probability of 0.600"
    assert rows["size"] == f"{tiny_graph[1].stat().st_size / 1e6:.1f} MB"
