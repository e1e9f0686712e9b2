"""IEMOCAP in the layout of its release, on generated files: labels and texts from the files of the dialogs."""

import os
import pickle
from collections import Counter
from pathlib import Path

import pytest
from iemocap_release import DIALOGS, LABELS, evaluation, write_release

from hf_ser.corpora import CORPORA, performances
from hf_ser.corpora.utterance import AnnotationError, NoAgreementError
from hf_ser.data import PrepareArguments, prepare
from hf_ser.data.found_recordings import find
from hf_ser.data.preparation_arguments import PrepareError
from hf_ser.data.scan import scan


@pytest.fixture(scope="module")
def release(tmp_path_factory, tone, encode):
    folder = tmp_path_factory.mktemp("iemocap") / "IEMOCAP_full_release"
    write_release(folder, tone, encode)
    return folder


def found_in(folder):
    found = find({"iemocap": folder})
    return {copies[0].stem: copies[0] for copies in found.copies}, found


def test_labels_are_those_of_the_majority(release):
    utterances, _ = found_in(release)
    expected = {
        f"{dialog}_{turn}": LABELS[label]
        for dialog, turns in DIALOGS.items()
        for turn, label in turns.items()
        if label != "xxx"
    }
    assert {stem: utterance.emotion for stem, utterance in utterances.items()} == expected


def test_speaker_and_gender_are_those_of_the_turn(release):
    utterances, _ = found_in(release)
    speakers = Counter((each.speaker, each.gender) for each in utterances.values())
    assert speakers == {
        ("iemocap_Ses01F", "female"): 2,
        ("iemocap_Ses01M", "male"): 4,
        ("iemocap_Ses02F", "female"): 2,
        ("iemocap_Ses02M", "male"): 2,
    }
    assert {each.language for each in utterances.values()} == {"en"}


def test_texts_are_read_if_they_are_there(release):
    utterances, _ = found_in(release)
    assert utterances["Ses01M_script01_1_M041"].text == "Excuse me: M041."
    assert [each.text for stem, each in utterances.items() if stem.startswith("Ses02")] == [None] * 4


def test_what_is_not_used_has_a_reason(release):
    _, found = found_in(release)
    reasons = {Path(item.path).name: (item.reason, item.detail) for item in found.refused}
    assert reasons.pop("Ses01F_impro01_F001.wav") == (
        "no_agreement",
        "got label xxx: the raters do not agree; expected a label of the majority",
    )
    assert reasons.keys() == {f"{dialog}.wav" for dialog in DIALOGS}  # the recordings of whole dialogs
    assert {reason for reason, _ in reasons.values()} == {"name"}
    assert found.other_files == {"iemocap": 4 * 3 + 3}


def test_a_session_or_a_folder_below_it_can_be_given(release):
    session, _ = found_in(release / "Session2")
    deeper, _ = found_in(release / "Session2" / "sentences" / "wav" / "Ses02F_impro05a")
    assert session == deeper and len(session) == 4


def test_the_clips_are_those_of_the_utterances(release, tmp_path):
    result = scan(find({"iemocap": release}), tmp_path, num_proc=1, progress=False)
    assert len(result.clips) == sum(map(len, DIALOGS.values())) - 1
    clip = next(clip for clip in result.clips if clip.utterance.id == "iemocap/Ses01F_impro01_M000")
    assert (clip.row.emotion, clip.row.speaker, clip.row.text) == ("angry", "iemocap_Ses01M", "Excuse me: M000.")


def annotated(path):
    corpus = CORPORA["iemocap"]
    return corpus.annotate(corpus.parse(path))


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (
            None,
            AnnotationError,
            "got no label file; expected the layout of the release, with labels in SessionN/dialog",
        ),
        (
            "",
            AnnotationError,
            "got no label; expected a line of Ses03F_impro01_F000 in EmoEvaluation/Ses03F_impro01.txt",
        ),
        (evaluation("Ses03F_impro01", {"F001": "neu"}), AnnotationError, "got no label; expected a line of"),
        (evaluation("Ses03F_impro01", {"F000": "bor"}), AnnotationError, "got label 'bor'; expected one of ang, dis"),
        (evaluation("Ses03F_impro01", {"F000": "xxx"}), NoAgreementError, "the raters do not agree"),
    ],
    ids=["no-file", "empty", "another-turn", "unknown-label", "no-agreement"],
)
def test_recordings_without_a_label_are_refused(tmp_path, table, error, message):
    path = tmp_path / "Session3/sentences/wav/Ses03F_impro01/Ses03F_impro01_F000.wav"
    if table is not None:
        (tmp_path / "Session3/dialog/EmoEvaluation").mkdir(parents=True)
        (tmp_path / "Session3/dialog/EmoEvaluation/Ses03F_impro01.txt").write_text(table)
    with pytest.raises(AnnotationError, match=message) as caught:
        annotated(path)
    assert type(caught.value) is error
    copy = pickle.loads(pickle.dumps(caught.value))  # it crosses process borders
    assert (type(copy), str(copy)) == (error, str(caught.value))


def test_changed_labels_are_read_again(tmp_path):
    path = tmp_path / "Session3/sentences/wav/Ses03F_impro01/Ses03F_impro01_F000.wav"
    table = tmp_path / "Session3/dialog/EmoEvaluation/Ses03F_impro01.txt"
    table.parent.mkdir(parents=True)
    for number, label in enumerate(("neu", "hap")):
        table.write_text(evaluation("Ses03F_impro01", {"F000": label}))
        os.utime(table, ns=(number, number))
        assert annotated(path).emotion == LABELS[label]


def test_new_labels_make_a_prepared_dataset_out_of_date(tmp_path, tone, encode):
    write_release(tmp_path / "in", tone, encode)
    options = {"iemocap": str(tmp_path / "in"), "labels": ["all"], "num_proc": 1}
    assert not prepare(PrepareArguments(str(tmp_path / "out"), **options), progress=False).already_there
    assert prepare(PrepareArguments(str(tmp_path / "out"), **options), progress=False).already_there
    table = tmp_path / "in/Session2/dialog/EmoEvaluation/Ses02F_impro05a.txt"
    table.write_text(evaluation("Ses02F_impro05a", DIALOGS["Ses02F_impro05a"] | {"F000": "neu"}))
    with pytest.raises(PrepareError, match="prepared from other files or settings"):
        prepare(PrepareArguments(str(tmp_path / "out"), **options), progress=False)


def test_a_copy_under_the_same_name_is_the_same_performance_without_its_labels():
    assert performances("elsewhere/ses01f_impro01_f000.flac") == {"iemocap/Ses01F_impro01_F000"}
    assert performances("03a01Fa.wav") == {"emodb/03a01Fa"}
