"""`benchmarks/batch.py`: its page shows what was measured."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script(load_benchmarks):
    return load_benchmarks("machine", "batch")["batch"]


def test_the_page_shows_what_was_measured(script):
    measured, page = ROOT / "results" / "batch.json", (ROOT / "docs/how-to/many_files.md").read_text("utf-8")
    shown = page[page.index(script.BEGIN) + len(script.BEGIN) : page.index(script.END)].strip()
    assert shown == script.render(json.loads(measured.read_text("utf-8")) if measured.is_file() else None)


def test_rates_become_hours(script):
    rows = [
        {"name": f"{number}", "seconds": 100.0 / number, "clips_per_s": 100.0 * number, "peak_mib": 500}
        | {"largest_difference": 0.0}
        for number in (1, 2)
    ]
    results = {"machine": "a machine", "model": "default", "clips": 10_000, "clips_per_part": 250, "rows": rows}
    results |= {"killed": {"kills": 10, "lost": 0, "twice": 0}, "usd_per_core_hour": 0.05}
    results |= {"listing": {"seconds": 1.0, "mib": 160, "part": 1000, "part_ms": 1.0}}
    text = script.render(results)
    assert "| 2     | 200       | 2.00" in text and "one process needs 2.8 hours for a million clips" in text
    assert "a million clips take 10 minutes on 16 cores, and a billion 2.8 hours on 1,000 cores: 2,778 core-" in text
    assert "or 139 USD at 0.05 USD" in text and "more than about 100 million files" in text


def test_lost_repeated_and_changed_answers_are_counted(script):
    expected = pa.table({"file": ["x/a.wav", "x/b.wav"], "p_sad": [0.25, 0.5]})
    moved = pa.table({"file": ["x/b.wav", "x/a.wav"], "p_sad": [0.5, 0.375]})
    assert script.difference(moved, expected) == 0.125 and script.difference(expected.slice(1), expected) is None
    twice = pa.concat_tables([expected.slice(1), expected.slice(1)])
    assert script.counts(twice, expected) == {"lost": 1, "twice": 1, "largest_difference": None}
