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
from hf_ser.hub.card import CardError, check_card, dataset_card, render_model_card, trained_on, write_model_card

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

This model classifies the emotion of a voice recording as sad or happy. It is [facebook/wav2vec2-base](https://huggingface.co/facebook/wav2vec2-base), fine-tuned on 70 clips of 7 speakers from CREMA-D and RAVDESS. It has 1,234 parameters.
On 16 test clips of 4 speakers outside the training data, its unweighted average recall (UAR, the mean recall of
the classes) is 0.375 (95 % interval 0.125 to 0.625).

## Use

```python
import hf_ser.models  # applies the model's preprocessing
from transformers import pipeline

classifier = pipeline("speech-emotion-recognition", model="owner/tiny")
classifier("recording.wav")  # or a URL, bytes, an array, audio of datasets, or a list of these
```

Recordings are preprocessed as set in `preprocessor_config.json`: trim_db 20.0.
The stock `pipeline("audio-classification")` of transformers does not apply this, so its scores differ.

## Results

Scores on the test split, with 95 % intervals from a bootstrap clustered by speaker. They are from one run with one seed. The checkpoint was selected on validation clips;
test clips were used only for these scores.

| metric | test | 95 % interval |
|---|---|---|
| accuracy | 0.500 | - |
| weighted F1 | 0.432 | - |
| macro F1 | 0.250 | - |
| UAR | 0.375 | 0.125 to 0.625 |

Expected calibration error on test: 0.300 before and 0.062 after temperature scaling (T = 1.250).

<details>
<summary>Validation scores, and scores by corpus, gender and intensity</summary>

| split | group | clips | accuracy | weighted F1 | macro F1 | UAR | UAR, 95 % interval |
|---|---|---|---|---|---|---|---|
| validation | all | 15 | 0.500 | 0.432 | 0.250 | 0.375 | - |
| test | all | 16 | 0.500 | 0.432 | 0.250 | 0.375 | 0.125 to 0.625 (4 speakers) |
| test | tess | 16 | 0.500 | 0.432 | 0.250 | 0.375 | 0.200 to 0.600 (4 speakers) |

</details>

[report.md](report.md) has the scores by class and speaker. [results.json](results.json) has every number on this page.

<details>
<summary>Figures</summary>

![Training curves](figures/training_curves.png)
![Confusion validation](figures/confusion_validation.png)
![Confusion test](figures/confusion_test.png)
![Reliability validation](figures/reliability_validation.png)
![Reliability test](figures/reliability_test.png)
![ROC validation](figures/roc_validation.png)
![ROC test](figures/roc_test.png)

</details>

## Intended use and limits

The model is meant for research on acted emotional speech. CREMA-D and RAVDESS consist of scripted English sentences spoken by actors: expect
clearly lower scores on spontaneous speech, other languages and other recording conditions. The labels are the emotions that the actors
were asked to portray, not what a person feels, and every recording is assigned to one of them.

Do not use the model on people without their consent: a voice is personal data. In the European Union, inferring emotions at work or in
education is prohibited (Regulation 2024/1689, article 5), and elsewhere people must be informed that such a system is used on them
(article 50). Do not use its output to make decisions about people.

## Training

The model was trained from facebook/wav2vec2-base for 2 epochs (10 steps) with a learning rate of 0.001 and
batches of 16 clips. The checkpoint of step 5 had the best weighted F1 on validation and was kept.

The dataset is `emotions`, configuration `all`. Its clips were split by protocol `speaker_disjoint`, seed 0. Note: tess: odd.

| corpus | licence | rejected in preparation |
|---|---|---|
| CREMA-D | [ODbL 1.0](https://opendatacommons.org/licenses/odbl/1-0/) | 6 conflicting labels, 1 silent |
| RAVDESS | [CC BY-NC-SA 4.0](https://creativecommons.org/licenses/by-nc-sa/4.0/) | none |

Users of this model must comply with these licences, including attribution.

## Reproduce

[recipe.yaml](recipe.yaml) has the settings of the run. In a checkout of hf_ser 0.1.0, replace RAVDESS_FOLDER, CREMA_D_FOLDER and TESS_FOLDER with the folders of the corpora and run:

```bash
hf download owner/tiny recipe.yaml --local-dir .
python recipes/prepare.py --ravdess RAVDESS_FOLDER --crema_d CREMA_D_FOLDER --tess TESS_FOLDER \\
    --output_dir data/emotions
python recipes/finetune.py --config recipe.yaml --dataset data/emotions --output_dir runs/again
```

The clips and their splits are the same if the assignment hash in the new results.json is `0123456789abcdef`. With the
same versions on the same kind of hardware, the scores are the same too. Versions:
hf_ser 0.1.0, torch 2.11.0.
Seed: 3.

## Citation

```bibtex
@article{cao2014crema,
  title = {{CREMA-D}: Crowd-sourced Emotional Multimodal Actors Dataset},
  author = {Cao, Houwei and Cooper, David G. and Keutmann, Michael K. and Gur, Ruben C. and Nenkova, Ani and
    Verma, Ragini},
  journal = {IEEE Transactions on Affective Computing}, volume = {5}, number = {4}, year = {2014},
  doi = {10.1109/TAFFC.2014.2336244}
}
@article{livingstone2018ravdess,
  title = {The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)},
  author = {Livingstone, Steven R. and Russo, Frank A.},
  journal = {PLoS ONE}, volume = {13}, number = {5}, pages = {e0196391}, year = {2018},
  doi = {10.1371/journal.pone.0196391}
}
@software{hf_ser,
  title = {hf_ser: speech emotion recognition with the Hugging Face libraries},
  author = {{The hf_ser developers}},
  version = {0.1.0}
}
```
"""


def test_the_whole_card():
    assert render_model_card(TOLD, recipe={"seed": 3}, repository="owner/tiny").rstrip("\n") == GOLDEN.rstrip("\n")


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
    assert "70 clips of 7 speakers" in card and "`0123456789abcdef`" in card and "tess: odd" in card
    assert 'pipeline("speech-emotion-recognition"' in card and "trim_db 20.0.\nThe stock `pipeline" in card
    assert "error on test: 0.300 before and 0.062 after" in card and "error on validation" not in card
    assert "ynthetic" not in card
    assert "{{" not in card.split("## Citation")[0] and "{%" not in card


def test_the_card_gives_coverage_and_accuracy_of_the_answered_clips():
    abstention = {
        "threshold": 0.5625,
        "target_accuracy": 0.8,
        "min_coverage": 0.2,
        "answered": 6,
        "coverage": 0.375,
        "accuracy": 0.75,
        "interval": {
            "method": "clustered on speakers",
            "clusters": 4,
            "coverage": [0.25, 0.5],
            "accuracy": [0.5, 0.875],
        },
        "risk_coverage": {"coverage": [1.0], "accuracy": [0.5], "threshold": [0.25]},
    }
    splits = RESULTS["splits"] | {"test": RESULTS["splits"]["test"] | {"abstention": abstention}}
    card = render_model_card({**RESULTS, "splits": splits})
    assert (
        "The share of answered clips at the threshold 0.562 is 0.375 (95 % interval 0.250 to 0.500), the accuracy on "
        "them 0.750 (95 % interval 0.500 to 0.875). The threshold was chosen on validation, for an accuracy of 0.800"
    ) in card
    assert "risk_coverage_test.png" in card and "risk_coverage_validation.png" not in card
    assert "risk_coverage" not in render_model_card(RESULTS)


def test_unknown_speakers_are_said_to_be_unknown():
    interval = {"uar": [0.125, 0.625], "method": "plain"}
    test = RESULTS["splits"]["test"] | {"speakers": None, "intervals": [interval]}
    test["groups"] = {"corpus": {"groups": {"own": test["groups"]["corpus"]["groups"]["tess"] | {"speakers": None}}}}
    splits = {**RESULTS["splits"], "test": test}
    card = render_model_card({**TOLD, "splits": splits, "dataset": {**TOLD["dataset"], "train_speakers": None}})
    assert "fine-tuned on 70 clips (speakers unknown) from CREMA-D and RAVDESS." in card
    assert "On 16 test clips (speakers unknown), its unweighted average recall" in card
    assert "from a bootstrap over clips, whose speakers are unknown." in card and "clustered by speaker" not in card
    assert "| test | all | 16 | 0.500 | 0.432 | 0.250 | 0.375 | 0.125 to 0.625 (speakers unknown) |" in card
    assert "0.200 to 0.600 (speakers unknown) |" in card and "None" not in card


def test_synthetic_recordings_are_named_first():
    card = render_model_card({**RESULTS, "dataset": {**RESULTS["dataset"], "synthetic": ["tess"]}})
    assert "synthetic" in _metadata(card)["tags"]
    assert card.index("**Trained and tested on synthetic voices.**") < card.index("This model classifies")
    assert "in the file layout of TESS" in card and "scripted English" not in card


def test_the_headline_of_several_corpora_is_their_mean():
    scores = {"accuracy": 0.61, "uar": 0.432, "f1_weighted": 0.5, "f1_macro": 0.4}
    by_corpus = {
        "scores": scores,
        "intervals": {name: [0.401, 0.465] for name in scores},
        "corpora": {name: {"clips": 9, "classes": ["sad"], "uar": 0.5} for name in ("crema_d", "ravdess")},
        "fixed": [],
    }
    test = RESULTS["splits"]["test"]
    card = render_model_card({**RESULTS, "splits": {**RESULTS["splits"], "test": {**test, "by_corpus": by_corpus}}})
    pooled = f"{test['scores']['uar']:.3f} over all clips together"
    headline = "0.432 as a mean over the 2 corpora, each over its own classes (95 % interval 0.401 to 0.465)"
    assert f"{headline}, and {pooled}" in card
    assert "| test | mean over corpora |" in card
    named = [metric["name"] for entry in _metadata(card)["model-index"][0]["results"] for metric in entry["metrics"]]
    assert any("UAR, mean over corpora" in name for name in named)


def test_the_limits_name_the_corpora_of_the_model_only():
    results = {**RESULTS, "training": {**RESULTS["training"], "corpora": ["ravdess"]}}
    limits = render_model_card(results).split("## Intended use and limits")[1].split("## Training")[0]
    assert "RAVDESS consists of scripted English" in limits
    assert not any(name in limits for name in ("CREMA-D", "TESS", "SAVEE", "corpora"))


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
            found |= {str(leaf), f"{leaf:.3f}", f"{leaf:.4g}"}
        elif isinstance(leaf, int):
            found |= {str(leaf), f"{leaf:,}"}
        elif isinstance(leaf, str):
            found |= set(NUMBER.findall(leaf)) | set(NUMBER.findall(leaf[:16]))
    lists = [leaf for leaf in _lists(results) if all(isinstance(name, str) for name in leaf)]
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
        name
        for corpus in CORPORA.values()
        for name in NUMBER.findall(f"{corpus.licence} {corpus.licence_url} {corpus.citation}")
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
        assert after != before and ("0.988" in after or "98765" in after.replace(",", ""))
        place[key] = old
    assert render_model_card(results) == before


def test_scores_that_nobody_has_are_dashes(tmp_path):
    folder = make_model(tmp_path / "tiny")
    results = json.loads((folder / "results.json").read_text())
    results["splits"]["test"]["scores"]["uar"] = None
    results["splits"]["test"]["groups"]["gender"]["groups"]["ravdess/male"]["scores"]["uar"] = None
    card = render_model_card(results)
    assert re.search(r"\| test \| ravdess/male \| 12 \| 0\.\d+ \| 0\.\d+ \| 0\.\d+ \| - \|", card)
    assert [metric["name"] for metric in _metadata(card)["model-index"][0]["results"][0]["metrics"]][-1] == "macro F1"


def test_the_corpora_are_those_of_training(tmp_path):
    folder = make_model(tmp_path / "tiny", corpora=["ravdess"])
    results = json.loads((folder / "results.json").read_text())
    assert trained_on(results, folder) == ["ravdess"]
    del results["training"]["corpora"], results["training"]["quarantined"]  # as older runs left it
    (folder / "splits.csv").write_text("id,split\ntess/a,train\ncrema_d/b,validation\nsavee/c,test\n")
    assert trained_on(results, folder) == ["crema_d", "tess"] and trained_on(results) == ["ravdess"]
    write_model_card(folder, results)
    card = (folder / "README.md").read_text()
    assert _metadata(card)["license_name"] == "see-the-corpora" and "| TESS | [CC BY-NC-ND 4.0]" in card
    assert "unknown |" in card and "Pichora-Fuller" in card and "SAVEE" not in card
    assert "figures/confusion_test.png" in card and "figures/roc_test.png" not in card  # the only one that is there
    shutil.rmtree(folder / "figures")
    write_model_card(folder, results)
    assert "## Figures" not in (folder / "README.md").read_text()


def test_bases_and_datasets_are_linked_where_the_hub_has_them():
    local = {**TOLD, "training": {**TOLD["training"], "base_model": "wav2vec2-base"}}
    assert "base_model" not in _metadata(
        render_model_card(local)
    ) and "trained from wav2vec2-base for" in render_model_card(local)
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
    assert "resample them with `soxr.resample`" in plain
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
    assert (
        "The loss is focal with label smoothing 0.1. Training clips were\naugmented with Gain. The checkpoint" in card
    )
    assert "using `adamw_torch` with a `one_cycle` schedule in bf16." in card
    known |= {
        "speed_factors": [0.9, 1.0, 1.1],
        "copy_paste": 0.4,
        "speaker_adversary": 0.5,
        "supervised_contrastive": 0.2,
    }
    card = render_model_card({**RESULTS, "training": {**RESULTS["training"], **known}})
    assert "with a speaker adversary (0.5), with a supervised contrastive loss (weight 0.2)." in card
    assert "the speed of each training clip was changed by a factor drawn from 0.9, 1.0, 1.1. With" in card
    assert "With a probability of 0.4, a training clip was joined to another one of its class. The checkpoint" in card
    card = render_model_card({**RESULTS, "training": {**RESULTS["training"], "ema_decay": 0.995}})
    sentences = "Its weights are averages over the steps from step 4 on", "the kept checkpoint is an earlier one"
    for first, sentence in zip((4, 6), sentences, strict=True):  # step 5 is the best one
        swa = render_model_card({**RESULTS, "training": {**RESULTS["training"], "swa_first_step": first}})
        assert "and was kept.\n" in swa and f"{sentence}.\n\nThe" in swa
    lines = "Every epoch drew the same number of clips from each corpus.\nIn the loss, the softmax of a clip covered"
    known = {"balance_corpora": True, "corpus_classes": True}
    assert f"and was kept.\n{lines}" in render_model_card({**RESULTS, "training": {**RESULTS["training"], **known}})
    assert "and was kept.\nIts weights are exponential moving averages over the steps (decay 0.995).\n\nThe" in card
    plain = render_model_card(RESULTS)
    assert "moving average" not in plain
    assert (
        "a learning rate of 0.001 and\nbatches of 16 clips. The checkpoint of step 5 had the best weighted F1" in plain
    )


def test_a_hybrid_names_its_inputs_and_how_it_was_fitted():
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
    assert "a hybrid (stacking, lightgbm), fitted on 15 validation clips." in card
    assert "- probabilities of cnn\n- embeddings of w2v, layer 9\n" in card
    assert "Settings: trees per class 77.\n" in card
    assert "trust_remote_code=True" in card and "training_curves" not in card and "None, None" not in card
    assert " parameters." not in render_model_card({**RESULTS, "parameters": None, "training": training})


def test_markup_in_results_does_not_reach_the_card():
    bad = "<script>alert(1)</script> ![](http://example.org/a.png)\n# Heading"
    protocol = {**RESULTS["protocol"], "notes": [bad]}
    body = render_model_card({**RESULTS, "name": bad, "model_type": bad, "protocol": protocol}).split("---\n", 2)[2]
    assert "<script" not in body and "![](" not in body and "\n# Heading" not in body
    assert "&lt;script&gt;" in body
