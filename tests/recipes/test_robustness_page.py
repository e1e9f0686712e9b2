"""`benchmarks/robustness_page.py`: the page shows the stored reports."""

import copy
from pathlib import Path

import pytest

from hf_ser.results_file import number

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script(load_benchmarks):
    return load_benchmarks("robustness_page")["robustness_page"]


def test_the_page_shows_the_stored_reports(script):
    page = (ROOT / "docs" / "how-to" / "robustness-report.md").read_text("utf-8")
    shown = page[page.index(script.BEGIN) + len(script.BEGIN) : page.index(script.END)].strip()
    assert shown == script.render(script.read(ROOT / "results"))


def test_levels_of_two_models_are_in_one_row_in_any_order(script):
    reports = script.read(ROOT / "results")
    turned = copy.deepcopy(reports)
    turned["with_noise"]["conditions"].reverse()
    for condition in turned["with_noise"]["conditions"]:
        condition["levels"].reverse()
    assert script.render(turned) == script.render(reports)
    first = reports["without_noise"]["conditions"][0]
    assert f"| {first['title']} " in script.render(reports)
    assert number(first["levels"][0]["scores"]["uar"]) in script.render(reports)


def test_a_stack_is_beside_the_network_under_the_conditions_that_both_have(script):
    reports = script.read(ROOT / "results")
    titles = {name: {c["title"] for c in reports[name]["conditions"]} for name in ("models", "stack")}
    (only,) = {"mains hum"} & (titles["models"] - titles["stack"])
    page = script.render(reports)
    first, beside = page[: page.index("A stack beside it")], page[page.index("A stack beside it") :]
    assert f"| {only} " in first and f"| {only} " not in beside
    assert all(f"| {title} " in beside for title in titles["stack"])


def test_reports_on_other_clips_are_not_put_side_by_side(script, tmp_path, monkeypatch):
    reports = script.read(ROOT / "results")
    monkeypatch.setattr(script, "read_report", lambda folder: reports["stack"] | {"clips_hash": "other"})
    page = tmp_path / "page.md"
    page.write_text(f"{script.BEGIN}\nold\n{script.END}\n")
    with pytest.raises(SystemExit, match="models and stack are on different clips"):
        script.main(["--stack", "runs/stack", "--docs", str(page)])
    assert "old" in page.read_text()
