"""`benchmarks/export.py`: what it measures, and its table."""

import json
from pathlib import Path

import pytest

from hf_ser.export import verification

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script(load_benchmarks):
    return load_benchmarks("machine", "export")["export"]


@pytest.mark.slow
def test_it_measures_graphs_and_fills_the_page(script, tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "_REPEATS", 1)
    monkeypatch.setattr(verification, "available_processors", lambda: 1)
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{script.BEGIN}\nold\n{script.END}\n\nafter\n")
    script.main(["--models", "default", "--output", str(tmp_path / "export.json"), "--docs", str(page)])
    rows = json.loads((tmp_path / "export.json").read_text())["rows"]
    assert [row["precision"] for row in rows] == ["float32", "float16 weights", "int8"]
    assert rows[0]["largest_difference"] < 1e-4 and rows[1]["megabytes"] < 0.6 * rows[0]["megabytes"]
    assert rows[1]["largest_difference"] < rows[2]["largest_difference"] < 0.2
    text = page.read_text()
    assert text.count("| default") == 3 and "old" not in text and text.endswith("\nafter\n")


def test_rows_of_other_models_are_kept_on_the_same_kind_of_machine(script, tmp_path):
    measured = tmp_path / "export.json"
    measured.write_text(json.dumps({"machine": "that one", "rows": [{"model": "xlsr"}]}))
    assert script.read_rows(measured, "that one") == [{"model": "xlsr"}]
    with pytest.raises(SystemExit, match=r"measured on 'that one', this machine is 'another'. Omit --keep."):
        script.read_rows(measured, "another")


def test_the_page_shows_what_was_measured(script):
    measured, page = ROOT / "results" / "export.json", (ROOT / "docs" / "how-to" / "export.md").read_text("utf-8")
    shown = page[page.index(script.BEGIN) + len(script.BEGIN) : page.index(script.END)].strip()
    if not measured.is_file():
        assert shown == "Nothing has been measured yet."
    else:
        assert shown == script.render(json.loads(measured.read_text("utf-8")))


def test_every_kind_of_model_can_be_made(script):
    for name in (*script.CONFIGS, "wav2vec2_base"):
        model, extractor = script.load(name)
        assert not model.training and extractor.sampling_rate == 16_000
