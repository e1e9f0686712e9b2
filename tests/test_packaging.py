"""pyproject.toml, the linters and the script of environments name the same Pythons."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hf_ser

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_classifiers_match_requires_python():
    lowest = re.fullmatch(r">=3\.(\d+)", PYPROJECT["project"]["requires-python"])[1]
    names = [
        re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", its) for its in PYPROJECT["project"]["classifiers"]
    ]
    minors = [int(match[1]) for match in names if match]
    assert minors == list(range(int(lowest), minors[-1] + 1))
    assert PYPROJECT["tool"]["mypy"]["python_version"] == f"3.{lowest}"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py3{lowest}"
    script = (ROOT / "tests" / "environments.sh").read_text(encoding="utf-8")
    tried = re.search(r"for minor in ([\d ]+);", script)[1]
    assert [int(word) for word in tried.split()] == minors
    assert f"Python 3.{lowest} to 3.{minors[-1]}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_constraints_lie_within_the_bounds():
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    requirements = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
    assert len(requirements) > 20
    for its in requirements:
        assert its.specifier.contains(pinned[canonicalize_name(its.name)]), str(its)


def test_the_citation_names_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (hf_ser.__version__, PYPROJECT["project"]["license"])
    assert citation["authors"] == PYPROJECT["project"]["authors"]
