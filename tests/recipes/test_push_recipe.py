"""`recipes/push.py` from its command line: dry runs of both kinds, and how it refuses; the Hub is in tests/hub."""

import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from hf_ser.arguments import run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(load_recipe, monkeypatch, capsys):
    """Run the recipe as from a command line, away from any Hub; returns the exit code, stdout and stderr."""
    recipe = load_recipe("push")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_TOKEN", raising=False)

    def run_it(*words):
        monkeypatch.setattr(sys, "argv", ["push.py", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run(recipe.main)
        return ended.value.code, *capsys.readouterr()

    return run_it


def test_a_dry_run_is_the_default_and_lists_files_sizes_and_the_card(call, dataset_dir):
    code, out, err = call("--folder", dataset_dir, "--repository", "owner/data")
    assert (code, err) == (0, "") and out.startswith("owner/data: dataset, private, ")
    for path in (dataset_dir / "data").iterdir():
        assert f" kB  data/{path.name}\n" in out
    assert "preparation.json" in out and "quarantine.csv" in out and "\nREADME.md:\n\n---\npretty_name:" in out
    assert 'load_dataset("owner/data", "all")' in out and out.rstrip().endswith("the push adds a commit to it.")


def test_metadata_are_smaller(call, dataset_dir):
    words = ["--folder", dataset_dir, "--repository", "owner/data"]
    total = [call(*words, *more)[1].splitlines()[0].rpartition(", ")[2] for more in ([], ["--metadata_only", "true"])]
    assert "MB" in total[0] and float(total[1].split()[0]) < 400 and "kB" in total[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repository", "emotions"], "--repository emotions has no owner; expected OWNER/emotions."),
        (["--repository", "a/b/c"], "--repository a/b/c: "),
        (["--repository", "owner/na me"], "--repository owner/na me: "),
        (["--kind", "spaceship"], "--kind spaceship; expected model, dataset or space."),
        (["--kind", "space"], "--kind space, but "),
        (["--models", "owner/tiny"], "got both --folder and --models; expected"),
        (["--kind", "model"], "--kind model, but "),
        (["--tag", "v 1"], "--tag v 1; expected letters, digits"),
        (["--tag", "main"], "not main"),
        (["--tag", "../x"], "--tag ../x; expected"),
        (["--tag", "a" * 40], "looks like a commit"),
        (["--message", "  "], "--message is empty"),
        (["--private", "false"], "synthetic recordings (ravdess, crema_d)"),
        (["--token", "x"], "unknown field token"),
        (["--dryrun", "false"], "did you mean dry_run?"),
        (["--folder", "absent"], "--folder absent: no such folder"),
        (["--dry_run", "false"], "HF_HUB_OFFLINE is set"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, dataset_dir, words, message):
    given = {"--folder": dataset_dir, "--repository": "owner/data"} | dict(zip(words[::2], words[1::2], strict=True))
    code, out, err = call(*(word for pair in given.items() for word in pair))
    assert code == 2 and out == "" and err.count("\n") == 1 and err.startswith("error: ") and message in err


def test_either_a_folder_or_models_must_be_given(call):
    code, out, err = call("--repository", "owner/data")
    assert code == 2 and out == "" and "got neither --folder nor --models; expected the folder" in err
    code, out, err = call("--repository", "owner/demo", "--models", "a/b", "--kind", "model")
    assert code == 2 and out == "" and "--kind model needs --folder; a Space takes --models, or nothing." in err
    code, out, err = call("--repository", "owner/demo", "--models", "a/b", "--metadata_only", "true")
    assert code == 2 and out == "" and "--metadata_only true is for datasets" in err


def test_no_token_is_told_before_anything_is_looked_at(call, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    code, out, err = call("--folder", "absent", "--repository", "owner/data", "--dry_run", "false")
    assert code == 2 and "no Hub token was found" in err and "`hf auth login`" in err and out == ""


@pytest.mark.slow
def test_it_runs_as_a_program(launch, dataset_dir):
    command = [ROOT / "recipes/push.py", "--folder", dataset_dir, "--repository", "owner/data"]
    assert "No files were sent." in launch(*command).stdout
    done = launch(*command, "--kind", "model", check=False)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: --kind model")
