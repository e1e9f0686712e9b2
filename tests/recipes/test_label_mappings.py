"""The shipped label mappings: each maps every label of its source, and its command prepares a dataset."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from iemocap_release import write_release
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_ser.corpora import emodb, iemocap, synthetic
from hf_ser.data import DataArguments, load_splits
from hf_ser.labels import EMOTIONS
from hf_ser.scoring import read_results, write_answers
from hf_ser.scoring.label_mapping import resolve_mapping

ROOT = Path(__file__).parents[2]
FILES = {path.stem: path for path in sorted((ROOT / "recipes/configs/label_mappings").glob("*.yaml"))}
# Labels of the source, and labels that are left.
EXPECTED = {
    "angry_neutral_happy_other": (EMOTIONS, ["neutral", "happy", "angry", "other"]),
    "emodb_six": (emodb.EMOTION_CODES.values(), ["neutral", "happy", "sad", "angry", "fearful", "disgust"]),
    "iemocap_four": (iemocap.EMOTION_CODES.values(), ["neutral", "happy", "sad", "angry"]),
    "valence": (EMOTIONS, ["neutral", "positive", "negative"]),
}
# The same of models by other authors; their commands evaluate a model.
EMOTION2VEC = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")
MODELS = {
    "emotion2vec": (EMOTION2VEC, ["angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised"]),
    "superb_er": (("neu", "hap", "ang", "sad"), ["neutral", "happy", "angry", "sad"]),
}


def test_every_mapping_is_known():
    assert FILES.keys() == EXPECTED.keys() | MODELS.keys()


@pytest.mark.parametrize("name", EXPECTED | MODELS)
def test_a_mapping_has_every_label_of_its_source(name):
    content = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))
    assert content.keys() == {"label_mapping"}  # also valid for recipes/evaluate.py
    source, left = (EXPECTED | MODELS)[name]
    assert content["label_mapping"].keys() == set(source)
    assert list(dict.fromkeys(label for label in content["label_mapping"].values() if label)) == left


@pytest.fixture
def recordings(tmp_path, tone, encode):
    """Generate recordings of a corpus; return their folder."""

    def generate(corpus):
        folder = tmp_path / corpus
        if corpus == "iemocap":
            write_release(folder, tone, encode)
        elif corpus == "emodb":
            folder.mkdir()
            for number, (speaker, letter) in enumerate((s, e) for s in emodb.SPEAKERS for e in emodb.EMOTION_CODES):
                (folder / f"{speaker}a01{letter}a.wav").write_bytes(encode(tone(0.5 + number / 1000)))
        else:
            options = {"clips_per_class": 1, "speakers_per_corpus": 4, "duration_s": (0.5, 0.6)}
            synthetic.generate(tmp_path, corpora=[corpus], **options)
        return folder

    return generate


@pytest.mark.parametrize("name", EXPECTED)
def test_the_command_of_a_mapping_prepares_a_dataset(name, recordings, load_recipe, monkeypatch, tmp_path):
    (command,) = re.findall(
        r"^#   python recipes/prepare.py (.*)$", FILES[name].read_text(encoding="utf-8"), re.MULTILINE
    )
    corpus = re.search(r"--(\w+) DIR", command)[1]
    words = shlex.split(command.replace("DIR", str(recordings(corpus))).replace(" data/", f" {tmp_path}/out/"))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["prepare.py", *words, "--num_proc", "1"])
    load_recipe("prepare").main()
    (summary,) = (tmp_path / "out").glob("*/preparation.json")
    labels = json.loads(summary.read_text(encoding="utf-8"))["labels"]
    _, left = EXPECTED[name]
    assert labels == list(EMOTIONS) if name == "emodb_six" else sorted(labels) == sorted(left)
    dropped = [label for label, to in yaml.safe_load(FILES[name].read_text())["label_mapping"].items() if to is None]
    table = (summary.parent / "quarantine.csv").read_text(encoding="utf-8")
    assert all(f"label {label} is mapped to null" in table for label in dropped if corpus != "crema_d")


@pytest.mark.parametrize("name", EXPECTED | MODELS)
def test_a_mapping_fits_a_model_of_its_labels(name):
    mapping = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))["label_mapping"]
    source, left = (EXPECTED | MODELS)[name]
    assert resolve_mapping(list(source), mapping, left) == {label: mapping[label] for label in source}


@pytest.mark.parametrize("name", MODELS)
def test_the_command_of_a_model_scores_it(name, dataset_dir, tiny_config, load_recipe, monkeypatch, tmp_path):
    """A folder of the layout of superb, and a table of the answers of emotion2vec."""
    (command,) = re.findall(
        r"^#   python recipes/evaluate.py (.*)$", FILES[name].read_text(encoding="utf-8"), re.MULTILINE
    )
    source, left = MODELS[name]
    if name == "superb_er":
        save_superb(tmp_path / "model", tiny_config, source)
        command = re.sub(r"superb/\S+", str(tmp_path / "model"), command)
    else:
        ids = load_splits(DataArguments(str(dataset_dir))).splits["test"]["id"]
        labels = [*(f"中文/{label}" for label in source[:-1]), "<unk>"]
        scores = np.random.default_rng(0).dirichlet(np.ones(9), len(ids)).tolist()
        answers = [{"key": key, "labels": labels, "scores": row} for key, row in zip(ids, scores, strict=True)]
        write_answers(tmp_path / "emotion2vec.parquet", answers)
        command = command.replace("emotion2vec.parquet", str(tmp_path / "emotion2vec.parquet"))
    command = command.replace("data/emotions", str(dataset_dir)).replace("runs/", f"{tmp_path}/out_")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *shlex.split(command), "--figures", "false"])
    load_recipe("evaluate").main()
    (folder,) = tmp_path.glob("out_*")
    scored = read_results(folder)["splits"]["test"]
    assert sorted(scored["labels"]) == sorted(left) and scored["left_out"]


def save_superb(folder, tiny_config, labels):
    """A native classifier that sums its layers with weights, as the ports of S3PRL do."""
    fields = {key: value for key, value in tiny_config.items() if key != "model_type"}
    config = Wav2Vec2Config(**fields, use_weighted_layer_sum=True, id2label=dict(enumerate(labels)))
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
