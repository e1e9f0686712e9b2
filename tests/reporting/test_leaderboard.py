"""The leaderboard: ranks, corrected tests, facts beside the scores, entries on the Hub, and what it rejects."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from example_results import make_results

from hf_ser.arguments import ConfigError
from hf_ser.reporting import write_run
from hf_ser.reporting.leaderboard import BEGIN, END, LeaderboardArguments, make_leaderboard
from hf_ser.reporting.leaderboard_entries import LeaderboardError, read_speeds
from hf_ser.scoring import Predictions, score_split

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef" * 2 + "01234567"
SPEEDS = {"machine": "a named machine", "clip_s": 3.0, "threads": 1, "clips_per_s": {"good": 1234.4, "other": 2.0}}


@pytest.fixture
def make(tmp_path):
    """Write a run on 12 speakers whose answers are right for a share of the clips."""

    def write(name, share, protocol="emobox", folder=None, **changes):
        clips = {
            "id": [f"ravdess/{number}" for number in range(96)],
            "corpus": ["ravdess"] * 96,
            "speaker": [f"ravdess_{number % 12}" for number in range(96)],
            "gender": ["male"] * 96,
            "intensity": [None] * 96,
            "label": [0, 1] * 48,
        }
        right = np.random.default_rng(0).random(96) < share
        first = np.where(right == (np.arange(96) % 2 == 0), 0.8, 0.2)
        predictions = Predictions(clips, np.stack([first, 1 - first], axis=1), ("happy", "sad"))
        results = make_results(
            {"test": score_split(predictions, files=["predictions.parquet"])},
            kind="evaluation",
            name=name,
            training=None,
            seeds=[],
            **{"dataset": {"name": "ravdess"}, "protocol": {"name": protocol}, **changes},
        )
        folder = folder or tmp_path / name
        write_run(folder, results, {"test": [predictions]}, figures=False)
        return folder

    return write


def rows(text, model):
    lines = [line for line in text.splitlines() if line.startswith("|") and f"| {model} " in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_row_says_what_its_files_say(make, tmp_path):
    good, bad = make("good", 0.95), make("bad", 0.5)
    (good / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Card\n")
    levels = [{"scores": {"uar": value}} for value in (0.8, 0.6)]
    content = {"conditions": [{"levels": levels}, {"levels": [{"scores": {"uar": 0.3}}]}]}
    (good / "robustness.json").write_text(json.dumps(content))
    (bad / "predictions.parquet").unlink()
    speeds = tmp_path / "speeds.json"
    speeds.write_text(json.dumps(SPEEDS))
    args = LeaderboardArguments([str(bad), str(good)], output_dir=str(tmp_path / "board"), speeds=str(speeds))
    text, written = make_leaderboard(args)
    ((rank, _, uar, accuracy, p, seeds, parameters, speed, _, robust, licence, checked),) = rows(text, "good")
    assert (rank, p, seeds, parameters, speed) == ("1", "-", "-", "1,234", "1,234")
    assert (robust, licence, checked) == ("0.500", "cc-by-4.0", "yes")
    scored = json.loads((good / "results.json").read_text())["splits"]["test"]
    assert uar.startswith(f"{scored['scores']['uar']:.3f} [") and accuracy == f"{scored['scores']['accuracy']:.3f}"
    ((rank, *_, speed, _, robust, licence, checked),) = rows(text, "bad")
    assert (rank, speed, robust, licence, checked) == ("2", "-", "-", "-", "no")
    assert "a named machine" in text
    alone, _ = make_leaderboard(LeaderboardArguments([str(bad)]))
    assert not any(name in alone for name in ("| clips/s", "| robust", "| licence")) and "| checked" in alone
    assert written[1].read_text() == f"# Leaderboard\n\n{text}"
    first, second = json.loads(written[0].read_text())["tables"][0]["entries"]
    assert first["uar"] == scored["scores"]["uar"] and first["robustness"] == 0.5 and second["checked"] is False


def test_runs_are_tested_against_the_first_one(make):
    text, _ = make_leaderboard(
        LeaderboardArguments([str(make(*run)) for run in (("a", 0.95), ("b", 0.94), ("c", 0.5))])
    )
    assert rows(text, "a")[0][4] == "-"
    assert float(rows(text, "b")[0][4]) > 0.05
    assert rows(text, "c")[0][4].endswith("\\*")


def test_protocols_are_never_in_one_ranking_and_held_out_speakers_come_first(make):
    folders = [
        make("shared", 0.99, "random"),
        make("strict", 0.6),
        make("generated", 0.99, dataset={"synthetic": ["x"]}),
    ]
    text, _ = make_leaderboard(LeaderboardArguments([*map(str, folders)]))
    assert [rows(text, name)[0][0] for name in ("shared", "strict", "generated")] == ["1"] * 3
    assert text.index("| strict ") < text.index("| generated ") < text.index("| shared ")
    assert text.count("speakers in common") == text.count("say nothing about real speech") == 1


def test_merged_sets_are_ranked_by_the_mean_over_their_corpora():
    runs = [str(ROOT / "results" / name) for name in ("audio_cnn_merged", "cnn_gru_merged", "audio_cnn_plus_merged")]
    text, _ = make_leaderboard(LeaderboardArguments(runs))
    assert "UAR, mean over corpora" in text
    for rank, folder in enumerate([runs[2], *runs[:2]], 1):
        scored = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))["splits"]["test"]
        (row,) = rows(text, Path(folder).name)
        assert row[0] == str(rank) and row[2].startswith(f"{scored['by_corpus']['scores']['uar']:.3f} [")
        assert row[3] == f"{scored['scores']['accuracy']:.3f}"


def test_the_same_entries_give_the_same_page(make, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    folders = [str(make("one", 0.9)), str(make("two", 0.7))]
    text, written = make_leaderboard(LeaderboardArguments(folders, page=str(page)))
    assert written == [page] and page.read_text() == f"# Page\n\n{BEGIN}\n\n{text}\n{END}\n\nafter\n"
    make_leaderboard(LeaderboardArguments(folders[::-1], page=str(page)))
    assert page.read_text() == f"# Page\n\n{BEGIN}\n\n{text}\n{END}\n\nafter\n"


@pytest.fixture
def on_the_hub(make):
    """Write a run as downloaded from the Hub."""
    cached = Path(os.environ["HF_HUB_CACHE"]) / "models--someone--good"

    def write(**changes):
        make("good", 0.9, folder=cached / "snapshots" / COMMIT, **changes)
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text(COMMIT)

    yield write
    shutil.rmtree(cached)


def test_entries_on_the_hub_name_their_commit(make, on_the_hub):
    on_the_hub()
    for name in ("someone/good", "someone/good@main", f"someone/good@{COMMIT}"):
        text, _ = make_leaderboard(LeaderboardArguments([str(make("local", 0.6)), name]))
        assert rows(text, "someone/good (someone/good@01234567)")[0][0] == "1"
        assert rows(text, "local")[0][0] == "2"


def test_names_with_markup_are_rejected(on_the_hub):
    on_the_hub(dataset={"name": "[free](http://example.org)"})
    with pytest.raises(LeaderboardError, match=r"someone/good: '\[free\].*is not a plain name"):
        make_leaderboard(LeaderboardArguments(["someone/good"]))


def test_a_model_without_results_is_rejected_with_the_remedy(on_the_hub):
    on_the_hub()
    (Path(os.environ["HF_HUB_CACHE"]) / "models--someone--good" / "snapshots" / COMMIT / "results.json").unlink()
    with pytest.raises(LeaderboardError, match=r"someone/good@main has no results.json.*recipes/evaluate.py"):
        make_leaderboard(LeaderboardArguments(["someone/good"]))


def test_a_missing_model_is_rejected():
    with pytest.raises(LeaderboardError, match=r"someone/absent@main: "):
        make_leaderboard(LeaderboardArguments(["someone/absent"]))


@pytest.mark.parametrize("content", ["", "[]", '{"clips_per_s": {"a": "fast"}}', '{"clips_per_s": {"a": 1}}'])
def test_files_with_other_speeds_are_rejected(content, tmp_path):
    path = tmp_path / "speeds.json"
    path.write_text(content)
    with pytest.raises(LeaderboardError, match=r"--speeds .*: expected a file of benchmarks/model_speed.py"):
        read_speeds(path)


def test_a_file_that_is_no_robustness_report_is_rejected(make):
    folder = make("good", 0.9)
    (folder / "robustness.json").write_text('{"conditions": [{}]}')
    with pytest.raises(LeaderboardError, match=r"robustness.json: expected a file written by recipes/robustness.py"):
        make_leaderboard(LeaderboardArguments([str(folder)]))


def test_invalid_arguments_are_rejected_before_anything_is_read(tmp_path):
    (tmp_path / "leaderboard.md").write_text("")
    cases = (
        ({"runs": []}, "runs is empty"),
        ({"runs": ["a"], "names": ["a="]}, "--names: got 'a='; expected RUN=NAME"),
        ({"runs": ["a"], "page": str(tmp_path / "none.md")}, "none.md: no such file"),
        ({"runs": ["a"], "output_dir": str(tmp_path)}, "contains a leaderboard; pass --overwrite true"),
    )
    for arguments, message in cases:
        with pytest.raises(ConfigError, match=message):
            LeaderboardArguments(**arguments)
