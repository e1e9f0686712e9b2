"""Auxiliary corpora: in train only, beside unchanged splits of the corpora under test."""

import pytest

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_rows, load_splits
from hf_ser.data.auxiliary import assign_with_auxiliary
from hf_ser.data.protocols import ProtocolError, assign
from hf_ser.labels import EMOTIONS


@pytest.fixture(scope="module")
def rows(dataset_dir):
    return load_rows(DataArguments(dataset=str(dataset_dir)))


def _load(dataset_dir, configuration="all", **changes):
    return load_splits(DataArguments(dataset=str(dataset_dir), configuration=configuration, **changes))


@pytest.mark.parametrize(
    "protocol",
    [{}, {"protocol": "speaker_disjoint", "protocol_seed": 3}, {"protocol": "leave_one_speaker_out", "fold": 2}],
)
def test_held_out_clips_are_those_of_the_corpus_alone(dataset_dir, protocol):
    alone = _load(dataset_dir, "ravdess", **protocol)
    both = _load(dataset_dir, auxiliary_corpora=["crema_d"], **protocol)
    assert both.protocol == alone.protocol
    for split in ("validation", "test"):
        assert both.assignment.ids(split) == alone.assignment.ids(split)
        assert sorted(both.splits[split]["id"]) == alone.assignment.ids(split)
    added = set(both.assignment.ids("train")) - set(alone.assignment.ids("train"))
    assert len(added) == 48 and {clip.split("/")[0] for clip in added} == {"crema_d"}
    assert set(alone.assignment.ids("train")) < set(both.splits["train"]["id"])
    held_out = set(both.splits["validation"]["speaker"]) | set(both.splits["test"]["speaker"])
    assert not any(speaker.startswith("crema_d") for speaker in held_out)


def test_results_name_the_corpora_and_the_hash_covers_their_clips(rows):
    plain = assign([row for row in rows if row.corpus == "ravdess"])
    aided = assign_with_auxiliary(rows, "speaker_disjoint", ["crema_d"])
    assert aided.auxiliary == ("crema_d",) and plain.auxiliary == () and aided.hash != plain.hash
    assert [note for note in aided.notes if "all clips of crema_d are training clips" in note]
    assert assign_with_auxiliary(rows, "speaker_disjoint", []) == assign(rows)


def test_stored_notes_on_auxiliary_corpora_are_dropped(dataset_dir):
    stored = _load(dataset_dir).assignment.notes
    aided = _load(dataset_dir, auxiliary_corpora=["crema_d"]).assignment.notes
    assert not [note for note in aided if note.startswith("crema_d: ")]
    assert [note for note in stored if note.startswith("ravdess: ")] == [n for n in aided if n.startswith("ravdess: ")]


def test_classes_of_auxiliary_corpora_only_are_not_scored(dataset_dir):
    """CREMA-D has neither calm nor surprised: with RAVDESS beside it, scores are over the same six classes."""
    alone = _load(dataset_dir, "crema_d")
    aided = _load(dataset_dir, auxiliary_corpora=["ravdess"])
    six = tuple(emotion for emotion in EMOTIONS if emotion not in ("calm", "surprised"))
    assert aided.scored_classes("test") == alone.scored_classes("test") == six
    assert {EMOTIONS[label] for label in aided.splits["train"]["label"]} == set(EMOTIONS)


def test_copies_of_held_out_clips_are_left_out(rows):
    tested = assign([row for row in rows if row.corpus == "ravdess"]).ids("test")[0]
    audio = next(row.sha256 for row in rows if row.id == tested)
    copy = next(row for row in rows if row.corpus == "crema_d")
    clips = [row._replace(sha256=audio) if row.id == copy.id else row for row in rows]
    assignment = assign_with_auxiliary(clips, "speaker_disjoint", ["crema_d"])
    assert copy.id not in assignment.splits and assignment.splits[tested] == "test"
    assert assignment.notes[-1].endswith("are left out: 1")


def test_a_speaker_who_is_also_held_out_is_rejected(rows):
    tested = assign([row for row in rows if row.corpus == "ravdess"]).ids("test")[0]
    speaker = next(row.speaker for row in rows if row.id == tested)
    clips = [row._replace(speaker=speaker) if row.corpus == "crema_d" else row for row in rows]
    with pytest.raises(ProtocolError, match=f"speaker {speaker} is also in validation or test"):
        assign_with_auxiliary(clips, "speaker_disjoint", ["crema_d"])


@pytest.mark.parametrize("protocol", [{}, {"protocol": "speaker_disjoint"}])
def test_unknown_corpora_are_rejected_with_a_list(dataset_dir, protocol):
    with pytest.raises(ProtocolError, match="has 'cremad'; expected corpora of .*: crema_d, ravdess"):
        _load(dataset_dir, auxiliary_corpora=["cremad"], **protocol)
    with pytest.raises(ProtocolError, match="names every corpus .crema_d, ravdess."):
        _load(dataset_dir, auxiliary_corpora=["crema_d", "ravdess"], **protocol)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auxiliary_corpora": ["tess"], "streaming": True}, "auxiliary_corpora is given and streaming is true"),
        ({"auxiliary_corpora": ["tess"], "protocol": "cross_corpus"}, "cross_corpus trains on one corpus"),
        ({"auxiliary_corpora": ["tess", "tess"]}, "auxiliary_corpora has tess twice"),
    ],
)
def test_invalid_arguments_are_rejected(changes, message):
    with pytest.raises(ConfigError, match=message):
        DataArguments(dataset="x", **changes)
