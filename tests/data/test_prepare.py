"""Preparing a dataset: what the folder holds, that it is whole or absent, and that a broken run goes on."""

import csv
import errno
import importlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from hf_ser.corpora.synthetic import generate
from hf_ser.data import Row, assign, prepare, workers
from hf_ser.data import scan as scans
from hf_ser.data.builder import EmotionCorpora
from hf_ser.data.dataset_card import cell_name
from hf_ser.data.found_recordings import find
from hf_ser.data.prepare import PrepareError
from hf_ser.data.protocols import ProtocolError
from hf_ser.errors import SerError
from hf_ser.labels import EMOTIONS
from hf_ser.run_folder import LOCK, RunFolderError

stage = importlib.import_module("hf_ser.data.prepare")  # the package shows the function under the module's name

RECIPE = Path(__file__).parents[2] / "recipes" / "prepare.py"
PROTOCOLS = ("speaker_disjoint", "random")
TEXT_FILES = ("README.md", "counts.csv", "preparation.json", "quarantine.csv")


def make(args) -> Path:
    return prepare(args, progress=False).folder


def rows_of(rows: list[dict]) -> list[Row]:
    """The metadata that protocols look at, read back from a dataset."""
    return [
        Row(
            **{key: row[key] for key in ("id", "corpus", "speaker", "gender", "sha256")},
            vocal_channel=row["channel"],
            emotion=EMOTIONS[row["label"]],
            text=row["text"] or "",
        )
        for row in rows
    ]


def expected_splits(rows: list[dict], **options) -> dict[str, dict[str, str]]:
    """Protocol -> clip id -> split, computed from the dataset's own columns."""
    with pytest.warns(UserWarning, match="train and test share speakers"):
        return {protocol: assign(rows_of(rows), protocol, **options).splits for protocol in PROTOCOLS}


def front_matter(folder: Path) -> dict:
    _, front, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front)


def everything(folder: Path) -> dict[str, object]:
    """All that a dataset folder holds: text files as bytes, Parquet files as rows."""
    content: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            content[path.relative_to(folder).as_posix()] = pq.ParquetFile(path).read().to_pylist()
        elif path.is_file():
            content[path.relative_to(folder).as_posix()] = path.read_bytes()
    return content


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in [folder, *folder.rglob("*")]}


def beside(folder: Path) -> set[str]:
    """What lies beside the dataset folder: nothing of a finished run may."""
    return {path.name for path in folder.parent.iterdir()} - {folder.name}


# --- what the folder holds


def test_the_folder_holds_the_data_and_what_was_found_out(prepared):
    assert {path.name for path in prepared.iterdir()} == {*TEXT_FILES, "data"}
    assert all(path.suffix == ".parquet" for path in (prepared / "data").iterdir())
    assert beside(prepared) == set()


def test_every_clip_is_stored_once_with_all_its_columns(prepared, read_rows, sizes):
    rows = read_rows(prepared)
    assert len({row["id"] for row in rows}) == len(rows) == sum(sizes.values())
    row = next(row for row in rows if row["id"] == "tess/OAF_back_angry")
    audio = row.pop("audio")
    assert audio["path"] == "OAF_back_angry.flac" and audio["bytes"][:4] == b"fLaC"
    assert 0.5 <= row.pop("duration") <= 0.6
    assert re.fullmatch("[0-9a-f]{64}", row.pop("sha256"))
    assert row == {
        **{"id": "tess/OAF_back_angry", "label": 4, "corpus": "tess", "speaker": "tess_OAF", "gender": "female"},
        **{"age": 64, "intensity": None, "channel": "speech", "text": "Say the word back"},
        "language": "en",
    }


def test_rows_are_those_of_the_scan(corpora, prepared, read_rows, tmp_path):
    result = scans.scan(find(corpora), tmp_path, num_proc=1, progress=False)
    rows = {row["id"]: row for row in read_rows(prepared)}
    assert rows.keys() == {clip.utterance.id for clip in result.clips}
    for clip in result.clips:
        row, said = rows[clip.utterance.id], clip.utterance
        flac = (tmp_path / clip.pack).read_bytes()[clip.offset : clip.offset + clip.size]
        assert row["audio"] == {"bytes": flac, "path": f"{said.stem}.flac"}
        assert (row["sha256"], row["duration"]) == (clip.sha256, np.float32(clip.duration))
        assert EMOTIONS[row["label"]] == said.emotion
        assert row["channel"] == said.vocal_channel
        for name in ("corpus", "speaker", "gender", "age", "intensity", "text", "language"):
            assert row[name] == getattr(said, name)


def test_the_card_names_every_configuration(prepared):
    front = front_matter(prepared)
    names = ["all", "crema_d", "ravdess", "savee", "tess"]
    assert [config["config_name"] for config in front["configs"]] == names + [f"{name}-random" for name in names]
    assert [config["config_name"] for config in front["configs"] if config.get("default")] == ["all"]
    for config in front["configs"]:
        assert [files["split"] for files in config["data_files"]] == ["train", "validation", "test"]
    assert front["language"] == ["en"] and front["task_categories"] == ["audio-classification"]
    assert front["size_categories"] == ["n<1K"]


def check_patterns(folder: Path, rows: list[dict], **options) -> None:
    """Every configuration's patterns select exactly the clips of its corpus that the protocol puts there."""
    splits = expected_splits(rows, **options)
    ids = {
        path: [row["id"] for row in pq.ParquetFile(path).read(["id"]).to_pylist()] for path in folder.glob("data/*")
    }
    corpora = sorted({row["corpus"] for row in rows})
    configs = {config["config_name"]: config["data_files"] for config in front_matter(folder)["configs"]}
    assert len(configs) == 2 * (len(corpora) + 1)
    for protocol in PROTOCOLS:
        for corpus in ("all", *corpora):
            patterns = configs[corpus if protocol == "speaker_disjoint" else f"{corpus}-{protocol}"]
            seen: list[Path] = []
            for files in patterns:
                paths = list(folder.glob(files["path"]))
                seen += paths
                assert sorted(clip for path in paths for clip in ids[path]) == sorted(
                    clip
                    for clip, split in splits[protocol].items()
                    if split == files["split"] and (corpus == "all" or clip.startswith(f"{corpus}/"))
                )
            assert len(set(seen)) == len(seen) == sum(corpus in ("all", path.name.split(".")[0]) for path in ids)


def test_patterns_select_the_clips_of_the_protocols(prepared, read_rows):
    check_patterns(prepared, read_rows(prepared))


def test_load_dataset_gives_the_clips_of_the_protocols(prepared, read_rows, tmp_path):
    splits = expected_splits(read_rows(prepared))
    for config, protocol, corpus in (("all", "speaker_disjoint", ""), ("ravdess-random", "random", "ravdess/")):
        dataset = datasets.load_dataset(str(prepared), config, cache_dir=str(tmp_path))
        for split in ("train", "validation", "test"):
            expected = {clip for clip, made in splits[protocol].items() if made == split and clip.startswith(corpus)}
            assert set(dataset[split]["id"]) == expected and len(dataset[split]) == len(expected)


def test_small_shards_are_selected_whole(arguments, read_rows, tmp_path):
    folders = generate(tmp_path / "in", corpora=["tess"], clips_per_class=30, duration_s=(0.5, 0.6))
    folder = make(arguments(folders, tmp_path / "out", max_shard_size="300KB"))
    names = [path.name for path in (folder / "data").iterdir()]
    assert any(re.search(r"random=train-0000\d-of-0000[2-9]\.parquet$", name) for name in names), names
    rows = read_rows(folder)
    assert len({row["id"] for row in rows}) == len(rows) == 420
    check_patterns(folder, rows)


def test_the_seed_and_the_ratios_reach_the_splits(corpora, arguments, read_rows, tmp_path):
    folders = {"ravdess": corpora["ravdess"]}
    folder = make(arguments(folders, tmp_path / "out", seed=5, ratios=[0.4, 0.4, 0.2]))
    check_patterns(folder, read_rows(folder), seed=5, ratios=(0.4, 0.4, 0.2))
    summary = json.loads((folder / "preparation.json").read_text())["protocols"]["random"]
    assert (summary["seed"], summary["ratios"]) == (5, [0.4, 0.4, 0.2])
    assert "Train/validation/test 40/40/20 %, seed 5" in (folder / "README.md").read_text()


def test_preparation_json_stamps_the_splits(prepared, read_rows, sizes):
    summary = json.loads((prepared / "preparation.json").read_text(encoding="utf-8"))
    with pytest.warns(UserWarning, match="train and test share speakers"):
        assignments = {protocol: assign(rows_of(read_rows(prepared)), protocol) for protocol in PROTOCOLS}
    assert summary["protocols"] == {
        name: {"seed": 0, "ratios": [0.7, 0.15, 0.15], "hash": made.hash, "notes": list(made.notes)}
        for name, made in assignments.items()
    }
    assert summary["clips"] == 160 and summary["corpora"] == sorted(sizes)
    assert summary["limits"] == {"min_duration_s": 0.3, "silence_dbfs": -60.0}
    assert summary["quarantined"] == {corpus: {} for corpus in sizes}
    for assignment in assignments.values():
        assert f"Train/validation/test 70/15/15 %, seed 0, assignment hash `{assignment.hash[:16]}`." in (
            (prepared / "README.md").read_text(encoding="utf-8")
        )


def test_the_four_corpora_have_the_eight_labels_and_held_out_speakers(prepared, read_rows):
    summary = json.loads((prepared / "preparation.json").read_text(encoding="utf-8"))
    fields = ("labels", "label_mapping", "languages", "licence", "default_protocol", "speakers_known")
    assert [summary[name] for name in fields] == [
        *(list(EMOTIONS), None, ["en"], "unknown", "speaker_disjoint", True),
    ]
    assert list(summary["protocols"]) == list(PROTOCOLS)
    columns = [*"id audio label corpus speaker gender age intensity channel text language duration sha256".split()]
    assert all(list(row) == columns and row["language"] == "en" for row in read_rows(prepared))
    # As of version 0.2.0: another hash would make scores on the same recordings incomparable.
    assert summary["protocols"]["speaker_disjoint"]["hash"][:16] == "529e819992c6c68a"
    assert summary["protocols"]["random"]["hash"][:16] == "5b4dd1d0270e91a1"


def test_what_is_kept_out_stands_in_the_tables(arguments, noise, encode, put, tmp_path):
    folder = tmp_path / "in"
    for seed in range(6):
        put(folder / f"AudioData/{'DC JE JK'.split()[seed % 3]}/a{seed + 1:02d}.wav", encode(noise(seed)))
    put(folder / "AudioData/DC/a09.wav", b"")
    put(folder / "AudioData/KL/n30.wav", encode(noise(0)))  # DC's a01 under another label
    put(folder / "AudioData/x.wav", encode(noise(9)))
    result = prepare(arguments({"savee": folder}, tmp_path / "out"), progress=False)
    with open(result.folder / "quarantine.csv", encoding="utf-8", newline="") as file:
        assert [(row["path"], row["reason"], row["id"]) for row in csv.DictReader(file)] == [
            ("AudioData/DC/a01.wav", "conflicting_labels", "savee/DC_a01"),
            ("AudioData/DC/a09.wav", "empty", "savee/DC_a09"),
            ("AudioData/KL/n30.wav", "conflicting_labels", "savee/KL_n30"),
            ("AudioData/x.wav", "name", ""),
        ]
    with open(result.folder / "counts.csv", encoding="utf-8", newline="") as file:
        counts = list(csv.DictReader(file))
    assert len(counts) == 28
    found = {(row["speaker"], row["emotion"]): tuple(map(int, list(row.values())[4:])) for row in counts}
    assert found["savee_DC", "angry"] == (15, 3, 1, 12)
    assert found["savee_JE", "angry"] == (15, 2, 2, 13)
    assert found["savee_KL", "neutral"] == (30, 1, 0, 29)
    why = {"conflicting_labels": 2, "empty": 1, "name": 1}
    assert json.loads((result.folder / "preparation.json").read_text())["quarantined"] == {"savee": why}
    cells = re.sub(" +", " ", (result.folder / "README.md").read_text())
    assert all(f"| savee | {reason} | {number} |" in cells for reason, number in why.items())
    assert "2 conflicting_labels, 1 empty, 1 name" in result.report


def test_synthetic_recordings_are_called_synthetic(prepared, sizes):
    readme = (prepared / "README.md").read_text(encoding="utf-8")
    assert "**The recordings of crema_d, ravdess, savee, tess in this dataset are synthetic.**" in readme
    front = front_matter(prepared)
    assert "synthetic" in front["tags"] and front["pretty_name"].endswith("(synthetic)")
    assert sorted(json.loads((prepared / "preparation.json").read_text())["synthetic"]) == sorted(sizes)


def test_only_synthetic_recordings_are_called_synthetic(corpora, arguments, tmp_path):
    real = shutil.copytree(corpora["savee"], tmp_path / "in")
    (real / "SYNTHETIC.json").unlink()
    folder = make(arguments({"savee": real, "tess": corpora["tess"]}, tmp_path / "mixed"))
    assert "**The recordings of tess in this dataset are synthetic.**" in (folder / "README.md").read_text()
    assert json.loads((folder / "preparation.json").read_text())["synthetic"] == ["tess"]
    folder = make(arguments({"savee": real}, tmp_path / "real"))
    assert "synthetic" not in (folder / "README.md").read_text()
    assert json.loads((folder / "preparation.json").read_text())["synthetic"] == []


def test_the_number_of_processes_changes_nothing(corpora, prepared, arguments, tmp_path):
    assert everything(make(arguments(corpora, tmp_path / "out", num_proc=2))) == everything(prepared)


# --- whole or absent


@pytest.fixture
def examined(monkeypatch) -> list[str]:
    """The recordings that are decoded from here on (with one process)."""
    paths: list[str] = []
    real = scans.examine

    def examine(path, limits):
        paths.append(str(path))
        return real(path, limits)

    monkeypatch.setattr(scans, "examine", examine)
    return paths


def in_packs(work: Path) -> int:
    """Recordings in the finished packs of a broken run."""
    journals = [json.loads(path.read_text()) for path in work.glob("packs/*.json")]
    return sum(len(journal["clips"]) + len(journal["refused"]) for journal in journals)


class BrokenOffError(Exception):
    pass


def wait_for_workers() -> None:
    """Wait for worker processes that a broken run has left at work."""
    for process in multiprocessing.active_children():
        process.join(30)


_write_cell = stage._write_cell


def write_no_test_cell(name: str, *args: object) -> None:
    """Stands in for `_write_cell` in worker processes: fails after some of the cells."""
    if "random=test" in name:
        raise BrokenOffError("in a worker")
    _write_cell(name, *args)


def raise_broken(*args: object, **options: object) -> None:
    raise BrokenOffError("in the main process")


def raise_disk_full(*args: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def break_in_scan(monkeypatch, examined) -> None:
    counting = scans.examine

    def examine(path, limits):
        if len(examined) == 100:
            raise BrokenOffError("in the scan")
        return counting(path, limits)

    monkeypatch.setattr(scans, "examine", examine)


BREAKS = {
    "scan": break_in_scan,
    "splits": lambda patch, examined: patch.setattr(stage, "assign", raise_broken),
    "parquet": lambda patch, examined: patch.setattr(stage, "_write_cell", write_no_test_cell),
    "interrupted parquet": lambda patch, examined: patch.setattr(workers, "as_completed", interrupt_after_two),
    "tables": lambda patch, examined: patch.setattr(stage.report, "write_quarantine", raise_disk_full),
    "card": lambda patch, examined: patch.setattr(stage, "render_card", raise_broken),
    "move": lambda patch, examined: patch.setattr(stage, "_move_into_place", raise_broken),
}


def interrupt_after_two(futures) -> Iterator[object]:
    for number, future in enumerate(real_as_completed(futures)):
        if number == 2:
            raise KeyboardInterrupt
        yield future


real_as_completed = workers.as_completed


@pytest.mark.parametrize("where", BREAKS)
def test_a_broken_run_leaves_no_dataset_and_the_next_one_finishes(
    corpora, prepared, arguments, tmp_path, monkeypatch, examined, where
):
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        BREAKS[where](patch, examined)
        with pytest.raises((BrokenOffError, KeyboardInterrupt, OSError)):
            make(arguments(corpora, output, num_proc=2 if where == "interrupted parquet" else 1))
        wait_for_workers()
    assert not output.exists()
    assert beside(output) == {"out.incomplete"}
    done = in_packs(tmp_path / "out.incomplete")
    assert done == (96 if where == "scan" else 160)

    examined.clear()
    assert make(arguments(corpora, output)) == output
    assert len(examined) == 160 - done
    assert beside(output) == set()
    assert everything(output) == everything(prepared)


@pytest.mark.parametrize("where", ["parquet", "card"])
def test_a_broken_run_goes_on_with_other_settings(corpora, arguments, tmp_path, monkeypatch, examined, where):
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        BREAKS[where](patch, examined)
        with pytest.raises(BrokenOffError):
            make(arguments(corpora, output))
        wait_for_workers()
    examined.clear()
    fewer = {"ravdess": corpora["ravdess"], "crema_d": corpora["crema_d"]}
    make(arguments(fewer, output, seed=1))
    assert len(examined) == 20  # the first two packs of 32 hold the same 64 recordings as before
    assert everything(output) == everything(make(arguments(fewer, tmp_path / "unbroken", seed=1)))


def fail_first_and_dawdle(name: str, *args: object) -> None:
    """Stands in for `_write_cell` in worker processes: the largest cell fails, the others take their time."""
    if name == cell_name("savee", {"speaker_disjoint": "train", "random": "train"}):
        raise BrokenOffError("in a worker")
    time.sleep(0.3)


def test_no_worker_is_at_work_after_a_broken_run(corpora, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "_write_cell", fail_first_and_dawdle)
    try:
        with pytest.raises(BrokenOffError):
            make(arguments({"savee": corpora["savee"]}, tmp_path / "out", num_proc=2))
        assert multiprocessing.active_children() == []
    finally:
        wait_for_workers()


def leave_a_cell_behind(folders: dict[str, Path], work: Path, *, moved: bool, clips: int | None = None) -> None:
    """Leave what a run leaves that is killed when a cell has been built, or built and moved, and not yet removed."""
    result = scans.scan(find(folders), work / "packs", num_proc=1, progress=False)
    rows = [clip.row for clip in result.clips]
    with pytest.warns(UserWarning, match="train and test share speakers"):
        splits = {protocol: assign(rows, protocol).splits for protocol in PROTOCOLS}
    chosen = {"speaker_disjoint": "train", "random": "train"}
    members = [
        clip for clip in result.clips if all(splits[name][clip.utterance.id] == chosen[name] for name in PROTOCOLS)
    ]
    cell = work / "cells" / cell_name("ravdess", chosen)
    builder = EmotionCorpora({"cell": members[:clips]}, work / "packs", cache_dir=cell)
    builder.download_and_prepare(str(cell / "parquet"), file_format="parquet", verification_mode="no_checks")
    assert len(members) > 2 and len(list(cell.glob("parquet/*.parquet"))) == 1
    if moved:
        for path in cell.glob("parquet/*.parquet"):
            path.unlink()


def test_a_cell_that_was_moved_before_the_kill_is_written_again(corpora, arguments, read_rows, tmp_path):
    folders = {"ravdess": corpora["ravdess"]}
    leave_a_cell_behind(folders, tmp_path / "out.incomplete", moved=True)
    (tmp_path / "out.incomplete" / "lock").touch()
    rows = read_rows(make(arguments(folders, tmp_path / "out")))
    assert len(rows) == 48


def test_a_cell_that_a_killed_run_built_from_other_inputs_is_not_taken_over(corpora, arguments, read_rows, tmp_path):
    folders = {"ravdess": corpora["ravdess"]}
    leave_a_cell_behind(folders, tmp_path / "out.incomplete", moved=False, clips=2)
    (tmp_path / "out.incomplete" / "lock").touch()
    rows = read_rows(make(arguments(folders, tmp_path / "out")))
    assert len(rows) == 48


def test_a_foreign_folder_where_the_work_would_go_is_refused(corpora, arguments, put, tmp_path):
    put(tmp_path / "out.incomplete" / "thesis.txt", b"mine")
    with pytest.raises(PrepareError, match="contains files of another program"):
        make(arguments({"savee": corpora["savee"]}, tmp_path / "out"))
    assert (tmp_path / "out.incomplete" / "thesis.txt").read_bytes() == b"mine"


def test_a_finished_dataset_that_lost_a_file_is_not_taken_for_whole(corpora, arguments, read_rows, tmp_path):
    folders = {"savee": corpora["savee"]}
    make(arguments(folders, tmp_path / "out"))
    next((tmp_path / "out" / "data").glob("*.parquet")).unlink()
    with pytest.raises(PrepareError, match="with missing or changed Parquet files"):
        make(arguments(folders, tmp_path / "out"))
    assert len(read_rows(make(arguments(folders, tmp_path / "out", overwrite=True)))) > 0


def test_one_speakers_folder_of_a_synthetic_corpus_is_synthetic(corpora, arguments, tmp_path):
    make(arguments({"ravdess": corpora["ravdess"] / "Actor_01"}, tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "preparation.json").read_text())["synthetic"] == ["ravdess"]


def test_all_recordings_refused_is_an_error(arguments, put, tmp_path):
    for number in (1, 2, 3):
        put(tmp_path / "in" / f"DC_a{number:02d}.wav", b"")
    with pytest.raises(PrepareError, match="(?s)none of the 3 recordings can be used.*DC_a01.wav.*empty") as error:
        make(arguments({"savee": tmp_path / "in"}, tmp_path / "out"))
    assert isinstance(error.value, SerError)
    assert not (tmp_path / "out").exists()


def test_bad_ratios_are_an_error(corpora, arguments, tmp_path):
    with pytest.raises(ProtocolError, match="expected three positive fractions"):
        make(arguments({"savee": corpora["savee"]}, tmp_path / "out", ratios=[0.7, 0.3]))
    assert not (tmp_path / "out").exists()


def test_arguments_are_checked_before_anything_is_read(arguments, tmp_path):
    with pytest.raises(PrepareError, match="no recordings given; expected at least one of --ravdess"):
        arguments({}, tmp_path / "out")
    with pytest.raises(PrepareError, match="--num_proc is 0; expected at least 1"):
        arguments({"tess": tmp_path}, tmp_path / "out", num_proc=0)


# --- a dataset that is there already


def test_the_same_inputs_again_change_nothing(corpora, arguments, tmp_path, monkeypatch):
    args = arguments({"savee": corpora["savee"]}, tmp_path / "out")
    first = prepare(args, progress=False)
    assert not first.already_there
    before = stamps(tmp_path)
    monkeypatch.setattr(stage, "scan", raise_broken)
    for overwrite in (False, True):
        args.overwrite = overwrite
        again = prepare(args, progress=False)
        assert again.already_there and again.folder == first.folder and again.report == first.report
    assert stamps(tmp_path) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"ratios": [0.6, 0.2, 0.2]},
        {"min_duration_s": 0.2},
        {"silence_dbfs": -50.0},
        {"max_shard_size": "1MB"},
    ],
)
def test_other_settings_are_refused_without_overwrite(corpora, arguments, tmp_path, changes):
    folders = {"savee": corpora["savee"]}
    make(arguments(folders, tmp_path / "out"))
    before = stamps(tmp_path)
    with pytest.raises(
        PrepareError, match="contains a dataset prepared from other files or settings.*--overwrite true"
    ):
        make(arguments(folders, tmp_path / "out", **changes))
    assert stamps(tmp_path) == before


@pytest.mark.parametrize("change", ["removed", "touched", "added", "another corpus"])
def test_other_inputs_are_refused_without_overwrite(corpora, arguments, encode, noise, put, tmp_path, change):
    folder = shutil.copytree(corpora["savee"], tmp_path / "in")
    make(arguments({"savee": folder}, tmp_path / "out"))
    before = everything(tmp_path / "out")
    folders = {"savee": folder}
    clip = folder / "AudioData/DC/a01.wav"
    if change == "removed":
        clip.unlink()
    elif change == "touched":
        os.utime(clip, ns=(1, 1))
    elif change == "added":
        put(clip.with_name("a15.wav"), encode(noise(1)))
    else:
        folders["tess"] = corpora["tess"]
    with pytest.raises(PrepareError, match="other files or settings"):
        make(arguments(folders, tmp_path / "out"))
    assert everything(tmp_path / "out") == before


def test_overwrite_replaces_a_dataset(corpora, arguments, tmp_path):
    folders = {"savee": corpora["savee"]}
    make(arguments(folders, tmp_path / "out"))
    first = everything(tmp_path / "out")
    result = prepare(arguments(folders, tmp_path / "out", seed=1, overwrite=True), progress=False)
    assert not result.already_there
    assert everything(tmp_path / "out") != first
    assert everything(tmp_path / "out") == everything(make(arguments(folders, tmp_path / "new", seed=1)))
    assert {path.name for path in tmp_path.iterdir()} == {"out", "new"}


def test_a_broken_overwrite_leaves_the_old_dataset(corpora, arguments, tmp_path, monkeypatch):
    folders = {"savee": corpora["savee"]}
    make(arguments(folders, tmp_path / "out"))
    before = stamps(tmp_path / "out")
    monkeypatch.setattr(stage, "render_card", raise_broken)
    with pytest.raises(BrokenOffError):
        make(arguments(folders, tmp_path / "out", seed=1, overwrite=True))
    after = stamps(tmp_path / "out")
    folder = str(tmp_path / "out")  # was locked
    assert after | {folder: before[folder]} == before


def test_overwrite_removes_no_folder_of_somebody_else(corpora, arguments, put, tmp_path):
    folders = {"savee": corpora["savee"]}
    make(arguments(folders, tmp_path / "out"))
    notes = put(tmp_path / "out.old" / "notes.txt", b"my own")
    make(arguments(folders, tmp_path / "out", seed=1, overwrite=True))
    assert notes.read_bytes() == b"my own"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_dataset_is_refused(corpora, arguments, put, tmp_path, overwrite):
    notes = put(tmp_path / "out" / "notes.txt", b"my own")
    with pytest.raises(PrepareError, match="exists and is not a prepared dataset. Choose another folder"):
        make(arguments({"savee": corpora["savee"]}, tmp_path / "out", overwrite=overwrite))
    assert notes.read_bytes() == b"my own"
    assert beside(tmp_path / "out") == set()


def test_a_corpus_folder_is_refused_as_output(corpora, arguments, tmp_path):
    folder = shutil.copytree(corpora["savee"], tmp_path / "savee")
    before = stamps(folder)
    with pytest.raises(PrepareError, match="is not a prepared dataset"):
        make(arguments({"savee": folder}, folder, overwrite=True))
    assert stamps(folder) == before


def test_a_file_in_place_of_the_output_is_refused(corpora, arguments, put, tmp_path):
    path = put(tmp_path / "out", b"my own")
    with pytest.raises(PrepareError, match="is not a prepared dataset"):
        make(arguments({"savee": corpora["savee"]}, path, overwrite=True))
    assert path.read_bytes() == b"my own"


def test_an_empty_output_folder_is_filled(corpora, arguments, tmp_path):
    (tmp_path / "out").mkdir()
    make(arguments({"savee": corpora["savee"]}, tmp_path / "out"))
    assert (tmp_path / "out/preparation.json").is_file()
    assert beside(tmp_path / "out") == set()


# --- real processes

# Every clip takes 5 ms longer, so that a run is surely in the middle when it is stopped.
SLOW_RECIPE = """
import runpy, sys, time
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with Ctrl-C ignored
import hf_ser.data.scan as scans
real = scans.examine
def examine(path, limits):
    time.sleep(0.005)
    return real(path, limits)
scans.examine = examine
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def larger(tmp_path_factory) -> dict[str, Path]:
    """492 clips, which fill 16 packs."""
    folder = tmp_path_factory.mktemp("larger")
    return generate(folder, corpora=["crema_d"], clips_per_class=14, speakers_per_corpus=6, duration_s=(0.5, 0.6))


def interrupt_after_one(futures) -> Iterator[object]:
    yield next(iter(real_as_completed(futures)))
    raise KeyboardInterrupt


def test_an_interrupted_scan_stops_its_workers(larger, arguments, tmp_path, monkeypatch):
    real = scans.examine

    def examine(path, limits):
        time.sleep(0.005)
        return real(path, limits)

    monkeypatch.setattr(scans, "examine", examine)
    monkeypatch.setattr(workers, "as_completed", interrupt_after_one)
    try:
        with pytest.raises(KeyboardInterrupt):
            make(arguments(larger, tmp_path / "out", num_proc=2))
        assert multiprocessing.active_children() == []
        assert in_packs(tmp_path / "out.incomplete") < 492
    finally:
        wait_for_workers()


@contextmanager
def running(folders: dict[str, Path], output: Path) -> Iterator[subprocess.Popen]:
    """A run of the recipe in two worker processes, from the time that two of its packs are finished."""
    command = [sys.executable, "-c", SLOW_RECIPE, str(RECIPE), "--output_dir", str(output), "--num_proc", "2"]
    command += [word for name, folder in folders.items() for word in (f"--{name}", str(folder))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 60
        while len(list(output.with_name(f"{output.name}.incomplete").glob("packs/*.json"))) < 2:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.005)
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too, which outlive it
        except ProcessLookupError:
            pass
        process.communicate()


@pytest.mark.slow
def test_a_killed_run_leaves_no_dataset_and_the_next_one_finishes(larger, arguments, tmp_path, examined):
    output = tmp_path / "out"
    with running(larger, output) as process:
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    assert [path.name for path in output.iterdir()] == [LOCK]
    done = in_packs(tmp_path / "out.incomplete")
    assert 64 <= done < 492
    make(arguments(larger, output))
    assert len(examined) == 492 - done
    assert beside(output) == set()
    assert everything(output) == everything(make(arguments(larger, tmp_path / "unbroken")))


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_the_next_one_finishes(larger, arguments, tmp_path, examined):
    output = tmp_path / "out"
    with running(larger, output) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
    assert errors.splitlines()[-1] == ("interrupted; finished parts are kept: run the same command again to continue")
    assert "Traceback" not in errors
    assert not output.exists()
    done = in_packs(tmp_path / "out.incomplete")
    assert done >= 64
    make(arguments(larger, output))
    assert len(examined) == 492 - done
    assert beside(output) == set()
    assert everything(output) == everything(make(arguments(larger, tmp_path / "unbroken")))


@pytest.mark.slow
def test_two_runs_at_once_are_refused(larger, arguments, tmp_path):
    output = tmp_path / "out"
    with running(larger, output) as process:
        with pytest.raises(
            RunFolderError, match=r"--output_dir .*out is in use by .* \(process \d+ on .*Wait until it has ended, or"
        ):
            make(arguments(larger, output))
        assert process.poll() is None
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert len(pq.ParquetDataset(output / "data").read(["id"])) == 492
    assert beside(output) == set()
