# ruff: noqa: E501 - a card's tables are as wide as they are
"""Cards say what stands in results.json and nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from example_results import make_results
from model_folders import make_model

from hf_ser.corpora import CORPORA
from hf_ser.hub import render_model_card, write_model_card
from hf_ser.hub.card import CardError, check_card, dataset_card, trained_on

ROOT = Path(__file__).parents[2]

SCORES = {"accuracy": 0.5, "f1_weighted": 0.4321, "f1_macro": 0.25, "uar": 0.375}
RESULTS = make_results(
    {
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
    protocol={"name": "speaker_disjoint", "hash": "0123456789abcdef" * 4, "notes": ["tess: odd"]},
)
RESULTS["versions"] = {"hf_ser": "0.1.0", "torch": "2.11.0"}

TOLD = {
    **RESULTS,
    "training": {
        **RESULTS["training"],
        "corpora": ["crema_d", "ravdess"],
        "quarantined": {"crema_d": {"conflicting_labels": 6, "silent": 1}, "ravdess": {}},
        "base_model": "facebook/wav2vec2-base",
    },
}
GOLDEN = """---
base_model: facebook/wav2vec2-base
language: en
library_name: transformers
license: cc-by-nc-sa-4.0
metrics:
- accuracy
- f1
- recall
pipeline_tag: audio-classification
tags:
- speech-emotion-recognition
- crema_d
- ravdess
model-index:
- name: tiny
  results:
  - task:
      type: audio-classification
      name: Speech emotion recognition
    dataset:
      name: emotions (all, speaker_disjoint)
      type: emotions
      config: all
      split: test
    metrics:
    - type: accuracy
      value: 0.5
      name: accuracy
    - type: f1
      value: 0.4321
      name: weighted F1
    - type: f1
      value: 0.25
      name: macro F1
    - type: recall
      value: 0.375
      name: UAR
---

# tiny

A speech emotion classifier (wav2vec2, 1,234 parameters): from a recorded voice, one of
sad, happy.

## Use

```python
import hf_ser.models  # which applies the preprocessing of the model
from transformers import pipeline

classifier = pipeline("speech-emotion-recognition", model="owner/tiny")
classifier("recording.wav")  # or a URL, bytes, an array, audio of datasets, or many of these
```

Before the model, every recording goes through these steps, which `preprocessor_config.json` holds:
trim_db 20.0. The stock `pipeline("audio-classification")` of transformers does
not apply them, so that its scores differ.

## Intended use and limits

For research on acted emotional speech. The corpora hold acted, scripted English sentences: on spontaneous speech, other
languages or other recording conditions expect clearly lower scores. The classes, 2 of them, are what actors were
asked to portray, not what a person feels, and everything heard is put into one of them.

Do not use it on people without their consent: a voice is personal data. In the European Union, inferring emotions at work
or in education is forbidden (Regulation 2024/1689, article 5), and elsewhere people must be told that such a system is used
on them (article 50). Take no decision about a person from its answers.

## Training data

| corpus | licence | kept out in preparation |
|---|---|---|
| CREMA-D | [ODbL 1.0](https://opendatacommons.org/licenses/odbl/1-0/) | 6 conflicting_labels, 1 silent |
| RAVDESS | [CC BY-NC-SA 4.0](https://creativecommons.org/licenses/by-nc-sa/4.0/) | nothing |

Whoever uses this model keeps to these licences, attribution included (see Citation).

## Training

| | |
|---|---|
| dataset | `emotions`, configuration `all` |
| training clips | 70 of 7 speakers |
| protocol | `speaker_disjoint`, seed 0, assignment hash `0123456789abcdef` |
| preprocessing | duration_s None, trim_db 20.0, normalize False, merge_calm False, channel None |
| started from | facebook/wav2vec2-base |
| epochs, steps | 2.0, 10 |
| learning rate, batch | 0.001, 16 |
| best checkpoint | step 5 by validation f1_weighted |
| seed | 3 |

Note: tess: odd.

## Scores

One run, one seed. Validation chose the checkpoint; test decided nothing. The interval is a 95 % bootstrap clustered on
speakers; with few speakers it is still somewhat narrow.

| split | of | clips | accuracy | weighted F1 | macro F1 | UAR | UAR, 95 % interval |
|---|---|---|---|---|---|---|---|
| validation | all | 15 | 0.500 | 0.432 | 0.250 | 0.375 | - |
| test | all | 16 | 0.500 | 0.432 | 0.250 | 0.375 | 0.125 to 0.625 (4 speakers) |
| test | tess | 16 | 0.500 | 0.432 | 0.250 | 0.375 | 0.200 to 0.600 (4 speakers) |

Expected calibration error on test: 0.300 before and 0.062 after temperature scaling
(T = 1.250, fitted on validation and part of the weights).

More scores, by class and speaker, stand in [report.md](report.md), and every number of this card in
[results.json](results.json).

## Figures

![Training curves](figures/training_curves.png)
![Confusion validation](figures/confusion_validation.png)
![Confusion test](figures/confusion_test.png)
![Reliability validation](figures/reliability_validation.png)
![Reliability test](figures/reliability_test.png)
![ROC validation](figures/roc_validation.png)
![ROC test](figures/roc_test.png)

## Reproduce

With hf_ser 0.1.0; CONFIG.yaml stands for a file with the settings under Training.

```bash
python recipes/prepare.py --crema_d DIR --ravdess DIR --output_dir data/emotions
python recipes/finetune.py --config CONFIG.yaml --dataset data/emotions --configuration all --protocol speaker_disjoint --protocol_seed 0 --seed 3 --output_dir runs/again
```

The same clips were split the same way if the new results.json has the assignment hash above.

Versions: hf_ser 0.1.0, torch 2.11.0.
Seeds: 3.

## Citation

- CREMA-D: Cao H, Cooper DG, Keutmann MK, Gur RC, Nenkova A, Verma R (2014). CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset. IEEE Transactions on Affective Computing 5(4). https://doi.org/10.1109/TAFFC.2014.2336244
- RAVDESS: Livingstone SR, Russo FA (2018). The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS). PLoS ONE 13(5): e0196391. https://doi.org/10.1371/journal.pone.0196391
- hf_ser 0.1.0, the program that trained and scored this model.
"""


def test_the_whole_card():
    assert render_model_card(TOLD, repository="owner/tiny").rstrip("\n") == GOLDEN.rstrip("\n")


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
    assert 'pipeline("speech-emotion-recognition"' in card and "trim_db 20.0. The stock `pipeline" in card
    assert "error on test: 0.300 before and 0.062 after" in card and "error on validation" not in card
    assert "ynthetic" not in card
    assert "{{" not in card and "{%" not in card


def test_synthetic_recordings_are_named_first():
    card = render_model_card({**RESULTS, "dataset": {**RESULTS["dataset"], "synthetic": ["tess"]}})
    assert "synthetic" in _metadata(card)["tags"]
    assert card.index("synthetic recordings") < card.index("## Use")


NUMBER = re.compile(r"\d(?:[\d,]*\d)?(?:\.\d+)*(?:e-?\d+)?")


def _leaves(content):
    if isinstance(content, dict):
        for key, value in content.items():
            yield from (key, *_leaves(value))
    elif isinstance(content, list):
        for value in content:
            yield from _leaves(value)
    else:
        yield content


def _numbers(results):
    """Every number that stands in results.json, in every form that a card may give it."""
    found = set()
    for leaf in _leaves(results):
        if isinstance(leaf, float):
            found |= {str(leaf), f"{leaf:.3f}"}
        elif isinstance(leaf, int):
            found |= {str(leaf), f"{leaf:,}"}
        elif isinstance(leaf, str):
            found |= set(NUMBER.findall(leaf)) | set(NUMBER.findall(leaf[:16]))
    lists = [leaf for leaf in _lists(results) if all(isinstance(its, str) for its in leaf)]
    return found | {str(len(leaf)) for leaf in lists}  # "8 classes"


def _lists(content):
    if isinstance(content, dict):
        content = list(content.values())
    elif isinstance(content, list):
        yield content
    for value in content if isinstance(content, list) else ():
        yield from _lists(value)


def test_every_number_in_the_card_stands_in_the_results(tmp_path):
    folder = make_model(tmp_path / "tiny", corpora=["ravdess", "crema_d"])
    results = json.loads((folder / "results.json").read_text())
    written = set(NUMBER.findall(re.sub(r"{[{%].*?[}%]}", "", (ROOT / "model_card.md").read_text())))
    # All that the template says itself: the interval's percentage, the law, and names such as "weighted F1".
    assert written == {"95", "2024", "1689", "5", "50", "1"}
    licences = {
        name for its in CORPORA.values() for name in NUMBER.findall(f"{its.licence} {its.licence_url} {its.citation}")
    }
    hybrid = {
        **results,
        "training": {**results["training"], "kind": "stacking", "fit_on": "validation", "fit_clips": 4711},
    }
    hybrid["training"] |= {"penalty": 0.0625, "sources": [{"name": "cnn", "layer": 9}]}
    for given in (results, TOLD, hybrid):
        card = render_model_card(given)
        assert ("4711" in card and "0.0625" in card and "layer 9" in card) == (given is hybrid)
        known = _numbers(given) | written | licences
        assert set(NUMBER.findall(card.replace("f1", "").replace("wav2vec2", ""))) <= known
        assert len(set(NUMBER.findall(card)) - written - licences) > 20  # the test would see nothing otherwise


def test_a_number_that_changes_in_the_results_changes_in_the_card(tmp_path):
    folder = make_model(tmp_path / "tiny")
    results = json.loads((folder / "results.json").read_text())
    tested = results["splits"]["test"]
    before = render_model_card(results)
    for place, key in (
        (tested["scores"], "uar"),
        (tested["groups"]["corpus"]["groups"]["ravdess"]["scores"], "accuracy"),
        (tested["groups"]["gender"]["groups"]["ravdess/male"]["interval"], 0),
        (tested["groups"]["intensity"]["groups"]["ravdess/normal"]["scores"], "f1_macro"),
        (tested["calibration"]["after"], "ece"),
        (results["training"]["quarantined"]["ravdess"], "silent"),
        (results["dataset"], "train_clips"),
    ):
        old, place[key] = place[key], 0.98765 if isinstance(place[key], float) else 98765
        after = render_model_card(results)
        assert after != before and ("0.988" in after or "98765" in after)
        place[key] = old
    assert render_model_card(results) == before


def test_scores_that_nobody_has_are_dashes(tmp_path):
    folder = make_model(tmp_path / "tiny")
    results = json.loads((folder / "results.json").read_text())
    results["splits"]["test"]["scores"]["uar"] = None
    results["splits"]["test"]["groups"]["gender"]["groups"]["ravdess/male"]["scores"]["uar"] = None
    card = render_model_card(results)
    assert re.search(r"\| test \| ravdess/male \| 12 \| 0\.\d+ \| 0\.\d+ \| 0\.\d+ \| - \|", card)
    assert [its["name"] for its in _metadata(card)["model-index"][0]["results"][0]["metrics"]][-1] == "macro F1"


def test_the_corpora_are_those_that_taught(tmp_path):
    folder = make_model(tmp_path / "tiny", corpora=["ravdess"])
    results = json.loads((folder / "results.json").read_text())
    assert trained_on(results, folder) == ["ravdess"]
    del results["training"]["corpora"], results["training"]["quarantined"]  # as older runs left it
    (folder / "splits.csv").write_text("id,split\ntess/a,train\ncrema_d/b,validation\nsavee/c,test\n")
    assert trained_on(results, folder) == ["crema_d", "tess"] and trained_on(results) == ["ravdess"]
    write_model_card(folder, results)
    card = (folder / "README.md").read_text()
    assert _metadata(card)["license_name"] == "see-the-corpora" and "| TESS | [CC BY-NC-ND 4.0]" in card
    assert "not known |" in card and "Pichora-Fuller" in card and "SAVEE" not in card
    assert "figures/confusion_test.png" in card and "figures/roc_test.png" not in card  # the only one that is there
    shutil.rmtree(folder / "figures")
    write_model_card(folder, results)
    assert "## Figures" not in (folder / "README.md").read_text()


def test_bases_and_datasets_are_linked_where_the_hub_has_them():
    local = {**TOLD, "training": {**TOLD["training"], "base_model": "wav2vec2-base"}}
    assert "base_model" not in _metadata(
        render_model_card(local)
    ) and "| started from | wav2vec2-base |" in render_model_card(local)
    assert "datasets" not in _metadata(render_model_card(local))
    assert _metadata(render_model_card(TOLD))["base_model"] == "facebook/wav2vec2-base"
    hub = {**TOLD, "dataset": {**TOLD["dataset"], "name": "owner/emotions"}}
    assert _metadata(render_model_card(hub))["datasets"] == ["owner/emotions"]


def test_huggingface_hub_reads_the_cards(dataset_dir):
    check_card(render_model_card(TOLD), "model")
    text = (dataset_dir / "README.md").read_text()
    for with_audio in (True, False):
        check_card(dataset_card(text, ["ravdess"], "owner/data", with_audio=with_audio), "dataset")
    bad = (
        "# no metadata\n",
        "---\nlicense: [\n---\n",
        "---\ntags: [a]\n---\n",
        "---\nmodel-index: 3\nlicense: mit\n---\n",
    )
    for card in bad:
        with pytest.raises(CardError):
            check_card(card, "model")
    for card in bad[:2]:
        with pytest.raises(CardError, match="README.md"):
            dataset_card(card, ["ravdess"], "owner/data", with_audio=True)


def test_a_dataset_card_keeps_what_preparation_wrote(dataset_dir):
    text = (dataset_dir / "README.md").read_text()
    front = _metadata(text)
    card = dataset_card(text, ["crema_d", "ravdess"], "owner/data", with_audio=True)
    assert _metadata(card) == {
        **{key: front[key] for key in front if key != "license_name"},
        "license": ["cc-by-nc-sa-4.0", "odbl"],
    }
    assert card.split("---\n", 2)[2] == text.split("---\n", 2)[2].replace("PATH_OR_ID", "owner/data")


def test_the_example_applies_what_is_done_to_recordings():
    plain = render_model_card({**RESULTS, "preprocessing": {"trim_db": None, "normalize": False, "duration_s": None}})
    assert 'pipeline("audio-classification"' in plain and "top_k=2" in plain and "Before the model" not in plain
    assert "Resample them with `soxr.resample`" in plain
    code = render_model_card({**RESULTS, "model_type": "ser-mel-cnn"})
    assert "trim_db 20.0.\n" in code and "The stock" not in code


def test_the_example_trusts_code_only_where_the_folder_carries_it():
    assert "trust_remote_code" not in render_model_card(RESULTS)
    card = render_model_card({**RESULTS, "model_type": "ser-mel-cnn"})
    assert (
        'model="PATH_OR_ID", trust_remote_code=True)\nclassifier("recording.wav")' in card and "soundfile" not in card
    )


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
