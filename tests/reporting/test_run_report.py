"""A run's folder: report.md and what stands beside it."""

import importlib.util
from pathlib import Path

import pytest
from example_results import make_results

from hf_ser.arguments import ConfigError
from hf_ser.reporting import CompareArguments, ReportArguments, write_run


def test_without_figures_nothing_is_drawn_and_earlier_figures_go(tmp_path):
    (tmp_path / "figures").mkdir()
    write_run(tmp_path, make_results(), {}, figures=False)
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "results.json"}
    assert "Figures" not in (tmp_path / "report.md").read_text()


def test_figures_without_matplotlib_are_rejected_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^matplotlib is not installed.*hf-ser\[plots\].*--figures false\.$"):
        ReportArguments().check_figures()
    with pytest.raises(ConfigError, match="matplotlib is not installed"):
        CompareArguments(["a"], output_dir="out")
    CompareArguments(["a"])  # only prints
    CompareArguments(["a"], output_dir="out", figures=False)
    assert not Path("out").exists()
