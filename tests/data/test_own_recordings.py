"""Recordings and labels of the user: lists in CSV, label sets of any size, mappings, segments, splits and speakers."""

import csv
import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile as sf
import yaml

from hf_ser.corpora.csv_listing import read_csv
from hf_ser.corpora.listing import ListingError
from hf_ser.data import PrepareArguments, prepare
from hf_ser.data.label_set import LabelError
from hf_ser.errors import SerError

RATE = 16_000
Rows = Sequence[dict[str, object]]


@pytest.fixture
def recordings(tmp_path, noise) -> Callable[..., list[str]]:
    """Write recordings below `audio` and return their names."""

    def write(number: int, names: str = "{:03d}.wav", num_samples: int = 6_400) -> list[str]:
        made = [names.format(index) for index in range(number)]
        for seed, name in enumerate(made):
            path = tmp_path / "audio" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            sf.write(path, noise(seed, num_samples), RATE)
        return made

    return write


@pytest.fixture
def prepare_csv(tmp_path) -> Callable[..., Path]:
    """Write rows as calls.csv and prepare them."""

    def make(rows: Rows, **settings) -> Path:
        with open(tmp_path / "calls.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)
        given = {"csv": [str(tmp_path / "calls.csv")], "audio_dir": str(tmp_path / "audio"), "num_proc": 1}
        return prepare(PrepareArguments(str(tmp_path / "out"), **{**given, **settings}), progress=False).folder

    return make


def summary(folder: Path) -> dict:
    return json.loads((folder / "preparation.json").read_text(encoding="utf-8"))


def quarantined(folder: Path) -> list[tuple[str, str, str]]:
    with open(folder / "quarantine.csv", encoding="utf-8", newline="") as file:
        return [(row["path"], row["reason"], row["detail"]) for row in csv.DictReader(file)]


def front(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def labelled(names: Sequence[str], labels: Sequence[str], **more: Callable[[int], object]) -> list[dict[str, object]]:
    return [
        {"path": name, "label": labels[number % len(labels)]} | {key: make(number) for key, make in more.items()}
        for number, name in enumerate(names)
    ]


# --- label sets


def test_the_default_label_set_is_the_eight(recordings, prepare_csv, read_rows):
    folder = prepare_csv(labelled(recordings(6), ("Angry", "happy"), speaker=lambda n: f"s{n % 3}"))
    names = datasets.load_dataset(str(folder), "all", split="train").features["label"].names
    assert names == ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]
    assert Counter(row["label"] for row in read_rows(folder)) == {4: 3, 2: 3}  # "Angry" is angry
    made = summary(folder)
    assert (made["labels"], made["label_mapping"], made["default_protocol"]) == (
        *(names, {"Angry": "angry"}),
        "speaker_disjoint",
    )
    assert (made["speakers_known"], made["languages"], made["licence"]) == (True, [], "unknown")


@pytest.mark.parametrize("number", [2, 4, 7, 40])
def test_label_sets_of_any_size(recordings, prepare_csv, read_rows, number):
    labels = [f"Gefühl {index}" for index in range(number)]
    folder = prepare_csv(labelled(recordings(2 * number), labels), labels=["all"])
    assert summary(folder)["labels"] == sorted(labels)
    loaded = datasets.load_dataset(str(folder), "all", split="train")
    assert loaded.features["label"].names == sorted(labels)
    rows = read_rows(folder)
    assert {row["id"]: sorted(labels)[row["label"]] for row in rows} == {
        f"calls/{index:03d}": labels[index % number] for index in range(2 * number)
    }
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"{index} {name}" in text for index, name in enumerate(sorted(labels)))
    assert "speakers are unknown: test clips may contain voices of the training data" in text
    assert [config["config_name"] for config in front(folder)["configs"]] == ["all", "calls"]


def test_the_order_of_labels_is_the_given_one(recordings, prepare_csv):
    rows = labelled(recordings(8), ("other", "angry", "neutral", "happy"))
    assert summary(prepare_csv(rows, labels=["angry", "neutral", "happy", "other"]))["labels"] == [
        *("angry", "neutral", "happy", "other"),
    ]


def test_a_subset_of_the_eight_has_their_order(recordings, prepare_csv):
    rows = labelled(recordings(6), ("sad", "angry", "neutral"))
    assert summary(prepare_csv(rows, labels=["sad", "angry", "neutral"]))["labels"] == ["neutral", "sad", "angry"]
    assert summary(prepare_csv(rows, labels=["all"], overwrite=True))["labels"] == ["neutral", "sad", "angry"]


def test_a_mapping_renames_merges_and_drops(recordings, prepare_csv, read_rows):
    rows = labelled(recordings(8), ("joy", "excited", "rage", "unclear"))
    mapping = {"joy": "happy", "excited": "happy", "rage": "angry", "unclear": None}
    folder = prepare_csv(rows, label_mapping=mapping)
    assert Counter(row["label"] for row in read_rows(folder)) == {2: 4, 4: 2}
    assert summary(folder)["label_mapping"] == mapping
    assert [(path, reason) for path, reason, _ in quarantined(folder)] == [("003.wav", "label"), ("007.wav", "label")]
    assert quarantined(folder)[0][2] == "label unclear is mapped to null (calls.csv, row 5)"
    assert "| excited" in (folder / "README.md").read_text() and "(excluded)" in (folder / "README.md").read_text()


def test_labels_of_the_corpora_outside_the_set_are_excluded(corpora, arguments, read_rows, tmp_path):
    args = arguments({"tess": corpora["tess"]}, tmp_path / "out", labels=["angry", "happy"])
    folder = prepare(args, progress=False).folder
    assert {row["label"] for row in read_rows(folder)} == {0, 1} and len(read_rows(folder)) == 8
    assert {(reason, detail) for _, reason, detail in quarantined(folder)} >= {
        ("label", "label sad is not in the label set")
    }
    assert summary(folder)["quarantined"] == {"tess": {"label": 20}}


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (
            ("angry", "bored", "bored", "odd"),
            {},
            "labels outside the label set: bored (4), odd (2); expected neutral, calm, happy, sad, angry, fearful, "
            "disgust, surprised. Pass --labels all to keep all labels, list the labels, or add a label_mapping",
        ),
        (
            ("angry", "Angry", "happy"),
            {},
            "labels differ only in letter case or white space: 'angry' (3, first in calls.csv, row 2), 'Angry' (3, "
            "first in calls.csv, row 3). Correct them, or add label_mapping with 'Angry': 'angry'.",
        ),
        (("very sad", "verysad", "happy"), {"labels": ["all"]}, "labels differ only in letter case or white space"),
        (("angry", "angry"), {}, "the only label is angry; expected clips of at least two labels."),
        (("angry", "happy"), {"labels": ["angry", "angry"]}, "has a label twice; expected different labels"),
        (
            ("angry", "hapy"),
            {"label_mapping": {"happy": "angry"}},
            "labels outside the label set: hapy (4) (did you mean happy?); expected neutral",
        ),
        (
            ("angry", "joyful"),
            {"label_mapping": {"joyfull": "happy"}},
            "label_mapping has the label joyfull",
        ),
        (("angry", "happy"), {"label_mapping": {True: "happy"}}, "label_mapping has True: happy; expected text."),
    ],
)
def test_bad_labels_are_an_error(recordings, prepare_csv, tmp_path, labels, settings, message):
    with pytest.raises(SerError) as error:
        prepare_csv(labelled(recordings(8 if len(labels) != 3 else 9), labels), **settings)
    assert message in str(error.value) and isinstance(error.value, LabelError)
    assert {path.name for path in tmp_path.iterdir()} == {"audio", "calls.csv"}


# --- columns


def test_every_column_is_read(recordings, prepare_csv, read_rows):
    rows = labelled(
        recordings(6),
        ("angry", "happy"),
        id=lambda n: f"clip {n}",
        Speaker=lambda n: "Ann" if n < 3 else "Žofie",
        GENDER=lambda n: "F",
        age=lambda n: "34.0",
        text=lambda n: "Grüß dich, Welt",
        intensity=lambda n: "strong",
        language=lambda n: "de_AT",
        votes=lambda n: "angry:3; happy:1" if n < 3 else '{"happy": 2}',
        annotator=lambda n: "x",
    )
    folder = prepare_csv(rows, licence="cc-by-4.0")
    row = next(row for row in read_rows(folder) if row["id"] == "calls/clip 4")
    del row["audio"], row["sha256"]
    assert row == {
        **{"id": "calls/clip 4", "label": 4, "corpus": "calls", "speaker": "calls_Žofie", "gender": "female"},
        **{"age": 34, "intensity": "strong", "channel": "speech", "text": "Grüß dich, Welt", "language": "de-AT"},
        **{"duration": np.float32(0.4), "votes": [{"label": "happy", "count": 2}]},
    }
    assert summary(folder)["languages"] == ["de-AT"] and summary(folder)["licence"] == "cc-by-4.0"
    assert (front(folder)["license"], front(folder)["language"]) == ("cc-by-4.0", ["de-AT"])
    assert "calls.csv: ignored columns: annotator" in summary(folder)["report"]


def test_votes_have_the_labels_of_the_dataset(recordings, prepare_csv, read_rows):
    votes = ("Angry:1; excited:1; happy: 1", "SAD:2;xxx:1")
    folder = prepare_csv(
        labelled(recordings(6), ("excited", "angry"), votes=lambda n: votes[n % 2]), label_mapping={"excited": "happy"}
    )
    assert {tuple((vote["label"], vote["count"]) for vote in row["votes"]) for row in read_rows(folder)} == {
        *((("angry", 1), ("happy", 2)), (("sad", 2), ("xxx", 1))),
    }


def test_columns_are_renamed_and_ignored(recordings, prepare_csv, read_rows):
    names = recordings(6)
    rows = [{"wav": name, "emotion": "angry" if n % 2 else "sad", "age": "30-39"} for n, name in enumerate(names)]
    folder = prepare_csv(rows, columns={"path": "WAV", "label": "emotion", "age": None})
    assert [row["age"] for row in read_rows(folder)] == [None] * 6
    assert {row["speaker"] for row in read_rows(folder)} == {None}


def test_a_given_split_is_the_default_protocol(recordings, prepare_csv, read_rows):
    rows = labelled(
        recordings(12),
        ("angry", "happy"),
        split=lambda n: ("Train", "train", "dev", "TEST")[n // 3],
        speaker=lambda n: f"s{n // 2}",
    )
    folder = prepare_csv(rows)
    names = [config["config_name"] for config in front(folder)["configs"]]
    assert names == [
        *("all", "calls", "all-speaker_disjoint", "calls-speaker_disjoint", "all-random", "calls-random"),
    ]
    loaded = datasets.load_dataset(str(folder), "all")
    assert {split: len(clips) for split, clips in loaded.items()} == {"train": 6, "validation": 3, "test": 3}
    assert set(loaded["test"]["id"]) == {"calls/009", "calls/010", "calls/011"}
    made = summary(folder)
    assert made["default_protocol"] == "given"
    assert "validation and test share 1 speaker (calls_s4)" in made["protocols"]["given"]["notes"]
    assert "given: validation and test share 1 speaker (calls_s4)" in made["report"]


def test_given_splits_without_validation_take_it_from_train(recordings, prepare_csv):
    rows = labelled(
        recordings(20),
        ("angry", "happy"),
        split=lambda n: "test" if n < 4 else "train",
        speaker=lambda n: f"s{n // 4}",
    )
    loaded = datasets.load_dataset(str(prepare_csv(rows)), "all")
    assert set(loaded["test"]["id"]) == {f"calls/{n:03d}" for n in range(4)}
    assert len(loaded["validation"]) == 4 and len(set(loaded["validation"]["speaker"])) == 1
    assert not set(loaded["validation"]["speaker"]) & set(loaded["train"]["speaker"])


def test_corpora_of_a_list_have_configurations(recordings, prepare_csv, read_rows):
    rows = labelled(
        recordings(12), ("angry", "sad"), corpus=lambda n: "Hotline (2024)" if n % 4 < 2 else "радио", speaker=str
    )
    folder = prepare_csv(rows)
    assert summary(folder)["corpora"] == ["Hotline_2024", "радио"]
    radio = datasets.load_dataset(str(folder), "радио-random")
    assert {row for split in radio.values() for row in split["corpus"]} == {"радио"}


def test_speakers_of_one_name_in_two_corpora_are_noted(recordings, prepare_csv):
    rows = labelled(
        recordings(8), ("angry", "sad"), corpus=lambda n: f"site {n % 2}", speaker=lambda n: ("ann", "bob")[n % 4 == 1]
    )
    note = "calls.csv: speakers of the same name in several corpora count as different persons (ann); pass --columns"
    assert note in summary(prepare_csv(rows))["report"]


def test_lists_join_the_four_corpora(corpora, recordings, prepare_csv, read_rows):
    rows = labelled(recordings(12), ("angry", "sad"), speaker=lambda n: f"s{n % 4}", language=lambda n: "fr")
    folder = prepare_csv(rows, savee=str(corpora["savee"]))
    assert Counter(row["corpus"] for row in read_rows(folder)) == {"savee": 48, "calls": 12}
    assert summary(folder)["languages"] == ["en", "fr"] and summary(folder)["speakers_known"]
    assert front(folder)["license_name"] == "see-each-corpus"
    lines = {line.split()[0]: line.split() for line in summary(folder)["report"].splitlines() if line.strip()}
    assert lines["calls"][:4] == ["calls", "-", "-", "-"] and "12 " in summary(folder)["report"]


def test_fields_that_some_clips_lack_are_noted(recordings, prepare_csv):
    rows = labelled(
        recordings(6), ("angry", "sad"), speaker=lambda n: "ann" if n else "", split=lambda n: "train" if n > 1 else ""
    )
    folder = prepare_csv(rows)
    report = summary(folder)["report"]
    assert "1 of 6 clips have no speaker (the first: calls.csv, row 2); the protocol speaker_disjoint needs" in report
    assert "2 of 6 clips have no split (the first: calls.csv, row 2); the protocol given needs" in report
    assert (summary(folder)["default_protocol"], summary(folder)["speakers_known"]) == ("random", False)


def test_tables_with_wide_characters_are_aligned(recordings, prepare_csv):
    rows = labelled(recordings(8), ("怒り", "喜び", "angry", "sad"))
    lines = summary(prepare_csv(rows, labels=["all"]))["report"].splitlines()
    (start,) = [index for index, line in enumerate(lines) if line.startswith("kept ")]
    assert lines[start : start + 3] == [
        "kept   angry  sad  喜び  怒り",
        "-----  -----  ---  ----  ----",
        "calls  2      2    2     2",
    ]


# --- segments


def test_segments_are_cut_from_recordings(tmp_path, recordings, prepare_csv, read_rows, noise):
    (name,) = recordings(1, "podcast.wav", 4 * RATE)
    times = [("0", "1"), ("1", "2,5"), ("0:02.5", "3.0"), ("3", "")]
    rows = [
        {"path": name, "label": ("angry", "sad")[n % 2], "start": start, "end": end}
        for n, (start, end) in enumerate(times)
    ]
    folder = prepare_csv(rows)
    clips = {row["id"]: row for row in read_rows(folder)}
    assert {clip: round(row["duration"], 3) for clip, row in clips.items()} == {
        "calls/podcast_0.000-1.000": 1.0,
        "calls/podcast_1.000-2.500": 1.5,
        "calls/podcast_2.500-3.000": 0.5,
        "calls/podcast_3.000-end": 1.0,
    }
    whole = noise(0, 4 * RATE)
    for clip, start, stop in (("1.000-2.500", 1.0, 2.5), ("3.000-end", 3.0, 4.0)):
        (tmp_path / "cut.flac").write_bytes(clips[f"calls/podcast_{clip}"]["audio"]["bytes"])
        samples, _ = sf.read(tmp_path / "cut.flac", dtype="int16")
        np.testing.assert_array_equal(samples, whole[int(start * RATE) : int(stop * RATE)])


def test_a_recording_is_decoded_once_for_all_its_segments(recordings, prepare_csv, monkeypatch):
    from hf_ser.data import examination

    (name,) = recordings(1, "podcast.wav", 40 * RATE)
    decoded = []
    real = examination.audio.decode
    monkeypatch.setattr(examination.audio, "decode", lambda source: decoded.append(source) or real(source))
    rows = [
        {"path": name, "label": ("angry", "sad")[n % 2], "start": n * 0.5, "end": n * 0.5 + 0.5} for n in range(80)
    ]
    folder = prepare_csv(list(reversed(rows)))
    assert summary(folder)["clips"] == 80 and len(decoded) == 1


def test_a_segment_beyond_the_end_is_quarantined_with_its_row(recordings, prepare_csv):
    (name,) = recordings(1, "podcast.wav", 2 * RATE)
    times = [(0, 1), (1, 2.005), (1.5, 2.5), (3, 4)]  # the second end is rounded
    folder = prepare_csv(
        [{"path": name, "label": ("angry", "sad")[n % 2], "start": a, "end": b} for n, (a, b) in enumerate(times)]
    )
    assert summary(folder)["clips"] == 2
    assert quarantined(folder) == [
        (
            *("podcast.wav", "segment"),
            f"got a segment from {start} s to {end} s; expected a segment within the recording, which has 2.000 s "
            f"(calls.csv, row {row})",
        )
        for start, end, row in (("1.5", "2.5", 4), ("3", "4", 5))
    ]


# --- bad lists


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"path": "../secret.wav"}, {}, "1 row cannot be used (row 3: path ../secret.wav is not below"),
        ({"path": "C:\\rec\\1.wav"}, {}, "row 3: path C:\\rec\\1.wav is an absolute path of Windows"),
        ({"label": " "}, {}, "row 3: label is empty"),
        ({"age": "30-39"}, {}, "row 3: age is 30-39; expected a whole number of years"),
        ({"language": "english"}, {}, "row 3: language is english; expected a code such as en or de-AT"),
        ({"split": "holdout"}, {}, "row 3: split is holdout; expected train, validation or test"),
        ({"start": "2", "end": "1"}, {}, "row 3: start is 2 s and end is 1 s; expected an end after the start"),
        ({"start": "-1"}, {}, "row 3: start is -1; expected seconds, such as 12.5 or 1:02.5"),
        ({"votes": "many"}, {}, "row 3: votes is many; expected labels with counts"),
        ({"path": "000.wav"}, {}, "1 row repeats a recording with another label (000.wav: row 2 angry, row 3 sad)"),
        ({"label": "angry"}, {"columns": {"id": "label"}}, "row 2 and row 3 have the same id angry"),
        ({}, {"columns": {"path": "wav"}}, "calls.csv has no column wav; its columns are path, label"),
        ({}, {"columns": {"pth": "path"}}, "--columns.pth: no such field (did you mean path?)"),
        ({}, {"columns": {"label": None}}, "calls.csv has no column label; its columns are path, label."),
    ],
)
def test_bad_rows_are_named(recordings, prepare_csv, tmp_path, change, settings, message):
    rows = labelled(recordings(4), ("angry", "sad"))
    rows[1] |= change
    with pytest.raises(ListingError) as error:
        prepare_csv(rows, **settings)
    assert message in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"audio", "calls.csv"}


def test_many_bad_rows_are_counted(recordings, prepare_csv):
    recordings(1)
    with pytest.raises(ListingError, match=r"calls.csv: 1,000 rows cannot be used \(row 2: .*; and 995 more\)\.$"):
        prepare_csv([{"path": f"{n}.wav", "label": ""} for n in range(1000)])


def test_no_audio_at_all_is_an_error(recordings, prepare_csv, tmp_path):
    recordings(1)
    with pytest.raises(ListingError, match=r"none of the files of calls.csv exists; .*x0.wav \(calls.csv, row 2"):
        prepare_csv([{"path": f"x{n}.wav", "label": "angry"} for n in range(3)])


def test_a_missing_file_is_quarantined_with_its_row(recordings, prepare_csv):
    folder = prepare_csv(labelled([*recordings(6), "none.wav"], ("angry", "sad")))
    assert quarantined(folder) == [
        ("none.wav", "not_found", "got no such file; expected an audio file (calls.csv, row 8)")
    ]


def test_a_row_that_repeats_a_recording_is_quarantined(recordings, prepare_csv):
    names = recordings(6)
    folder = prepare_csv([*labelled(names, ("angry", "sad")), {"path": names[0], "label": "angry"}])
    assert quarantined(folder) == [("000.wav", "repeated_row", "same recording as row 2 (calls.csv, row 8)")]


def test_rare_classes_are_noted(recordings, prepare_csv):
    rows = labelled(recordings(9), ("angry", "sad"))
    rows[0]["label"] = "other"
    report = summary(prepare_csv(rows, labels=["angry", "other", "sad", "happy"]))["report"]
    assert "no clips of happy" in report
    assert "other has only 1 clip (calls.csv, row 2); train, validation and test need at least 3 in all" in report
    assert "the licence of calls is unknown; pass --licence to publish the audio" in report


def test_overlapping_segments_are_noted(recordings, prepare_csv):
    (name,) = recordings(1, "podcast.wav", 4 * RATE)
    times = [(0, 1), (3, 4), (0.5, 1.5), (1.5, 3)]
    rows = [{"path": name, "label": ("angry", "sad")[n % 2], "start": a, "end": b} for n, (a, b) in enumerate(times)]
    note = "calls.csv: 1 pair of segments overlaps (row 2 and row 4); they may be in different splits"
    assert note in summary(prepare_csv(rows))["report"]


# --- formats of the file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encodings_and_delimiters(recordings, tmp_path, read_rows, encoding, delimiter):
    recordings(4, "Müller {}.wav")
    lines = [["Path", " LABEL ", "Speaker"]]
    lines += [[f"Müller {n}.wav", ("Angry", "Sad")[n % 2], f"Jürgen {n}"] for n in range(4)]
    text = "".join(delimiter.join(line) + "\r\n" for line in lines) + delimiter * 2 + "\r\n"
    (tmp_path / "calls.csv").write_bytes(text.encode(encoding))
    args = PrepareArguments(
        str(tmp_path / "out"), csv=[str(tmp_path / "calls.csv")], audio_dir=str(tmp_path / "audio"), num_proc=1
    )
    folder = prepare(args, progress=False).folder
    assert {row["speaker"] for row in read_rows(folder)} == {f"calls_Jürgen {n}" for n in range(4)}
    assert ("Windows-1252" in summary(folder)["report"]) == (encoding == "cp1252")


def test_the_first_line_of_excel(recordings, tmp_path):
    recordings(3)
    lines = ["sep=;", "path;label", "000.wav;angry, very", "001.wav;sad", "x.wav;sad"]
    (tmp_path / "calls.csv").write_text("\r\n".join(lines), newline="")
    listing = read_csv(tmp_path / "calls.csv", tmp_path / "audio")
    assert [(one.emotion, one.origin) for one in listing.utterances] == [
        *(("angry, very", "calls.csv, row 3"), ("sad", "calls.csv, row 4"), ("sad", "calls.csv, row 5")),
    ]


def test_absolute_paths_in_the_folder(recordings, tmp_path):
    names = recordings(2)
    (tmp_path / "link").symlink_to(tmp_path / "audio")
    rows = [f"{tmp_path / 'audio' / names[0]},angry", f"{tmp_path / 'link' / names[1]},sad"]
    (tmp_path / "calls.csv").write_text("\n".join(["path,label", *rows]))
    for folder in ("audio", "link"):
        listing = read_csv(tmp_path / "calls.csv", tmp_path / folder)
        assert [one.id for one in listing.utterances] == ["calls/000", "calls/001"]


def test_paths_of_windows(recordings, prepare_csv, read_rows):
    names = recordings(4, "a/b/{}.wav")
    rows = labelled([name.replace("/", "\\") for name in names], ("angry", "sad"))
    assert {row["id"] for row in read_rows(prepare_csv(rows))} == {f"calls/a/b/{n}" for n in range(4)}


def test_the_same_name_with_two_suffixes(recordings, prepare_csv, read_rows, tmp_path):
    names = recordings(3)
    (tmp_path / "audio" / "000.flac").write_bytes((tmp_path / "audio" / "001.wav").read_bytes())
    (tmp_path / "audio" / "001.wav").unlink()
    rows = labelled(["000.flac", names[0], names[2]], ("angry", "sad"))
    assert {row["id"] for row in read_rows(prepare_csv(rows))} == {"calls/000.flac", "calls/000.wav", "calls/002"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "calls.csv is empty; expected a first row with the names of the columns"),
        (b"path,label\n", "calls.csv has no recordings; expected a row with path and label"),
        (
            b"wav,emotion\na.wav,sad\n",
            "has no column path and no column label; its columns are wav, emotion. Pass the",
        ),
        (b"path,label\na.wav,sad,loud, and long\n", "calls.csv, row 2 has 4 fields; expected 2. Put fields"),
        (b"path,label,Label\na.wav,sad,x\n", "calls.csv has the column label twice"),
        (b"PK\x03\x04\0\0\0\0", "has null characters; expected a CSV file"),
        (b"path,label\n\x81.wav,sad\n", "byte 11 cannot be decoded; expected UTF-8"),
    ],
)
def test_files_that_are_no_list(tmp_path, content, message):
    (tmp_path / "calls.csv").write_bytes(content)
    with pytest.raises(ListingError) as error:
        prepare(PrepareArguments(str(tmp_path / "out"), csv=[str(tmp_path / "calls.csv")]), progress=False)
    assert message in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"calls.csv"}


def test_a_changed_label_is_another_dataset(recordings, prepare_csv):
    rows = labelled(recordings(6), ("angry", "sad"))
    prepare_csv(rows)
    rows[0]["label"] = "sad"
    with pytest.raises(SerError, match="contains a dataset prepared from other files or settings"):
        prepare_csv(rows)


def test_two_sources_of_one_corpus_are_an_error(corpora, recordings, prepare_csv):
    rows = labelled(recordings(4), ("angry", "sad"), corpus=lambda n: "savee")
    with pytest.raises(SerError, match="corpus savee comes from two sources"):
        prepare_csv(rows, savee=str(corpora["savee"]))


def test_no_warning_of_a_leak_that_is_in_the_report(recordings, prepare_csv):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare_csv(labelled(recordings(6), ("angry", "sad")))
