"""The card and the push of a model of arousal and valence."""

import json

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries, snapshot_download
from model_folders import contents, make_dimension_model

from hf_ser.hub import write_model_card
from hf_ser.hub.card import check_card
from hf_ser.inference import load_classifier
from hf_ser.scoring import read_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_dimension_model(tmp_path_factory.mktemp("dimensions") / "tiny", figures=True)


def test_the_card_has_the_concordance_and_the_figures(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    check_card(text, "model")
    data, test = ModelCard(text).data, read_results(folder)["dimensions"]["test"]
    assert data.metrics == ["ccc"] and data.pipeline_tag == "audio-classification" and data.license == "cc-by-4.0"
    scored = {result.metric_name: (result.metric_type, result.metric_value) for result in data.eval_results}
    assert scored["mean CCC"] == ("ccc", test["ccc"])
    assert scored["CCC of valence"] == ("ccc", test["per_dimension"]["valence"]["ccc"]) and len(scored) == 3
    low, high = test["intervals"][0]["per_dimension"]["arousal"]
    assert f"{test['per_dimension']['arousal']['ccc']:.3f} | {low:.3f} to {high:.3f}" in text
    for name in ("training_curves", "concordance_test", "concordance_validation"):
        assert f"(figures/{name}.png)" in text and (folder / f"figures/{name}.png").stat().st_size > 1000
        assert f"(figures/{name}.png)" in (folder / "report.md").read_text(encoding="utf-8")
    assert "Do not use its output to make decisions about people." in text.replace("\n", " ")


def test_a_push_carries_card_and_scores_and_loads_again(folder, call, hub, tmp_path):
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    results["dataset"]["name"] = "owner/emotions"
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (folder / "recipe.yaml").write_text("seed: 3\n", encoding="utf-8")
    write_model_card(folder, results)
    code, out, errors = call(folder)
    assert (code, errors) == (0, []) and 'pipeline("audio-classification", model="owner/tiny"' in out
    seen = contents(hub)
    (entry,) = parse_eval_result_entries(yaml.safe_load(seen[".eval_results/emotions.yaml"]))
    assert entry.value == results["dimensions"]["test"]["ccc"] and "concordance" in entry.notes
    card = seen["README.md"].decode()
    assert "--model owner/tiny" in card and "runs/again" in card and "figures/concordance_test.png" in seen
    model, _ = load_classifier(snapshot_download("owner/tiny", local_dir=tmp_path / "pulled"), dimensions=True)
    assert model.config.id2label == {0: "arousal", 1: "valence"} and model.config.problem_type == "regression"


def test_a_folder_with_scores_of_other_dimensions_is_refused(call, tmp_path):
    made = make_dimension_model(tmp_path / "tiny")
    config = json.loads((made / "config.json").read_text(encoding="utf-8"))
    config |= {"id2label": {"0": "arousal", "1": "dominance"}, "label2id": {"arousal": 0, "dominance": 1}}
    (made / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code, _, errors = call(made)
    assert code == 2 and "results.json has scores of valence, which are not labels in config.json" in errors[0]


def test_generated_recordings_are_marked_and_stay_private(call, tmp_path):
    made = make_dimension_model(tmp_path / "tiny", corpora=("ravdess",), synthetic=("ravdess",))
    text = (made / "README.md").read_text(encoding="utf-8")
    assert "**Trained on generated voices.**" in text and "synthetic" in ModelCard(text).data.tags
    assert "synthetic recordings" in call(made, "--private", "false")[2][0]
