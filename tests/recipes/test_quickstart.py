"""`make quickstart`: its stages, its commands, and what it installs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hf_ser import cli
from hf_ser.arguments import parse
from hf_ser.corpora.synthetic import GenerateArguments
from hf_ser.data import DataArguments, PrepareArguments
from hf_ser.training import ModelArguments, SerTrainingArguments

ROOT = Path(__file__).parents[2]
TYPES = {
    "recipes/generate.py": (GenerateArguments,),
    "recipes/prepare.py": (PrepareArguments,),
    "recipes/finetune.py": (ModelArguments, DataArguments, SerTrainingArguments),
}


@pytest.fixture
def quickstart(load_recipe):
    return load_recipe("quickstart")


@pytest.fixture
def run(quickstart, capfd):
    """Run stages by their commands -> exit code, stdout, stderr."""

    def stages(*commands):
        given = [quickstart.Stage(f"Do {number}", command) for number, command in enumerate(commands, 1)]
        code = quickstart.run_stages(given, "Made: everything", dict(os.environ))
        return code, *capfd.readouterr()

    return stages


def _python(code):
    return shlex.join([sys.executable, "-c", code])


def test_stages_are_numbered_show_their_commands_and_take_their_time(run):
    first, second = _python("print('one', flush=True)"), _python("import time; time.sleep(0.3); print('two')")
    code, out, err = run(first, second)
    assert (code, err) == (0, "")
    stages = [rf"\n== {stage}\n\$ (.+)\n{{}}\n-- took (.+) s\n" for stage in ("1/2 Do 1", "2/2 Do 2")]
    end = r"\nAll 2 stages took (.+) s\. Made: everything\n"
    found = re.fullmatch(stages[0].format("one") + stages[1].format("two") + end, out)
    assert found, out
    shown, first_s, other, second_s, all_s = found.groups()
    assert (shown, other) == (first, second)
    assert 0.3 <= float(second_s) and float(first_s) + float(second_s) <= float(all_s) + 0.1


@pytest.mark.parametrize("command", [_python("import sys; sys.exit('no space left')"), "hf-ser-that-is-not-there x"])
def test_the_first_stage_that_fails_ends_it(run, command):
    code, out, err = run(_python("pass"), command, _python("print('never')"))
    assert code == (127 if command.startswith("hf-ser") else 1)
    said, *_, last = err.strip().splitlines()
    missing = "error: hf-ser-that-is-not-there is not installed. Install it and run this again."
    assert said in ("no space left", missing)
    assert last == f"Stage 2/3 failed with exit code {code}; its message is above. The stages after it were not run."
    assert "3/3" not in out and "never" not in out and "Made" not in out


def test_minutes(quickstart):
    assert [quickstart._duration(seconds) for seconds in (0.04, 59.2, 61, 154.6)] == [
        "0.0 s",
        "59.2 s",
        "1 min 1 s",
        "2 min 35 s",
    ]


def test_its_commands_are_known(quickstart, monkeypatch):
    monkeypatch.chdir(ROOT)
    install, first, *recipes, predict = [shlex.split(stage.command) for stage in quickstart.STAGES]
    assert install == ["make", "install"]
    assert first == ["hf-ser", "predict", quickstart.EXAMPLE] and (ROOT / quickstart.EXAMPLE).is_file()
    assert [words[1] for words in recipes] == list(TYPES)
    for _, recipe, *argv in recipes:
        arguments = parse(*TYPES[recipe], argv=argv)
    assert arguments[1].dataset == quickstart.DATASET and arguments[2].output_dir == quickstart.MODEL
    assert predict[0] == "hf-ser" and cli._parser().parse_args(predict[1:]).model == quickstart.MODEL
    assert quickstart.MODEL in quickstart.MADE and quickstart.DATASET in quickstart.MADE


def test_it_needs_nothing_but_python():
    code = "import runpy; runpy.run_path('recipes/quickstart.py')"
    subprocess.run([sys.executable, "-S", "-I", "-c", code], cwd=ROOT, check=True)  # -S: without installed packages


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_installs_what_it_says():
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS")}

    def commands(target):
        words = ["make", "--dry-run", "--always-make", target]
        done = subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    for target, what in (("install", '--editable ".[hybrids,plots,train]"'), ("setup", '--editable ".[dev]"')):
        (line,) = [line for line in commands(target).splitlines() if " install " in line]
        assert line.endswith(what) and "--constraint constraints.txt" in line
    assert commands("quickstart").split()[1:] == ["recipes/quickstart.py"]
    assert ".[dev]" in commands("test")


def test_the_extras_fit_together():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[<>=\[]", text)[0] for text in project["dependencies"]}
    extras = {
        name: {re.split(r"[<>=\[]", text)[0] for text in texts}
        for name, texts in project["optional-dependencies"].items()
    }
    assert not core & set().union(*extras.values())
    assert {"pytest", "mypy", "ruff", "playwright"} <= extras.pop("dev")
    (every,) = project["optional-dependencies"]["all"]
    named = every.removeprefix("hf-ser[").removesuffix("]").split(",")
    assert set(named) == set(extras) - {"all", "bench", "docs", "openvino"}  # openvino is large and rarely used
    assert "hf-ser[all,bench,docs]" in project["optional-dependencies"]["dev"]
