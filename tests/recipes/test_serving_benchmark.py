"""`benchmarks/serving.py`: what it measures, and its table."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script(load_benchmarks):
    return load_benchmarks("machine", "serving")["serving"]


def test_summaries_count_every_request(script):
    answers = [(200, 0.010)] * 97 + [(200, 0.5)] * 2 + [(503, 0.001)]
    assert script.summary({"answers": answers, "seconds": 2.0, "requests": 101}) == {
        "requests": 101,
        "unanswered": 1,
        "status": {"200": 99, "503": 1},
        "per_s": 49.5,
        "median_ms": 10.0,
        "p99_ms": 500.0,
        "refused_p99_ms": 1.0,
    }


@pytest.mark.slow
def test_it_measures_a_server_and_fills_the_page(script, tiny_graph, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{script.BEGIN}\nold\n{script.END}\n\nafter\n")
    words = ["--models", str(tiny_graph[1]), "--requests", "20", "--clients", "1", "4", "--memory_requests", "20"]
    script.main([*words, "--output", str(tmp_path / "serving.json"), "--docs", str(page)])
    (row,) = json.loads((tmp_path / "serving.json").read_text())["rows"]
    assert [load["status"] for load in row["load"].values()] == [{"200": 20}, {"200": 20}]
    assert row["engine"] == "onnxruntime" and len(row["memory_mib"]) == 11 and min(row["memory_mib"]) > 10
    overload = row["overload"]
    assert sum(overload["status"].values()) == 20 and overload["unanswered"] == 0 and overload["answered_afterwards"]
    text = page.read_text()
    assert text.count("| onnxruntime") == 2 and "old" not in text and text.endswith("\nafter\n")


def test_the_page_shows_what_was_measured(script):
    measured, page = ROOT / "results" / "serving.json", (ROOT / "docs" / "how-to" / "serve.md").read_text("utf-8")
    shown = page[page.index(script.BEGIN) + len(script.BEGIN) : page.index(script.END)].strip()
    if not measured.is_file():
        assert shown == "Nothing has been measured yet."
    else:
        assert shown == script.render(json.loads(measured.read_text("utf-8")))
