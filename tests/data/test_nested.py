"""Nested folds: every training clip is held out once, with its speaker, and test clips take no part."""

import warnings
from collections import Counter

import pytest

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, Row, assign, load_splits
from hf_ser.data.nested import nested
from hf_ser.data.protocols import ProtocolError

EMOTIONS = ("angry", "happy", "sad")


def corpus(name="c", speakers=16, takes=2):
    return [
        Row(f"{name}/{who:02}_{emotion}_{take}", name, f"{name}_{who:02}", emotion, ("male", "female")[who % 2])
        for who in range(speakers)
        for emotion in EMOTIONS
        for take in range(takes)
    ]


def quiet(rows, protocol, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return assign(rows, protocol, **options)


@pytest.mark.parametrize("protocol", ["speaker_disjoint", "random", "leave_one_speaker_out"])
def test_every_training_clip_is_held_out_once_and_no_test_clip_takes_part(protocol):
    rows = corpus() + corpus("d", 8)
    outer = quiet(rows, protocol, seed=1, fold=2 if protocol == "leave_one_speaker_out" else None)
    folds = [nested(rows, outer, number, 4) for number in (1, 2, 3, 4)]
    held_out = [clip for fold in folds for clip in fold.ids("test")]
    assert sorted(held_out) == outer.ids("train")
    speaker_of = {row.id: row.speaker for row in rows}
    for fold in folds:
        assert fold.ids("validation") == outer.ids("validation")
        assert set(fold.ids("train")) | set(fold.ids("test")) == set(outer.ids("train"))
        assert (fold.protocol, fold.fold, fold.seed) == (outer.protocol, outer.fold, outer.seed)
        if protocol != "random":
            assert not {speaker_of[clip] for clip in fold.ids("train")} & {
                speaker_of[clip] for clip in fold.ids("test")
            }
    assert len({fold.hash for fold in folds} | {outer.hash}) == 5


def test_classes_and_genders_are_balanced_and_the_order_of_rows_does_not_matter():
    rows = corpus(speakers=23)
    outer = quiet(rows, "speaker_disjoint")
    gender, emotion = ({row.id: getattr(row, name) for row in rows} for name in ("gender", "emotion"))
    for number in (1, 2, 3, 4):
        fold = nested(rows, outer, number, 4)
        assert fold.hash == nested(rows[::-1], outer, number, 4).hash
        assert max(Counter(gender[clip] for clip in fold.ids("test")).values()) <= 3 * 6
        counts = Counter(emotion[clip] for clip in fold.ids("test"))
        assert len(counts) == 3 and len(set(counts.values())) == 1
    assert nested(rows, quiet(rows, "speaker_disjoint", seed=5), 1, 4).ids("test") != nested(rows, outer, 1, 4).ids(
        "test"
    )


def test_clips_with_identical_audio_stay_together_under_random():
    rows = [row._replace(sha256=f"{row.speaker}{row.emotion}") for row in corpus()]
    outer = quiet(rows, "random")
    sound = {row.id: row.sha256 for row in rows}
    for number in (1, 2, 3):
        fold = nested(rows, outer, number, 3)
        assert not {sound[clip] for clip in fold.ids("train")} & {sound[clip] for clip in fold.ids("test")}
        sizes = [len(nested(rows, outer, part, 3).ids("test")) for part in (1, 2, 3)]
        assert max(sizes) - min(sizes) <= 2


def test_too_few_speakers_and_wrong_numbers_are_rejected():
    rows = corpus(speakers=4)
    outer = quiet(rows, "speaker_disjoint")
    with pytest.raises(ProtocolError, match="nested_folds is 4, .* too few speakers under .*; expected at most 2"):
        nested(rows, outer, 1, 4)
    for number, folds in ((0, 2), (3, 2), (1, 1)):
        with pytest.raises(ProtocolError, match=f"nested_fold is {number} of {folds}; expected 1 to"):
            nested(rows, outer, number, folds)
    with pytest.raises(ConfigError, match="nested_fold is 1 but protocol is not given"):
        DataArguments("d", nested_fold=1)


def test_a_nested_fold_of_a_dataset(sounds_dir):
    args = {"dataset": str(sounds_dir), "configuration": "ravdess", "protocol": "speaker_disjoint"}
    whole = load_splits(DataArguments(**args))
    part = load_splits(DataArguments(**args, nested_fold=2, nested_folds=2))
    assert set(part.splits["train"]["id"]) | set(part.splits["test"]["id"]) == set(whole.splits["train"]["id"])
    assert not set(part.splits["test"]["speaker"]) & set(part.splits["train"]["speaker"])
    assert part.splits["validation"]["id"][:] == whole.splits["validation"]["id"][:]
    assert part.assignment.notes[-1].startswith("nested fold 2 of 2")
