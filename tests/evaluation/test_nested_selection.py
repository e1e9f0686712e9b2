"""Nested cross-validation: every fold has the configuration that is best on its training clips."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_rows
from hf_ser.data.protocols import assign
from hf_ser.data.splits_file import read_assignment
from hf_ser.evaluation import CrossValidationArguments, CrossValidationError, TrainingJobError, cross_validate
from hf_ser.evaluation.nested_selection import selection_uar
from hf_ser.scoring import Predictions, read_predictions, read_results
from hf_ser.scoring.corpus_mean import uar_by_corpus
from hf_ser.scoring.predictions import concatenate

BASELINE = str(Path(__file__).parents[2] / "recipes/baseline.py")


@pytest.fixture
def candidates(tmp_path):
    """Two settings of the baseline: one that can learn, and one whose penalty leaves it nothing."""
    for name, penalty in (("flat", 1e-9), ("fitted", 1.0)):
        (tmp_path / f"{name}.yaml").write_text(f"penalties: [{penalty}]\n")
    return [str(tmp_path / "flat.yaml"), str(tmp_path / "fitted.yaml")]


def _run(dataset_dir, folder, candidates, protocol="speaker_disjoint", seeds=(0,), **data):
    args = CrossValidationArguments(model_recipe=BASELINE, candidates=candidates, seeds=list(seeds))
    data_args = DataArguments(dataset=str(dataset_dir), protocol=protocol, **({"nested_folds": 2} | data))
    return cross_validate(load_rows(data_args), args, data_args, folder, overwrite=False, figures=False)


def test_the_best_on_training_clips_is_trained_on_all_of_them(dataset_dir, tmp_path, recipe, candidates):
    folder = tmp_path / "cv"
    results = _run(dataset_dir, folder, candidates, seeds=[3])
    assert len(recipe.commands) == 2 * 2 + 1
    assert [_word(words, "--seed=") for words in recipe.commands] == ["3"] * 5
    selection = results["training"]["selection"]
    assert selection["candidates"] == ["flat", "fitted"] and selection["nested_folds"] == 2
    chosen = [choice["chosen"] for choice in selection["choices"]]
    assert [Path(words[words.index("--config") + 1]).stem for words in recipe.commands[-1:]] == chosen
    rows = load_rows(DataArguments(dataset=str(dataset_dir)))
    for choice in selection["choices"]:
        outer = assign(rows, "speaker_disjoint", seed=choice["seed"])
        for name in ("flat", "fitted"):
            runs = [folder / f"candidates/seed_{choice['seed']}/{name}/nested_{part}_of_2" for part in (1, 2)]
            tested = concatenate([read_predictions(run / "predictions_test.parquet") for run in runs])
            assert sorted(tested.clips["id"]) == outer.ids("train")  # each once, and no test clip
            assert not any(set(read_assignment(run / "splits.csv")) & set(outer.ids("test")) for run in runs)
            uar = uar_by_corpus(tested.label_ids, tested.probabilities, tested.clips["corpus"])
            assert choice["uar"][name] == pytest.approx(uar)
        assert choice["uar"][choice["chosen"]] == max(choice["uar"].values())
    report = (folder / "report.md").read_text()
    assert "## Chosen configurations" in report and f"fitted {chosen.count('fitted')} times" in report


def _word(words, start):
    return next(word.removeprefix(start) for word in words if word.startswith(start))


def test_it_goes_on_where_it_was_broken_off_and_choices_stay(dataset_dir, tmp_path, recipe, candidates):
    folder, protocol = tmp_path / "cv", "leave_one_corpus_out"
    recipe.fail_at = 6
    with pytest.raises(TrainingJobError, match="Candidate run 6 of 8: flat, fold 2.*nested fold 2"):
        _run(dataset_dir, folder, candidates, protocol)
    recipe.fail_at = None
    _run(dataset_dir, folder, candidates, protocol)
    assert len(recipe.commands) == 8 + 2 + 1
    choice = folder / "candidates/seed_0_fold_1/choice.json"
    choice.write_text(json.dumps(json.loads(choice.read_text()) | {"chosen": "flat"}))
    shutil.rmtree(choice.parent / "flat")  # nested runs are not needed any more
    results = _run(dataset_dir, folder, candidates, protocol)
    assert len(recipe.commands) == 11
    assert results["training"]["selection"]["choices"][0]["chosen"] == "flat"
    assert read_results(folder)["training"] == results["training"]
    with pytest.raises(CrossValidationError, match="another candidates"):
        _run(dataset_dir, folder, [candidates[0], _other(tmp_path)], protocol)
    with pytest.raises(CrossValidationError, match="another nested_folds"):
        _run(dataset_dir, folder, candidates, protocol, nested_folds=3)


def _other(folder):
    path = folder / "other.yaml"
    path.write_text("penalties: [0.1]\n")
    return str(path)


def test_several_corpora_count_equally():
    clips = {
        "id": list("1234"),
        "corpus": list("aaab"),
        "speaker": list("1234"),
        "gender": [""] * 4,
        "intensity": [None] * 4,
        "label": [0, 0, 1, 1],
    }
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]])
    predictions = Predictions(clips, probabilities, ("happy", "sad"))
    assert selection_uar(predictions) == pytest.approx((0.5 + 1.0) / 2)  # b has one class
    one = Predictions(clips | {"corpus": ["a"] * 4}, probabilities, ("happy", "sad"))
    assert selection_uar(one) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda files: {"candidates": files[:1]}, "candidates has 1 file; expected at least 2"),
        (lambda files: {"candidates": files + files[:1]}, "two files of the name flat"),
        (lambda files: {"candidates": files, "recipe_config": files[0]}, "both given"),
        (lambda files: {"candidates": [*files, "none.yaml"]}, "none.yaml: no such file"),
        (lambda files: {"candidates": files, "model_recipe": None}, "without model_recipe"),
    ],
)
def test_bad_candidates(changes, message, candidates):
    with pytest.raises(ConfigError, match=re.escape(message)):
        CrossValidationArguments(**{"model_recipe": BASELINE} | changes(candidates))


def test_what_nested_folds_do_not_support_is_told_before_any_training(dataset_dir, tmp_path, recipe, candidates):
    with pytest.raises(ConfigError, match="candidates and auxiliary_corpora"):
        _run(dataset_dir, tmp_path / "a", candidates, auxiliary_corpora=["crema_d"])
    with pytest.raises(Exception, match="too few speakers"):
        _run(dataset_dir, tmp_path / "b", candidates, "leave_one_speaker_out", configuration="ravdess", nested_folds=3)
    assert not recipe.commands
