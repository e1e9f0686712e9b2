"""Training clips are found again under any name: by id, by samples, by performance."""

import re

import pytest

from hf_ser.corpora import performances
from hf_ser.data.seen import Marks, Match, Record, find_seen, some, unchecked

TRAINED = "ravdess/03-01-05-01-02-01-07"
RECORD = Record(
    {TRAINED: "train", "mine/a": "train", "savee/DC_su01": "train", "mine/b": "validation", "mine/c": "test"},
    {TRAINED: "11", "mine/a": "22", "savee/DC_su01": "33", "mine/b": "44", "mine/c": "55"},
)


@pytest.mark.parametrize(
    ("name", "performance"),
    [
        ("ravdess/03-01-05-01-02-01-07", {"ravdess/01-05-01-02-01-07"}),
        ("any/where/01-01-05-01-02-01-07.mp3", {"ravdess/01-05-01-02-01-07"}),
        ("03-01-05-01-02-01-07", {"ravdess/01-05-01-02-01-07"}),
        ("crema_d/1040_ith_sad_x.WAV", {"crema_d/1040_ITH_SAD_XX"}),
        ("OA_bite_neutral.ogg", {"tess/OAF_bite_neutral"}),
        ("AudioData/DC/su01.wav", {"savee/DC_su01"}),
        ("savee/DC_su01", {"savee/DC_su01"}),
        ("mine/su01.wav", set()),  # SAVEE's speaker is missing
        ("03-01-09-01-02-01-07.wav", set()),
        ("x1.wav", set()),
        ("v1.2", set()),
        ("..", set()),
        ("", set()),
    ],
)
def test_what_a_name_stands_for(name, performance):
    assert performances(name) == performance


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        (Marks([TRAINED]), [Match(TRAINED, TRAINED)]),
        (Marks(["x1"], lambda: ["11"]), [Match("x1", TRAINED)]),
        (Marks(["x1"], lambda: [""]), []),
        (Marks(["x1"], lambda: ["66"]), []),
        (Marks(["x1"], None, ["in/03-01-05-01-02-01-07.wav"]), [Match("x1", TRAINED)]),
        (Marks(["x1"], None, ["in/01-01-05-01-02-01-07.mp3"]), [Match("x1", TRAINED)]),
        (Marks(["ravdess/01-01-05-01-02-01-07"]), [Match("ravdess/01-01-05-01-02-01-07", TRAINED)]),
        (Marks(["03-01-05-01-02-01-07"], None, ["x1.wav"]), [Match("03-01-05-01-02-01-07", TRAINED)]),
        (Marks(["x1"], None, ["DC/su01.wav"]), [Match("x1", "savee/DC_su01")]),
        (Marks(["x1"], None, ["JE/su01.wav"]), []),
        (Marks(["mine/b", "x1"], lambda: ["44", "55"]), []),  # which did not train
        (Marks(["x1", "mine/c", "x2"], lambda: ["22", "55", "11"]), [Match("x1", "mine/a"), Match("x2", TRAINED)]),
    ],
)
def test_clips_that_were_in_training(marks, expected):
    assert find_seen(RECORD, marks) == expected


def test_another_part_of_the_training():
    assert find_seen(RECORD, Marks(["x1", "x2"], lambda: ["44", "22"]), "validation") == [Match("x1", "mine/b")]


def test_hashes_are_computed_only_where_there_is_something_to_compare_them_with():
    def hashes():
        raise AssertionError("a file was decoded for nothing")

    assert find_seen(Record({"mine/a": "train"}), Marks(["x1"], hashes)) == []
    assert find_seen(Record({}), Marks(["x1"], hashes)) == []


@pytest.mark.parametrize(
    ("record", "marks", "expected"),
    [
        (None, Marks(["x"], lambda: ["1"]), r"the training clips of the model are unknown \(no splits.csv\)"),
        (Record({"a": "train"}), Marks(["x"], lambda: ["1"]), "by name only, because its splits.csv has no hashes"),
        (
            Record({"a": "train", "b": "train"}, {"a": "1"}),
            Marks(["x"], lambda: ["1"]),
            "by name only, because its splits.csv has no hash for 1 of 2 training clips",
        ),
        (RECORD, Marks(["x"]), "by name only, because the dataset does not have a sha256 for every clip"),
        (RECORD, Marks(["x", "y"], lambda: ["1", ""]), "the dataset does not have a sha256 for every clip"),
    ],
)
def test_what_could_not_be_checked_is_told(record, marks, expected):
    (note,) = unchecked(record, marks)
    assert re.search(expected, note)


def test_nothing_is_told_where_everything_was_checked():
    assert unchecked(RECORD, Marks(["x"], lambda: ["1"])) == []


def test_the_first_matches_are_shown():
    assert some([Match("a", "a"), Match("x1.wav", "b")]) == "a, x1.wav is b"
    assert some([Match(str(n), str(n)) for n in range(4)]) == "0, 1, 2, ..."
