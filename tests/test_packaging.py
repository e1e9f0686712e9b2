"""pyproject.toml agrees with the linters, the constraints and the script of environments; the built archives."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hf_ser
from hf_ser.hub.pretrained_folder import MAX_BYTES

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_classifiers_match_requires_python():
    lowest = re.fullmatch(r">=3\.(\d+)", PYPROJECT["project"]["requires-python"])[1]
    names = [
        re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", text)
        for text in PYPROJECT["project"]["classifiers"]
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
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    texts = [*PYPROJECT["project"]["dependencies"], *(text for extra in extras for text in extra)]
    for requirement in map(Requirement, texts):
        if requirement.name != "hf-ser":
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), str(requirement)


def test_the_citation_names_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (hf_ser.__version__, PYPROJECT["project"]["license"])
    assert citation["authors"] == PYPROJECT["project"]["authors"]


def test_wheel_and_sdist_hold_the_package_without_results_and_tests(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling is not installed (extra dev)")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    package = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "hf_ser").rglob("*") if "__pycache__" not in path.parts
    }
    files = {name for name in package if (ROOT / name).is_file()} | {"hf_ser/hub/model_card.md"}
    assert {name for name in names if not name.startswith("hf_ser-")} == files
    assert {f"hf_ser/pretrained/{name}" for name in ("config.json", "model.safetensors", "LICENSE")} <= files
    assert {"hf_ser/py.typed", "hf_ser/scoring/results.schema.json", "hf_ser/data/prepare.py"} <= files
    assert f"\nVersion: {hf_ser.__version__}\n" in metadata and "Provides-Extra: train" in metadata
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sdist:
        members = {member.name.partition("/")[2]: member.size for member in sdist}
    assert {"README.md", "LICENSE", "CITATION.cff", "model_card.md", "recipes/finetune.py"} <= set(members)
    assert files - {"hf_ser/hub/model_card.md"} <= set(members)
    assert not {name.partition("/")[0] for name in members} & {"results", "tests", "benchmarks", ".ci"}
    assert sum(members.values()) < 3e6 + MAX_BYTES
