"""CSV, JSONL and Parquet files of answers: interrupted files are completed, files with other content are kept."""

import csv
import io
import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
from batch_tools import LABELS

from hf_ser.batch import BatchError
from hf_ser.batch.appended_file import AppendedFile
from hf_ser.batch.parquet_output import ParquetOutput
from hf_ser.batch.run_stamp import RunStamp, stamp

RUN = RunStamp("runs/model#123456789abc", "--timeline")


def scores(seed):
    return [{"label": label, "score": (4 - place + seed / 7) / 12} for place, label in enumerate(LABELS)]


def answer(number, windows=2):
    row = {"file": f'caf\\xe9,"{number}" 喂.wav', "scores": scores(number)}
    spans = [
        {"start": k / 2, "end": k / 2 + 1, "silent": k == 1, "scores": None if k == 1 else scores(k)}
        for k in range(windows)
    ]
    return {**row, "timeline": spans, "warning": "synthetic"}


ROWS = [answer(0), {"file": "b.wav", "error": 'b.wav: got nothing, not a "b"', "reason": "empty"}, answer(2, 3)]


def fill(path, rows, opened=AppendedFile, **options):
    """Write the rows that a file does not hold yet; return the names of these."""
    kind = () if opened is ParquetOutput else (path.suffix[1:],)
    output = opened(path, *kind, RUN, **options)
    todo = [row for row in rows if row["file"] not in output.failed]
    output.start(LABELS)
    for row in todo:
        output.write(row)
    output.close(complete=True)
    output.release()
    return [row["file"] for row in todo]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_cut_at_any_byte_is_completed(tmp_path, kind):
    whole, cut = tmp_path / f"whole.{kind}", tmp_path / f"cut.{kind}"
    fill(whole, ROWS)
    content = whole.read_bytes()
    for end in range(len(content) + 1):
        cut.write_bytes(content[:end])
        redone = fill(cut, ROWS)
        assert cut.read_bytes() == content, end
        assert (redone == []) == (end == len(content))


def test_a_journal_cut_at_any_byte_is_completed(tmp_path):
    whole, path = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    journal = tmp_path / "cut.parquet.part"
    fill(tmp_path / "rows.jsonl", ROWS)
    fill(whole, ROWS, ParquetOutput)
    content = (tmp_path / "rows.jsonl").read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    for end in [*range(last, len(content), 7), len(content), 0, 10]:
        path.unlink(missing_ok=True)
        journal.write_bytes(content[:end])
        fill(path, ROWS, ParquetOutput)
        assert pq.read_table(path).equals(pq.read_table(whole)) and not journal.exists()


def test_csv_holds_recordings_windows_and_the_stamp(tmp_path):
    fill(tmp_path / "a.csv", ROWS)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert list(rows[0]) == (
        ["file", "start", "end", "emotion", *(f"p_{label}" for label in LABELS)]
        + ["error", "warning", "windows", "model", "options"]
    )
    assert [(row["start"], row["windows"], row["error"]) for row in rows[:4]] == [
        ("", "2", ""),
        ("0.0", "", ""),
        ("0.5", "", "silence"),
        ("", "", ROWS[1]["error"]),
    ]
    assert {row["model"] for row in rows} == {RUN.model} and {row["options"] for row in rows} == {"--timeline"}
    assert rows[0]["warning"] == "synthetic" and rows[0]["file"] == ROWS[0]["file"]


def test_parquet_holds_the_same_as_csv(tmp_path):
    fill(tmp_path / "a.csv", ROWS)
    fill(tmp_path / "a.parquet", ROWS, ParquetOutput)
    table = pq.read_table(tmp_path / "a.parquet").to_pylist()
    for ours, theirs in zip(table, csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())), strict=True):
        for name, text in theirs.items():
            value = ours[name]
            assert text == ("" if value is None else f"{value:.6f}" if name.startswith("p_") else str(value))


def test_parquet_is_extended_and_survives_interruptions(tmp_path):
    path, journal = tmp_path / "a.parquet", tmp_path / "a.parquet.part"
    fill(path, ROWS[:1], ParquetOutput)
    output = ParquetOutput(path, RUN)
    output.start(LABELS)
    output.write(ROWS[1])
    output.close(complete=False)  # Ctrl-C
    output.release()
    assert pq.read_table(path)["file"].to_pylist()[-1] == "b.wav" and journal.exists()
    assert fill(path, ROWS, ParquetOutput) == [ROWS[2]["file"]] and not journal.exists()
    fill(tmp_path / "unbroken.parquet", ROWS, ParquetOutput)
    assert pq.read_table(path).equals(pq.read_table(tmp_path / "unbroken.parquet"))
    output = ParquetOutput(path, RUN)  # nothing is left to do
    assert output.is_whole
    output.release()
    assert sorted(os.listdir(tmp_path)) == ["a.parquet", "unbroken.parquet"]


def opened(path):
    return ParquetOutput(path, RUN) if path.suffix == ".parquet" else AppendedFile(path, path.suffix[1:], RUN)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            RunStamp("runs/model#000000000000", "--timeline"),
            "answers of runs/model#000000000000; expected answers of runs/mo",
        ),
        (RunStamp("runs/model#123456789abc", ""), "got answers with default options; expected --timeline"),
    ],
)
def test_answers_of_other_models_and_options_are_refused(tmp_path, kind, run, message, monkeypatch):
    path = tmp_path / f"a.{kind}"
    monkeypatch.setattr("test_output_files.RUN", run)
    fill(path, ROWS, ParquetOutput if kind == "parquet" else AppendedFile)
    monkeypatch.undo()
    content = path.read_bytes()
    with pytest.raises(BatchError, match="--overwrite") as refused:
        opened(path)
    assert message in str(refused.value) and path.read_bytes() == content and os.listdir(tmp_path) == [path.name]
    fill(path, ROWS, ParquetOutput if kind == "parquet" else AppendedFile, overwrite=True)
    opened(path).release()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"file,label\na.wav,sad\n"),
        ("a.csv", b"my notes, without a line feed"),
        ("a.csv", b"file,start,end,emotion,else\n"),
        ("a.jsonl", b'{"file": "a.wav"}\n'),
        ("a.jsonl", b'{"file": "a.wav"]\n'),
        ("a.jsonl", b"[1, 2]"),
        ("a.parquet", b"PAR1 not really PAR1"),
        ("a.parquet.part", b"mine"),
    ],
)
def test_files_that_hold_something_else_are_left_alone(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BatchError, match="--overwrite"):
        opened(tmp_path / name.removesuffix(".part"))
    assert (tmp_path / name).read_bytes() == content and os.listdir(tmp_path) == [name]


def test_a_row_that_was_taken_out_of_a_csv_is_found(tmp_path):
    path = tmp_path / "a.csv"
    fill(path, ROWS)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(BatchError, match="windows are missing before b.wav"):
        opened(path)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_empty_files_are_filled_and_two_commands_do_not_mix(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    first = opened(tmp_path / name)
    with pytest.raises(BatchError, match="another command is writing to it"):
        opened(tmp_path / name)
    first.release()
    fill(tmp_path / name, ROWS, ParquetOutput if name.endswith("parquet") else AppendedFile)
    with pytest.raises(BatchError, match="Is a directory|not a regular file"):
        os.mkdir(tmp_path / "folder.csv")
        opened(tmp_path / "folder.csv")


def test_a_full_disk_leaves_whole_answers(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    output = opened(path)
    output.start(LABELS)
    output.write(ROWS[0])
    write, room = os.write, [5]

    def write_little(descriptor, content):
        if not room:
            raise OSError(28, "No space left on device")
        return write(descriptor, content[: room.pop()])

    monkeypatch.setattr(os, "write", write_little)
    with pytest.raises(BatchError, match="No space left on device. It has the answers for 1 recordings"):
        output.write(ROWS[1])
    output.release()
    assert [json.loads(line)["file"] for line in path.read_text().splitlines()] == [ROWS[0]["file"]]


def test_the_stamp_follows_the_models_content(tmp_path, tiny_model, other_model):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    ours = stamp(str(folder), "main", {"top_k": 2, "timeline": True, "window_s": None})
    assert ours == RunStamp(ours.model, "--top_k 2 --timeline")
    assert ours.model.startswith(f"{folder}#") and len(ours.model) == len(str(folder)) + 13
    same = stamp(str(tiny_model), "main", {})
    assert not ours.differences(same.model, ours.options)
    assert ours.differences(stamp(str(other_model), "main", {}).model, ours.options)  # same size, other weights
    (folder / "results.json").write_text("{}")
    assert stamp(str(folder), "main", {}).differences(same.model, "")
    assert stamp(str(tmp_path), "main", {}) is None
