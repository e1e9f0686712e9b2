"""`benchmarks/power.py`: its figures follow from the standard errors, and the page shows them."""

import json
from pathlib import Path

import pytest

from hf_ser.reporting.comparison import find_runs, group, load_runs
from hf_ser.scoring.significance import detectable_difference

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script(load_benchmarks):
    return load_benchmarks("power")["power"]


@pytest.fixture(scope="module")
def stored():
    return json.loads((ROOT / "results" / "power.json").read_text("utf-8"))


def test_more_speakers_detect_smaller_differences(script):
    names = ("audio_cnn_plus_emobox", "mel_cnn_emobox", "baseline_emobox")
    (runs,) = group(load_runs(find_runs([str(ROOT / "results" / name) for name in names]))).values()
    table = script.measure("emobox", runs, (20, 24, 91))
    assert (table["speakers"], table["pairs"]) == (24, 3)
    assert table["detectable"]["24"][0] == detectable_difference(table["standard_error"]["median"], 24)
    assert table["detectable"]["20"] > table["detectable"]["24"] > table["detectable"]["91"]
    assert table["needed"]["0.01"] > table["needed"]["0.02"] > table["needed"]["0.05"]
    assert script.measure("emobox", runs[:1], (20,)) is None


def test_the_page_shows_what_was_measured(script, stored):
    page = (ROOT / "docs" / "power.md").read_text("utf-8")
    shown = page[page.index(script.BEGIN) + len(script.BEGIN) : page.index(script.END)].strip()
    assert shown == script.render(stored)
