"""`hf-ser` as a person calls it, with a tiny model and generated sound."""

import csv
import io
import json
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import soundfile as sf

from hf_ser import cli, inference
from hf_ser.inference import load_classifier
from hf_ser.models import SpeechEmotionPipeline
from hf_ser.remote_code import forward_precision
from hf_ser.remote_code.hardware import Hardware

LABELS = ("neutral", "happy", "sad", "angry")


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_companion):
    return save_companion(tmp_path_factory.mktemp("cli") / "model", LABELS)


@pytest.fixture
def recordings(tmp_path, tone):
    """A folder with two recordings, one below the other, and a text file."""
    folder = tmp_path / "recordings"
    (folder / "deeper").mkdir(parents=True)
    sf.write(folder / "a.wav", tone(0.6), 16_000)
    sf.write(folder / "deeper" / "b.flac", tone(0.8, 44_100, 2), 44_100)
    (folder / "notes.txt").write_text("no recording")
    return folder


@pytest.fixture
def call(capsys, model):
    """Run `hf-ser predict ... --model` -> exit code, stdout, stderr."""

    def run(*words, command="predict", place=model):
        tail = ["--model", str(place)] if command == "predict" else [str(place)]
        code = cli.main([command, *map(str, words), *tail])
        return code, *capsys.readouterr()

    return run


def test_json_holds_the_pipelines_answers(call, model, recordings):
    code, out, _ = call(recordings, "--format", "json")
    rows = json.loads(out)
    assert code == 0 and [row["file"] for row in rows] == [f"{recordings}/a.wav", f"{recordings}/deeper/b.flac"]
    loaded, extractor = load_classifier(str(model))
    classify = SpeechEmotionPipeline(model=loaded, feature_extractor=extractor, task="audio-classification")
    for row in rows:
        expected = classify(row["file"])
        assert [score["label"] for score in row["scores"]] == [score["label"] for score in expected]
        np.testing.assert_allclose(
            [score["score"] for score in row["scores"]], [score["score"] for score in expected], atol=1e-6
        )


def test_the_table_shows_every_label_and_the_timeline(call, recordings):
    code, out, _ = call(recordings / "a.wav", "--timeline", "--window_s", 0.4, "--stride_s", 0.2)
    lines = out.splitlines()
    assert code == 0 and lines[0] == f"{recordings}/a.wav" and {line.split()[0] for line in lines[1:5]} == set(LABELS)
    assert [line.split()[:3] for line in lines[5:]] == [["0.0", "to", "0.4"], ["0.2", "to", "0.6"]]
    code, out, _ = call(recordings / "a.wav", "--top_k", 1)
    assert len(out.splitlines()) == 2


def test_csv_has_a_row_for_every_recording_and_window_and_a_column_for_every_label(call, recordings):
    code, out, _ = call(recordings, "missing.wav", "--format", "csv", "--timeline", "--window_s", 0.4)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == cli.SOME_FAILED and {row["file"] for row in rows} >= {"missing.wav", f"{recordings}/a.wav"}
    for row in rows[:-1]:
        scores = [float(row[f"p_{label}"]) for label in LABELS]
        assert sum(scores) == pytest.approx(1, abs=1e-5) and row["emotion"] == LABELS[int(np.argmax(scores))]
    assert "no such file" in rows[-1]["error"] and rows[-1]["emotion"] == ""
    assert [row["start"] for row in rows if row["file"].endswith("a.wav")] == ["", "0.0", "0.2"]


def test_bad_recordings_get_an_error_and_the_others_an_answer(call, recordings):
    (recordings / "empty.wav").write_bytes(b"")
    sf.write(recordings / "silent.wav", np.zeros(9000), 16_000)
    code, out, error = call(recordings)
    assert code == cli.SOME_FAILED and out.count("cannot be used") == 2 and out.count("neutral") == 2
    assert "empty.wav: got 0 bytes" in error and "silent.wav: got silence" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--batch_size", 0), "--batch_size 0; expected at least 1"),
        (("--window_s", 0), "window_s: got 0.0; expected at least 0.1 s"),
        (("--window_s", 1, "--stride_s", 2), "stride_s: got 2.0; expected at most window_s"),
        (("--top_k", 0), "top_k: got 0; expected an integer of at least 1"),
        (("--device", "abacus"), "device is 'abacus'; expected one that PyTorch finds on this machine: cpu"),
        (("--device", "cuda:77"), "device is 'cuda:77'; expected one that PyTorch finds on this machine: cpu"),
        (("--device", "mps:7"), "device is 'mps:7'; expected one"),
        (("--device", "meta"), "device is 'meta'; expected one"),
        (
            ("--device", "cpu", "--precision", "fp16"),
            "precision fp16: float16 needs a CUDA GPU, and this runs on",
        ),
        (("--precision", "half"), "precision is 'half'; expected one of auto, bf16, fp16, fp32."),
    ],
)
def test_options_that_cannot_be_are_one_line_and_exit_code_2(call, recordings, words, message):
    code, out, error = call(recordings / "a.wav", *words)
    assert code == cli.WRONG_USE and out == "" and error.startswith("error: ") and message in error
    assert len(error.splitlines()) == 1


def test_a_lower_precision_that_auto_chose_is_told_in_one_line(call, recordings, monkeypatch, caplog):
    code, exact, error = call(recordings / "a.wav", "--format", "json")
    assert code == 0 and error == ""  # float32 here
    native = Hardware("cpu", "this CPU", cpu_flags=frozenset({"avx512_bf16"}))
    for module in (inference, forward_precision):
        monkeypatch.setattr(module, "detect", lambda device=None: native)
    code, low, error = call(recordings / "a.wav", "--format", "json")
    assert code == 0 and len(error.splitlines()) == 1
    assert error.startswith("precision bf16 (auto: this CPU computes bfloat16 natively); scores differ from float32")
    scores = [{score["label"]: score["score"] for score in json.loads(text)[0]["scores"]} for text in (exact, low)]
    assert scores[0] != scores[1] and scores[0] == pytest.approx(scores[1], abs=0.02)
    code, again, error = call(recordings / "a.wav", "--format", "json", "--precision", "fp32")
    assert code == 0 and error == "" and again == exact
    assert "precision here  bf16 (auto: this CPU" in call(command="info")[1]
    monkeypatch.undo()
    assert caplog.messages == []
    assert call(recordings / "a.wav", "--precision", "bf16", "--device", "cpu")[0] == 0
    assert len(caplog.messages) == 1 and re.match(r"precision bf16 \(slow: .*6.3 times", caplog.messages[0])


def test_folders_and_models_that_are_none_are_refused(call, recordings, tmp_path):
    (tmp_path / "nothing").mkdir()
    code, _, error = call(tmp_path / "nothing")
    assert code == cli.WRONG_USE and "got a folder without recordings; expected audio or video files such as" in error
    code, _, error = call(recordings, place=tmp_path / "no_model")
    assert code == cli.WRONG_USE and "no_model" in error and "Traceback" not in error
    assert cli.main(["predict"]) == cli.WRONG_USE


def test_ctrl_c_is_no_traceback(call, recordings, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_ser.inference.load_classifier", interrupt)
    code, out, error = call(recordings)
    assert code == cli.INTERRUPTED and out == "" and error.endswith("\ninterrupted\n")


def test_info_tells_what_a_model_is(call, companions):
    code, out, _ = call(command="info", place=companions[0])
    assert code == 0 and "ser-audio-cnn" in out and "neutral, calm, happy" in out
    assert "synthetic recordings: these scores say nothing about real speech" in out
    assert "UAR" in out and "seed 0" in out and "calibrated" in out


def test_info_says_where_nothing_is_known(call):
    code, out, _ = call(command="info")
    assert code == 0 and "unknown: the model has no results.json" in out


def test_demo_refuses_what_cannot_be(model, tmp_path, monkeypatch, capsys):
    pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")

    monkeypatch.setattr("hf_ser.demo.app.build", lambda *_: pytest.fail("a page was built"))
    for words, message in [
        ((model, model), f"--model names {model} twice; expected each model once."),
        ((tmp_path / "no_model",), f"--model {tmp_path / 'no_model'}: "),
        ((model, "--device", "abacus"), "device is 'abacus'; expected one that PyTorch finds on this machine: cpu"),
        ((model, "--precision", "half"), "precision is 'half'; expected one of auto, bf16, fp16, fp32."),
        ((model, "--port", 0), "--port 0; expected a number from 1 to 65535."),
    ]:
        assert cli.main(["demo", "--model", *map(str, words)]) == cli.WRONG_USE
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and "Traceback" not in error


def test_demo_without_gradio_names_the_extra(model, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("hf_ser.demo")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert cli.main(["demo", "--model", str(model)]) == cli.WRONG_USE
    error = capsys.readouterr().err
    assert error.startswith("error: ") and 'pip install "hf-ser[demo]"' in error and "Traceback" not in error


def _hear_ctrl_c():
    """Shells start background jobs, and so what these start, with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_demo_serves_until_ctrl_c(model, tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")
    command = [sys.executable, "-u", "-m", "hf_ser.cli", "demo", "--model", str(model)]
    with (tmp_path / "errors.txt").open("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=tmp_path, preexec_fn=_hear_ctrl_c
        )
        try:
            line = process.stdout.readline()
            assert line.startswith("Serving at http://127.0.0.1:"), (tmp_path / "errors.txt").read_text()
            address = line.split()[2]
            port = address.rstrip("/").rpartition(":")[2]
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            assert b"Which emotion does a voice express?" in opener.open(address, timeout=20).read()
            assert cli.main(["demo", "--model", str(model), "--port", port]) == cli.WRONG_USE  # it is taken
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(20)
        said = (tmp_path / "errors.txt").read_text()
    assert code == cli.INTERRUPTED and "interrupted" in said and "Traceback" not in said
