"""Generated recordings in the layout of IEMOCAP's release, with the files of labels and texts."""

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


def write_release(folder, tone, encode):
    """Write a release of two sessions, without the transcriptions of the second.

    Args:
        folder: an empty folder.
        tone: makes samples, see the fixture.
        encode: encodes samples as WAV, see the fixture.
    """
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
