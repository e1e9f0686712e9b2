"""`recipes/leaderboard.py`, its page, and the benchmark of its column of speeds."""

import json
import re
from pathlib import Path

import pytest

from hf_ser.reporting.leaderboard import BEGIN, END
from hf_ser.reporting.leaderboard_entries import read_speeds

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")


def test_the_recipe_prints_the_tables_and_names_the_files(load_recipe, tmp_path, monkeypatch, capsys):
    board = str(tmp_path / "board")
    run = str(ROOT / "results" / "mel_cnn_emobox")
    monkeypatch.setattr("sys.argv", ["leaderboard.py", run, "--names", "mel_cnn=MelCNN", "--output_dir", board])
    load_recipe("leaderboard").main()
    said = capsys.readouterr().out
    assert "### emobox on ravdess (all)" in said and "| 1      | MelCNN" in said
    assert said.endswith(f"\nWrote {board}/leaderboard.json\nWrote {board}/leaderboard.md\n")


def test_the_page_has_every_run_with_its_present_score():
    shown = PAGE[PAGE.index(BEGIN) : PAGE.index(END)]
    rows = [re.split(r" *\| *", line.strip("|").strip()) for line in shown.splitlines() if re.match(r"\| \d", line)]
    scores = {}
    for path in (ROOT / "results").glob("*_emobox/results.json"):
        results = json.loads(path.read_text(encoding="utf-8"))
        scores[results["name"].removesuffix("_emobox")] = f"{results['splits']['test']['scores']['uar']:.3f}"
    assert {row[1]: row[2].split()[0] for row in rows} == scores
    assert [row[2][:5] for row in rows] == sorted(scores.values(), reverse=True)
    assert {row[-1] for row in rows} == {"yes"}


@pytest.mark.slow
def test_the_benchmark_writes_a_file_that_the_leaderboard_reads(load_benchmarks, tmp_path):
    script = load_benchmarks("machine", "export", "model_speed")["model_speed"]
    path = tmp_path / "speeds.json"
    script.main(["--models", "audio_cnn_plus", "--rounds", "1", "--output", str(path)])
    speeds = read_speeds(path)
    assert speeds.clips_per_s["audio_cnn_plus"] > 0 and speeds.said.startswith(
        "Clips of 3 s, one by one, 1 thread(s): "
    )
    assert {"audio_cnn", "audio_cnn_robust", "audio_lstm_plus"} <= set(script.DEFAULT)
