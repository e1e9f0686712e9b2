"""`benchmarks/live.py`: what it measures, and its table."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script(load_benchmarks):
    return load_benchmarks("machine", "live")["live"]


def test_it_compares_the_stream_with_the_file_and_fills_the_page(script, tiny_graph, tmp_path, monkeypatch):
    from hf_ser.runtime import OnnxPipeline

    tiny = {"graph": OnnxPipeline(tiny_graph[1], num_threads=1)}
    monkeypatch.setattr(script, "make_pipelines", lambda folder: tiny)
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{script.BEGIN}\nold\n{script.END}\n\nafter\n")
    script.main(["--rounds", "1", "--output", str(tmp_path / "live.json"), "--docs", str(page)])
    rows = json.loads((tmp_path / "live.json").read_text())["rows"]
    assert [row["sampling_rate"] for row in rows] == [16_000, 48_000]
    assert all(row["same_windows"] and row["largest_difference"] == 0 and row["windows"] > 20 for row in rows)
    assert all(0 < row["median_ms"] <= row["p99_ms"] for row in rows)
    text = page.read_text()
    assert text.count("as in the file") == 2 and "old" not in text and text.endswith("\nafter\n")


def test_the_page_shows_what_was_measured(script):
    measured, page = ROOT / "results" / "live.json", (ROOT / "docs" / "how-to" / "live.md").read_text("utf-8")
    shown = page[page.index(script.BEGIN) + len(script.BEGIN) : page.index(script.END)].strip()
    if not measured.is_file():
        assert shown == "Nothing has been measured yet."
    else:
        assert shown == script.render(json.loads(measured.read_text("utf-8")))
