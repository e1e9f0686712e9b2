"""Protocols on the metadata of the whole published corpora and of small ones: no recording is needed.

The tables of the published splits stand here a second time, written from shared/CORPORA.md.
"""

import hashlib
import itertools
import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_ser.corpora import CORPORA as EVERY_CORPUS
from hf_ser.data import PROTOCOLS, Assignment, Row, SpeakerLeakWarning, assign, folds
from hf_ser.data.protocols import CROSS_CORPUS, LEAK, UNKNOWN_SPEAKERS, ProtocolError, default_protocol
from hf_ser.errors import SerError

SPLITS = ("train", "validation", "test")
TOTALS = {"ravdess": 1440, "crema_d": 7442, "tess": 2800, "savee": 480}
CORPORA = {corpus: EVERY_CORPUS[corpus] for corpus in TOTALS}
CLASSES = {"ravdess": 8, "crema_d": 6, "tess": 7, "savee": 7}
TEXTS = {"ravdess": 2, "crema_d": 12, "tess": 200, "savee": 0}
TESS_SPEAKERS = {"tess_OAF", "tess_YAF"}


def published(corpus: str, channel: str = "speech") -> list[Row]:
    """Metadata of a whole corpus: as many rows of every speaker and class as were published."""
    rows = []
    for number, ((speaker, emotion), count) in enumerate(CORPORA[corpus].published_counts(channel).items()):
        for index in range(count):
            stem = f"{corpus}/{channel}_{speaker}_{emotion}_{index:03d}"
            text = f"text {(number + index) % TEXTS[corpus]}" if TEXTS[corpus] else ""
            sha256 = hashlib.sha256(stem.encode()).hexdigest()
            rows.append(Row(stem, corpus, speaker, emotion, gender_of(corpus, speaker), text, channel, sha256))
    return rows


def gender_of(corpus: str, speaker: str) -> str:
    if corpus in ("ravdess", "crema_d"):  # in the real CREMA-D genders do not alternate, but are as many
        return "male" if int(speaker[-2:]) % 2 else "female"
    return {"tess": "female", "savee": "male"}[corpus]


WHOLE = {corpus: published(corpus) for corpus in CORPORA}
MERGED = [row for rows in WHOLE.values() for row in rows]


def small(corpus: str, speakers: int, clips: int) -> list[Row]:
    """The first clips of every class by the first speakers."""
    first = sorted({row.speaker for row in WHOLE[corpus]})[:speakers]
    rows = defaultdict(list)
    for row in WHOLE[corpus]:
        if row.speaker in first:
            rows[row.speaker, row.emotion].append(row)
    return [row for members in rows.values() for row in members[:clips]]


def split(rows: Iterable[Row], protocol: str = "speaker_disjoint", **options) -> Assignment:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpeakerLeakWarning)
        return assign(rows, protocol, **options)


def of(rows: Iterable[Row], assignment: Assignment, field: str) -> dict[str, set[str]]:
    """Split -> the values of a field in it."""
    values: dict[str, set[str]] = {name: set() for name in SPLITS}
    for row in rows:
        if row.id in assignment.splits:
            values[assignment.splits[row.id]].add(getattr(row, field))
    return values


def sizes(assignment: Assignment) -> tuple[int, ...]:
    counts = Counter(assignment.splits.values())
    assert set(counts) <= set(SPLITS)
    return tuple(counts[name] for name in SPLITS)


def speakers(corpus: str, names: str) -> set[str]:
    return {f"{corpus}_{name}" for name in names.split()}


seeds = st.integers(0, 2**32)
ratio_triples = st.sampled_from([(0.7, 0.15, 0.15), (0.7, 0.2, 0.1), (0.6, 0.2, 0.2), (0.8, 0.1, 0.1)]) | st.tuples(
    st.integers(1, 20), st.integers(1, 20), st.integers(1, 20)
).map(lambda parts: tuple(part / sum(parts) for part in parts))
some_corpora = st.lists(st.sampled_from(sorted(CORPORA)), min_size=1, max_size=4, unique=True)
quick = settings(deadline=None, max_examples=25)


@st.composite
def small_sets(draw) -> list[Row]:
    rows = []
    for corpus in draw(some_corpora):
        rows += small(corpus, draw(st.integers(1, 8)), draw(st.integers(1, 4)))
    return rows


def test_the_metadata_here_is_that_of_the_published_corpora():
    assert {corpus: len(rows) for corpus, rows in WHOLE.items()} == TOTALS
    assert len({row.id for row in MERGED}) == 12_162
    assert {corpus: len({row.emotion for row in rows}) for corpus, rows in WHOLE.items()} == CLASSES
    assert len(published("ravdess", "song")) == 1012


def test_the_protocols_have_these_names():
    assert PROTOCOLS == (
        *("speaker_disjoint", "random", "given", "leave_one_speaker_out", "speaker_folds_5"),
        *("leave_one_corpus_out", "leave_one_corpus_out_balanced", "cross_corpus", "repeated_speaker_folds_5"),
        *("speaker_disjoint_text_shared", "text_disjoint", "speaker_and_text_disjoint"),
        *("emobox", "mm_emotion_recognition", "peft_ser", "emo_superb", "nkululeko", "cross_speaker"),
        *("leave_one_session_out", "iemocap_10_fold"),
    )


# --- speaker_disjoint


def check_speaker_disjoint(rows: list[Row], assignment: Assignment) -> None:
    assert assignment.splits.keys() == {row.id for row in rows}
    for corpus in {row.corpus for row in rows}:
        own = [row for row in rows if row.corpus == corpus]
        members = of(own, assignment, "speaker")
        number = len({row.speaker for row in own})
        if number >= 3:
            for one, other in itertools.combinations(SPLITS, 2):
                assert not members[one] & members[other], (corpus, one, other)
            assert all(members.values())
        elif number == 2:
            assert len(members["test"]) == 1 and not members["test"] & (members["train"] | members["validation"])
        else:
            assert (len(members["train"]), members["validation"], members["test"]) == (1, set(), set())


@quick
@given(seed=seeds, ratios=ratio_triples)
def test_speaker_disjoint_shares_no_speaker_on_the_whole_corpora(seed, ratios):
    assignment = split(MERGED, seed=seed, ratios=ratios)
    check_speaker_disjoint(MERGED, assignment)
    for corpus, rows in WHOLE.items():
        for name, classes in of(rows, assignment, "emotion").items():
            assert len(classes) == CLASSES[corpus], (corpus, name)


@quick
@given(rows=small_sets(), seed=seeds, ratios=ratio_triples)
def test_speaker_disjoint_shares_no_speaker_on_small_sets(rows, seed, ratios):
    check_speaker_disjoint(rows, split(rows, seed=seed, ratios=ratios))


@pytest.mark.parametrize(
    ("corpus", "ratios", "expected"),
    [
        ("ravdess", (0.7, 0.15, 0.15), (16, 4, 4)),
        ("ravdess", (0.7, 0.2, 0.1), (17, 5, 2)),
        ("crema_d", (0.7, 0.15, 0.15), (63, 14, 14)),
        ("crema_d", (0.7, 0.2, 0.1), (64, 18, 9)),
        ("savee", (0.7, 0.15, 0.15), (2, 1, 1)),
        ("savee", (0.7, 0.2, 0.1), (2, 1, 1)),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_speaker_disjoint_gives_each_split_its_share_of_speakers(corpus, ratios, expected, seed):
    members = of(WHOLE[corpus], split(WHOLE[corpus], seed=seed, ratios=ratios), "speaker")
    assert tuple(len(members[name]) for name in SPLITS) == expected


@quick
@given(seed=seeds)
def test_speaker_disjoint_balances_genders(seed):
    genders = {row.speaker: row.gender for row in WHOLE["ravdess"]}
    members = of(WHOLE["ravdess"], split(WHOLE["ravdess"], seed=seed), "speaker")
    counts = [Counter(genders[speaker] for speaker in members[name]) for name in SPLITS]
    assert counts == [{"male": 8, "female": 8}, {"male": 2, "female": 2}, {"male": 2, "female": 2}]


def test_speaker_disjoint_prefers_splits_that_hold_every_class():
    # "calm" by three of ten speakers only: 1 in 20 random choices would put one into each split.
    rows = [
        Row(f"ravdess/{speaker}_{emotion}", "ravdess", f"ravdess_{speaker:02d}", emotion, "male")
        for speaker in range(10)
        for emotion in (("happy", "sad", "calm") if speaker < 3 else ("happy", "sad"))
    ]
    for seed in range(20):
        assignment = split(rows, seed=seed, ratios=(0.8, 0.1, 0.1))
        assert all(classes == {"happy", "sad", "calm"} for classes in of(rows, assignment, "emotion").values())
        assert assignment.notes == ()


def test_a_class_that_a_split_lacks_is_noted():
    rows = [Row(f"savee/{name}", "savee", f"savee_{name}", "angry", "male") for name in ("DC", "JE", "JK")]
    rows.append(Row("savee/DC_calm", "savee", "savee_DC", "calm", "male"))
    assignment = split(rows)
    lacking = [name for name in SPLITS if assignment.splits["savee/DC_calm"] != name]
    assert assignment.notes == tuple(f"savee: {name} has no calm clips" for name in lacking)


@quick
@given(seed=seeds)
def test_the_tested_tess_speaker_is_unseen_and_validation_shares_no_text_with_train(seed):
    rows = WHOLE["tess"]
    assignment = split(rows, seed=seed)
    members, texts = of(rows, assignment, "speaker"), of(rows, assignment, "text")
    assert len(members["test"]) == 1 and members["train"] == members["validation"] == TESS_SPEAKERS - members["test"]
    assert not texts["train"] & texts["validation"]
    assert (len(texts["train"]), len(texts["validation"])) == (165, 35)  # 200 words x 0.15 / 0.85 = 35.3
    assert sizes(assignment) == (1155, 245, 1400)
    (other,) = members["train"]
    assert assignment.notes == (
        f"tess: train and validation share speaker {other} (with different texts); the test speaker is held out",
    )


def test_either_tess_speaker_may_test():
    tested = {frozenset(of(WHOLE["tess"], split(WHOLE["tess"], seed=seed), "speaker")["test"]) for seed in range(20)}
    assert tested == {frozenset({speaker}) for speaker in TESS_SPEAKERS}


def test_tess_at_70_20_10():
    assert sizes(split(WHOLE["tess"], ratios=(0.7, 0.2, 0.1))) == (1092, 308, 1400)  # 200 words x 2 / 9 = 44.4


def test_savee_is_split_two_one_one():
    for seed in range(10):
        assert sizes(split(WHOLE["savee"], seed=seed)) == (240, 120, 120)


@pytest.mark.parametrize("corpus", CORPORA)
def test_one_speaker_trains_only(corpus):
    rows = small(corpus, 1, 3)
    assignment = split(rows)
    assert set(assignment.splits.values()) == {"train"} and len(assignment.splits) == len(rows)
    assert assignment.notes == (f"{corpus}: the only speaker is {rows[0].speaker}, so all clips are in train",)


def test_song_of_a_speaker_lies_in_the_split_of_their_speech():
    rows = WHOLE["ravdess"] + published("ravdess", "song")
    assignment = split(rows)
    check_speaker_disjoint(rows, assignment)
    assert len(assignment.splits) == 2452


# --- random


@quick
@given(seed=seeds, ratios=st.sampled_from([(0.7, 0.15, 0.15), (0.7, 0.2, 0.1), (0.6, 0.2, 0.2), (0.8, 0.1, 0.1)]))
def test_random_splits_every_class_of_every_corpus_in_the_ratio(seed, ratios):
    assignment = split(MERGED, "random", seed=seed, ratios=ratios)
    assert len(assignment.splits) == 12_162
    strata: dict[tuple[str, str], Counter] = defaultdict(Counter)
    for row in MERGED:
        strata[row.corpus, row.emotion][assignment.splits[row.id]] += 1
    assert len(strata) == sum(CLASSES.values())
    for counts in strata.values():
        for name, ratio in zip(SPLITS, ratios, strict=True):
            assert abs(counts[name] - ratio * sum(counts.values())) <= 1


def test_random_at_the_published_ratios():
    def count(ratios):
        assignment = split(MERGED, "random", ratios=ratios)
        chosen = [row for row in MERGED if (row.corpus, row.emotion) == ("ravdess", "calm")]
        return tuple(Counter(assignment.splits[row.id] for row in chosen)[name] for name in SPLITS)

    assert count((0.7, 0.15, 0.15)) == (134, 29, 29)  # 192 x 0.15 = 28.8
    assert count((0.7, 0.2, 0.1)) == (135, 38, 19)  # 38.4 and 19.2


@quick
@given(rows=small_sets(), seed=seeds, pairs=st.lists(st.tuples(st.integers(0), st.integers(0)), max_size=30))
def test_random_keeps_identical_audio_together(rows, seed, pairs):
    hashes = [row.sha256 for row in rows]
    for one, other in pairs:
        hashes[one % len(rows)] = hashes[other % len(rows)]
    rows = [row._replace(sha256=sha256) for row, sha256 in zip(rows, hashes, strict=True)]
    assignment = split(rows, "random", seed=seed)
    assert assignment.splits.keys() == {row.id for row in rows}
    where: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        where[row.sha256].add(assignment.splits[row.id])
    assert all(len(splits) == 1 for splits in where.values())


def test_random_takes_clips_without_a_hash_one_by_one():
    rows = [row._replace(sha256="") for row in WHOLE["savee"]]
    assert sizes(split(rows, "random")) == (336, 72, 72)


def test_random_warns_that_speakers_leak():
    with pytest.warns(SpeakerLeakWarning, match="train and test share speakers.*Use speaker_disjoint") as caught:
        assignment = assign(WHOLE["savee"], "random")
    assert len(caught) == 1 and caught[0].filename == __file__
    assert any("train and test share speakers" in note for note in assignment.notes)
    members = of(WHOLE["savee"], assignment, "speaker")
    assert members["train"] & members["test"]


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "random"])
def test_no_other_protocol_warns(protocol):
    corpus = {"peft_ser": "crema_d", "emo_superb": "crema_d", "nkululeko": "savee", "cross_speaker": "tess"}.get(
        protocol, "ravdess"
    )
    rows = MERGED if protocol in CROSS_CORPUS else WHOLE[corpus]
    if protocol == "given":
        rows = [row._replace(split=SPLITS[number % 3]) for number, row in enumerate(rows)]
    rows = IEMOCAP if protocol in ("leave_one_session_out", "iemocap_10_fold") else rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assign(rows, protocol, fold=None if protocol in ("speaker_disjoint", "given") else 1)


# --- pure functions of the metadata and the seed


@pytest.mark.parametrize(
    "protocol",
    [
        *("speaker_disjoint", "random", "leave_one_speaker_out", "speaker_folds_5", "repeated_speaker_folds_5"),
        *("leave_one_corpus_out", "leave_one_corpus_out_balanced"),
    ],
)
@quick
@given(rows=small_sets(), seed=seeds, shuffling=seeds)
def test_the_order_of_rows_decides_nothing(protocol, rows, seed, shuffling):
    if protocol.endswith("speaker_folds_5"):
        rows = [*rows, *small("ravdess", 7, 2)]
        rows = [row for row in {row.id: row for row in rows}.values() if row.corpus == "ravdess"]
    if protocol.startswith("leave"):
        field = "corpus" if "corpus" in protocol else "speaker"
        if len({getattr(row, field) for row in rows}) < 2:
            return
    if protocol == "random":  # identical audio, across classes and corpora too
        rows = [row._replace(sha256=row.sha256[:1]) for row in rows]
    fold = None if protocol in ("speaker_disjoint", "random") else 2
    first = split(rows, protocol, seed=seed, fold=fold)
    random.Random(shuffling).shuffle(rows)
    second = split(iter(rows), protocol, seed=seed, fold=fold)
    assert first == second
    assert first.hash == second.hash


@pytest.mark.parametrize("protocol", ["speaker_disjoint", "random"])
def test_the_seed_decides(protocol):
    assert len({split(WHOLE["ravdess"], protocol, seed=seed).hash for seed in range(8)}) == 8


@pytest.mark.parametrize("protocol", ["speaker_disjoint", "random"])
@quick
@given(seed=seeds, chosen=some_corpora)
def test_adding_a_corpus_does_not_change_the_splits_of_another(protocol, seed, chosen):
    merged = split([row for corpus in CORPORA for row in small(corpus, 6, 3)], protocol, seed=seed)
    fewer = split([row for corpus in chosen for row in small(corpus, 6, 3)], protocol, seed=seed)
    assert fewer.splits.items() <= merged.splits.items()


TINY = [
    Row(f"ravdess/{speaker}-{emotion}-{take}", "ravdess", f"ravdess_{speaker}", emotion, gender, f"text {take}")
    for speaker, gender in (("01", "male"), ("02", "female"), ("03", "male"), ("04", "female"), ("05", "male"))
    for emotion in ("happy", "sad")
    for take in (1, 2)
] + [
    Row(f"tess/{speaker}_{word}_{emotion}", "tess", f"tess_{speaker}", emotion, "female", word)
    for speaker in ("OAF", "YAF")
    for word in ("back", "bar", "base", "bath")
    for emotion in ("happy", "sad")
]


@pytest.mark.parametrize(
    ("protocol", "seed", "fold", "expected"),
    [
        ("speaker_disjoint", 0, None, "24a13fad475cc253f1f4beb0fede6940481909a182e05e5c3f7c7c77c7c10a95"),
        ("speaker_disjoint", 1, None, "b1d83c66b52ba934d5f5f9b02b2acd0187e48447c48d205e1015abc4f7bcf3b8"),
        ("random", 0, None, "854e9f2e1aac1d1911d09753dedd7b9855833c505375aadcdd5c5d7aaf789e6f"),
        ("leave_one_speaker_out", 0, 3, "2e2fef9569e3bd74837f09c877b5f2ebfcb75b533f537735fabe014a7c6ce366"),
        ("leave_one_corpus_out", 0, 2, "377ae2bb401bf4ddec1ed88754d2a72362655fedfbe2d26f67ad37ac305557f7"),
    ],
)
def test_these_splits_never_change(protocol, seed, fold, expected):
    # A new hash here means that every number published under this protocol was measured on another split.
    assert split(TINY, protocol, seed=seed, fold=fold).hash == expected


@pytest.mark.parametrize(
    ("protocol", "corpus", "expected"),
    [
        ("emobox", "ravdess", "777128e769686176"),
        ("emobox", "savee", "082d20902c42d50f"),
        ("mm_emotion_recognition", "ravdess", "3aa6f24215b3a7a0"),
        ("peft_ser", "crema_d", "27b15143c4a7e5e9"),
        ("nkululeko", "savee", "e22f798f42999b31"),
        ("cross_speaker", "tess", "bfc3368186d0ae04"),
        ("speaker_folds_5", "crema_d", "c719eb8e93adc15e"),
        ("cross_corpus", None, "7f12c35ba213a341"),
        ("leave_one_corpus_out", None, "3cc02d10afe956b9"),
        ("leave_one_speaker_out", "ravdess", "a03bead1c2b12338"),
        ("leave_one_session_out", "iemocap", "0334e8779c3a032f"),
        ("iemocap_10_fold", "iemocap", "8c49f36bb9c6b567"),
        ("speaker_disjoint", None, "1f3d538b933f822b"),
        ("random", None, "5dfa58cb85c9d864"),
    ],
)
def test_the_folds_of_whole_corpora_never_change(protocol, corpus, expected):
    rows = MERGED if corpus is None else IEMOCAP if corpus == "iemocap" else WHOLE[corpus]
    single = protocol in ("speaker_disjoint", "random")
    numbers = [None] if single else range(1, len(folds(rows, protocol)) + 1)
    hashes = "".join(split(rows, protocol, fold=number, seed=seed).hash for number in numbers for seed in (0, 1))
    assert hashlib.sha256(hashes.encode()).hexdigest()[:16] == expected


def test_the_hash_is_of_the_sorted_ids_and_splits():
    assignment = Assignment("emobox", 1, 0, (0.7, 0.15, 0.15), {"b/2": "test", "a/1": "train"})
    assert assignment.hash == hashlib.sha256(b"a/1\ttrain\nb/2\ttest\n").hexdigest()
    other = Assignment("random", None, 5, (0.6, 0.2, 0.2), {"a/1": "train", "b/2": "test"}, ("a note",))
    assert other.hash == assignment.hash
    assert Assignment("emobox", 1, 0, (0.7, 0.15, 0.15), {"b/2": "train", "a/1": "train"}).hash != assignment.hash


def test_the_assignment_says_how_it_was_made():
    assignment = split(WHOLE["savee"], "emobox", seed=3, ratios=[0.6, 0.2, 0.2], fold=2)
    assert (assignment.protocol, assignment.fold, assignment.seed, assignment.ratios) == (
        *("emobox", 2, 3),
        (0.6, 0.2, 0.2),
    )
    assert assignment.ids("test") == sorted(row.id for row in WHOLE["savee"] if row.speaker == "savee_KL")
    assert [len(assignment.ids(name)) for name in SPLITS] == [240, 120, 120]


# --- leave one out


@pytest.mark.parametrize(("corpus", "number"), [("ravdess", 24), ("crema_d", 91), ("tess", 2), ("savee", 4)])
def test_leave_one_speaker_out_tests_every_speaker_once(corpus, number):
    rows = small(corpus, 100, 3)
    assert len(folds(rows, "leave_one_speaker_out")) == number
    tested = []
    for fold in range(1, number + 1):
        assignment = split(rows, "leave_one_speaker_out", fold=fold)
        members = of(rows, assignment, "speaker")
        assert assignment.splits.keys() == {row.id for row in rows}
        assert len(members["test"]) == 1 and not members["test"] & (members["train"] | members["validation"])
        assert members["train"] and members["validation"]
        if number > 2:
            assert not members["train"] & members["validation"]
        tested += members["test"]
    assert tested == sorted({row.speaker for row in rows})


@pytest.mark.parametrize("corpora", [("crema_d",), ("ravdess",), ("crema_d", "ravdess")])
def test_speaker_folds_test_every_clip_once_and_share_no_speaker(corpora):
    rows = [row for corpus in corpora for row in WHOLE[corpus]]
    tested = []
    for fold in range(1, 6):
        assignment = split(rows, "speaker_folds_5", fold=fold)
        assert assignment.splits.keys() == {row.id for row in rows}
        for one, other in itertools.combinations(SPLITS, 2):
            members = of(rows, assignment, "speaker")
            assert members[one] and not members[one] & members[other]
        tested += assignment.ids("test")
        for corpus in corpora:
            for emotions in of([row for row in rows if row.corpus == corpus], assignment, "emotion").values():
                assert len(emotions) == CLASSES[corpus]
    assert sorted(tested) == sorted(row.id for row in rows)


@pytest.mark.parametrize("corpus", ["crema_d", "ravdess"])
def test_speaker_folds_hold_women_and_men_in_equal_parts(corpus):
    counts = []
    for fold in range(1, 6):
        assignment = split(WHOLE[corpus], "speaker_folds_5", fold=fold)
        tested = {row.speaker: row.gender for row in WHOLE[corpus] if assignment.splits[row.id] == "test"}
        counts.append(Counter(tested.values()))
    for gender in ("female", "male"):
        assert max(count[gender] for count in counts) - min(count[gender] for count in counts) <= 1
    sizes = [sum(count.values()) for count in counts]
    assert max(sizes) - min(sizes) <= 1
    names = [fold.name for fold in folds(WHOLE[corpus], "speaker_folds_5")]
    assert names == [f"part {number} of 5 ({size} speakers)" for number, size in enumerate(sizes, 1)]


def test_speaker_folds_follow_the_written_rule_and_no_seed():
    rows = small("ravdess", 12, 1)
    women, men = (sorted({row.speaker for row in rows if row.gender == gender}) for gender in ("female", "male"))
    for fold in range(1, 6):
        dealt = {speaker for place, speaker in enumerate([*women, *men]) if place % 5 == fold - 1}
        for seed in (0, 7):
            assert of(rows, split(rows, "speaker_folds_5", fold=fold, seed=seed), "speaker")["test"] == dealt


def test_speaker_folds_need_five_speakers_of_each_corpus():
    rows = [*small("ravdess", 6, 2), *small("savee", 4, 2)]
    with pytest.raises(
        ProtocolError, match="at least 5 speakers of each corpus; got 4 of savee. Pass --configuration"
    ):
        folds(rows, "speaker_folds_5")


def test_leave_one_speaker_out_on_merged_corpora():
    rows = [row for corpus in CORPORA for row in small(corpus, 4, 2)]
    names = [fold.name for fold in folds(rows, "leave_one_speaker_out")]
    assert names == sorted({row.speaker for row in rows}) and len(names) == 14
    for fold, name in enumerate(names, 1):
        assignment = split(rows, "leave_one_speaker_out", fold=fold)
        members = of(rows, assignment, "speaker")
        assert members["test"] == {name}
        assert name not in members["train"] | members["validation"]
        # The two voices of TESS: while another corpus is tested, one trains and the other validates.
        assert members["train"] & members["validation"] == (TESS_SPEAKERS - {name} if name in TESS_SPEAKERS else set())
        assert of(rows, assignment, "corpus")["validation"] == set(CORPORA)


def test_cross_corpus_trains_on_one_and_tests_on_all():
    choices = folds(MERGED, "cross_corpus")
    assert [fold.name for fold in choices] == sorted(CORPORA)
    for number, fold in enumerate(choices, 1):
        assignment = split(MERGED, "cross_corpus", fold=number)
        corpora, speakers = of(MERGED, assignment, "corpus"), of(MERGED, assignment, "speaker")
        assert corpora["train"] == corpora["validation"] == {fold.name} and corpora["test"] == set(CORPORA)
        assert not (speakers["train"] | speakers["validation"]) & speakers["test"]
        assert len(assignment.splits) == len(MERGED)


def test_leave_one_corpus_out_tests_every_corpus_once():
    names = [fold.name for fold in folds(MERGED, "leave_one_corpus_out")]
    assert names == ["crema_d", "ravdess", "savee", "tess"]
    for fold, name in enumerate(names, 1):
        assignment = split(MERGED, "leave_one_corpus_out", fold=fold)
        members = of(MERGED, assignment, "corpus")
        assert members["test"] == {name} and members["train"] == members["validation"] == set(names) - {name}
        assert len(assignment.splits) == 12_162 and len(assignment.ids("test")) == TOTALS[name]
        members = of(MERGED, assignment, "speaker")
        assert not members["train"] & members["validation"]


@pytest.mark.parametrize("seed", [0, 1])
def test_balanced_validation_has_as_many_clips_of_each_corpus(seed):
    for fold, name in enumerate(sorted(CORPORA), 1):
        assignment = split(MERGED, "leave_one_corpus_out_balanced", fold=fold, seed=seed)
        counts = Counter(row.corpus for row in MERGED if assignment.splits.get(row.id) == "validation")
        others = set(CORPORA) - {name}
        smallest = min(TOTALS[corpus] for corpus in others)
        assert set(counts) == others and len(set(counts.values())) == 1
        assert 0.8 * 0.15 / 0.85 * smallest <= counts[next(iter(others))] <= 0.5 * smallest
        members = of([row for row in MERGED if row.corpus != "tess"], assignment, "speaker")
        assert not members["train"] & members["validation"]
        if name != "tess":
            texts = of(WHOLE["tess"], assignment, "text")
            assert not texts["train"] & texts["validation"]
        assert of(MERGED, assignment, "corpus")["test"] == {name}
        assert len(assignment.ids("test")) == TOTALS[name]
        for corpus in others:
            assert len(of(WHOLE[corpus], assignment, "emotion")["validation"]) == CLASSES[corpus]
        unused = len(MERGED) - len(assignment.splits)
        assert unused < 400 and len(assignment.ids("train")) > 0.9 * (
            len(MERGED) - TOTALS[name] - sum(counts.values())
        )
        assert assignment.notes[0] == f"validation has {counts[next(iter(others))]} clips of each corpus"


# --- the published splits, from shared/CORPORA.md

PUBLISHED_TESTS = {
    ("emobox", "ravdess"): [
        *("01 11 20 21", "04 10 12 14", "08 09 19 23", "03 05 07 24", "02 15 16 18", "06 13 17 22"),
    ],
    ("emobox", "savee"): ["JE", "KL", "DC", "JK"],
    ("mm_emotion_recognition", "ravdess"): [
        *("02 05 14 15 16", "03 06 07 13 18", "10 11 12 19 20", "08 17 21 23 24", "01 04 09 22"),
    ],
    ("nkululeko", "savee"): ["KL"],
    ("cross_speaker", "tess"): ["YAF", "OAF"],
    ("peft_ser", "crema_d"): [" ".join(str(actor) for actor in range(1074, 1092))],
    ("emo_superb", "crema_d"): [
        " ".join(str(actor) for actor in range(first, last + 1))
        for first, last in ((1001, 1018), (1019, 1036), (1037, 1054), (1055, 1072), (1073, 1091))
    ],
}


@pytest.mark.parametrize(("protocol", "corpus"), PUBLISHED_TESTS)
def test_published_folds_test_the_published_speakers(protocol, corpus):
    rows, tests = WHOLE[corpus], PUBLISHED_TESTS[protocol, corpus]
    assert [fold.name for fold in folds(rows, protocol)] == tests
    for fold, names in enumerate(tests, 1):
        for seed in (0, 1):
            assignment = split(rows, protocol, fold=fold, seed=seed)
            members = of(rows, assignment, "speaker")
            assert members["test"] == speakers(corpus, names)
            assert assignment.splits.keys() == {row.id for row in rows}
            assert not members["test"] & (members["train"] | members["validation"])
            assert members["train"] and members["validation"]
            assert (members["train"] & members["validation"] == set()) is (corpus != "tess")


@pytest.mark.parametrize(("protocol", "corpus"), PUBLISHED_TESTS)
def test_published_folds_test_every_speaker_once(protocol, corpus):
    if protocol in ("nkululeko", "peft_ser"):  # one split, which tests some
        return
    tested = [name for names in PUBLISHED_TESTS[protocol, corpus] for name in names.split()]
    assert sorted(f"{corpus}_{name}" for name in tested) == sorted({row.speaker for row in WHOLE[corpus]})


def test_peft_ser_fixes_validation_too():
    for seed in (0, 1):
        members = of(WHOLE["crema_d"], split(WHOLE["crema_d"], "peft_ser", fold=1, seed=seed), "speaker")
        assert members == {
            "train": {f"crema_d_{actor}" for actor in range(1001, 1059)},
            "validation": {f"crema_d_{actor}" for actor in range(1059, 1074)},
            "test": {f"crema_d_{actor}" for actor in range(1074, 1092)},
        }


def test_emo_superb_validates_on_the_next_set():
    tests = [set(names.split()) for names in PUBLISHED_TESTS["emo_superb", "crema_d"]]
    for fold in range(1, 6):
        members = of(WHOLE["crema_d"], split(WHOLE["crema_d"], "emo_superb", fold=fold), "speaker")
        assert members["validation"] == {f"crema_d_{actor}" for actor in tests[fold % 5]}
        assert len(members["train"]) == 91 - len(members["test"]) - len(members["validation"])


@pytest.mark.parametrize(("fold", "trains", "tests"), [(1, "tess_OAF", "tess_YAF"), (2, "tess_YAF", "tess_OAF")])
def test_cross_speaker_trains_on_one_voice_and_tests_on_the_other(fold, trains, tests):
    assignment = split(WHOLE["tess"], "cross_speaker", fold=fold)
    assert of(WHOLE["tess"], assignment, "speaker") == {"train": {trains}, "validation": {trains}, "test": {tests}}
    texts = of(WHOLE["tess"], assignment, "text")
    assert not texts["train"] & texts["validation"]


IEMOCAP = [
    Row(f"iemocap/{name}_{label}{n}", "iemocap", f"iemocap_{name}", label, "male" if name[-1] == "M" else "female")
    for name in (f"Ses0{session}{gender}" for session in range(1, 6) for gender in "FM")
    for label in ("angry", "happy", "neutral", "sad")
    for n in range(3)
]


def test_leave_one_session_out():
    assert [fold.name for fold in folds(IEMOCAP, "leave_one_session_out")] == [
        f"Ses0{n}F Ses0{n}M" for n in range(1, 6)
    ]
    for fold in range(1, 6):
        members = of(IEMOCAP, split(IEMOCAP, "leave_one_session_out", fold=fold), "speaker")
        assert members["test"] == {f"iemocap_Ses0{fold}F", f"iemocap_Ses0{fold}M"}
        assert members["validation"] and not members["validation"] & (members["train"] | members["test"])
        assert len(members["train"] | members["validation"]) == 8
        assert not members["train"] & members["test"]


def test_ten_folds_of_iemocap_validate_on_the_other_speaker_of_the_session():
    tested = []
    for fold in range(1, 11):
        members = of(IEMOCAP, split(IEMOCAP, "iemocap_10_fold", fold=fold), "speaker")
        (test,), (validation,) = members["test"], members["validation"]
        assert test[:-1] == validation[:-1] and test != validation
        assert len(members["train"]) == 8 and not members["train"] & {test, validation}
        tested.append(test)
    assert sorted(tested) == sorted({row.speaker for row in IEMOCAP})


def test_published_splits_leave_song_out():
    rows = WHOLE["ravdess"] + published("ravdess", "song")
    for protocol in ("emobox", "mm_emotion_recognition"):
        with_song = split(rows, protocol, fold=1)
        assert with_song.splits.keys() == {row.id for row in WHOLE["ravdess"]}
        assert with_song.hash == split(WHOLE["ravdess"], protocol, fold=1).hash


def test_published_splits_leave_other_corpora_out():
    rows = WHOLE["ravdess"] + WHOLE["crema_d"]
    assert split(rows, "emobox", fold=6).hash == split(WHOLE["ravdess"], "emobox", fold=6).hash


# --- errors


def refused(message: str, rows: Iterable[Row], protocol: str = "speaker_disjoint", **options) -> None:
    with pytest.raises(ProtocolError) as error:
        split(rows, protocol, **options)
    assert message in str(error.value)
    assert isinstance(error.value, SerError)


def test_an_unknown_protocol_is_refused():
    refused(f"unknown protocol 'loso'; expected one of {', '.join(PROTOCOLS)}.", WHOLE["savee"], "loso")
    refused("unknown protocol 'loso'", WHOLE["savee"], "loso", fold=1)


def test_a_protocol_with_folds_wants_one():
    refused(
        "fold is None; expected 1 to 4 for protocol emobox (1: JE; 2: KL; 3: DC; 4: JK).",
        WHOLE["savee"],
        "emobox",
    )


@pytest.mark.parametrize("fold", [0, -1, 5])
def test_a_fold_out_of_range_is_refused(fold):
    refused(f"fold is {fold}; expected 1 to 4 for protocol emobox", WHOLE["savee"], "emobox", fold=fold)


@pytest.mark.parametrize("protocol", ["speaker_disjoint", "random"])
def test_a_fold_of_a_single_split_is_refused(protocol):
    refused(
        f"fold is 1; expected no fold, since protocol {protocol} has only one split.", WHOLE["savee"], protocol, fold=1
    )
    with pytest.raises(ProtocolError, match=f"protocol {protocol} has no folds"):
        folds(WHOLE["savee"], protocol)


@pytest.mark.parametrize(
    "ratios",
    [(0.7, 0.3), (0.7, 0.1, 0.1, 0.1), (0.7, 0.3, 0.0), (0.8, 0.3, -0.1), (0.5, 0.2, 0.2), (70, 15, 15), ()],
)
@pytest.mark.parametrize("protocol", ["speaker_disjoint", "emobox"])
def test_bad_ratios_are_refused(ratios, protocol):
    fold = None if protocol == "speaker_disjoint" else 1
    refused(f"ratios are {list(ratios)}; expected three", WHOLE["savee"], protocol, ratios=ratios, fold=fold)


def test_ratios_that_are_no_numbers_are_refused():
    refused("expected three", WHOLE["savee"], ratios=(float("nan"), 0.5, 0.5))


def test_thirds_are_good_ratios():
    assert sizes(split(WHOLE["ravdess"], ratios=(1 / 3, 1 / 3, 1 / 3))) == (480, 480, 480)


@pytest.mark.parametrize(
    ("protocol", "corpus", "missing"),
    [
        ("emobox", "ravdess", "ravdess_24"),
        ("emobox", "savee", "savee_DC"),
        ("mm_emotion_recognition", "ravdess", "ravdess_01"),
        ("peft_ser", "crema_d", "crema_d_1059"),
        ("peft_ser", "crema_d", "crema_d_1091"),
        ("emo_superb", "crema_d", "crema_d_1001"),
        ("nkululeko", "savee", "savee_KL"),
        ("cross_speaker", "tess", "tess_YAF"),
    ],
)
def test_missing_speakers_are_named(protocol, corpus, missing):
    rows = [row for row in WHOLE[corpus] if row.speaker != missing]
    refused(
        f"protocol {protocol} needs clips of all its speakers; got none of {missing}. Prepare the whole of {corpus}.",
        rows,
        protocol,
        fold=1,
    )


def test_a_speaker_of_whom_only_song_is_here_is_missing():
    rows = [row for row in WHOLE["ravdess"] if row.speaker != "ravdess_24"] + published("ravdess", "song")
    refused("got none of ravdess_24.", rows, "emobox", fold=1)


def test_two_corpora_under_a_protocol_published_for_both_are_refused():
    refused(
        "protocol emobox is published for ravdess, and separately for savee; got clips of ravdess, savee. Pass "
        "--configuration ravdess or savee.",
        WHOLE["ravdess"] + WHOLE["savee"],
        "emobox",
        fold=1,
    )


def test_a_corpus_that_a_protocol_was_not_published_for_is_refused():
    refused("protocol peft_ser is published for crema_d; got clips of tess.", WHOLE["tess"], "peft_ser", fold=1)


@pytest.mark.parametrize(("protocol", "corpus"), [("emobox", "ravdess"), ("emobox", "savee"), ("peft_ser", "crema_d")])
def test_other_corpora_are_left_out_with_a_note(protocol, corpus):
    alone, more = (assign(rows, protocol, fold=1) for rows in (WHOLE[corpus], WHOLE[corpus] + WHOLE["tess"]))
    assert more.splits == alone.splits
    assert more.notes == (*alone.notes, f"clips that the protocol does not use: {len(WHOLE['tess'])} of tess (speech)")


def test_clips_that_a_protocol_does_not_use_are_noted():
    song = [row._replace(id=f"{row.id}_song", vocal_channel="song") for row in WHOLE["ravdess"][:7]]
    made = assign(WHOLE["ravdess"] + song, "emobox", fold=1)
    assert made.notes[-1] == "clips that the protocol does not use: 7 of ravdess (song)"
    assert not any("does not use" in note for note in assign(WHOLE["ravdess"], "emobox", fold=1).notes)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_clips_are_refused(protocol):
    refused("got no clips; expected at least one.", [], protocol, fold=1)


def test_leaving_one_out_needs_two():
    refused(
        "leaving one out needs at least 2 speakers; got 1 (savee_DC).", small("savee", 1, 3), "leave_one_speaker_out"
    )
    refused("leaving one out needs at least 2 corpora; got 1 (savee).", WHOLE["savee"], "leave_one_corpus_out", fold=1)


# --- metadata of any dataset: labels, speakers and splits as users have them

names = st.text("aé悲 ,'-", min_size=1, max_size=3)


known = st.sampled_from(["ann", "bob", "Žofie", "s 4", "s5"])
known_or_not = st.just("") | known
no_split = st.just("")


@st.composite
def any_rows(draw, speakers=known_or_not, splits=no_split) -> list[Row]:
    labels = draw(st.lists(names, min_size=1, max_size=12, unique=True))
    corpora = draw(st.lists(st.sampled_from(["calls", "радио", "ravdess"]), min_size=1, max_size=3, unique=True))
    rows = []
    for index in range(draw(st.integers(1, 40))):
        corpus, speaker = draw(st.sampled_from(corpora)), draw(speakers)
        row = Row(f"{corpus}/{index}", corpus, speaker and f"{corpus}_{speaker}", draw(st.sampled_from(labels)))
        gender, text = draw(st.sampled_from(["", "female", "other"])), draw(st.sampled_from(["", "one", "two"]))
        rows.append(row._replace(gender=gender, text=text, sha256=f"{index % 37:x}", split=draw(splits)))
    return rows


@quick
@given(rows=any_rows(speakers=known), seed=seeds, ratios=ratio_triples)
def test_any_speakers_are_held_out(rows, seed, ratios):
    check_speaker_disjoint(rows, split(rows, seed=seed, ratios=ratios))
    if len({row.speaker for row in rows}) > 1:
        for number, fold in enumerate(folds(rows, "leave_one_speaker_out"), 1):
            assignment = split(rows, "leave_one_speaker_out", seed=seed, fold=number)
            members = of(rows, assignment, "speaker")
            assert members["test"] == {fold.name} and not members["test"] & (members["train"] | members["validation"])


@quick
@given(rows=any_rows(), seed=seeds)
def test_any_clips_are_split_at_random(rows, seed):
    assignment = split(rows, "random", seed=seed)
    assert assignment.splits.keys() == {row.id for row in rows} and set(assignment.splits.values()) <= set(SPLITS)
    for first, second in itertools.combinations(rows, 2):
        assert first.sha256 != second.sha256 or assignment.splits[first.id] == assignment.splits[second.id]
    unknown = any(not row.speaker for row in rows)
    assert (UNKNOWN_SPEAKERS in assignment.notes) == unknown and (LEAK in assignment.notes) != unknown


@quick
@given(rows=any_rows(splits=st.sampled_from(["train", "test", "validation"])), seed=seeds)
def test_given_splits_are_kept(rows, seed):
    assignment = split(rows, "given", seed=seed)
    assert assignment.splits.keys() == {row.id for row in rows}
    drawn = all(row.split != "validation" for row in rows)
    for row in rows:
        made = assignment.splits[row.id]
        assert made == row.split or (drawn and (row.split, made) == ("train", "validation"))
    members = of(rows, assignment, "speaker")
    if all(row.speaker for row in rows):
        shared = members["train"] & members["test"]
        assert any(note.startswith("train and test share") for note in assignment.notes) == bool(shared)
    else:
        assert UNKNOWN_SPEAKERS in assignment.notes


@quick
@given(rows=any_rows(), seed=seeds)
def test_without_speakers_only_random_and_given_splits_are_possible(rows, seed):
    rows[0] = rows[0]._replace(speaker="")
    assert default_protocol(rows) == "random"
    without = sum(not row.speaker for row in rows)
    for protocol in PROTOCOLS:
        if protocol in ("random", "given"):
            continue
        with pytest.raises(
            ProtocolError, match=f"needs the speaker of every clip; {without} of {len(rows)} clips have"
        ):
            split(rows, protocol, seed=seed, fold=None if protocol == "speaker_disjoint" else 1)


@quick
@given(rows=any_rows(splits=st.sampled_from(["", "train", "test"])), seed=seeds)
def test_the_default_protocol_can_be_applied(rows, seed):
    protocol = default_protocol(rows)
    assert split(rows, protocol, seed=seed).splits.keys() == {row.id for row in rows}
    if protocol != "given":
        with pytest.raises(ProtocolError, match="protocol given needs the split of every clip; "):
            split(rows, "given", seed=seed)
