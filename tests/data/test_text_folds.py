"""Folds of speakers and texts, and speaker folds that a seed redraws."""

import itertools
from collections import Counter

import pytest

from hf_ser.data import Assignment, Row, assign, folds
from hf_ser.data.protocols import CROSSED, SHARES_SPEAKERS, ProtocolError
from hf_ser.data.published import PUBLISHED

EMOTIONS = ("angry", "happy", "sad")
SPLITS = ("train", "validation", "test")


def corpus_of(name: str, speakers: list[str], texts: list[str]) -> list[Row]:
    """Every speaker says every text with every emotion, twice."""
    return [
        Row(f"{name}/{speaker}_{text}_{emotion}_{take}", name, f"{name}_{speaker}", emotion, gender, text)
        for number, speaker in enumerate(speakers)
        for gender in [("male", "female")[number % 2]]
        for text in texts
        for emotion in EMOTIONS
        for take in (1, 2)
    ]


RAVDESS = corpus_of("ravdess", [f"{actor:02d}" for actor in range(1, 25)], ["dogs", "kids"])
CREMA_D = corpus_of("crema_d", [str(actor) for actor in range(1001, 1092)], [f"sentence {n:02d}" for n in range(12)])
EMODB = corpus_of("emodb", "03 08 09 10 11 12 13 14 15 16".split(), [f"a{n:02d}" for n in range(1, 11)])
BY_CORPUS = {"ravdess": RAVDESS, "crema_d": CREMA_D, "emodb": EMODB}


def members(rows: list[Row], made: Assignment, split: str) -> list[Row]:
    return [row for row in rows if made.splits.get(row.id) == split]


@pytest.mark.parametrize(("corpus", "number"), [("ravdess", 12), ("crema_d", 10), ("emodb", 10)])
@pytest.mark.parametrize("protocol", CROSSED)
def test_every_clip_is_tested_once_and_held_out_as_the_name_says(protocol, corpus, number):
    rows, tested = BY_CORPUS[corpus], []
    assert len(folds(rows, protocol)) == number
    for fold in range(1, number + 1):
        made = assign(rows, protocol, fold=fold)
        parts = {split: members(rows, made, split) for split in SPLITS}
        texts = {split: {row.text for row in part} for split, part in parts.items()}
        speakers = {split: {row.speaker for row in part} for split, part in parts.items()}
        assert not speakers["validation"] & (speakers["train"] | speakers["test"])
        assert not texts["validation"] & texts["test"]
        assert bool(speakers["train"] & speakers["test"]) is (protocol == "text_disjoint")
        assert bool(texts["train"] & texts["test"]) is (protocol == "speaker_disjoint_text_shared")
        assert (protocol in SHARES_SPEAKERS) is (protocol == "text_disjoint")
        if protocol == "text_disjoint":
            assert speakers["test"] < speakers["train"]
        else:
            assert texts["train"] >= texts["validation"]
        assert all({row.emotion for row in part} == set(EMOTIONS) for part in parts.values())
        tested += made.ids("test")
    assert sorted(tested) == sorted(row.id for row in rows)


@pytest.mark.parametrize("corpus", ["ravdess", "crema_d", "emodb"])
def test_only_the_choice_of_training_clips_differs_between_the_three(corpus):
    rows = BY_CORPUS[corpus]
    for fold in range(1, len(folds(rows, "text_disjoint")) + 1):
        made = {protocol: assign(rows, protocol, fold=fold) for protocol in CROSSED}
        for one, other in itertools.combinations(CROSSED, 2):
            for split in ("validation", "test"):
                assert made[one].ids(split) == made[other].ids(split)
            assert made[one].ids("train") != made[other].ids("train")
        counts = []
        for assignment in made.values():
            train = members(rows, assignment, "train")
            each = Counter(row.speaker for row in train)
            per_class = Counter(row.emotion for row in train)
            assert len(set(each.values())) == 1  # as many clips of each speaker
            counts.append((len(each), len(train), tuple(sorted(per_class.items()))))
        # The five sets of CREMA-D have 18 or 19 actors; all others have equal sizes.
        assert max(number for number, *_ in counts) - min(number for number, *_ in counts) <= (corpus == "crema_d")
        assert corpus == "crema_d" or len(set(counts)) == 1


def test_shared_texts_are_dealt_over_women_and_men():
    made = assign(RAVDESS, "speaker_disjoint_text_shared", fold=1)
    dealt = {(row.speaker, row.gender, row.text) for row in members(RAVDESS, made, "train")}
    assert len(dealt) == 16  # each of the 16 training speakers has one of the two texts
    counts = Counter((gender, text) for _, gender, text in dealt)
    for gender in ("female", "male"):
        assert abs(counts[gender, "dogs"] - counts[gender, "kids"]) <= 1


def test_the_groups_of_speakers_are_the_published_ones():
    for corpus, protocol in (("ravdess", "emobox"), ("crema_d", "emo_superb")):
        rows = BY_CORPUS[corpus]
        for fold, (speakers, _) in enumerate(PUBLISHED[protocol][corpus], 1):
            for half in (0, 1):
                made = assign(rows, "speaker_and_text_disjoint", fold=2 * fold - 1 + half)
                assert {row.speaker for row in members(rows, made, "test")} == set(speakers)


def test_a_part_of_a_corpus_is_dealt_by_gender():
    rows = [row for row in RAVDESS if row.speaker <= "ravdess_10"]
    names = [fold.name for fold in folds(rows, "text_disjoint")]
    assert names[:2] == ["01 02, texts 1 of 2", "01 02, texts 2 of 2"] and len(names) == 10


def test_texts_are_divided_by_their_numbers_of_clips():
    often = [row._replace(id=f"{row.id}_{n}") for row in CREMA_D if row.text == "sentence 00" for n in range(3)]
    rows = [row for row in CREMA_D if row.text != "sentence 00"] + often  # as CREMA-D's sentence IEO
    sizes = [len(assign(rows, "text_disjoint", fold=fold).ids("test")) for fold in (1, 2)]
    assert sum(sizes) == 18 * 14 * 6 and sizes[0] == sizes[1]


def test_the_notes_tell_the_texts_and_that_speakers_are_shared():
    made = assign(RAVDESS, "text_disjoint", fold=2)
    assert made.notes[:2] == ("texts 2 of 2: kids", "the test speakers are training speakers, with other texts")
    assert "clips that the protocol does not use" in made.notes[-1]
    many = corpus_of("talks", list("abcdefgh"), [f"text {n}" for n in range(30)])
    unique = [row._replace(text=f"{row.text} {number}") for number, row in enumerate(many)]
    notes = assign(unique, "speaker_and_text_disjoint", fold=1).notes
    assert f"{len(many)} of {len(many)} texts occur once, so that holding texts out says little" in notes
    assert notes[0].endswith(f"and {len(many) // 2 - 12} more")


def test_song_is_left_out():
    song = [row._replace(id=f"{row.id}_song", vocal_channel="song") for row in RAVDESS]
    with_song = assign(RAVDESS + song, "speaker_and_text_disjoint", fold=3)
    assert with_song.splits == assign(RAVDESS, "speaker_and_text_disjoint", fold=3).splits


@pytest.mark.parametrize("protocol", CROSSED)
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row._replace(text="") for row in RAVDESS], "needs the text of every clip; 288 of 288 clips of ravdess have"),
        (RAVDESS[:5] + [RAVDESS[5]._replace(text="")], "needs the text of every clip; 1 of 6 clips of ravdess have"),
        (RAVDESS + EMODB, "one corpus; got clips of emodb, ravdess. Pass --configuration emodb or ravdess"),
        ([row for row in RAVDESS if row.text == "dogs"], "speech clips with at least 2 texts; got 1 of ravdess."),
        ([row._replace(vocal_channel="song") for row in RAVDESS], "with at least 2 texts; got 0 of ravdess."),
        ([row for row in EMODB if row.speaker < "emodb_10"], "needs at least 4 speakers; got 3 of emodb"),
        ([row._replace(speaker="") for row in EMODB], "needs the speaker of every clip"),
    ],
)
def test_clips_that_cannot_be_divided_are_refused(protocol, rows, message):
    with pytest.raises(ProtocolError) as error:
        assign(rows, protocol, fold=1)
    assert message in str(error.value)


# --- speaker folds that the seed redraws


def test_repeated_speaker_folds_are_redrawn_by_the_seed_and_test_every_clip_once():
    drawn = {}
    for seed in (0, 1, 2):
        tested, groups = [], []
        for fold in range(1, 6):
            made = assign(RAVDESS, "repeated_speaker_folds_5", fold=fold, seed=seed)
            parts = [{row.speaker for row in members(RAVDESS, made, split)} for split in SPLITS]
            for one, other in itertools.combinations(parts, 2):
                assert one and not one & other
            women = sum(
                row.gender == "female" for row in {row.speaker: row for row in members(RAVDESS, made, "test")}.values()
            )
            assert abs(2 * women - len(parts[2])) <= 1
            assert made.notes[0] == f"test speakers of part {fold}, seed {seed}: {', '.join(sorted(parts[2]))}"
            tested += made.ids("test")
            groups.append(frozenset(parts[2]))
        assert sorted(tested) == sorted(row.id for row in RAVDESS)
        drawn[seed] = frozenset(groups)
    assert len(set(drawn.values())) == 3
    assert [fold.name for fold in folds(RAVDESS, "repeated_speaker_folds_5", seed=1)][0] == "part 1 of 5 (5 speakers)"


def test_repeated_speaker_folds_need_five_speakers():
    with pytest.raises(
        ProtocolError, match="repeated_speaker_folds_5 needs at least 5 speakers of each corpus; got 3"
    ):
        assign([row for row in EMODB if row.speaker < "emodb_10"], "repeated_speaker_folds_5", fold=1)
