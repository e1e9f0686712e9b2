"""CREMA-D's table of votes: one modality, joined by stem; rows that cannot be used are named."""

import csv

import pytest

from hf_ser.corpora.crema_d_votes import VotesError, read_votes

HEADER = ("", "A", "D", "F", "H", "N", "S", "fileName", "numResponses", "agreement")
ROWS = (
    ("100001", 0, 0, 0, 1, 3, 0, "1001_IEO_NEU_XX", 4, 0.75),
    ("100002", 2, 0, 0, 0, 0, 1, "1040_ITH_SAD_X", 3, 0.66),
    ("200001", 4, 0, 0, 0, 0, 0, "1001_IEO_NEU_XX", 4, 1.0),
    ("300001", 0, 5, 0, 0, 0, 0, "1001_IEO_NEU_XX", 5, 1.0),
)
NONE = dict.fromkeys(("angry", "disgust", "fearful", "happy", "neutral", "sad"), 0)


@pytest.fixture
def table(tmp_path):
    """Write a table of votes; return its path."""

    def write(rows=ROWS, header=HEADER):
        path = tmp_path / "tabulatedVotes.csv"
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return write


def test_each_modality_has_its_rows(table):
    voice = read_votes(table())
    assert voice["1001_IEO_NEU_XX"] == NONE | {"happy": 1, "neutral": 3}
    assert set(voice) == {"1001_IEO_NEU_XX", "1040_ITH_SAD_XX"}  # the old name of a recording is known
    assert read_votes(table(), "face") == {"1001_IEO_NEU_XX": NONE | {"angry": 4}}
    assert read_votes(table(), "multimodal") == {"1001_IEO_NEU_XX": NONE | {"disgust": 5}}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("A", "-1", "row 2: column A is '-1'; expected a whole number of at least 0"),
        ("N", "", "row 2: column N is ''; expected a whole number"),
        ("N", "2.5", "row 2: column N is '2.5'"),
        ("numResponses", "9", "row 2: numResponses is '9', and the votes sum to 4"),
        ("fileName", "clip", "row 2: fileName 'clip' does not name a recording of CREMA-D"),
        ("fileName", "1040_ITH_SAD_XX", "row 3: it repeats the clip 1040_ITH_SAD_XX of row 2"),
    ],
)
def test_rows_that_cannot_be_used_are_named(table, column, value, message):
    changed = [value if name == column else cell for name, cell in zip(HEADER, ROWS[0], strict=True)]
    with pytest.raises(VotesError) as error:
        read_votes(table((changed, *ROWS[1:])))
    assert message in str(error.value) and "1 rows cannot be used" in str(error.value)


def test_a_clip_without_a_vote_is_an_error(table):
    with pytest.raises(VotesError, match="row 2: it has no votes"):
        read_votes(table([("100001", 0, 0, 0, 0, 0, 0, "1001_IEO_NEU_XX", 0, 0)]))


def test_other_files_and_modalities_are_errors(table, tmp_path):
    with pytest.raises(VotesError, match="has no column H, S; expected tabulatedVotes.csv"):
        read_votes(table((), HEADER[:4] + ("x", "N", "y") + HEADER[7:]))
    with pytest.raises(
        VotesError, match="has no votes of the modality face; expected rows whose number starts with 2"
    ):
        read_votes(table(ROWS[:1]), "face")
    with pytest.raises(VotesError, match="crema_d_votes_modality is 'video'; expected one of voice, face, multimodal"):
        read_votes(table(), "video")
    with pytest.raises(VotesError, match="cannot be read"):
        read_votes(tmp_path / "none.csv")


@pytest.mark.corpora
def test_the_real_table_is_read(corpora_dir):
    path = corpora_dir / "crema_d" / "processedResults" / "tabulatedVotes.csv"
    if not path.is_file():
        pytest.skip(f"no votes: {path}")
    voice = read_votes(path)
    assert voice["1001_IEO_HAP_HI"] == NONE | {"angry": 2, "happy": 6, "neutral": 2}
    assert len(voice) >= 1621 and len(read_votes(path, "face")) == len(read_votes(path, "multimodal")) == len(voice)
