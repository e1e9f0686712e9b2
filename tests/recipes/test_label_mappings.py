"""The shipped label mappings: each maps every label of its source, and its command prepares a dataset."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from iemocap_release import write_release

from hf_ser.corpora import emodb, iemocap, synthetic
from hf_ser.labels import EMOTIONS
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


def test_every_mapping_is_known():
    assert FILES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_mapping_has_every_label_of_its_source(name):
    content = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))
    assert content.keys() == {"label_mapping"}  # also valid for recipes/evaluate.py
    source, left = EXPECTED[name]
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


@pytest.mark.parametrize("name", EXPECTED)
def test_a_mapping_fits_a_model_of_its_labels(name):
    mapping = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))["label_mapping"]
    source, left = EXPECTED[name]
    assert resolve_mapping(list(source), mapping, left) == {label: mapping[label] for label in source}
