"""audformat databases, written by its own library: labels, speakers, splits and segments."""

from pathlib import Path

import pytest
import soundfile as sf

from hf_ser.corpora.audformat_database import read_audformat
from hf_ser.corpora.listing import ListingError

audformat = pytest.importorskip("audformat")
import pandas as pd  # noqa: E402  (a dependency of audformat)

EMOTIONS = ["anger", "neutral", "joy"]
FILES = [f"audio/{number:03d}.wav" for number in range(6)]
LABELS = ["anger", "neutral", None, "joy", "anger", "neutral"]


@pytest.fixture
def database():
    """A database of six files, four of them for training, with the gender and age of two speakers."""
    database = audformat.Database("call-centre", languages=["deu"], license="CC-BY-4.0")
    database.schemes["emotion"] = audformat.Scheme(labels=EMOTIONS)
    speakers = {"anna": {"gender": "female", "age": 31}, "bert": {"gender": "male", "age": 40}}
    database.schemes["speaker"] = audformat.Scheme(labels=speakers)
    database["files"] = audformat.Table(audformat.filewise_index(FILES))
    database["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    database["files"]["speaker"].set(["anna", "bert"] * 3)
    for split, kind, part in (("train", "train", slice(0, 4)), ("held-out", "test", slice(4, 6))):
        database.splits[split] = audformat.Split(type=kind)
        table = f"emotion.{split}"
        database[table] = audformat.Table(audformat.filewise_index(FILES[part]), split_id=split)
        database[table]["emotion"] = audformat.Column(scheme_id="emotion")
        database[table]["emotion"].set(LABELS[part])
    return database


@pytest.fixture
def save(database, tmp_path, tone):
    """Save the database with its recordings; return its folder."""

    def write():
        folder = tmp_path / "call-centre"
        for number, file in enumerate(FILES):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            sf.write(folder / file, tone(1.0 + number / 100), 16_000)
        database.save(str(folder))
        return folder

    return write


def test_labels_speakers_and_splits(save):
    folder = save()
    listing = read_audformat(folder)
    rows = {utterance.path.relative_to(folder.resolve()).as_posix(): utterance for utterance in listing.utterances}
    assert rows.keys() == {file for file, label in zip(FILES, LABELS, strict=True) if label}
    for number, file in enumerate(FILES):
        if file in rows:
            utterance, is_anna = rows[file], number % 2 == 0
            assert utterance.emotion == LABELS[number]
            assert utterance.speaker == f"call_centre_{'anna' if is_anna else 'bert'}"
            assert (utterance.gender, utterance.age) == (("female", 31) if is_anna else ("male", 40))
            assert utterance.split == ("train" if number < 4 else "test")
            assert (utterance.corpus, utterance.language) == ("call_centre", "de")
            assert not utterance.is_segment
    assert any("CC-BY-4.0" in note for note in listing.notes)


def test_segments_keep_the_speaker_of_their_file(database, save):
    index = audformat.segmented_index(
        [FILES[2], FILES[1], FILES[2]], ["0s", "0.25s", "0.5s"], ["0.4s", "0.75s", pd.NaT]
    )
    database["segments"] = audformat.Table(index)
    database["segments"]["emotion"] = audformat.Column(scheme_id="emotion")
    database["segments"]["emotion"].set(["joy", "anger", "neutral"])
    folder = save()
    found = {
        (Path(each.path).name, each.start_s, each.end_s): (each.emotion, each.speaker)
        for each in read_audformat(folder).utterances
    }
    assert {key: value for key, value in found.items() if key[1:] != (None, None)} == {
        ("002.wav", None, 0.4): ("joy", "call_centre_anna"),
        ("001.wav", 0.25, 0.75): ("anger", "call_centre_bert"),
        ("002.wav", 0.5, None): ("neutral", "call_centre_anna"),
    }
    whole = {key[0]: value[1] for key, value in found.items() if key[1:] == (None, None)}
    assert whole == {f"{n:03d}.wav": f"call_centre_{'bert' if n % 2 else 'anna'}" for n in (0, 1, 3, 4, 5)}
    only = read_audformat(folder, tables=["segments"]).utterances
    assert len(only) == 3 and all(each.is_segment and each.split == "" for each in only)


def test_tables_that_disagree_are_named(database, save):
    database["self-report"] = audformat.Table(audformat.filewise_index(FILES[:1]))
    database["self-report"]["emotion"] = audformat.Column(scheme_id="emotion")
    database["self-report"]["emotion"].set(["joy"])
    folder = save()
    with pytest.raises(ListingError, match="tables of call-centre disagree: .*--audformat_tables, of .*self-report"):
        read_audformat(folder)
    (utterance,) = read_audformat(folder, tables=["self-report"]).utterances
    assert utterance.emotion == "joy"


def test_another_scheme_can_hold_the_labels(database, save):
    database.schemes["mood"] = audformat.Scheme(labels=["good", "bad"])
    database["moods"] = audformat.Table(audformat.filewise_index(FILES))
    database["moods"]["mood"] = audformat.Column(scheme_id="mood")
    database["moods"]["mood"].set(["good", "bad"] * 3)
    listing = read_audformat(save(), {"label": "mood", "speaker": None})
    assert [each.emotion for each in listing.utterances] == ["good", "bad"] * 3
    assert {each.speaker for each in listing.utterances} == {""}


@pytest.mark.parametrize(
    ("columns", "tables", "message"),
    [
        ({"label": "feeling"}, None, "has no scheme feeling; expected one of age, emotion, gender, speaker"),
        ({"label": None}, None, "has no scheme emotion or emotions or label; its schemes are age, emotion"),
        ({"lable": "emotion"}, None, "--columns.lable: no such field"),
        (None, ["gold"], "--audformat_tables gold: no such table in .*; expected any of"),
    ],
)
def test_names_that_do_not_exist_are_errors(save, columns, tables, message):
    with pytest.raises(ListingError, match=message):
        read_audformat(save(), columns, tables)


def test_other_folders_are_errors(tmp_path):
    with pytest.raises(ListingError, match="no db.yaml in it; expected the folder of an audformat database"):
        read_audformat(tmp_path)
    (tmp_path / "db.yaml").write_text("name: [")
    with pytest.raises(ListingError, match="cannot be read"):
        read_audformat(tmp_path)
