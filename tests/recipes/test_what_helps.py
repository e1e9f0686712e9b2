"""`benchmarks/what_helps.py`: ablations on validation speakers, their file and their table."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from transformers import AutoConfig

import hf_ser.models  # noqa: F401  # registers the companion models
from hf_ser.arguments import parse
from hf_ser.data import DataArguments
from hf_ser.errors import SerError
from hf_ser.scoring import read_predictions
from hf_ser.training import ModelArguments, SerTrainingArguments

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
MEASURED = ROOT / "results" / "what_helps.json"
MODEL = {"model_type": "ser-mel-cnn", "channels": [4, 4, 4], "hidden_size": 8, "duration_s": 0.5}


@pytest.fixture(scope="module")
def script(load_benchmarks):
    return load_benchmarks("machine", "what_helps")["what_helps"]


@pytest.fixture
def plan(tmp_path, dataset_dir):
    """A plan with two levers, in a file, and the options of the script for it."""
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump({"model_config": MODEL, "output_dir": "runs/x", "num_train_epochs": 1}))
    shared = {"dataset": str(dataset_dir), "configuration": "ravdess", "protocol": "leave_one_speaker_out"}
    levers = {
        "none": {"config": str(config)},
        "mixup (0.2)": {"config": str(config), "overrides": {"mixup_alpha": 0.2}},
    }
    document = {
        "recipe": str(ROOT / "recipes/train_companion.py"),
        "overrides": {**shared, "num_train_epochs": 1},
        "levers": levers,
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- what_helps:begin -->\nold\n<!-- what_helps:end -->\n\nafter\n")
    places = {"--levers_file": path, "--runs": tmp_path / "runs", "--output": tmp_path / "out.json", "--docs": page}
    return document, [str(word) for pair in places.items() for word in pair], tmp_path


@pytest.mark.slow
def test_levers_are_trained_and_compared_on_validation_speakers(script, plan, capsys):
    document, words, folder = plan
    script.main([*words, "--folds", "1", "2", "--jobs", "2"])
    results = json.loads((folder / "out.json").read_text())
    none, mixup = results["levers"]
    runs = [script.run_folder(folder / "runs", "mixup (0.2)", (0, fold)) for fold in (1, 2)]
    tables = [read_predictions(run / "predictions_validation.parquet") for run in runs]
    hits = np.concatenate([table.predicted == table.label_ids for table in tables])
    labels = np.concatenate([table.label_ids for table in tables])
    assert mixup["uar"] == pytest.approx(np.mean([hits[labels == label].mean() for label in np.unique(labels)]))
    assert mixup["clips"] == len(labels) and none["difference"] is None
    assert mixup["difference"]["difference"] == pytest.approx(mixup["uar"] - none["uar"])
    page = (folder / "page.md").read_text()
    assert "\nold\n" not in page and page.endswith("after\n") and "| mixup (0.2) |" in page
    stamps = {path: path.stat().st_mtime_ns for run in runs for path in run.iterdir()}
    script.main([*words, "--folds", "1", "2"])  # finished trainings are kept
    assert stamps == {path: path.stat().st_mtime_ns for run in runs for path in run.iterdir()}
    assert "UAR on the validation speakers" in capsys.readouterr().out


def test_levers_without_trainings_keep_their_scores_while_the_first_one_repeats(script, tmp_path):
    none, mixup = ({"name": name, "clips": 9, "uar": 0.5, "interval": [0.4, 0.6]} for name in ("none", "mixup (0.2)"))
    shared = {"protocol": "emobox", "folds": [1], "seeds": [0], "epochs": 1, "baseline": "none"}
    output, order = tmp_path / "out.json", ["none", "mixup (0.2)"]
    now = shared | {"levers": [none | {"minutes_per_fold": 9}]}
    assert script.with_earlier(now, output, order) == now["levers"]
    earlier = shared | {"levers": [none | {"minutes_per_fold": 7}, mixup]}
    output.write_text(json.dumps(earlier))
    assert script.with_earlier(now, output, order) == earlier["levers"]
    for changed in (earlier | {"levers": [none | {"uar": 0.6}, mixup]}, earlier | {"folds": [1, 4]}):
        output.write_text(json.dumps(changed))
        assert script.with_earlier(now, output, order) == now["levers"]


def test_bad_plans_are_rejected(script, plan):
    document, words, folder = plan
    with pytest.raises(SerError, match="'mixup' is not in .*: none; mixup"):
        script.main([*words, "--levers", "mixup"])
    with pytest.raises(SerError, match="the trainings of 'none', with which all are compared, are not finished"):
        script.main([*words, "--fill_only"])
    with pytest.raises(SerError, match=r"none, seed 0, fold 99: .* ended with exit code 2 in .*; see .*fold_99.log"):
        script.main([*words, "--levers", "none", "--folds", "99"])


def test_the_configuration_with_pitch_shift_differs_in_nothing_else():
    shifted = yaml.safe_load((FOLDER / "what_helps_pitch_shift.yaml").read_text())
    plain = yaml.safe_load((ROOT / "recipes/configs/audio_cnn_plus.yaml").read_text())
    assert [entry["transform"] for entry in shifted.pop("augmentation")] == ["PitchShift"]
    assert shifted | {"output_dir": ""} == plain | {"output_dir": ""}


def test_the_page_has_what_was_measured(script):
    page = (ROOT / "docs/what_helps.md").read_text()
    between = page.partition(script.BEGIN)[2].partition(script.END)[0].strip()
    assert between == script.render(json.loads(MEASURED.read_text()) if MEASURED.is_file() else None)


def test_every_lever_is_a_valid_configuration(script, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = yaml.safe_load((FOLDER / "what_helps.yaml").read_text())
    assert list(plan["levers"])[0] == "none" and (ROOT / plan["recipe"]).is_file()
    changed = []
    for name, lever in plan["levers"].items():
        words = script.recipe_words(plan, name, {"use_cpu": "true"})
        fields = parse(ModelArguments, DataArguments, SerTrainingArguments, argv=words)[0].model_config
        if fields is not None:
            config = AutoConfig.for_model(**fields)
            assert all(hasattr(type(config)(), field) for field in fields)  # unknown fields are accepted and ignored
        changed += [name for option in lever.get("overrides", {}) if option.startswith("model_config.")]
    assert sorted(changed) == [
        "PCEN",
        "attentive statistics pooling (4 heads)",
        "deltas of log-mels",
        "vocal tract length perturbation (0.1)",
    ]
