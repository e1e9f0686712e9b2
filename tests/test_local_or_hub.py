"""A name that can only be a folder is answered at once, and the Hub is not asked for it."""

import sys

import datasets
import pytest
import transformers

from hf_ser.arguments import ConfigError, run
from hf_ser.data import DataArguments, DatasetError, load_splits, splits
from hf_ser.hybrids import base_models
from hf_ser.hybrids.base_models import StackError, open_base_models
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.inference import CheckpointError, load_classifier
from hf_ser.labels import EMOTIONS
from hf_ser.local_or_hub import refuse_missing
from hf_ser.training import ModelArguments, build_model
from hf_ser.training.checkpoints import ModelError

FOLDERS_ONLY = ["nope", "./nope", "../nope", "/no/such/folder", "~/nope", "C:/nope", "C:\\nope", "runs/nope", "a/b/c"]
FOLDERS_ONLY += ["runs/nope/", "a b/c", "a--b/c", "a/..", ".a/b"]
EXPECTED = "no such folder; expected the folder of a trained model, or OWNER/NAME on the Hub."


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "work" / "runs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def no_hub(monkeypatch):
    """The Hub is not asked."""

    def asked(*args, **options):
        raise AssertionError("the Hub was asked")

    for name in ("AutoConfig", "AutoFeatureExtractor", "AutoModelForAudioClassification"):
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", asked)
    monkeypatch.setattr(base_models, "cached_file", asked)
    monkeypatch.setattr(datasets, "load_dataset", asked)
    monkeypatch.setattr(splits, "load_streamed", asked)


@pytest.mark.parametrize("name", FOLDERS_ONLY)
def test_names_of_folders_that_are_not_there_are_refused(here, name):
    with pytest.raises(ConfigError) as error:
        refuse_missing(name, "--model", ConfigError)
    assert str(error.value) == f"--model {name}: {EXPECTED}"


@pytest.mark.parametrize("name", ["owner/name", "facebook/wav2vec2-base", "a.b/c_d-e.1", "O/n"])
def test_names_that_the_hub_may_have_pass(here, name):
    refuse_missing(name, "--model", ConfigError)


def test_folders_that_are_there_pass(here):
    for name in ("runs", "./runs", "../work/runs", ".", str(here), "runs/"):
        refuse_missing(name, "--model", ConfigError)
    (here / "runs" / "x.bin").touch()
    with pytest.raises(ConfigError, match="runs/x.bin: this is a file; expected the folder of a trained model"):
        refuse_missing("runs/x.bin", "--model", ConfigError)


@pytest.mark.parametrize("name", ["nope", "runs/nope", "./a/b", "~/a"])
def test_every_door_answers_without_the_hub(here, no_hub, name):
    with pytest.raises(CheckpointError, match=f"--model {name}: {EXPECTED}"):
        load_classifier(name)
    checkpoint = "no such folder; expected the folder of a checkpoint, or OWNER/NAME on the Hub"
    with pytest.raises(ModelError, match=f"--model_name_or_path {name}: {checkpoint}"):
        build_model(ModelArguments(name), EMOTIONS)
    for base in (f"x={name}", f"x={name}@v1"):
        with pytest.raises(StackError, match=f"base x: {name}: {EXPECTED}"):
            open_base_models(HybridArguments("out", bases=[base]), DataArguments())
    for streaming in (False, True):
        with pytest.raises(DatasetError, match=f"--dataset {name}: no such folder; expected a folder written by"):
            load_splits(DataArguments(name, streaming=streaming))


def test_the_demo_answers_without_the_hub(here, no_hub):
    clip_inference = pytest.importorskip("hf_ser.demo.clip_inference")
    with pytest.raises(CheckpointError, match=f"--model runs/nope: {EXPECTED}"):
        clip_inference.load_model("runs/nope")


def test_the_recipe_answers_in_one_line(here, no_hub, load_recipe, monkeypatch, capsys):
    words = ["evaluate.py", "--model", "runs/nope", "--csv", "x.csv", "--output_dir", "out"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        run(load_recipe("evaluate").main)
    assert ended.value.code == 2 and capsys.readouterr().err == f"error: --model runs/nope: {EXPECTED}\n"
