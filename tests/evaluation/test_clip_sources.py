"""Clips to evaluate from a prepared dataset, a folder of recordings, and a CSV file."""

import csv
import os
import shutil

import numpy as np
import pytest
import soundfile as sf

from hf_ser.audio import load_audio
from hf_ser.corpora import CORPORA as EVERY_CORPUS
from hf_ser.corpora import synthetic
from hf_ser.data import DataArguments, load_splits
from hf_ser.data.examination import ScanError
from hf_ser.evaluation.clip_sources import SourceError, clips_of_csv, clips_of_folder, clips_of_split
from hf_ser.labels import EMOTIONS
from hf_ser.scoring.predictions import CLIP_COLUMNS

CORPORA = ("ravdess", "crema_d", "tess", "savee")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Generated recordings of all four corpora, with song."""
    return synthetic.generate(
        tmp_path_factory.mktemp("generated"),
        corpora=CORPORA,
        clips_per_class=1,
        speakers_per_corpus=2,
        duration_s=(0.5, 0.6),
        include_song=True,
    )


@pytest.fixture
def mixed(generated, tmp_path):
    """A folder that mixes recordings of all four: RAVDESS and CREMA-D in one, the others in theirs."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for corpus in ("ravdess", "crema_d"):
        for path in generated[corpus].rglob("*.wav"):
            shutil.copy(path, folder)
    for corpus in ("tess", "savee"):
        shutil.copytree(generated[corpus], folder / "others" / corpus)
    return folder


def stems(folder):
    return sorted(path.stem for path in folder.rglob("*.wav"))


def notes_about(found, name):
    return [note for note in found.notes if name in note]


# --- a folder ---------------------------------------------------------------------------------------------------


def test_a_folder_of_all_four_corpora(mixed, generated, tmp_path):
    found = clips_of_folder(mixed, DataArguments(), tmp_path / "packs")
    assert list(found.columns) == [*CLIP_COLUMNS, "language"] and found.notes == ()
    names = [clip.partition("/")[2] for clip in found.columns["id"]]
    expected = [stem for corpus in CORPORA[:3] for stem in stems(generated[corpus])]
    expected += [f"{path.parent.name}_{path.stem}" for path in generated["savee"].rglob("*.wav")]
    assert sorted(names) == sorted(expected) and len(set(names)) == len(names)
    assert set(found.columns["corpus"]) == set(CORPORA)
    row = dict(zip(found.columns, next(zip(*found.columns.values(), strict=True)), strict=True))
    assert row["id"] == "crema_d/1001_DFA_ANG_XX"
    assert (row["speaker"], row["gender"], row["intensity"], row["label"]) == (
        "crema_d_1001",
        "male",
        "unspecified",
        "angry",
    )
    by_id = dict(zip(found.columns["id"], found.columns["label"], strict=True))
    assert by_id["ravdess/03-01-02-01-01-01-01"] == "calm" and by_id["savee/DC_su01"] == "surprised"
    assert len(found.durations) == len(names) and all(0.5 <= seconds <= 0.6 for seconds in found.durations)


def test_decoding_gives_the_recording_itself(mixed, tmp_path):
    found = clips_of_folder(mixed, DataArguments(trim_db=20.0, duration_s=0.25), tmp_path / "packs")
    by_stem = {path.stem: path for path in mixed.glob("*.wav")}
    numbers = [number for number, clip in enumerate(found.columns["id"]) if clip.partition("/")[2] in by_stem][::-7]
    assert len({found.columns["corpus"][number] for number in numbers}) == 2
    for number, waveform in zip(numbers, found.decode(numbers), strict=True):
        path = by_stem[found.columns["id"][number].partition("/")[2]]
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform, load_audio(path))


def test_decoding_nothing_gives_nothing(mixed, tmp_path):
    assert clips_of_folder(mixed, DataArguments(), tmp_path / "packs").decode([]) == []


def test_merge_calm(mixed, tmp_path):
    plain = clips_of_folder(mixed, DataArguments(), tmp_path / "packs").columns["label"]
    merged = clips_of_folder(mixed, DataArguments(merge_calm=True), tmp_path / "packs").columns["label"]
    assert "calm" in plain and merged == ["neutral" if label == "calm" else label for label in plain]


@pytest.mark.parametrize(("channel", "code"), [("speech", "01"), ("song", "02")])
def test_one_channel(mixed, tmp_path, channel, code):
    found = clips_of_folder(mixed, DataArguments(channel=channel), tmp_path / "packs")
    assert {clip.split("-")[1] for clip in found.columns["id"] if clip.startswith("ravdess/")} == {code}
    assert (set(found.columns["corpus"]) == {"ravdess"}) == (channel == "song")
    path = mixed / f"{found.columns['id'][-1].partition('/')[2]}.wav"
    if channel == "song":  # numbers are those of the clips that are left
        np.testing.assert_allclose(found.decode([len(found.durations) - 1])[0], load_audio(path), atol=1 / 32768)


def test_a_channel_without_clips_is_refused(generated, tmp_path):
    with pytest.raises(SourceError, match="no recording can be evaluated"):
        clips_of_folder(generated["tess"], DataArguments(channel="song"), tmp_path / "packs")


@pytest.fixture
def damaged(generated, tmp_path):
    """Recordings of RAVDESS, of which some cannot be used."""
    folder = tmp_path / "damaged"
    shutil.copytree(generated["ravdess"], folder)
    paths = sorted(folder.rglob("03-01-*.wav"))
    sf.write(paths[0], np.zeros(24_000), 48_000, subtype="PCM_16")
    paths[1].write_bytes(paths[1].read_bytes()[:20_000])
    paths[2].write_bytes(b"")
    sf.write(paths[3], np.full(4_800, 0.5), 48_000, subtype="PCM_16")
    paths[4].write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    shutil.copy(paths[5], paths[6])  # the same sound under two labels
    (folder / "again").mkdir()
    shutil.copy(paths[7], folder / "again")
    return folder, paths


def test_what_cannot_be_used_is_kept_out_and_noted(damaged, tmp_path):
    folder, paths = damaged
    found = clips_of_folder(folder, DataArguments(), tmp_path / "packs")
    kept = {clip.partition("/")[2] for clip in found.columns["id"]}
    assert kept == {path.stem for path in folder.rglob("*.wav")} - {path.stem for path in paths[:7]}
    reasons = ["silent", "truncated", "empty", "too_short", "lfs_pointer", "conflicting_labels", "conflicting_labels"]
    for path, reason in zip(paths, reasons, strict=False):
        (note,) = [note for note in notes_about(found, f"{path.stem}.wav (") if note.startswith("rejected, ")]
        assert note.startswith(f"rejected, {reason}: Actor_")
    assert len(notes_about(found, "duplicate_stem")) == 1 and len(found.notes) == 8
    assert len(found.decode(list(range(len(kept))))) == len(kept)


def test_nothing_usable_is_refused_with_a_reason(generated, tmp_path):
    folder = tmp_path / "silent"
    folder.mkdir()
    name = next(generated["ravdess"].rglob("*.wav")).name
    sf.write(folder / name, np.zeros(24_000), 48_000, subtype="PCM_16")
    with pytest.raises(SourceError, match=f"no recording can be evaluated; rejected, silent: {name}"):
        clips_of_folder(folder, DataArguments(), tmp_path / "packs")


def test_nothing_but_unknown_names_is_refused(generated, tmp_path):
    folder = tmp_path / "unknown"
    folder.mkdir()
    shutil.copy(next(generated["ravdess"].rglob("*.wav")), folder / "hello.wav")
    with pytest.raises(SourceError, match="hello.wav .does not follow the naming of ravdess, crema_d, tess, savee"):
        clips_of_folder(folder, DataArguments(), tmp_path / "packs")


@pytest.mark.parametrize("name", ["hello.wav", "03-01-09-01-01-01-01.wav", "sub/notes.mp3"])
def test_unknown_names_beside_known_ones_are_noted_once(mixed, tmp_path, name):
    (mixed / "sub").mkdir()
    shutil.copy(next(mixed.glob("03-01-*.wav")), mixed / name)
    found = clips_of_folder(mixed, DataArguments(), tmp_path / "packs")
    assert len(found.columns["id"]) == len(stems(mixed)) - name.endswith(".wav")
    assert found.notes == (f"rejected, name: {name} (does not follow the naming of {', '.join(EVERY_CORPUS)})",)


@pytest.mark.parametrize("content", [None, "", "readme.txt"], ids=["missing", "empty", "no-recording"])
def test_folders_without_recordings_are_refused(tmp_path, content):
    folder = tmp_path / "folder"
    if content is not None:
        folder.mkdir()
    if content:
        (folder / content).write_text("x")
    with pytest.raises(SourceError, match=f"--recordings {folder}: "):
        clips_of_folder(folder, DataArguments(), tmp_path / "packs")


def test_the_message_names_no_flag_that_was_not_typed(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError) as error:
        clips_of_folder(tmp_path / "folder", DataArguments(), tmp_path / "packs")
    assert "--ravdess" not in str(error.value)
    assert not isinstance(error.value, ScanError)


def test_a_folder_gives_what_its_prepared_dataset_gives(dataset_dir, tmp_path):
    data_args = DataArguments(dataset=str(dataset_dir), duration_s=0.4)
    found = clips_of_folder(dataset_dir.parent / "corpora", data_args, tmp_path / "packs")
    splits = load_splits(data_args).splits
    by_id = {clip: number for number, clip in enumerate(found.columns["id"])}
    total = 0
    for split in splits.values():
        prepared = clips_of_split(split)
        numbers = [by_id[clip] for clip in prepared.columns["id"]]
        for name in CLIP_COLUMNS:
            assert [found.columns[name][number] for number in numbers] == prepared.columns[name], name
        assert [found.durations[number] for number in numbers] == pytest.approx(prepared.durations, rel=1e-6)
        for one, other in zip(found.decode(numbers), prepared.decode(list(range(len(numbers)))), strict=True):
            np.testing.assert_allclose(one, other, atol=1 / 32768)  # datasets hold 16 bits
        total += len(numbers)
    assert total == len(by_id) == 112


# --- a split ----------------------------------------------------------------------------------------------------


def test_a_split_is_decoded_by_number(dataset_dir):
    split = load_splits(DataArguments(dataset=str(dataset_dir), duration_s=0.25)).splits["test"]
    found = clips_of_split(split)
    assert found.columns["label"] == [EMOTIONS[label] for label in split["label"]] and found.notes == ()
    for number, waveform in zip([5, 0, 3], found.decode([5, 0, 3]), strict=True):
        np.testing.assert_array_equal(waveform, load_audio(split[number]["audio"]))


def test_a_merged_split_has_merged_labels(dataset_dir):
    data_args = DataArguments(dataset=str(dataset_dir), merge_calm=True)
    split = load_splits(data_args).splits["train"]
    plain = load_splits(DataArguments(dataset=str(dataset_dir))).splits["train"]
    merged = clips_of_split(split).columns["label"]
    labels = clips_of_split(plain).columns["label"]
    assert "calm" in labels and merged == ["neutral" if label == "calm" else label for label in labels]


# --- a CSV file -------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(tmp_path, tone):
    """Write recordings of 0.3, 0.4, ... seconds and a CSV file that lists them."""

    def make(rows, header=("path", "label"), *, encoding="utf-8", name="list.csv", **options):
        for number, path in enumerate(["a.wav", "sub/b.wav", "c, the third.flac"]):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            sf.write(tmp_path / path, tone(0.3 + 0.1 * number, 22_050), 22_050, subtype="PCM_16")
        with open(tmp_path / name, "w", encoding=encoding, newline="") as file:
            csv.writer(file, **options).writerows([header, *rows])
        return tmp_path / name

    return make


ROWS = [("a.wav", "happy"), ("sub/b.wav", "calm"), ("c, the third.flac", "sad")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"], ids=["plain", "with-bom"])
@pytest.mark.parametrize("options", [{}, {"quoting": csv.QUOTE_ALL}, {"lineterminator": "\n"}], ids=str)
def test_path_and_label_are_enough(listed, encoding, options):
    found = clips_of_csv(listed(ROWS, encoding=encoding, **options), DataArguments())
    assert found.columns == {
        "id": ["a.wav", "sub/b.wav", "c, the third.flac"],
        "corpus": ["list"] * 3,
        "speaker": [""] * 3,
        "gender": [""] * 3,
        "intensity": [None] * 3,
        "label": ["happy", "calm", "sad"],
    }
    assert found.durations == pytest.approx([0.3, 0.4, 0.5], abs=1e-3)
    assert len(found.notes) == 1 and "the speakers are unknown: intervals are over clips" in found.notes[0]


def test_optional_columns_in_any_order(listed):
    header = ("intensity", "label", "speaker", "path", "remark", "gender", "id", "corpus")
    rows = [
        ("strong", "happy", "s1", "a.wav", "x", "female", "1", "mine"),
        ("", "calm", "s2", "sub/b.wav") + ("",) * 4,
    ]
    found = clips_of_csv(listed(rows, header), DataArguments(merge_calm=True))
    assert found.columns == {
        "id": ["1", "sub/b.wav"],
        "corpus": ["mine", "list"],
        "speaker": ["s1", "s2"],
        "gender": ["female", ""],
        "intensity": ["strong", None],
        "label": ["happy", "neutral"],
    }
    assert found.notes == ()


def test_languages_and_labels_of_other_sets(listed):
    rows = [("a.wav", "wütend", "de"), ("sub/b.wav", "other", "")]
    path = listed(rows, ("path", "label", "language"))
    found = clips_of_csv(path, DataArguments(), classes=("wütend", "other"))
    assert found.columns["language"] == ["de", None] and found.columns["label"] == ["wütend", "other"]
    with pytest.raises(SourceError, match="1 unknown labels .line 2: 'wütend'.*expected neutral, other"):
        clips_of_csv(path, DataArguments(), classes=("neutral", "other"))


def test_votes_are_counted_by_class(listed):
    rows = [
        ("a.wav", "happy", "happy:3; calm:1; neutral:1"),
        ("sub/b.wav", "sad", ""),
        ("a.wav", "sad", '{"bored": 2}'),
    ]
    found = clips_of_csv(listed(rows[:2], ("path", "label", "votes")), DataArguments(merge_calm=True))
    assert found.columns["votes"] == [{"happy": 3, "neutral": 2}, None]
    outside = clips_of_csv(listed(rows[1:], ("path", "label", "votes")), DataArguments())
    assert "votes for bored do not count: no class has this name" in outside.notes
    bad = listed([("a.wav", "happy", "happy:-3")], ("path", "label", "votes"))
    with pytest.raises(
        SourceError, match="1 rows with invalid votes .line 2: votes is happy:-3; expected labels with"
    ):
        clips_of_csv(bad, DataArguments())


def test_a_listed_recording_is_what_load_audio_gives(listed):
    path = listed(ROWS)
    found = clips_of_csv(path, DataArguments(trim_db=20.0))
    for number, waveform in zip([2, 0], found.decode([2, 0]), strict=True):
        np.testing.assert_array_equal(waveform, load_audio(path.parent / ROWS[number][0]))


def test_paths_are_relative_to_the_file_or_absolute(listed, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = listed([(str(tmp_path / "a.wav"), "happy"), ("elsewhere/../a.wav", "sad")])
    one, other = clips_of_csv(path, DataArguments()).decode([0, 1])
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "header", [("path", "emotion"), ("file", "label"), ("path;label",), ("Path", "Label")], ids=str
)
def test_missing_columns_are_refused(listed, header):
    with pytest.raises(SourceError, match="list.csv has 1 rows, columns .*expected rows with path and label"):
        clips_of_csv(listed([("a.wav", "happy")[: len(header)]], header), DataArguments())


def test_a_list_without_rows_is_refused(listed):
    with pytest.raises(SourceError, match="has 0 rows"):
        clips_of_csv(listed([]), DataArguments())


def test_unknown_labels_are_refused_by_line(listed):
    rows = [("a.wav", "happy"), ("sub/b.wav", "Happy"), *[("a.wav", "joy")] * 6]
    with pytest.raises(SourceError, match="7 unknown labels .line 3: 'Happy'; line 4: 'joy'.*and 2 more"):
        clips_of_csv(listed(rows), DataArguments())


def test_a_row_without_its_label_is_refused(listed):
    with pytest.raises(SourceError, match="1 rows without path or label .line 3"):
        clips_of_csv(listed([("a.wav", "happy"), ("sub/b.wav",)]), DataArguments())


def test_a_row_without_its_path_is_refused(listed):
    with pytest.raises(SourceError, match="line 3"):
        clips_of_csv(listed([("happy", "a.wav"), ("sad",)], ("label", "path")), DataArguments())


def test_recordings_that_cannot_be_used_are_refused_by_line(listed, tmp_path):
    path = listed([("a.wav", "happy"), ("gone.wav", "sad"), ("list.csv", "sad"), ("sub", "sad")])
    with pytest.raises(SourceError, match="3 unusable recordings .line 3: .*gone.wav: got no.*line 4: ") as error:
        clips_of_csv(path, DataArguments())
    assert "relative to the CSV file" in str(error.value)


def test_lines_are_those_of_the_file(listed):
    path = listed([])
    path.write_text('path,label\n\n\na.wav,happy\n"a.wav",joy\n')
    with pytest.raises(SourceError, match="line 5: 'joy'"):
        clips_of_csv(path, DataArguments())


def test_a_recording_that_stands_twice_is_refused(listed):
    with pytest.raises(SourceError, match="a.wav"):
        clips_of_csv(listed([("a.wav", "happy"), ("a.wav", "sad")]), DataArguments())


def test_an_empty_speaker_column_is_noted_like_none(listed):
    found = clips_of_csv(listed([(*row, "") for row in ROWS], ("path", "label", "speaker")), DataArguments())
    assert found.columns["speaker"] == [""] * 3 and "the speakers are unknown" in found.notes[0]
    some = [(*row, speaker) for row, speaker in zip(ROWS, ("s1", "", "s1"), strict=True)]
    found = clips_of_csv(listed(some, ("path", "label", "speaker")), DataArguments())
    assert found.columns["speaker"] == ["s1", "", "s1"] and "some clips have no speaker" in found.notes[0]


def test_a_channel_is_refused_beside_a_list_without_one(listed):
    with pytest.raises(SourceError, match="channel"):
        clips_of_csv(listed(ROWS), DataArguments(channel="song"))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00p", "folder"], ids=["missing", "no-utf-8", "folder"])
def test_what_is_no_csv_file_is_refused(tmp_path, content):
    path = tmp_path / "list.csv"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match="--csv .*list.csv: .*expected a CSV file with the columns path and label"):
        clips_of_csv(path, DataArguments())


def test_a_recording_that_breaks_off_is_refused_by_line(listed, tmp_path):
    path = listed(ROWS)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match="1 unusable recordings .line 2: .*a.wav: got .* bytes are missing"):
        clips_of_csv(path, DataArguments())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_csv_file_that_is_a_pipe_is_rejected_at_once(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(SourceError, match="not a regular file"):
        clips_of_csv(tmp_path / "labels.csv", DataArguments())
