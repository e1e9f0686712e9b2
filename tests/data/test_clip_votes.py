"""Votes in a prepared dataset: joined by the stem of a file, told in the report, absent if nobody voted."""

import csv
import json

import pytest

from hf_ser.corpora.crema_d_votes import LETTERS, VotesError
from hf_ser.data import DataArguments, PrepareArguments, load_splits, prepare
from hf_ser.data.clip_votes import votes_of_split
from hf_ser.data.prepare import PrepareError


def report(folder):
    return json.loads((folder / "preparation.json").read_text(encoding="utf-8"))["report"]


@pytest.fixture
def votes_file(corpora, tmp_path):
    """Write votes for the CREMA-D clips of `corpora`: 3 for the acted emotion and 1 for sad, of the voice."""

    def write(keep=lambda stem: True, more=()):
        stems = sorted(path.stem for path in corpora["crema_d"].rglob("*.wav"))
        path = tmp_path / "votes.csv"
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["", *LETTERS.values(), "fileName", "numResponses"])
            for number, stem in enumerate([*filter(keep, stems), *more], 100_001):
                counts = [3 * (letter == stem.split("_")[2][0]) for letter in LETTERS.values()]
                counts[-1] += 1
                writer.writerow([number, *counts, stem, 4])
        return path

    return write


@pytest.fixture
def make(corpora, arguments, tmp_path):
    """Prepare CREMA-D and SAVEE with these settings; return the folder."""

    def prepared(**settings):
        folders = {name: corpora[name] for name in ("crema_d", "savee")}
        return prepare(arguments(folders, tmp_path / "out", **settings), progress=False).folder

    return prepared


def test_votes_are_joined_by_stem_and_null_elsewhere(make, votes_file, read_rows):
    path = votes_file(lambda stem: "_HAP_" not in stem, more=["1091_WSI_SAD_XX"])
    folder = make(crema_d_votes=str(path))
    rows = {row["id"]: row["votes"] for row in read_rows(folder)}
    voted = {clip: votes for clip, votes in rows.items() if votes is not None}
    assert voted and all(clip.startswith("crema_d/") for clip in voted)
    happy = {clip for clip in rows if clip.startswith("crema_d/") and "_HAP_" in clip}
    assert happy and {clip for clip in rows if clip.startswith("crema_d/")} - set(voted) == happy
    angry = next(votes for clip, votes in voted.items() if "_ANG_" in clip)
    assert angry == [{"label": "angry", "count": 3}, {"label": "sad", "count": 1}]
    text = report(folder)
    assert f"{len(voted)} of {len(rows)} clips have votes, 4 to 4 per clip (mean 4.0)" in text
    assert f"the most frequent vote is the label of {len(voted)} clips, another one of 0, and tied in 0" in text
    assert "the votes of 1 clips have no recording (1091_WSI_SAD_XX)" in text
    assert "`votes` (number of raters per label)" in (folder / "README.md").read_text(encoding="utf-8")


def test_other_votes_are_another_dataset_and_none_leave_it_as_it_was(make, votes_file):
    plain = make()
    before = (plain / "preparation.json").read_bytes()
    assert b"votes" not in before and make() == plain
    with pytest.raises(PrepareError, match="prepared from other files or settings"):
        make(crema_d_votes=str(votes_file()))
    folder = make(crema_d_votes=str(votes_file()), overwrite=True)
    assert make(crema_d_votes=str(votes_file())) == folder  # up to date
    with pytest.raises(PrepareError, match="prepared from other files or settings"):
        make(crema_d_votes=str(votes_file(lambda stem: "_HAP_" not in stem)))


def prepare_own(rows, folder, output):
    args = PrepareArguments(str(output), csv=[str(rows)], audio_dir=str(folder), num_proc=1)
    return prepare(args, progress=False).folder


def test_merged_calm_counts_as_neutral(corpora, tmp_path):
    others = sorted(corpora["savee"].rglob("*.wav"))[:12]
    labels = ("calm", "neutral", "sad")
    lines = [f"{one},{labels[n % 3]},s{n % 4},calm:2; neutral:1" for n, one in enumerate(others)]
    (tmp_path / "calm.csv").write_text("\n".join(["path,label,speaker,votes", *lines]), encoding="utf-8")
    folder = prepare_own(tmp_path / "calm.csv", others[0].parent, tmp_path / "out")
    data = load_splits(DataArguments(str(folder), "all", merge_calm=True), needed=("train",))
    assert votes_of_split(data.splits["train"])[0] == {"neutral": 3} and "calm" not in data.labels


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crema_d_votes_modality": "video"}, "--crema_d_votes_modality is video; expected one of voice, face"),
        ({"crema_d_votes_modality": "face"}, "--crema_d_votes_modality is face but --crema_d_votes is not given"),
        ({"crema_d_votes": "v.csv", "crema_d": None}, "--crema_d_votes is given but --crema_d is not"),
    ],
)
def test_settings_that_do_not_fit_are_errors(make, settings, message):
    with pytest.raises(PrepareError) as error:
        make(**settings)
    assert message in str(error.value)


def test_votes_of_other_clips_are_an_error(make, votes_file, tmp_path):
    path = votes_file(lambda stem: False, more=["1091_WSI_SAD_XX"])
    with pytest.raises(VotesError, match="has none of the 36 recordings of CREMA-D .*in the file: 1091_WSI_SAD_XX"):
        make(crema_d_votes=str(path))
    assert not (tmp_path / "out").exists()


def test_votes_for_labels_outside_the_label_set_are_told(corpora, tmp_path):
    others = sorted(corpora["savee"].rglob("*.wav"))[:12]

    def csv_with(votes):
        rows = tmp_path / "own.csv"
        lines = [f"{one},{('happy', 'sad')[n % 2]},s{n % 4},{votes}" for n, one in enumerate(others)]
        rows.write_text("\n".join(["path,label,speaker,votes", *lines]), encoding="utf-8")
        return rows

    folder = prepare_own(csv_with("happy:2; bored:1"), others[0].parent, tmp_path / "out")
    assert "12 votes are for labels outside the label set and do not count (bored: 12)" in report(folder)
    with pytest.raises(VotesError, match="no vote is for a label of the dataset: the votes are bored: 36"):
        prepare_own(csv_with("bored:3"), others[0].parent, tmp_path / "other")
    for bad in ("happy:0", "happy:-1", "happy:1.5", "happy:inf"):
        with pytest.raises(Exception, match=f"votes is {bad}; expected labels with counts"):
            prepare_own(csv_with(bad), others[0].parent, tmp_path / "other")
