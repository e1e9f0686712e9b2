"""Folders of recordings in the layouts of `datasets`' audiofolder."""

import json
from pathlib import Path

import datasets
import pytest
import soundfile as sf

from hf_ser.corpora.audio_folder import read_audio_folder
from hf_ser.corpora.listing import ListingError
from hf_ser.data import PrepareArguments, prepare

CLASSES = ("angry", "neutral", "other")


@pytest.fixture
def folder(tmp_path, noise, encode, put):
    """Write recordings below `Call centre`, each with other samples, and return the folder."""

    def make(*names: str) -> Path:
        root = tmp_path / "Call centre"
        for seed, name in enumerate(names):
            put(root / name, encode(noise(seed, 6_400)))
        return root

    return make


def described(folder: Path, **settings) -> dict[str, tuple[str, str]]:
    """Id -> label and given split."""
    return {one.id: (one.emotion, one.split) for one in read_audio_folder(folder, **settings).utterances}


def test_labels_are_the_names_of_folders(folder, put, read_rows, tmp_path):
    root = folder(*(f"{label}/{number}.wav" for label in CLASSES for number in range(3)))
    put(root / "readme.txt", b"hello")
    put(root / "angry" / "._0.wav", b"resource fork")
    made = prepare(
        PrepareArguments(str(tmp_path / "out"), audio_folder=[str(root)], labels=["all"], num_proc=1), progress=False
    )
    rows = read_rows(made.folder)
    assert {row["id"]: CLASSES[row["label"]] for row in rows} == {
        f"Call_centre/{label}/{number}": label for label in CLASSES for number in range(3)
    }
    summary = json.loads((made.folder / "preparation.json").read_text(encoding="utf-8"))
    assert (summary["default_protocol"], summary["labels"]) == ("random", list(CLASSES))
    assert "Call_centre  9      9     0            -        -        2" in made.report


def test_folders_of_splits_above_the_classes(folder, tmp_path):
    splits = ("train", "Val", "test")
    root = folder(*(f"{split}/{label}/{n}.wav" for split in splits for label in CLASSES for n in range(2)))
    assert described(root)["Call_centre/Val/other/1"] == ("other", "validation")
    args = PrepareArguments(str(tmp_path / "out"), audio_folder=[str(root)], labels=["all"], num_proc=1)
    loaded = datasets.load_dataset(str(prepare(args, progress=False).folder), "all")
    assert {name: {clip.split("/")[1] for clip in part["id"]} for name, part in loaded.items()} == {
        **{"train": {"train"}, "validation": {"Val"}, "test": {"test"}},
    }


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_metadata_file_describes_the_recordings(folder, put, suffix):
    root = folder("a/1.wav", "a/2.wav", "b/3.wav", "b/4.wav")
    rows = [("a/1.wav", "angry", "Ann", 31), ("a/2.wav", "other", "Bob", None), ("b/3.wav", "angry", "Ann", 31)]
    lines = [json.dumps(dict(zip(("file_name", "label", "speaker", "age"), row, strict=True))) for row in rows]
    if suffix == "csv":
        lines = ["file_name,label,speaker,age", *(",".join(str(value or "") for value in row) for row in rows)]
    put(root / f"metadata.{suffix}", "\n".join(lines).encode())
    listing = read_audio_folder(root)
    assert {one.id: (one.emotion, one.speaker, one.age) for one in listing.utterances} == {
        "Call_centre/a/1": ("angry", "Call_centre_Ann", 31),
        "Call_centre/a/2": ("other", "Call_centre_Bob", None),
        "Call_centre/b/3": ("angry", "Call_centre_Ann", 31),
    }
    assert listing.notes == ("Call centre: 1 recordings are not in the metadata files and are not used",)
    number = {"csv": "row 3", "jsonl": "line 2"}[suffix]
    assert listing.utterances[1].origin == f"Call centre, metadata.{suffix} {number}"


def test_a_metadata_file_in_each_split(folder, put):
    root = folder("train/1.wav", "train/2.wav", "test/1.wav")
    put(root / "train/metadata.csv", b"file_name,emotion\n1.wav,angry\n2.wav,other\n")
    put(root / "test/metadata.jsonl", b'{"file_name": "1.wav", "emotion": "other"}\n')
    assert described(root, columns={"label": "emotion"}) == {
        "Call_centre/test/1": ("other", "test"),
        "Call_centre/train/1": ("angry", "train"),
        "Call_centre/train/2": ("other", "train"),
    }


def test_segments_and_votes_in_json_lines(folder, put):
    root = folder("podcast.wav")
    row = {"file_name": "podcast.wav", "label": "other", "start": 0.1, "end": 0.3, "votes": {"other": 2, "angry": 1}}
    put(root / "metadata.jsonl", json.dumps(row).encode())
    (one,) = read_audio_folder(root).utterances
    assert (one.start_s, one.end_s, one.votes) == (0.1, 0.3, (("other", 2), ("angry", 1)))


def test_the_same_clips_as_datasets_reads(folder, tmp_path, monkeypatch):
    """Labels, and their order, agree with `load_dataset("audiofolder")`."""
    monkeypatch.setattr(datasets.Audio, "encode_example", lambda self, path: {"path": path, "bytes": None})
    root = folder(*(f"{label}/{number}.wav" for label in reversed(CLASSES) for number in range(2)))
    stored = datasets.load_dataset("audiofolder", data_dir=str(root), split="train", cache_dir=str(tmp_path / "cache"))
    names = stored.features["label"].names
    paths = [Path(item["path"]) for item in stored.cast_column("audio", datasets.Audio(decode=False))["audio"]]
    stems = [path.relative_to(root).with_suffix("").as_posix() for path in paths]
    theirs = {stem: names[label] for stem, label in zip(stems, stored["label"], strict=True)}
    assert {clip.removeprefix("Call_centre/"): label for clip, (label, _) in described(root).items()} == theirs
    args = PrepareArguments(str(tmp_path / "out"), audio_folder=[str(root)], labels=["all"], num_proc=1)
    made = prepare(args, progress=False).folder
    assert json.loads((made / "preparation.json").read_text())["labels"] == names


@pytest.mark.parametrize(
    ("names", "metadata", "message"),
    [
        (["readme.txt"], {}, "found no recordings among 1 files; expected CLASS/FILE"),
        (["1.wav", "angry/2.wav"], {}, "1 recordings are at another depth, such as 1.wav; expected CLASS/FILE"),
        (["angry/ann/1.wav", "other/2.wav"], {}, "are at another depth, such as angry/ann/1.wav; expected"),
        (["train/1.wav", "test/2.wav"], {}, "2 recordings are at another depth, such as test/2.wav; expected"),
        (
            ["1.wav"],
            {"metadata.csv": "file_name,label\n1.wav,a\n", "metadata.jsonl": '{"file_name": "1.wav", "label": "a"}'},
            "has the metadata files metadata.csv, metadata.jsonl; expected one at the top",
        ),
        (
            ["1.wav"],
            {"metadata.csv": "file,label\n1.wav,a\n"},
            "metadata.csv has no column path; its columns",
        ),
        (
            ["1.wav"],
            {"metadata.csv": "file_name,label\n../1.wav,a\n"},
            "metadata.csv row 2: path ../1.wav is not",
        ),
        (["1.wav"], {"metadata.jsonl": '{"file_name": "1.wav"\n'}, "metadata.jsonl, line 1: Expecting"),
        (["1.wav"], {"metadata.jsonl": '["1.wav"]\n'}, "metadata.jsonl, line 1 has a list; expected a JSON object"),
        (
            ["1.wav"],
            {"metadata.csv": "file_name,label\n2.wav,a\n"},
            "none of the files of Call centre exists",
        ),
    ],
)
def test_other_layouts_are_an_error(folder, put, tmp_path, names, metadata, message):
    root = folder(*names)
    for name, text in metadata.items():
        put(root / name, text.encode())
    with pytest.raises(ListingError) as error:
        prepare(PrepareArguments(str(tmp_path / "out"), audio_folder=[str(root)]), progress=False)
    assert message in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"Call centre"}


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ListingError, match="none: no such folder; expected a folder of recordings"):
        read_audio_folder(tmp_path / "none")


def test_unusual_names_of_folders(folder, tmp_path, read_rows):
    labels = ("ärgerlich", "радость", "悲しい", "very angry")
    root = folder(*(f"{label}/{number}.wav" for label in labels for number in range(2)))
    args = PrepareArguments(str(tmp_path / "out"), audio_folder=[str(root)], labels=["all"], num_proc=1)
    made = prepare(args, progress=False).folder
    names = datasets.load_dataset(str(made), "all", split="train").features["label"].names
    assert names == sorted(labels)
    rows = read_rows(made)
    assert {row["id"].split("/")[1] for row in rows} == set(labels)
    assert all(names[row["label"]] == row["id"].split("/")[1] for row in rows)
    assert sf.info(root / "悲しい/0.wav").frames == 6_400
