"""The folder `hf_ser/pretrained` as it is shipped: complete, small, unchanged, licensed, and honest about its test."""

import csv
import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from hf_ser.data.splits_file import read_assignment
from hf_ser.default_model import FOLDER
from hf_ser.hub.licences import TERMS
from hf_ser.hub.pretrained_folder import MAX_BYTES, SUMS
from hf_ser.hub.pretrained_pages import PAGES, PARTS, _part
from hf_ser.results_file import read_results

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / "examples/clips"
RESULTS = read_results(FOLDER)


def test_every_file_has_the_hash_that_is_written_down():
    listed = dict(line.split("  ")[::-1] for line in (FOLDER / SUMS).read_text(encoding="utf-8").splitlines())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.iterdir()}
    assert found.pop(SUMS) and found == listed
    assert {"config.json", "preprocessor_config.json", "model.safetensors", "README.md", "LICENSE"} <= set(found)


def test_it_is_small_and_holds_no_code_and_no_paths():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MAX_BYTES
    assert not [path.name for path in FOLDER.iterdir() if path.suffix in (".py", ".bin", ".pkl", ".pt")]
    for path in FOLDER.iterdir():
        if path.suffix in (".json", ".md", ".yaml", ".csv"):
            assert not re.search(r"(?<![\w.:/])/(work|root|tmp|home)/", path.read_text(encoding="utf-8")), path


def test_weights_are_finite_and_stored_as_the_card_says():
    dtypes = {value.dtype for value in load_file(FOLDER / "model.safetensors").values() if value.is_floating_point()}
    (stored,) = dtypes
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert stored in (torch.float16, torch.float32)
    assert f"Weights are stored in {str(stored).removeprefix('torch.')} and loaded in float32" in card
    assert json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))["dtype"] == "float32"


def test_its_corpora_allow_sharing_it():
    assert set(RESULTS["training"]["corpora"]) == {"crema_d", "ravdess"} and RESULTS["dataset"]["synthetic"] == []
    assert all(TERMS[corpus].open for corpus in RESULTS["training"]["corpora"])
    assert ModelCard.load(FOLDER / "README.md").data.to_dict()["license"] == "cc-by-nc-sa-4.0"


def test_the_licence_names_its_terms_and_both_corpora():
    text = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    for expected in (
        "https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode",
        "NonCommercial",
        "ShareAlike",
        "10.1371/journal.pone.0196391",
        "10.1109/TAFFC.2014.2336244",
        "Open Database License",
    ):
        assert expected in text, expected


def test_no_speaker_of_test_trained_or_selected_it():
    assert RESULTS["protocol"]["name"] == "speaker_disjoint" and RESULTS["protocol"]["seed"] == 0
    speakers = {"train": set(), "validation": set(), "test": set()}
    for clip, split in read_assignment(FOLDER / "splits.csv").items():
        corpus, _, stem = clip.partition("/")
        if corpus in ("ravdess", "crema_d"):
            speakers[split].add((corpus, stem.rpartition("-")[2] if corpus == "ravdess" else stem.partition("_")[0]))
    for split in ("train", "validation"):
        assert not speakers[split] & speakers["test"]
    tested = [corpus for corpus, _ in speakers["test"]]
    assert tested.count("ravdess") >= 3 and tested.count("crema_d") >= 3


def test_no_speaker_of_the_examples_trained_or_selected_it():
    readme = (CLIPS / "README.md").read_text(encoding="utf-8")
    names = dict(re.findall(r"^\| `([\w.]+)` \| `(\d{4}_\w+)` \|", readme, re.MULTILINE))
    assert set(names) == {path.name for path in CLIPS.glob("*.flac")} and len(names) <= 12
    seen = {
        clip.partition("/")[2].partition("_")[0]
        for clip, split in read_assignment(FOLDER / "splits.csv").items()
        if clip.startswith("crema_d/") and split != "test"
    }
    actors = {name.partition("_")[0] for name in names.values()}
    assert len(seen) > 10 and not actors & seen
    acted = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
    for file, clip in names.items():
        assert file.partition("_")[0] == acted[clip.split("_")[2]]
    assert {file.partition("_")[0] for file in names} == set(acted.values())
    assert {file.removesuffix(".flac").partition("_")[2] for file in names} == {"man", "woman"}
    assert sum(path.stat().st_size for path in CLIPS.glob("*.flac")) < 500_000


@pytest.mark.corpora
def test_the_examples_are_the_clips_that_their_readme_names(corpora_dir):
    from hf_ser import load_audio

    readme = (CLIPS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| `(\w+)` .*\| (\d+) of (\d+) \|$", readme, re.MULTILINE)
    with (corpora_dir / "crema_d/processedResults/tabulatedVotes.csv").open(newline="", encoding="utf-8") as file:
        voice = {row["fileName"]: row for row in csv.DictReader(file) if row[""].startswith("1")}
    assert len(rows) > 10
    for name, clip, agreed, heard in rows:
        original = next((corpora_dir / "crema_d/AudioWAV").glob(f"{clip}.*"))
        assert (load_audio(CLIPS / name) == load_audio(original)).all()
        assert (voice[clip][clip.split("_")[2][0]], voice[clip]["numResponses"]) == (agreed, heard)


def _numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d+", text)]


@pytest.fixture(scope="module")
def made():
    """The parts that have been made, which several pages show."""
    return {}


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_show_the_model_as_it_is(page, made):
    """Words are equal, and scores up to the rounding of other processors. Bars and widths may change with them."""
    parts = re.findall(
        r"<!-- pretrained (\w+) -->\n(.*?)<!-- end pretrained -->",
        (ROOT / page).read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert parts
    for name, shown in parts:
        expected = _part(name, ROOT, made)
        words = [re.sub(r"\d+\.\d+|#+|\s+|-{3,}", " ", text).split() for text in (shown, expected)]
        assert words[0] == words[1], name
        assert _numbers(shown) == pytest.approx(_numbers(expected), abs=0.005), name
    assert set(dict(parts)) <= set(PARTS)
