import re

import yaml

from hf_ser.hub import render_model_card

SCORES = {"accuracy": 0.5, "f1_weighted": 0.4321, "f1_macro": 0.25, "uar": 0.375}
RESULTS = {
    "name": "tiny",
    "model_type": "wav2vec2",
    "parameters": 1234,
    "dataset": {
        "name": "emotions",
        "configuration": "all",
        "synthetic": [],
        "train_clips": 70,
        "train_speakers": 7,
    },
    "protocol": {
        "name": "speaker_disjoint",
        "fold": None,
        "seed": 0,
        "hash": "0123456789abcdef" * 4,
        "notes": ["tess: odd"],
    },
    "preprocessing": {"duration_s": None, "trim_db": 20.0},
    "training": {
        "seed": 3,
        "epochs": 2.0,
        "steps": 10,
        "learning_rate": 0.001,
        "batch_size": 16,
        "best_metric": "f1_weighted",
        "best_step": 5,
    },
    "versions": {"hf_ser": "0.1.0", "torch": "2.11.0"},
    "splits": {
        "validation": {
            "clips": 15,
            "speakers": 1,
            "labels": ["sad", "happy"],
            "scores": SCORES,
            "intervals": [{"uar": [None, None]}],
            "groups": {"corpus": {"groups": {}}},
            "calibration": {"temperature": None},
        },
        "test": {
            "clips": 16,
            "speakers": 4,
            "labels": ["sad", "happy"],
            "scores": SCORES,
            "intervals": [{"uar": [0.125, 0.625]}],
            "groups": {
                "corpus": {"groups": {"tess": {"clips": 16, "speakers": 4, "scores": SCORES, "interval": [0.2, 0.6]}}}
            },
            "calibration": {"temperature": 1.25, "before": {"ece": 0.3}, "after": {"ece": 0.0625}},
        },
    },
}


def _metadata(card):
    return yaml.safe_load(re.match(r"---\n(.*?)\n---", card, re.DOTALL)[1])


def test_the_card_says_what_stands_in_the_results():
    card = render_model_card(RESULTS)
    metadata = _metadata(card)
    assert metadata["pipeline_tag"] == "audio-classification"
    metrics = metadata["model-index"][0]["results"][0]["metrics"]
    assert {entry["name"]: entry["value"] for entry in metrics} == {
        "accuracy": 0.5,
        "weighted F1": 0.4321,
        "macro F1": 0.25,
        "UAR": 0.375,
    }
    assert "| test | tess | 16 | 0.500 | 0.432 | 0.250 | 0.375 | 0.200 to 0.600 (4 speakers) |" in card
    assert "| test | all | 16 | 0.500 | 0.432 | 0.250 | 0.375 | 0.125 to 0.625 (4 speakers) |" in card
    assert "| validation | all | 15 | 0.500 | 0.432 | 0.250 | 0.375 | - |" in card
    assert "70 of 7 speakers" in card and "`0123456789abcdef`" in card and "tess: odd" in card
    assert "top_k=2" in card
    assert "error on test: 0.300 before and 0.062 after" in card and "error on validation" not in card
    assert "ynthetic" not in card
    assert "{{" not in card and "{%" not in card


def test_synthetic_recordings_are_named_first():
    card = render_model_card({**RESULTS, "dataset": {**RESULTS["dataset"], "synthetic": ["tess"]}})
    assert "synthetic" in _metadata(card)["tags"]
    assert card.index("synthetic recordings") < card.index("## Use")


def test_every_score_in_the_card_stands_in_the_results():
    body = render_model_card(RESULTS).split("## Scores")[1]
    allowed = {f"{value:.3f}" for value in [*SCORES.values(), 0.125, 0.625, 0.2, 0.6, 0.3, 0.0625]}
    assert set(re.findall(r"\b0\.\d{3}\b", body)) <= allowed


def test_the_example_trusts_code_only_where_the_folder_carries_it():
    assert "trust_remote_code" not in render_model_card(RESULTS)
    assert 'model="PATH_OR_ID", trust_remote_code=True)' in render_model_card({**RESULTS, "model_type": "ser-mel-cnn"})


def test_how_it_was_trained_is_told():
    known = {"optimizer": "adamw_torch", "schedule": "one_cycle", "precision": "bf16", "class_weights": False}
    known |= {"loss": "focal", "label_smoothing": 0.1, "mixup_alpha": 0.0, "augmentation": [{"transform": "Gain"}]}
    card = render_model_card({**RESULTS, "training": {**RESULTS["training"], **known}})
    assert "| loss | focal, label smoothing 0.1 |\n" in card
    assert "| optimizer, schedule, precision | adamw_torch, one_cycle, bf16 |\n| augmentation | Gain |\n" in card
    assert "| learning rate, batch | 0.001, 16 |\n| best checkpoint" in render_model_card(RESULTS)


def test_a_hybrid_says_what_it_hears_and_how_it_was_fitted():
    training = {
        "seed": 3,
        "kind": "stacking",
        "meta": "lightgbm",
        "fit_on": "validation",
        "fit_clips": 15,
        "trees_per_class": 77,
        "layer": None,
        "sources": [{"name": "cnn"}, {"name": "w2v", "columns": "embeddings", "layer": 9}],
    }
    card = render_model_card({**RESULTS, "model_type": "LightGBM on stacked probabilities", "training": training})
    assert "| kind | stacking, lightgbm, fitted on validation (15 clips) |" in card
    assert "| hears | probabilities of cnn |\n| hears | embeddings of w2v, layer 9 |" in card
    assert "| fitted with | trees_per_class 77 |\n| seed | 3 |" in card
    assert "trust_remote_code=True" in card and "training_curves" not in card and "None, None" not in card
    assert "parameters)" not in render_model_card({**RESULTS, "parameters": None, "training": training})
