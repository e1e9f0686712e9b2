"""`recipes/compare.py` from the command line, on folders that `write_run` wrote."""

import sys
from pathlib import Path

import numpy as np
import pytest
from example_results import make_results

from hf_ser.arguments import parse
from hf_ser.reporting import write_run
from hf_ser.reporting.comparison import BEGIN, END
from hf_ser.scoring import Predictions, score_split

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "compare.py"


@pytest.fixture
def make(tmp_path):
    """Write a run's folder without figures, which are slow."""

    def write(name, protocol):
        clips = {
            "id": [f"ravdess/{number}" for number in range(12)],
            "corpus": ["ravdess"] * 12,
            "speaker": [f"ravdess_{number % 3}" for number in range(12)],
            "gender": ["male"] * 12,
            "intensity": [None] * 12,
            "label": [0, 1] * 6,
        }
        right = np.random.default_rng(len(name)).dirichlet([1, 1], 12)
        predictions = Predictions(clips, right, ("happy", "sad"))
        results = make_results(
            {"test": score_split(predictions, files=["predictions.parquet"])},
            kind="evaluation",
            name=name,
            dataset={"name": "ravdess"},
            protocol={"name": protocol},
            training=None,
            seeds=[],
        )
        write_run(tmp_path / name, results, {"test": [predictions]}, figures=False)
        return str(tmp_path / name)

    return write


@pytest.fixture
def recipe(load_recipe):
    return load_recipe("compare")


def test_the_recipe_prints_the_tables_and_fills_the_readme(make, launch, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    done = launch(RECIPE, make("a", "emobox"), make("longer", "random"), "--readme", readme)
    assert done.stderr == ""
    assert "### Scores: emobox on ravdess (all)" in done.stdout and "### Scores: random" in done.stdout
    assert done.stdout.endswith(f"Wrote {readme}\n") and "### Scores: emobox" in readme.read_text()


def test_runs_of_another_protocol_end_in_one_line(make, recipe, monkeypatch, capsys):
    a, b = make("a", "emobox"), make("longer", "random")
    monkeypatch.setattr(sys, "argv", ["compare.py", a, b, "--protocol", "emobox"])
    with pytest.raises(SystemExit) as caught:
        recipe.run(recipe.main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"error: got {b} (random); expected runs under emobox only (--protocol).\n"


def test_the_docstring_opens_with_a_command_that_parses(recipe):
    words = recipe.__doc__.splitlines()[2].split()
    assert words[:2] == ["python", "recipes/compare.py"]
    (args,) = parse(recipe.CompareArguments, argv=words[2:], positional="runs")
    assert (args.runs, args.output_dir) == (["runs/quickstart", "runs/baseline"], "runs/comparison")
