"""IEMOCAP in the layout of its release, on generated files: labels and texts from the files of the dialogs."""

import os
import pickle
from collections import Counter
from pathlib import Path

import pytest

from hf_ser.corpora import CORPORA, performances
from hf_ser.corpora.utterance import AnnotationError, NoAgreementError
from hf_ser.data.scan import find, scan

# Dialog -> turn -> label. F and M alternate in the release too; the wearer of the markers is in the dialog's name.
DIALOGS = {
    "Ses01F_impro01": {"F000": "neu", "M000": "ang", "F001": "xxx"},
    "Ses01M_script01_1": {"F000": "exc", "M041": "hap"},
    "Ses01M_script02_2b": {"M000": "fru", "M001": "oth"},
    "Ses02F_impro05a": {"F000": "sad", "M000": "sur", "M001": "fea", "F001": "dis"},
}
LABELS = {
    **{"ang": "angry", "dis": "disgust", "exc": "excited", "fea": "fearful", "fru": "frustrated", "hap": "happy"},
    **{"neu": "neutral", "oth": "other", "sad": "sad", "sur": "surprised"},
}


def evaluation(dialog, turns):
    """An EmoEvaluation file: a block per turn with its majority, and the lines of the raters."""
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for number, (turn, label) in enumerate(turns.items()):
        lines.append(f"[{6.29 + number:.4f} - {8.2 + number:.4f}]\t{dialog}_{turn}\t{label}\t[2.5000, 2.5000, 2.5000]")
        lines += ["C-E2:\tNeutral;\t()", "C-E4:\tNeutral; Anger;\t(curious)", "C-F1:\tHappiness;\t()"]
        lines += ["A-E3:\tval 3; act 2; dom  2;\t()", "A-F1:\tval 3; act 2; dom  1;\t()", ""]
    return "\n".join(lines)


def transcription(dialog, turns):
    lines = [
        f"{dialog}_{turn} [{6.29 + number:08.4f}-{8.2 + number:08.4f}]: Excuse me: {turn}."
        for number, turn in enumerate(turns)
    ]
    return "\n".join([*lines, f"{dialog}_MXX0 [010.0000-010.5000]: [BREATHING]", "F: An untimed line."])


@pytest.fixture(scope="module")
def release(tmp_path_factory, tone, encode):
    """A release of two sessions, without the transcriptions of the second."""
    folder = tmp_path_factory.mktemp("iemocap") / "IEMOCAP_full_release"
    number = 0
    for dialog, turns in DIALOGS.items():
        session = folder / f"Session{dialog[4]}"
        files = {f"dialog/EmoEvaluation/{dialog}.txt": evaluation(dialog, turns).encode()}
        files |= {f"dialog/EmoEvaluation/._{dialog}.txt": b"\0\1 left by another system"}
        files |= {f"dialog/EmoEvaluation/Categorical/{dialog}_e1_cat.txt": f"{dialog}_F000 :Anger; ()".encode()}
        files |= {f"dialog/wav/{dialog}.wav": encode(tone(1.0))}
        if dialog.startswith("Ses01"):
            files |= {f"dialog/transcriptions/{dialog}.txt": transcription(dialog, turns).encode()}
        for turn in turns:
            number += 1
            wav = encode(tone(0.5 + 0.01 * number))
            files |= {f"sentences/wav/{dialog}/{dialog}_{turn}.wav": wav}
        for path, content in files.items():
            (session / path).parent.mkdir(parents=True, exist_ok=True)
            (session / path).write_bytes(content)
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


def test_a_copy_under_the_same_name_is_the_same_performance_without_its_labels():
    assert performances("elsewhere/ses01f_impro01_f000.flac") == {"iemocap/Ses01F_impro01_F000"}
    assert performances("03a01Fa.wav") == {"emodb/03a01Fa"}
