"""Test scores in `.eval_results/`, read by huggingface_hub as the Hub does."""

import json

import pytest
import yaml
from example_results import make_results
from huggingface_hub import parse_eval_result_entries
from model_folders import contents

from hf_ser.hub import write_model_card
from hf_ser.hub.evaluation_results import evaluation_file

SPLITS = {"test": {"scores": {"uar": 0.375}}}
RESULTS = make_results(SPLITS, dataset={"name": "owner/emotions", "configuration": "ravdess"})


def _entry(content):
    (entry,) = parse_eval_result_entries(yaml.safe_load(content))
    return entry


def test_the_score_on_a_dataset_of_the_hub():
    path, content = evaluation_file(RESULTS, {"configuration": "ravdess"})
    entry = _entry(content)
    assert path == ".eval_results/emotions.yaml"
    assert (entry.dataset_id, entry.task_id, entry.value) == ("owner/emotions", "ravdess", 0.375)
    assert entry.notes.startswith("UAR") and entry.source_url is None
    pushed = _entry(evaluation_file(RESULTS, {}, "owner/tiny")[1])
    assert pushed.source_url.endswith("/owner/tiny") and pushed.source_name == "Model card"


@pytest.mark.parametrize(
    ("changes", "recipe"),
    [
        ({"dataset": {"name": "emotions"}}, {}),
        ({"dataset": {"name": "owner/emotions", "synthetic": ["ravdess"]}}, {}),
        ({"splits": {"test": {"scores": {"uar": None}}}}, {}),
        ({"splits": {"test": {}}}, {}),
        ({}, None),
        *(({}, {name: 1}) for name in ("protocol", "fold", "channel", "merge_calm")),
    ],
)
def test_no_score_is_claimed_on_other_clips_than_those_of_a_task_on_the_hub(changes, recipe):
    changed = {name: RESULTS[name] | value for name, value in changes.items()}
    assert evaluation_file(RESULTS, {}) is not None and evaluation_file(RESULTS | changed, recipe) is None


def test_a_push_carries_the_score_with_its_source(call, hub, model_dir):
    results = json.loads((model_dir / "results.json").read_text())
    results["dataset"]["name"] = "owner/emotions"
    (model_dir / "results.json").write_text(json.dumps(results))
    (model_dir / "recipe.yaml").write_text("seed: 3\n")
    (model_dir / ".eval_results").mkdir()
    (model_dir / ".eval_results/older.yaml").write_text("[]")
    write_model_card(model_dir, results)
    assert [path.name for path in (model_dir / ".eval_results").iterdir()] == ["emotions.yaml"]
    assert call(model_dir)[0] == 0
    seen = contents(hub)
    entry = _entry(seen[".eval_results/emotions.yaml"])
    assert entry.value == results["splits"]["test"]["scores"]["uar"]
    assert entry.source_url == f"{hub.endpoint}/owner/tiny" and seen["recipe.yaml"] == b"seed: 3\n"
    results["dataset"]["name"] = "emotions"  # a new run, on a local dataset
    (model_dir / "results.json").write_text(json.dumps(results))
    assert call(model_dir)[0] == 0
    assert not any(path.startswith(".eval_results") for path in contents(hub))
