"""`benchmarks/gender_gap.py`: the gap of planted data, and the page and the file that are committed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def scripts(load_benchmarks):
    return load_benchmarks("machine", "gender_gap_page", "gender_gap")


@pytest.fixture(scope="module")
def committed():
    return json.loads((ROOT / "results" / "gender_gap.json").read_text(encoding="utf-8"))


def planted(rng, women=0.7, men=0.5, speakers=12, clips=40):
    """Clips of as many women as men whose predictions are correct with these probabilities."""
    speaker = np.repeat([f"{gender}{n}" for gender in "wm" for n in range(speakers)], clips)
    gender = np.where(np.char.startswith(speaker, "w"), "female", "male")
    correct = rng.random(len(speaker)) < np.where(gender == "female", women, men)
    return np.tile(np.arange(4), len(speaker) // 4), correct, speaker, gender


def test_a_planted_gap_is_found_and_none_is_not(scripts):
    rng = np.random.default_rng(0)
    found = scripts["gender_gap"].uar_gap(*planted(rng))
    assert found["gap"] == pytest.approx(0.2, abs=0.07) and found["interval"][0] > 0.05
    assert found["interval"][0] < found["gap"] < found["interval"][1]
    assert (found["female"]["speakers"], found["male"]["clips"]) == (12, 480)
    none = scripts["gender_gap"].uar_gap(*planted(rng, 0.6, 0.6))
    assert none["interval"][0] < 0 < none["interval"][1]


def test_the_gap_is_that_of_the_recalls_and_ignores_absent_classes(scripts):
    label_ids = np.array([0, 0, 0, 2, 0, 2, 2, 2])
    correct = np.array([1, 1, 0, 1, 1, 0, 0, 1], dtype=bool)
    gender = np.array(["female"] * 4 + ["male"] * 4)
    found = scripts["gender_gap"].uar_gap(label_ids, correct, np.array(list("aabbccdd")), gender)
    assert found["female"]["uar"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["male"]["uar"] == pytest.approx((1 + 1 / 3) / 2)


def test_adjusting_removes_what_another_column_explains(scripts):
    rng = np.random.default_rng(1)
    clips = []
    for number in range(40):
        gender = "female" if number % 2 else "male"
        for _ in range(20):
            listeners = float(np.clip(rng.normal(0.6 if gender == "female" else 0.4, 0.15), 0, 1))
            models = 0.2 + 0.8 * listeners + rng.normal(0, 0.05)
            row = {"speaker": f"s{number}", "gender": gender, "listeners": listeners, "models": models}
            clips.append(row | {"label": rng.choice(["sad", "happy"])})
    plain = scripts["gender_gap"].adjusted(clips, "models", ())
    assert plain["gap"] == pytest.approx(plain["women"] - plain["men"]) == pytest.approx(0.16, abs=0.03)
    assert plain["interval"][0] > 0.1
    given = scripts["gender_gap"].adjusted(clips, "models", ("label", "listeners"))
    assert abs(given["gap"]) < 0.02 and given["interval"][0] < 0.01


def test_level_and_pitch_are_those_of_a_tone(scripts):
    time = np.arange(32_000) / 16_000
    steady = (0.1 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    level, pitch, spread = scripts["gender_gap"].voice(steady)
    assert level == pytest.approx(-23, abs=0.2) and pitch == pytest.approx(200, rel=0.02) and spread < 0.5
    padded = np.concatenate([steady, np.zeros(32_000, np.float32)])
    assert scripts["gender_gap"].voice(padded)[0] == pytest.approx(-23, abs=0.3)  # pauses do not count


def test_stored_runs_give_the_committed_gaps(scripts, committed):
    known = {(row["run"], row["corpus"]): row for row in committed["runs"]}
    for name in ("audio_cnn_plus_merged", "audio_cnn_plus_emobox"):
        for row in scripts["gender_gap"].gaps(ROOT / "results" / name):
            assert known[name, row["corpus"]] == json.loads(json.dumps(row))
    # The same scores as in results.json, which another function computes.
    stored = json.loads((ROOT / "results" / "audio_cnn_plus_merged" / "results.json").read_text(encoding="utf-8"))
    groups = stored["splits"]["test"]["groups"]["gender"]["groups"]
    row = known["audio_cnn_plus_merged", "crema_d"]
    assert row["female"]["uar"] == pytest.approx(groups["crema_d/female"]["scores"]["uar"])
    assert row["male"]["uar"] == pytest.approx(groups["crema_d/male"]["scores"]["uar"])


def test_the_page_has_the_tables_of_the_committed_file(scripts, committed):
    tables = scripts["gender_gap_page"]
    page = (ROOT / "docs" / "gender_gap.md").read_text(encoding="utf-8")
    shown = page[page.index(tables.BEGIN) + len(tables.BEGIN) : page.index(tables.END)]
    assert shown.strip() == tables.render(committed).strip()
    numbers = re.findall(r"\b0\.\d{3}\b", page[: page.index(tables.BEGIN)])
    assert len(numbers) > 10 and [number for number in numbers if number not in shown] == []


def test_the_counts_in_the_findings_are_those_of_the_table(committed):
    page = (ROOT / "docs" / "gender_gap.md").read_text(encoding="utf-8")
    held_out = [row["interval"][0] > 0 for row in committed["runs"] if row["run"].endswith("_emobox")]
    assert f"exclude 0 for {sum(held_out)} of {len(held_out)}" in page
    crema_d = [row["interval"][0] > 0 for row in committed["runs"] if row["corpus"] == "crema_d"]
    assert (sum(crema_d), len(crema_d)) == (8, 10) and "exclude 0 for eight of ten models" in page


def test_the_figure_is_drawn(scripts, committed, tmp_path):
    scripts["gender_gap_page"].draw(committed, tmp_path / "gap")
    text = (tmp_path / "gap.svg").read_text(encoding="utf-8")
    assert text.startswith("<?xml") and [path.name for path in tmp_path.iterdir()] == ["gap.svg"]
