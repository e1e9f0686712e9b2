"""`hf-ser check`: what preparation would keep, levels, leaks, and what to look at."""

import csv

import numpy as np
import pytest
import soundfile as sf

from hf_ser import cli
from hf_ser.data.check import CheckArguments, CheckError, check_recordings
from hf_ser.data.clip_summary import level


def _tone(seconds, peak, frequency):
    time = np.arange(round(seconds * 16_000)) / 16_000
    return (peak * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def _write(folder, rows):
    """Rows (label, speaker, seconds, peak) -> a CSV file and its recordings, each of another frequency."""
    lines = []
    for number, (label, speaker, seconds, peak) in enumerate(rows):
        sf.write(folder / f"{number}.wav", _tone(seconds, peak, 200 + 10 * number), 16_000, subtype="PCM_16")
        lines.append([f"{number}.wav", label, speaker])
    with open(folder / "own.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "speaker"], *lines])
    return str(folder / "own.csv")


def _check(*recordings, **changes):
    return check_recordings(CheckArguments(list(recordings), num_proc=1, **changes), progress=False)


def test_levels_in_dbfs():
    assert level(np.full(100, 16384, dtype=np.int16)).rms_dbfs == -6.0
    assert level(np.zeros(100, dtype=np.int16)).peak_dbfs < -150
    loud = np.tile(np.array([32767, 32767, 32767, 0], dtype=np.int16), 20)
    assert level(loud).clipped and not level(loud[1:3]).clipped
    single = np.tile(np.array([32767, 0], dtype=np.int16), 20)
    assert not level(single).clipped


def test_problems_are_named(tmp_path):
    rows = [("calm", f"s{number % 3}", 1.0, 0.05) for number in range(24)]
    rows += [("angry", f"s{number % 3}", 2.5, 0.5) for number in range(4)]
    text = _check(_write(tmp_path, rows))
    assert "few clips: angry (4)" in text
    assert "calm has 6 times as many clips as angry" in text
    assert "only 3 speakers" in text
    assert "angry is 20 dB louder than calm" in text
    assert "clips of angry are 2.5 times as long as those of calm" in text
    assert "cut off" not in text


def test_speakers_in_train_and_test_are_counted(tmp_path):
    rows = [(label, f"s{number % 8}", 1.0, 0.3) for label in ("yes", "no") for number in range(40)]
    lines = _check(_write(tmp_path, rows)).splitlines()
    leaks = lines[next(number for number, line in enumerate(lines) if "speaker in train" in line) :]
    (disjoint,) = [line.split() for line in leaks if line.startswith("speaker_disjoint")]
    (random,) = [line.split() for line in leaks if line.startswith("random")]
    assert int(disjoint[1]) > 0 and disjoint[2] == "0"
    assert random[2] == random[1] != "0"


def test_without_problems(tmp_path):
    rows = [(label, f"s{number % 8}", 1.0, 0.3) for label in ("yes", "no") for number in range(24)]
    assert _check(_write(tmp_path, rows)).endswith("No problems found.")


def test_unknown_speakers(tmp_path):
    text = _check(_write(tmp_path, [(label, "", 1.0, 0.3) for label in ("yes", "no") for _ in range(20)]))
    assert "speakers of 40 clips are unknown. Only a random split is possible" in text
    assert "speaker_disjoint" not in text


def test_a_folder_and_the_command(tmp_path, capsys):
    for label in ("angry", "other"):
        (tmp_path / "own" / label).mkdir(parents=True)
        for number in range(4):
            peak = 0.1 + 0.1 * number + (label == "other") * 0.05
            sf.write(tmp_path / "own" / label / f"{number}.wav", _tone(1.0, peak, 300), 16_000)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["check", str(tmp_path / "own"), "--num_proc", "1"]) == 0
    shown = capsys.readouterr().out
    assert "own   4      4" in shown
    assert f"Next: python recipes/prepare.py --audio_folder {tmp_path / 'own'} --labels all" in shown
    assert sorted(tmp_path.rglob("*")) == before


def test_wrong_use(tmp_path, capsys):
    assert cli.main(["check", str(tmp_path / "none.csv")]) == 2
    assert "none.csv: no such file; expected a CSV file" in capsys.readouterr().err
    assert cli.main(["check", "x.csv", "--label", "a"]) == 2
    assert "labels" in capsys.readouterr().err
    with pytest.raises(CheckError, match="no recordings given"):
        _check()
