"""recipes/predict.py: processes share the parts of a folder, and any of them completes what another one left."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from batch_tools import read, same_rows

from hf_ser import cli
from hf_ser.batch import BatchError
from hf_ser.batch.answer_folder import AnswerFolder, begin
from hf_ser.batch.clip_listing import FOLDER, ClipListing, ListingFile, list_clips
from hf_ser.batch.run_stamp import RunStamp
from hf_ser.batch.sharded_arguments import ShardedPredictArguments

ROOT = Path(__file__).parents[2]
# Forks the processes of `accelerate launch` from one that has imported everything. Answers take 4 ms, so that a signal
# comes in the middle of a part.
_SERVER = """
import json, os, runpy, sys, time
import accelerate, datasets, pyarrow.parquet
import hf_ser.evaluation, hf_ser.models
from hf_ser.batch import sharded_predict, written_answers
answer_row = written_answers.answer_row
def answer_slowly(*args):
    time.sleep(0.004)
    return answer_row(*args)
for line in sys.stdin:
    words, world, port, slowly, errors = json.loads(line)
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            if slowly:
                written_answers.answer_row = answer_slowly
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)} if world > 1 else {}
            os.environ |= {"LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            sys.argv = words
            descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(descriptor, 1), os.dup2(descriptor, 2)
            try:
                runpy.run_path(words[0], run_name="__main__")
            except SystemExit as end:
                os._exit(end.code or 0)
            os._exit(99)
        children.append(child)
    print(json.dumps(children), flush=True)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
"""


class Processes:
    """Runs recipes/predict.py in a number of processes."""

    def __init__(self, folder):
        self.errors = folder / "errors.txt"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self._server = subprocess.Popen([sys.executable, "-c", _SERVER], cwd=folder, env=environment, **pipes)

    def run(self, *words, world=1, kill_when=None):
        """Run the recipe, and kill all processes once a condition holds -> exit codes, the text of stderr."""
        self.errors.unlink(missing_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [str(ROOT / "recipes/predict.py"), *map(str, words)]
        request = [words, world, port, kill_when is not None, str(self.errors)]
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        children = json.loads(self._server.stdout.readline())
        if kill_when is not None:
            ends = time.monotonic() + 120
            while not kill_when():
                assert time.monotonic() < ends, self.errors.read_text()
                time.sleep(0.001)
            for child in children:
                os.kill(child, signal.SIGKILL)
        return json.loads(self._server.stdout.readline()), self.errors.read_text()

    def close(self):
        self._server.stdin.close()
        self._server.wait(20)


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    started = Processes(tmp_path_factory.mktemp("processes"))
    yield started
    started.close()


@pytest.mark.slow
def test_killed_processes_lose_nothing_and_another_number_of_them_completes_the_folder(
    processes, predict, tiny_model, many_recordings, tmp_path
):
    words = ["--input", many_recordings, "--output", tmp_path / "out", "--model", tiny_model, "--clips_per_part", 90]
    parts = tmp_path / "out/answers"

    def in_the_middle():
        journals = [path for path in parts.glob("*.part") if path.stat().st_size > 4_000]
        return len(list(parts.glob("*.parquet"))) >= 1 and bool(journals)

    codes, _ = processes.run(*words, world=2, kill_when=in_the_middle)
    assert codes == [-signal.SIGKILL] * 2 and not (tmp_path / "out/answers.parquet").exists()
    finished = [path for path in parts.glob("*.parquet") if not Path(f"{path}.part").exists()]
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    half = sum(len(path.read_text().splitlines()) for path in parts.glob("*.part"))
    codes, errors = processes.run(*words, world=1)
    assert codes == [0] and f"{len(finished)} of them finished before; processes: 1" in errors, errors
    again = [int(line.split()[1]) + int(line.split()[4]) for line in errors.splitlines() if line.startswith("part-")]
    assert 0 < half and sum(again) == 500 - 90 * len(finished) - half  # answers in journals are kept
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}

    predict(many_recordings, "--output", tmp_path / "one.parquet")
    assert same_rows(read(tmp_path / "out/answers.parquet"), read(tmp_path / "one.parquet"))
    loaded = datasets.load_dataset("parquet", data_dir=str(parts), cache_dir=str(tmp_path / "cache"))["train"]
    assert same_rows(list(loaded), read(tmp_path / "one.parquet"))
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["answered"], manifest["failed"], manifest["parts"]) == (499, 1, 6)
    assert not list(parts.glob("*.part"))


@pytest.mark.slow
def test_every_kind_of_bad_file_is_an_error_row_as_of_the_command(
    processes, predict, tiny_model, few_recordings, tmp_path
):
    content = (few_recordings / "0.wav").read_bytes()
    bad = {"empty.wav": b"", "noise.mp3": b"no audio" * 90, "cut.wav": content[: len(content) // 2], "short.wav": b"R"}
    for name, part in bad.items():
        (few_recordings / name).write_bytes(part)
    with open(os.path.join(os.fsencode(few_recordings), b"caf\xe9.wav"), "wb") as file:
        file.write(content)
    words = ["--output", tmp_path / "out", "--model", tiny_model, "--clips_per_part", 3, "--timeline", "true"]
    codes, errors = processes.run("--input", few_recordings, *words)
    assert codes == [0] and "out/answers.parquet: 4 clips answered, 4 failed" in errors, errors
    code, _, _ = predict(few_recordings, "--timeline", "--output", tmp_path / "one.parquet")
    assert code == cli.SOME_FAILED
    rows = read(tmp_path / "out/answers.parquet")
    assert same_rows(rows, read(tmp_path / "one.parquet"))
    assert sum(row["start"] is None and row["error"] is not None for row in rows) == len(bad)

    codes, errors = processes.run("--input", few_recordings, *words)  # everything is finished
    assert codes == [0] and "3 parts, 3 of them finished before" in errors and "part-" not in errors
    codes, errors = processes.run("--input", few_recordings, *words[:-2])
    assert codes == [2] and "got answers with --timeline; expected default options" in errors
    part = tmp_path / "out/answers/part-000001.parquet"
    pq.write_table(pq.read_table(part).slice(1), part)  # a clip is missing
    (tmp_path / "out/answers.parquet").unlink()
    codes, errors = processes.run("--input", few_recordings, *words)
    assert codes == [2] and "part-000001.parquet: got answers for 2 clips that are not those of the listing" in errors


@pytest.mark.slow
def test_csv_files_and_datasets_are_read(processes, tiny_model, few_recordings, tmp_path):
    names = sorted(path.name for path in few_recordings.iterdir())
    with (tmp_path / "list.csv").open("w", newline="") as file:
        rows = [[f"recordings/{name}"] for name in [*names, "missing.wav", names[0]]]
        csv.writer(file).writerows([["path"], *rows])
    words = ["--model", tiny_model, "--merge", "false", "--clips_per_part", 2]
    codes, errors = processes.run("--input", tmp_path / "list.csv", "--output", tmp_path / "a", *words)
    assert codes == [0] and "4 recordings; skipped 1 rows that are empty or repeated" in errors, errors
    assert "a/answers: 3 clips answered, 1 failed" in errors and not (tmp_path / "a/answers.parquet").exists()
    listed = [row for part in sorted((tmp_path / "a/answers").iterdir()) for row in read(part)]

    contents = [{"bytes": (few_recordings / name).read_bytes(), "path": name} for name in names]
    clips = {"sound": [*contents, {"bytes": b"", "path": "x.wav"}], "id": ["a/1", "a/2", "a/3", "a/4"]}
    (tmp_path / "data").mkdir()
    rows = datasets.Dataset.from_dict(clips).cast_column("sound", datasets.Audio(decode=False))
    rows.to_parquet(tmp_path / "data/train.parquet")
    codes, errors = processes.run("--input", tmp_path / "data", "--output", tmp_path / "b", *words)
    assert codes == [0] and "b/answers: 3 clips answered, 1 failed" in errors, errors
    of_dataset = [row for part in sorted((tmp_path / "b/answers").iterdir()) for row in read(part)]
    assert [row["file"] for row in of_dataset] == clips["id"] and "a/4" in of_dataset[3]["error"]
    scores = [[row[name] for name in row if name.startswith("p_")] for row in (*listed[:3], *of_dataset[:3])]
    assert scores[:3] == scores[3:]


NAMES = [f"{number}.wav" for number in range(5)]
RUN = RunStamp("runs/model#0123456789ab", "")


def _begin(folder, names=NAMES, run=RUN, clips_per_part=2, overwrite=False):
    begin(folder, ClipListing(FOLDER, names), run, clips_per_part, overwrite)


def test_a_process_reads_the_names_of_its_parts_only(tmp_path):
    names = [*NAMES, "caf\udce9.wav", "http://host/a.wav"]
    _begin(tmp_path / "out", names, clips_per_part=3)
    listing = ListingFile(tmp_path / "out/listing.arrow")
    assert [listing.names(part) for part in range(listing.num_parts)] == [names[:3], names[3:6], names[6:]]
    folder = AnswerFolder.open(tmp_path / "out", RUN)
    assert folder.unfinished_parts() == [0, 1, 2] and folder.finish(merge=True) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": NAMES[:4]}, "a listing of 5 clips; expected those of this one, which has 4"),
        ({"names": NAMES[::-1]}, "other names or another order"),
        ({"clips_per_part": 3}, "got parts of 2 clips; expected 3. Pass --clips_per_part 2 to continue"),
        ({"run": RunStamp("runs/other#ba9876543210", "")}, "answers of runs/model#0123456789ab"),
        ({"run": RunStamp(RUN.model, "--top_k 1")}, "got answers with default options; expected --top_k 1"),
    ],
)
def test_a_folder_of_other_settings_is_rejected_and_can_be_replaced(tmp_path, changes, message):
    _begin(tmp_path / "out")
    (tmp_path / "out/answers/part-000000.parquet").write_bytes(b"old")
    _begin(tmp_path / "out")  # the same settings
    with pytest.raises(BatchError, match=message):
        _begin(tmp_path / "out", **changes)
    assert (tmp_path / "out/answers/part-000000.parquet").exists()
    _begin(tmp_path / "out", **changes, overwrite=True)
    assert list((tmp_path / "out/answers").iterdir()) == []


def test_a_folder_with_other_files_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BatchError, match="got a folder with other files"):
        _begin(tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty/readme.txt", b"text", r"got a folder without recordings \(1 other file \(.txt 1\)\)"),
        ("list.csv", b"path\n\n", "got no paths; expected a recording in every row"),
        ("list.csv", b"file_id,label\n1,2\n", "path"),
        ("none.csv", None, "no such file; expected a CSV file with a column path"),
        ("./none", None, "expected a folder, a CSV file or a dataset"),
        ("text/a.parquet", None, "expected one column of the type Audio"),
    ],
)
def test_inputs_without_clips_are_rejected(tmp_path, name, content, message):
    path = tmp_path / name
    if name == "text/a.parquet":
        path.parent.mkdir()
        datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(path)
    elif content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list_clips(str(path if path.suffix == ".csv" or name == "./none" else path.parent))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clips_per_part": 0}, "--clips_per_part 0; expected at least 1"),
        ({"batch_size": 0}, "--batch_size 0"),
        ({"abstain": "2"}, "--abstain 2; expected a number from 0 to 1"),
        ({"model": "model.onnx", "device": "cpu"}, "--device cpu has no effect on a graph"),
    ],
)
def test_invalid_options_are_rejected(tmp_path, options, message):
    with pytest.raises(BatchError, match=message):
        ShardedPredictArguments(input="archive", output=str(tmp_path / "out"), **options)
