"""`hf-ser predict` over odd and large batches, in every format."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
import soundfile as sf
from batch_tools import LABELS, read, same_rows

from hf_ser import cli
from hf_ser.batch import BatchError, PredictArguments
from hf_ser.batch.answer_rows import SYNTHETIC, TextOutput
from hf_ser.batch.batch_answers import batch_answers
from hf_ser.batch.interrupts import Interrupts

PRINTED = ("table", "json", "jsonl", "csv")
FILES = ("csv", "jsonl", "parquet")


@pytest.fixture
def odd_names(tmp_path, few_recordings):
    """Recordings, and every kind of what is none -> their names in order, and how many can be used."""
    good = sorted(map(str, few_recordings.iterdir()))
    content = (few_recordings / "0.wav").read_bytes()
    bad = {"empty.wav": b"", "noise.mp3": b"no audio at all" * 50, "cut.wav": content[: len(content) // 2]}
    for name, part in bad.items():
        (tmp_path / name).write_bytes(part)
    sf.write(tmp_path / "silent.wav", np.zeros(9000), 16_000)
    sf.write(tmp_path / "short.wav", np.full(20, 0.5), 16_000)
    sf.write(tmp_path / "nan.wav", np.full(9000, np.nan), 16_000, subtype="FLOAT")
    (tmp_path / "喂 😀.wav").write_bytes(content)
    latin = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9.wav"))
    with open(latin, "wb") as file:
        file.write(content)
    others = ["silent.wav", "short.wav", "nan.wav", "missing\n.wav", "喂 😀.wav"]
    unreachable = ["http://127.0.0.1:9/a.wav", "HTTP://127.0.0.1:9/a.wav"]
    return [good[0], *(str(tmp_path / name) for name in [*bad, *others]), latin, *unreachable, *good[1:]]


def test_one_bad_recording_costs_one_answer(predict, odd_names, tmp_path):
    code, out, _ = predict(*odd_names, "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == cli.SOME_FAILED and len(rows) == len(odd_names)
    assert [row["file"] for row in rows if "/missing" in row["file"]] == [f"{tmp_path}/missing\\x0a.wav"]
    by_name = {os.path.basename(row["file"]): row for row in rows}
    assert {"0.wav", "1.wav", "2.wav", "喂 😀.wav"} <= {name for name, row in by_name.items() if "scores" in row}
    for name in ("empty.wav", "noise.mp3", "silent.wav", "short.wav", "nan.wav", "missing\\x0a.wav", "cut.wav"):
        assert by_name[name]["reason"] and "\n" not in by_name[name]["error"]
    latin = by_name["caf\\xe9.wav"]
    assert latin["scores"]
    assert "HTTP://127.0.0.1:9/a.wav" in [row["file"] for row in rows]


@pytest.mark.parametrize("kind", FILES)
def test_files_hold_what_is_printed(predict, odd_names, tmp_path, kind):
    words = [*odd_names, odd_names[0], "--timeline", "--window_s", 0.4]
    code, out, error = predict(*words, "--output", tmp_path / f"a.{kind}")
    assert code == cli.SOME_FAILED and out == "" and " recordings answered, " in error.splitlines()[-1]
    rows = read(tmp_path / f"a.{kind}")
    _, printed, _ = predict(*words[: len(odd_names)], *words[-3:], "--format", "jsonl" if kind == "jsonl" else "csv")
    if kind == "jsonl":
        expected = [json.loads(line) for line in printed.splitlines()]
    else:
        expected = list(csv.DictReader(io.StringIO(printed)))
    assert all(row["model"].rpartition("#")[0] and row["options"] == "--timeline --window_s 0.4" for row in rows)
    rows = [
        {name: value for name, value in row.items() if name not in ("model", "options", "windows")} for row in rows
    ]
    if kind == "parquet":
        rows = [
            {
                name: f"{value:.6f}" if name[:2] == "p_" and value is not None else str("" if value is None else value)
                for name, value in row.items()
            }
            for row in rows
        ]
    assert same_rows(rows, expected)


@pytest.mark.parametrize("kind", FILES)
def test_a_finished_command_does_nothing_and_a_longer_one_adds(predict, few_recordings, tmp_path, kind, monkeypatch):
    path = tmp_path / f"a.{kind}"
    names = sorted(map(str, few_recordings.iterdir()))
    assert predict(*names[:2], "missing.wav", "--output", path)[0] == cli.SOME_FAILED
    content = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("hf_ser.inference.load_classifier", lambda *_: pytest.fail("the model was loaded"))
        code, out, error = predict(*names[:2], "missing.wav", "--output", path)
    assert code == cli.SOME_FAILED and out == "" and path.read_bytes() == content
    assert error == f"{path}: all 3 recordings have answers (1 of them failed); nothing to do.\n"
    code, _, error = predict(*names, "--output", path)
    assert code == 0 and "1 recordings answered, 0 failed" in error and "2 had answers before" in error
    assert [row["file"] for row in read(path)] == [*names[:2], "missing.wav", names[2]]
    assert sorted(os.listdir(tmp_path)) == [path.name, "recordings"]


def test_another_model_or_window_is_refused_before_it_is_loaded(
    predict, few_recordings, tmp_path, other_model, monkeypatch
):
    path = tmp_path / "a.csv"
    predict(few_recordings, "--output", path)
    monkeypatch.setattr("hf_ser.inference.load_classifier", lambda *_: pytest.fail("the model was loaded"))
    for model, words, message in [
        ({"model": other_model}, (), f"expected answers of {other_model}#"),
        ({}, ("--window_s", 0.5), "got answers with default options; expected --window_s 0.5"),
        ({}, ("--precision", "bf16"), "got answers with --precision fp32; expected --precision bf16"),
    ]:
        code, _, error = predict(few_recordings, "--output", path, *words, **model)
        assert code == cli.WRONG_USE and message in error and "--overwrite" in error
    monkeypatch.undo()
    assert predict(few_recordings, "--output", path, "--overwrite", model=other_model)[0] == 0
    assert {row["model"].rpartition("#")[0] for row in read(path)} == {str(other_model)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--output", "a.xlsx"), "expected a file that ends in .csv, .jsonl, .parquet"),
        (("--output", "no/folder/a.csv"), "the folder no/folder does not exist"),
        (("--output", "/proc/a.csv"), "--output /proc/a.csv: "),
        (("--output", "a.csv", "--format", "csv"), "--format csv cannot be combined with --output"),
        (("--overwrite",), "--overwrite needs --output"),
        (("-", "--recordings_from", "-"), "both read standard input"),
        (("--recordings_from", "none.txt"), "--recordings_from none.txt: No such file"),
    ],
)
def test_outputs_that_cannot_be_are_one_line_before_the_model_is_loaded(
    predict, words, message, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hf_ser.inference.load_classifier", lambda *_: pytest.fail("the model was loaded"))
    code, out, error = predict("a.wav", *words)
    assert code == cli.WRONG_USE and out == "" and message in error and len(error.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_a_model_that_is_none_leaves_no_file(predict, few_recordings, tmp_path):
    code, _, error = predict(few_recordings, "--output", tmp_path / "a.csv", model=tmp_path / "no_model")
    assert code == cli.WRONG_USE and "no_model" in error and not (tmp_path / "a.csv").exists()
    code, _, _ = predict(few_recordings, "--output", tmp_path / "a.csv", "--device", "abacus")
    assert code == cli.WRONG_USE and not (tmp_path / "a.csv").exists()
    with pytest.raises(BatchError, match="got no recordings"):
        PredictArguments(model="m")


@pytest.fixture
def stdin(monkeypatch):
    """Put bytes on standard input."""
    return lambda content: monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))


def test_standard_input_is_a_recording(predict, few_recordings, tmp_path, stdin, monkeypatch):
    content = (few_recordings / "1.wav").read_bytes()
    stdin(content)
    code, out, _ = predict("-", few_recordings / "1.wav", "--format", "jsonl")
    piped, named = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and piped["file"] == "-" and same_rows(piped["scores"], named["scores"])
    stdin(b"")
    code, out, error = predict("-")
    assert code == cli.SOME_FAILED and out == "-\n  cannot be used\n" and error.startswith("error: -: ")
    stdin(content)
    assert predict("-", "--output", tmp_path / "a.csv")[0] == 0
    code, _, error = predict("-", "--output", tmp_path / "a.csv")
    assert code == 0 and error.startswith("note: - has an answer in ")
    stdin(content)
    monkeypatch.setattr("hf_ser.batch.predict_command.MAX_STDIN_BYTES", 1000)
    code, _, error = predict("-")
    assert code == cli.WRONG_USE and "on standard input" in error


def test_a_list_names_recordings(predict, few_recordings, tmp_path, stdin):
    names = sorted(map(str, few_recordings.iterdir()))
    stdin("\n".join([names[2], *names]).encode())
    _, out, _ = predict("--recordings_from", "-", "--format", "csv")
    assert [row["file"] for row in csv.DictReader(io.StringIO(out))] == [names[2], *names]
    (tmp_path / "list.txt").write_text("\n".join([names[2], *names, str(few_recordings)]))
    predict("--recordings_from", tmp_path / "list.txt", "--output", tmp_path / "a.jsonl")
    assert [row["file"] for row in read(tmp_path / "a.jsonl")] == [names[2], *names[:2]]


@pytest.mark.parametrize("form", PRINTED)
def test_any_terminal_can_show_any_name(tiny_model, odd_names, form, monkeypatch, capsys):
    for encoding in ("cp1252", "ascii", "utf-8"):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
        code = cli.main(["predict", *odd_names, "--format", form, "--model", str(tiny_model)])
        out = raw.getvalue().decode(encoding)
        sys.stdout.detach()
        assert code == cli.SOME_FAILED and "caf\\" in out
        if form == "json":
            names = [row["file"] for row in json.loads(out)]
        elif form == "jsonl":
            names = [json.loads(line)["file"] for line in out.splitlines()]
        else:
            assert ("喂 😀" if encoding == "utf-8" else "\\u5582 \\U0001f600") in out
            continue
        assert any(name.endswith("喂 😀.wav") for name in names)
        assert any(name.endswith("caf\\xe9.wav") for name in names)
    capsys.readouterr()


@pytest.mark.slow
def test_a_terminal_in_cp1252_shows_every_name(tiny_model, odd_names):
    command = [sys.executable, "-m", "hf_ser.cli", "predict", *odd_names, "--model", str(tiny_model)]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True, timeout=120)
    out = done.stdout.decode("cp1252")
    assert done.returncode == cli.SOME_FAILED and b"Traceback" not in done.stderr
    assert "\\u5582 \\U0001f600.wav\n" in out and "caf\\xe9.wav\n" in out and out.count("neutral") >= 4


@pytest.fixture
def synthetic_model(tiny_model, monkeypatch):
    results = {"dataset": {"synthetic": True}}
    monkeypatch.setattr("hf_ser.results_file.model_results", lambda *_: results)
    return tiny_model


def test_every_output_warns_once_about_synthetic_training(predict, synthetic_model, few_recordings, tmp_path):
    names = [few_recordings, "missing.wav"]
    for form in PRINTED:
        _, out, error = predict(*names, "--format", form)
        if form == "table":
            assert out.splitlines()[-1] == f"warning: {SYNTHETIC}" and (out + error).count(SYNTHETIC) == 1
            continue
        assert f"warning: {SYNTHETIC}" in error.splitlines() and error.count(SYNTHETIC) == 1
        if form == "csv":
            rows = list(csv.DictReader(io.StringIO(out)))
        else:
            rows = json.loads(out) if form == "json" else [json.loads(line) for line in out.splitlines()]
        assert len(rows) == 4 and {row["warning"] for row in rows} == {SYNTHETIC}
    for kind in FILES:
        _, _, error = predict(*names, "--output", tmp_path / f"a.{kind}")
        assert error.count(SYNTHETIC) == 1 and {row["warning"] for row in read(tmp_path / f"a.{kind}")} == {SYNTHETIC}


def test_answers_are_printed_as_they_come(tiny_model, few_recordings, monkeypatch):
    seen = []
    write = TextOutput.write

    def look(output, row):
        write(output, row)
        seen.append(raw.getvalue().count(b"\n"))

    raw = io.BytesIO()
    monkeypatch.setattr(TextOutput, "write", look)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    cli.main(["predict", str(few_recordings), "--format", "jsonl", "--model", str(tiny_model)])
    assert seen == [1, 2, 3]


def test_json_is_closed_wherever_it_stops():
    for rows in range(3):
        stream = io.StringIO()
        output = TextOutput("json", LABELS, None, stream)
        for number in range(rows):
            output.write({"file": f"{number}.wav", "scores": []})
        output.close(complete=False)
        expected = [{"file": f"{number}.wav", "scores": []} for number in range(rows)]
        assert stream.getvalue() == (json.dumps(expected, indent=1) + "\n")


class Breaks:
    """A pipeline that decodes two recordings ahead and breaks at some; at noise too once the device is gone."""

    def __init__(self, *bad, device_fails_at=None):
        self.bad, self.device_fails_at, self.noises = bad, device_fails_at, 0

    def __call__(self, inputs, **options):
        if isinstance(inputs, np.ndarray):
            self.noises += 1
            if self.device_fails_at:
                raise RuntimeError("CUDA error")
            return []
        return [self._answer(name) for name in inputs] if isinstance(inputs, list) else self._ahead(inputs)

    def _ahead(self, names):
        waiting = []
        for name in names:
            waiting.append(name)
            if len(waiting) == 3:
                yield from [self._answer(name) for name in waiting]
                waiting = []
        yield from [self._answer(name) for name in waiting]

    def _answer(self, name):
        if name in self.bad or name == self.device_fails_at:
            raise UnicodeEncodeError("utf-8", name, 0, 1, "surrogates not allowed")
        return [{"label": "sad", "score": 1.0}]


def test_what_breaks_the_pipeline_is_one_error_entry():
    names = list("abcdefgh")
    answers = dict(batch_answers(Breaks("b", "h"), names, {}))
    assert list(answers) == names and [name for name in names if "error" in answers[name]] == ["b", "h"]
    assert answers["b"]["error"].startswith("b: got UnicodeEncodeError") and answers["b"]["reason"]
    done = []
    with contextlib.suppress(RuntimeError):
        for name, _ in batch_answers(Breaks(device_fails_at="e"), names, {}):
            done.append(name)
    assert done == list("abcd")


def test_ctrl_c_waits_for_the_answer_that_is_being_written():
    written = []
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
            with interrupts.held():
                signal.raise_signal(signal.SIGINT)
                written.append("whole")
            written.append("another")
        assert written == ["whole"] and interrupts.stopped
        with pytest.raises(KeyboardInterrupt), Interrupts():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a background job
        with Interrupts():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_more_are_opened_once_it_is_stopped():
    names, opened = list("abcdefgh"), []

    def classify(sources, **_):
        for source in sources:
            opened.append(source)
            yield source

    answers = batch_answers(classify, names, {}, is_stopped=lambda: len(opened) >= 3)
    assert [name for name, _ in answers] == list("abc")
