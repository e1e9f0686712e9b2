"""Public docstrings: examples run, and functions of many parameters document them."""

import ast
import doctest
import importlib
import pkgutil
import shutil
from pathlib import Path

import pytest

import hf_ser

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "hf_ser").rglob("*.py"))
MANY = 4  # parameters that a reader must not have to guess
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _public_functions(path):
    """Name and node of the public functions, and the public methods of public classes, of a module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from ((f"{node.name}.{part.name}", part) for part in node.body if isinstance(part, ast.FunctionDef))


def _parameters(function):
    arguments = function.args
    names = [part.arg for part in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_functions_of_many_parameters_document_them(path):
    lacking = [
        name
        for name, function in _public_functions(path)
        if not name.split(".")[-1].startswith("_")
        and len(_parameters(function)) >= MANY
        and "Args:" not in (ast.get_docstring(function) or "")
    ]
    assert not lacking, f"no Args in the docstring of {', '.join(lacking)}"


def _exported():
    """What users import: the package's own names, and those that its folders export."""
    modules = [
        hf_ser,
        *(importlib.import_module(f"hf_ser.{info.name}") for info in pkgutil.iter_modules(hf_ser.__path__)),
    ]
    found = {}
    for module in modules:
        for name in getattr(module, "__all__", ()):
            member = getattr(module, name)
            if callable(member) and getattr(member, "__module__", "").startswith("hf_ser"):
                found[f"{member.__module__}.{member.__qualname__}"] = member
    return found


def _needs_example(member):
    return not (isinstance(member, type) and issubclass(member, Exception))


@pytest.mark.parametrize("name", sorted(name for name, member in _exported().items() if _needs_example(member)))
def test_what_is_exported_has_an_example(name):
    assert ">>> " in (_exported()[name].__doc__ or ""), f"{name} has no example"


@pytest.fixture
def working_folder(sounds_dir, companions, tiny_graph, tmp_path, monkeypatch):
    """What the examples find where they run: corpora/ravdess, data/emotions, runs/audio_cnn, model.onnx, voice.wav."""
    for name in ("data", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "corpora").symlink_to(sounds_dir.parent / "corpora")
    (tmp_path / "data/emotions").symlink_to(sounds_dir)
    shutil.copytree(companions[0], tmp_path / "runs/audio_cnn")  # examples may write into it
    shutil.copy(sorted((sounds_dir.parent / "corpora/ravdess").rglob("*.wav"))[0], tmp_path / "voice.wav")
    (tmp_path / "model.onnx").symlink_to(tiny_graph[1])
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", [path for path in FILES if ">>> " in path.read_text(encoding="utf-8")], ids=_name)
def test_examples_run(path, working_folder):
    result = doctest.testmod(importlib.import_module(_name(path)), optionflags=FLAGS)
    assert result.attempted and not result.failed
