"""What importing the package, asking for help and answering one recording bring into memory."""

import ast
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf

import hf_ser

ROOT = Path(__file__).parents[1]
NAMES = {
    "AudioError",
    "EMOTIONS",
    "ID2LABEL",
    "LABEL2ID",
    "OnnxPipeline",
    "SerError",
    "SpeechEmotionPipeline",
    "__version__",
    "load_audio",
    "load_classifier",
}
# Prints, as the last line of stderr, the libraries that the lines before it have loaded beside Python's own.
TELL = """
import json, sys
loaded = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - before
print(json.dumps(sorted(loaded)), file=sys.stderr)
"""
HELP = """
from hf_ser.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert not end.code
"""
# A recipe in a folder with a file named evaluate.py, as recipes/ has, that also asks a worker process.
PROGRAM = """
import multiprocessing
from hf_ser.arguments import run

def work(_=None):
    import importlib.util
    return importlib.util.find_spec("evaluate").origin

def main():
    print(work())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [None])[0])

if __name__ == "__main__":
    run(main)
"""


def _python(*words, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def _loaded(code, cwd):
    before = 'import sys\nbefore = {name.partition(".")[0] for name in sys.modules}\n'
    return set(json.loads(_python("-c", before + code + TELL, cwd=cwd).stderr.splitlines()[-1]))


def test_the_package_loads_nothing_but_itself(tmp_path):
    assert _loaded("import hf_ser; hf_ser.__version__; hf_ser.EMOTIONS; dir(hf_ser)", tmp_path) == {"hf_ser"}


def test_help_loads_nothing_but_the_package(tmp_path):
    assert _loaded(HELP, tmp_path) == {"hf_ser"}


def test_one_prediction_loads_no_library_of_training_and_figures(tmp_path, tone, save_companion):
    save_companion(tmp_path / "model", hf_ser.EMOTIONS)
    sf.write(tmp_path / "a.wav", tone(0.6), 16_000)
    loaded = _loaded(
        'from hf_ser.cli import main; assert main(["predict", "a.wav", "--model", "model"]) == 0', tmp_path
    )
    assert {"torch", "transformers"} <= loaded
    unused = {"datasets", "evaluate", "jsonschema", "lightgbm", "matplotlib", "pandas", "pyarrow", "sklearn"}
    assert loaded & {*unused, "tabulate"} == set()  # scipy is imported by transformers where it is installed


def test_dir_shows_the_public_names():
    assert set(dir(hf_ser)) == set(hf_ser.__all__) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_public_names_are_those_of_their_modules(name):
    assert getattr(hf_ser, name) is getattr(importlib.import_module(hf_ser._MODULES[name]), name)


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "hf_ser" / "__init__.py").read_text(encoding="utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname: node.module for node in checked.body for alias in node.names}
    assert seen == hf_ser._MODULES and (ROOT / "hf_ser" / "py.typed").is_file()


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match=r"module 'hf_ser' has no attribute 'load_adio'"):
        hf_ser.load_adio  # noqa: B018


def test_importing_leaves_the_path_alone_even_beside_an_evaluate_py(tmp_path):
    (tmp_path / "evaluate.py").touch()
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nbefore = list(sys.path)\nimport hf_ser, hf_ser.arguments\nassert sys.path == before\n"
    )
    _python(program, cwd=tmp_path)


def test_programs_beside_an_evaluate_py_and_their_workers_find_the_library(tmp_path):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "evaluate.py").touch()
    program = tmp_path / "programs" / "program.py"
    program.write_text(PROGRAM)
    library = importlib.util.find_spec("evaluate").origin
    assert _python("programs/program.py", cwd=tmp_path).stdout.splitlines() == [library, library]


@pytest.mark.parametrize("recipe", ["evaluate", "fit_hybrid", "finetune", "prepare"])
def test_recipes_do_not_import_evaluate_before_they_run(recipe, tmp_path):
    """Until then, that name is recipes/evaluate.py."""
    printed = _python("-X", "importtime", ROOT / "recipes" / f"{recipe}.py", "--help", cwd=tmp_path)
    imported = {line.rpartition("|")[2].strip() for line in printed.stderr.splitlines()}
    assert "usage" in printed.stdout and "hf_ser.arguments" in imported and "evaluate" not in imported


@pytest.mark.parametrize("module", ["audio", "data.scan", "data.prepare"])
def test_loading_and_preparing_audio_need_no_torch(module, tmp_path):
    """Each worker process of a preparation would take half a gigabyte for it."""
    loaded = _loaded(f"import hf_ser.{module}", tmp_path)
    assert {"numpy", "soundfile", "soxr"} <= loaded and not loaded & {"torch", "torchaudio"}
    assert module != "audio" or "transformers" not in loaded


def test_hf_ser_models_registers_its_models(tmp_path):
    code = 'import hf_ser.models; from transformers import AutoConfig; AutoConfig.for_model("ser-audio-cnn")'
    assert "torch" in _loaded(code, tmp_path)
