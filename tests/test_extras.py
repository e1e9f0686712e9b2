"""What works without the extras, and the line that names the extra which a command needs."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import soundfile as sf
from import_blocker import BLOCK_IMPORTS
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hf_ser.extras import EXTRAS, MissingExtraError, missing_extra, needs_extra
from hf_ser.labels import EMOTIONS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {"prometheus_client": "prometheus-client", "python_multipart": "python-multipart"}
DISTRIBUTIONS |= {"sklearn": "scikit-learn"}  # where the module has another name
INDIRECT = {"sqlalchemy", "onnx_ir"}  # come with optuna and onnxscript
# Runs the commands that it reads, each in a process of its own that begins with what most commands import, and
# cannot import some modules. Such a command is the modules that are absent and the words after `python`.
SERVER = (
    """
import json, os, runpy, sys

absent = set(json.loads(sys.argv[1]))
is_hidden = absent.__contains__  # also of those that are added below
"""
    + BLOCK_IMPORTS
    + """
import torch, transformers
import hf_ser.arguments, hf_ser.inference
for line in sys.stdin:
    modules, words, folder = json.loads(line)
    child = os.fork()
    if child == 0:
        absent |= set(modules)
        for descriptor, name in ((1, "out"), (2, "errors")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        os.chdir(folder)
        program, *sys.argv[1:] = words
        sys.argv[0] = program
        try:
            if program == "-c":
                exec(sys.argv.pop(1), {"__name__": "__main__"})
            elif program == "-m":
                runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(program, run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code or 0
        except BaseException as error:
            try:
                status = 1
                sys.excepthook(type(error), error, error.__traceback__)
            except SystemExit as end:
                status = end.code
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
)


def _name(requirement):
    return canonicalize_name(Requirement(requirement).name)


def _with_dependencies(names):
    """Distributions, and all that these need, without extras."""
    found, todo = set(), [canonicalize_name(name) for name in names]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(canonicalize_name(requirement.name))
    return found


def _beside_the_core():
    """Modules that an installation without extras does not have."""
    core = _with_dependencies(map(_name, PROJECT["dependencies"])) | {"hf-ser", "pip", "setuptools"}
    modules = importlib.metadata.packages_distributions()
    return sorted(module for module, owners in modules.items() if not core & set(map(canonicalize_name, owners)))


class _Python:
    """Runs programs in which some modules are absent."""

    def __init__(self, absent, folder):
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", SERVER, json.dumps(absent)]
        self._server = subprocess.Popen(command, cwd=folder, env=environment, **pipes)

    def run(self, *words, absent=()):
        """Run `python` with these words -> exit code, stdout, stderr."""
        print(json.dumps([list(absent), list(map(str, words)), str(self.folder)]), file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        return code, (self.folder / "out").read_text(), (self.folder / "errors").read_text()

    def close(self):
        self._server.stdin.close()
        self._server.wait(timeout=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tone, save_companion):
    """A folder with a model that brings its code, and a recording."""
    folder = tmp_path_factory.mktemp("core")
    save_companion(folder / "model", EMOTIONS)
    sf.write(folder / "a.wav", tone(0.6), 16_000)
    return folder


@pytest.fixture(scope="module")
def core(folder):
    """Python with what `pip install hf-ser` brings."""
    python = _Python(_beside_the_core(), folder)
    yield python
    python.close()


@pytest.fixture(scope="module")
def whole(folder):
    """Python with everything that is installed here, from which single modules are taken."""
    python = _Python([], folder)
    yield python
    python.close()


PIPELINE = """
from transformers import pipeline
classify = pipeline("audio-classification", model="model", trust_remote_code=True)
print(len(classify("a.wav", top_k=None)))
"""


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["-m", "hf_ser.cli", "--help"], "predict"),
        (["-m", "hf_ser.cli", "predict", "a.wav", "--model", "model"], "neutral"),
        (["-m", "hf_ser.cli", "predict", "a.wav", "--model", "model", "--timeline", "--format", "json"], "timeline"),
        (["-m", "hf_ser.cli", "info", "model"], "ser-audio-cnn"),
        (["-m", "hf_ser.cli", "predict", "a.wav"], "neutral"),
        (["-c", "import hf_ser; print(len(hf_ser.SpeechEmotionPipeline()('a.wav')))"], "8"),
        (["-c", "import hf_ser; print(hf_ser.load_audio('a.wav').shape)"], "(9600,)"),
        (["-c", "import hf_ser; print(type(hf_ser.load_classifier('model')[0]))"], "AudioCNN"),
        (["-c", PIPELINE], "8"),
        ([ROOT / "recipes/download.py", "--help"], "usage: "),
    ],
    ids=[
        "help",
        "predict",
        "timeline",
        "info",
        "default",
        "default_pipeline",
        "load_audio",
        "load_classifier",
        "pipeline",
        "download",
    ],
)
def test_the_core_runs_models(core, words, printed):
    code, out, errors = core.run(*words)
    assert code == 0, errors
    assert printed in out


def test_the_core_writes_answers_to_files(core, folder):
    code, _, errors = core.run("-m", "hf_ser.cli", "predict", "a.wav", "--model", "model", "--output", "answers.csv")
    assert code == 0, errors
    assert (folder / "answers.csv").read_text().startswith("file,")


TRAINING = {path.stem for path in (ROOT / "recipes").glob("*.py")} - {"download", "prepare", "quickstart"}


def test_the_demo_names_its_own_extra_whatever_is_absent(core):
    code, _, errors = core.run("-m", "hf_ser.cli", "demo", "--model", "model")
    assert code == 2 and re.fullmatch(
        r'error: .* needed for the demo\. Install it with: pip install "hf-ser\[demo\]"\n', errors
    )


@pytest.mark.parametrize("recipe", sorted(TRAINING))
def test_recipes_without_their_extra_name_it_in_one_line(core, recipe):
    code, out, errors = core.run(ROOT / f"recipes/{recipe}.py", "--help")
    assert code == 2 and not out
    assert re.fullmatch(r'error: \w+ is not installed; .* Install it with: pip install "hf-ser\[train\]"\n', errors)


LORA = "from hf_ser.training.modeling import add_lora; add_lora(None, None)"
TRANSFORMS = "from hf_ser.training.augmentation import make_transforms; make_transforms([{'transform': 'Gain'}])"
ROOMS = "from hf_ser.conditions.channels import check_rooms; check_rooms()"
BOOSTER = "from hf_ser.hybrids import read_booster; read_booster('booster.txt')"
RUN = "from hf_ser.arguments import run\ndef main():\n    {}\nrun(main)"


@pytest.mark.parametrize(
    ("extra", "absent", "words"),
    [
        ("train", "pyarrow", ["-m", "hf_ser.cli", "predict", "a.wav", "--model", "model", "--output", "a.parquet"]),
        ("train", "datasets", [ROOT / "recipes/prepare.py", "--output_dir", "data/emotions", "--ravdess", "."]),
        ("train", "scipy", [ROOT / "recipes/generate.py", "--help"]),
        ("plots", "matplotlib", [ROOT / "recipes/explore.py", "--help"]),
        ("demo", "gradio", ["-m", "hf_ser.cli", "demo", "--model", "model"]),
        ("serve", "prometheus_client", ["-m", "hf_ser.cli", "serve", "--model", "model"]),
        ("lora", "peft", ["-c", RUN.format(LORA)]),
        ("augmentation", "audiomentations", ["-c", RUN.format(TRANSFORMS)]),
        ("robustness", "pyroomacoustics", ["-c", RUN.format(ROOMS)]),
        ("hybrids", "lightgbm", ["-c", RUN.format(BOOSTER)]),
        ("audformat", "audformat", [ROOT / "recipes/prepare.py", "--output_dir", "data/x", "--audformat", "."]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_absent_package_is_one_line_with_the_extra(whole, extra, absent, words):
    code, out, errors = whole.run(*words, absent=[absent])
    assert (code, out) == (2, "")
    purpose = EXTRAS[extra][0]
    remedy = f'Install it with: pip install "hf-ser[{extra}]"'
    assert errors == f"error: {absent} is not installed; it is needed for {purpose}. {remedy}\n"


def test_other_absent_modules_keep_their_traceback(whole):
    for words in (["-c", "import hf_ser.arguments, datasets"], ["-c", RUN.format("import modul")]):
        code, _, errors = whole.run(*words, absent=["datasets"])
        assert code == 1 and "Traceback" in errors and "No module named" in errors


def test_the_table_names_the_modules_of_the_extras():
    for extra, (_, modules) in EXTRAS.items():
        declared = set(map(_name, PROJECT["optional-dependencies"][extra]))
        assert {DISTRIBUTIONS.get(module, module) for module in modules} - INDIRECT <= declared, extra
    named = {DISTRIBUTIONS.get(module, module) for _, modules in EXTRAS.values() for module in modules}
    everything = {_name(text) for extra in EXTRAS for text in PROJECT["optional-dependencies"][extra]}
    assert everything - {"hf-ser"} <= named


def test_library_users_see_the_same_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r'pip install "hf-ser\[lora\]"'), needs_extra():
        import peft  # noqa: F401
    with pytest.raises(ModuleNotFoundError), needs_extra():
        raise ModuleNotFoundError(name="modul")
    assert missing_extra(ValueError()) is None and missing_extra(ImportError(name="peft")) is None
