"""The commands of README and docs are known to the programs they call, and the README's examples run."""

import argparse
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from hf_ser import cli
from hf_ser.arguments import parse
from hf_ser.batch.sharded_arguments import ShardedPredictArguments
from hf_ser.corpora import synthetic
from hf_ser.corpora.download import DownloadArguments
from hf_ser.data import DataArguments, PrepareArguments
from hf_ser.data.check import CheckArguments
from hf_ser.evaluation import CrossValidationArguments, EvaluateArguments
from hf_ser.hub.pretrained_folder import PackageArguments
from hf_ser.hub.push_plan import PushArguments
from hf_ser.hybrids.baseline import BaselineArguments
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.reporting.comparison import BEGIN, END, CompareArguments
from hf_ser.reporting.comparison_report import compare_runs
from hf_ser.reporting.leaderboard import LeaderboardArguments
from hf_ser.robustness import RobustnessArguments
from hf_ser.scoring.thresholds import read_thresholds
from hf_ser.search.hyperparameter_search import SearchArguments
from hf_ser.training import ModelArguments, SerTrainingArguments
from hf_ser.training.pretraining import PretrainingArguments, PretrainingDataArguments, PretrainingModelArguments

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
PAGES = "\n".join([README, *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))])
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGES, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]
YAML = re.findall(r"```yaml\n(.*?)```", PAGES, re.DOTALL)


def _examples(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


# Each is run below.
(SHORT,) = _examples("README.md")
(LOADING,) = _examples("docs/how-to/prepare.md")
REPORTING, CLASSIFYING = _examples("docs/how-to/predict.md")


def _own_arguments(name, cls):
    """The arguments that a recipe declares itself."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"recipes/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, cls)


RANKINGS = ("recipes/compare.py", "recipes/leaderboard.py")
TYPES = {
    "recipes/download.py": (DownloadArguments,),
    "recipes/prepare.py": (PrepareArguments,),
    "recipes/finetune.py": (ModelArguments, DataArguments, SerTrainingArguments),
    "recipes/train_companion.py": (ModelArguments, DataArguments, SerTrainingArguments),
    "recipes/predict.py": (ShardedPredictArguments,),
    "recipes/pretrain.py": (PretrainingModelArguments, PretrainingDataArguments, PretrainingArguments),
    "recipes/explore.py": (DataArguments, _own_arguments("explore", "ExploreArguments")),
    "recipes/evaluate.py": (DataArguments, CrossValidationArguments, EvaluateArguments),
    "recipes/robustness.py": (DataArguments, RobustnessArguments),
    "recipes/baseline.py": (DataArguments, BaselineArguments),
    "recipes/compare.py": (CompareArguments,),
    "recipes/leaderboard.py": (LeaderboardArguments,),
    "recipes/fit_hybrid.py": (DataArguments, HybridArguments),
    "recipes/push.py": (PushArguments,),
    "recipes/make_pretrained.py": (PackageArguments, ModelArguments, DataArguments, SerTrainingArguments),
    "recipes/search.py": (ModelArguments, DataArguments, SerTrainingArguments, SearchArguments),
}


def test_every_command_is_in_a_checked_block():
    """A command in a block of another language would not be checked."""
    program = r"(?:\w+=\S+ )*(?:python recipes/|accelerate launch |hf-ser |make |pip install )"
    shown = [line for line in PAGES.replace("\\\n", " ").splitlines() if re.match(program, line)]
    assert [line for line in shown if line not in COMMANDS] == []


def test_the_readme_has_been_read():
    assert COMMANDS and YAML
    assert re.search(r"_(OUTPUT|RESULTS|TIME|PLACEHOLDER)\b", PAGES) is None, "a placeholder was left"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_known(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    if words[:2] == ["pip", "install"]:
        extras = {extra for each in re.findall(r"\[(.*?)\]", command) for extra in each.split(",")}
        assert extras <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
        return
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    if words[:2] == ["hf-ser", "check"]:
        assert parse(CheckArguments, argv=words[2:], positional="recordings")
        return
    if words[0] == "hf-ser":
        assert cli._parser().parse_args(words[1:]).command
        return
    script = next(word for word in words if word.startswith("recipes/") and word.endswith(".py"))
    assert (ROOT / script).is_file()
    argv = words[words.index(script) + 1 :]
    if "--config" in argv:
        assert (ROOT / argv[argv.index("--config") + 1]).is_file()
        argv[argv.index("--config") + 1] = str(ROOT / argv[argv.index("--config") + 1])
    argv += ["--use_cpu", "true"] if {SerTrainingArguments, PretrainingArguments} & set(TYPES[script]) else []
    parse(*TYPES[script], argv=argv, positional="runs" if script in RANKINGS else None)


def test_the_tables_are_what_compare_makes_of_the_committed_results(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    command = next(line for line in COMMANDS if "recipes/compare.py" in line and "--readme docs/results.md" in line)
    argv = shlex.split(command)[2:]
    assert argv[-2:] == ["--readme", "docs/results.md"]
    copy = tmp_path / "results.md"
    begin, end = RESULTS.index(BEGIN), RESULTS.index(END)
    copy.write_text(RESULTS[: begin + len(BEGIN)] + "\n" + RESULTS[end:], encoding="utf-8")
    (args,) = parse(CompareArguments, argv=[*argv[:-1], str(copy)], positional="runs")
    compare_runs(args)
    assert copy.read_text(encoding="utf-8") == RESULTS


def _scores(name):
    path = ROOT / f"results/{name}/results.json"
    return json.loads(path.read_text(encoding="utf-8"))["splits"]["test"] if path.is_file() else None


def _cell(name, key):
    scored = _scores(name)
    if scored is None:
        return "-"
    low, high = scored["intervals"][0][key]
    return f"{scored['scores'][key]:.3f} [{low:.3f}, {high:.3f}]"


def test_the_short_table_agrees_with_the_results():
    systems = yaml.safe_load((ROOT / "results/published.yaml").read_text(encoding="utf-8")).values()
    published = {run: f"{system['accuracy']:.3f}" for system in systems for run in system["runs"]}
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", README.split("## Results")[1], re.MULTILINE)
    assert len(rows) > 5
    for name, accuracy, uar, other in rows:
        assert accuracy == _cell(f"{name}_random", "accuracy") and uar == _cell(f"{name}_emobox", "uar"), name
        assert other == published.get(name, "-"), name


def test_published_accuracies_belong_to_committed_runs():
    systems = yaml.safe_load((ROOT / "results/published.yaml").read_text(encoding="utf-8")).values()
    runs = {run for system in systems for run in system["runs"]}
    assert [run for run in sorted(runs) if _scores(f"{run}_random") is None] == []


def test_only_runs_in_the_tables_have_committed_predictions():
    """They are read by the paired tests; results.json is enough for everything else."""
    with_predictions = {path.parent.name for path in (ROOT / "results").glob("*/*.parquet")}
    patterns = ("*_random", "*_emobox", "*_merged")  # of the command that makes the tables
    assert with_predictions == {path.name for pattern in patterns for path in (ROOT / "results").glob(pattern)}


def test_every_score_with_an_interval_is_in_the_results():
    """As 0.868 (0.823 to 0.904) or 0.868 [0.823, 0.904], outside compare's tables and examples of output."""
    known = set()
    for path in (ROOT / "results").glob("*/results.json"):
        for scored in json.loads(path.read_text(encoding="utf-8"))["splits"].values():
            for key, value in scored["scores"].items():
                numbers = (value, *(scored["intervals"][0].get(key) or ()))
                known.add(tuple("-" if number is None else f"{number:.3f}" for number in numbers))
    pages = PAGES.replace(RESULTS[RESULTS.index(BEGIN) : RESULTS.index(END)], "")
    pages = re.sub(r"```.*?```", "", pages, flags=re.DOTALL)
    # These tables have a file and a test of their own.
    for name in ("in_the_wild", "what_helps", "means_of_models", "votes"):
        pages = re.sub(rf"<!-- {name}:begin -->.*?<!-- {name}:end -->", "", pages, flags=re.DOTALL)
    found = re.findall(r"(0\.\d{3}) (?:\(95 % interval )?[\[(]?(0\.\d{3})(?: to |, )(0\.\d{3})[\])]", pages)
    assert len(found) > 10
    assert [score for score in found if score not in known] == []


def test_the_yaml_examples_are_known(tmp_path):
    of_preparation = [text for text in YAML if "label_mapping" in text]
    of_guards = [text for text in YAML if "max_gap" in text]
    other = [*of_preparation, *of_guards]
    of_training = ["model_name_or_path: x\n", *(text for text in YAML if text not in other)]
    config = tmp_path / "config.yaml"
    argv = ["--config", str(config), "--output_dir", str(tmp_path)]
    config.write_text("".join(of_training))
    parse(ModelArguments, SerTrainingArguments, argv=[*argv, "--use_cpu", "true"])
    config.write_text("".join(of_preparation))
    (prepared,) = parse(PrepareArguments, argv=[*argv, "--csv", "calls.csv"])
    assert prepared.label_mapping["unclear"] is None
    (guards,) = of_guards
    config.write_text(guards, encoding="utf-8")
    assert set(read_thresholds(config)) == {"overall", "gender", "speaker"}


def _help_of_every_command():
    (commands,) = (action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction))
    return "".join(command.format_help() for command in commands.choices.values())


def test_every_flag_named_in_the_text_exists():
    known = {field.name for types in TYPES.values() for cls in types for field in fields(cls)} | {"config"}
    known |= {"config_file", "help", "help_all"}  # of accelerate launch, and of every program
    known |= {"torch", "no"}  # of uv: --torch-backend, and of pip: --no-deps
    known |= {"rm", "data"}  # of docker run, and of curl: --data-binary
    known |= set(re.findall(r"--([a-z0-9_]+)", _help_of_every_command()))
    without_benchmarks = re.sub(r"`(?:python|bash) benchmarks/[^`]*`", "", PAGES)  # which are no recipes
    flags = set(re.findall(r"--([a-z0-9_]+)", without_benchmarks))
    assert flags - known == set()


@pytest.fixture(scope="module")
def workplace(program_server, tmp_path_factory):
    """A folder in which the README's relative paths lead to a small dataset and a recording."""
    root = tmp_path_factory.mktemp("readme")
    corpora = synthetic.generate(root / "corpora", clips_per_class=1, speakers_per_corpus=3, duration_s=(0.5, 0.6))
    for name in ("recipes", "accelerate_config.yaml"):
        (root / name).symlink_to(ROOT / name)
    folders = [word for name, folder in corpora.items() for word in (f"--{name}", folder)]
    program_server.run("recipes/prepare.py", *folders, "--output_dir", "data/emotions", cwd=root)
    return root


def test_the_loading_example_runs(workplace):
    # Read to its end: a process that stops in the middle of a stream can abort at its exit (pyarrow's threads).
    count = "len(load_dataset('data/emotions', 'all')['train']), sum(1 for _ in stream['train'])"
    code = f"{LOADING}\nimport sys\nassert 'hf_ser' not in sys.modules\nprint({count})"
    done = subprocess.run([sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    in_memory, streamed = done.stdout.split()
    assert int(in_memory) == int(streamed) > 0


@pytest.mark.slow
def test_the_training_command_and_the_pipeline_example_run(program_server, workplace):
    def output_of(*words):
        return program_server.run(*words, cwd=workplace).stdout

    command = next(line for line in COMMANDS if "recipes/finetune.py" in line and line.startswith("accelerate"))
    command = re.sub(r"configs/\w+\.yaml", "configs/quickstart.yaml", command)  # whose model needs no weights
    command += " --num_train_epochs 1 --output_dir runs/quickstart --use_cpu true --save_total_limit 1"
    assert "weighted F1" in program_server.run_command(command, cwd=workplace).stdout
    recording = next((workplace / "corpora").rglob("*.wav"))
    (workplace / "recording.wav").symlink_to(recording)
    (workplace / "examples").symlink_to(ROOT / "examples")
    code = CLASSIFYING.replace("classifier({", "answer = classifier({") + "\nprint(len(answer))"
    assert output_of("-c", code).strip() == "8"
    shown = output_of("-c", SHORT)
    assert shown.count("'label'") > 8 and "'start': 0.0" in shown
    reported = output_of("-c", REPORTING)
    assert "missing.wav: got no such file" in reported and "'start': 0.0" in reported
    shown = output_of("-m", "hf_ser.cli", "predict", "recording.wav", "--model", "runs/quickstart")
    assert shown.count("\n  ") == 8


def test_the_matrix_agrees_with_its_results():
    matrix = json.loads((ROOT / "results/baseline_cross_corpus_emodb/results.json").read_text())["matrix"]
    for train, *columns in zip(matrix["train"], matrix["uar"], matrix["clips"], matrix["classes"], strict=True):
        cells = [f"{uar:.3f} ({clips} clips, {size} classes)" for uar, clips, size in zip(*columns, strict=True)]
        assert f"| {train} | {' | '.join(cells)} |" in RESULTS
