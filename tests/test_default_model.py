"""The model that comes with the package: it loads without a network, and is used wherever no model is given."""

import csv
import logging
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoModelForAudioClassification, pipeline

import hf_ser.models  # noqa: F401 - registers the pipeline
from hf_ser import SpeechEmotionPipeline, cli, default_model, load_classifier
from hf_ser.results_file import read_results

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/clips/angry_woman.flac"
NOTICE = "Using the model that comes with hf_ser: acted English speech, 8 emotions, UAR "


@pytest.fixture(autouse=True)
def _offline_and_not_announced(monkeypatch):
    def connect(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(default_model, "_announced", False)


@pytest.fixture
def _no_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(default_model, "FOLDER", tmp_path / "pretrained")


def _notices(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(NOTICE)]


def test_the_notice_has_the_score_of_its_results():
    uar = read_results(default_model.FOLDER)["splits"]["test"]["scores"]["uar"]
    assert default_model.notice("model=") == (
        f"{NOTICE}{uar:.2f} on unseen speakers, non-commercial use (CC BY-NC-SA 4.0). Choose another with model=."
    )


def test_each_way_to_load_it_gives_the_same_scores_in_float32(caplog):
    model, extractor = load_classifier(default_model.default_model())
    given = SpeechEmotionPipeline(model=model, feature_extractor=extractor, device="cpu", precision="fp32")
    expected = given(str(EXAMPLE))
    assert _notices(caplog) == []  # the model was named
    for made in (
        SpeechEmotionPipeline(device="cpu", precision="fp32"),
        pipeline("speech-emotion-recognition", device="cpu", precision="fp32"),
    ):
        assert made(str(EXAMPLE)) == expected
        assert {weights.dtype for weights in made.model.parameters()} == {model.dtype}
    assert str(model.dtype) == "torch.float32" and len(expected) == 8
    assert AutoModelForAudioClassification.from_pretrained(default_model.FOLDER).dtype == model.dtype
    assert len(_notices(caplog)) == 1, "once per process"


def test_transformers_does_not_advise_to_pin_a_revision(caplog):
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)  # the library does not pass records on
    try:
        pipeline("speech-emotion-recognition", device="cpu")
        assert "No model was supplied" not in caplog.text and len(_notices(caplog)) == 1
        logging.getLogger("transformers.pipelines").warning(
            "No model was supplied, defaulted to other/model and so on"
        )
        assert "defaulted to other/model" in caplog.text, "the advice for other tasks stays"
    finally:
        logger.removeHandler(caplog.handler)


def test_a_feature_extractor_alone_is_rejected():
    with pytest.raises(ValueError, match="got a feature_extractor without a model; expected both or neither"):
        SpeechEmotionPipeline(feature_extractor=load_classifier(default_model.default_model())[1])


def test_the_code_on_the_hub_has_no_default(monkeypatch):
    monkeypatch.setattr(SpeechEmotionPipeline, "load_default", None)  # as where hf_ser.models is not imported
    with pytest.raises(ValueError, match="got no model; expected a loaded model and its feature extractor"):
        SpeechEmotionPipeline()


@pytest.mark.usefixtures("_no_folder")
def test_a_package_without_the_folder_says_so(capsys):
    message = "got no model, and this installation of hf_ser has no config.json in hf_ser/pretrained. "
    for make in (SpeechEmotionPipeline, lambda: pipeline("speech-emotion-recognition")):
        with pytest.raises(default_model.NoDefaultModelError, match=re.escape(message) + ".* with model="):
            make()
    for words in (["predict", str(EXAMPLE)], ["info"]):
        assert cli.main(words) == cli.WRONG_USE
        assert capsys.readouterr().err == (
            f"error: {message}Pass a model folder or Hub id with --model, or install hf_ser again.\n"
        )


def test_the_command_line_uses_it(capsys, caplog):
    assert cli.main(["predict", str(EXAMPLE), "--format", "csv", "--device", "cpu", "--precision", "fp32"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    best = SpeechEmotionPipeline(device="cpu", precision="fp32")(str(EXAMPLE), top_k=1)[0]
    assert row["emotion"] == best["label"] and float(row[f"p_{best['label']}"]) == pytest.approx(
        best["score"], abs=1e-5
    )
    assert len(_notices(caplog)) == 1 and _notices(caplog)[0].endswith("Choose another with --model.")
    assert cli.main(["info"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^type +ser-", shown, re.MULTILINE) and re.search(r"^test .*UAR 0\.\d+", shown, re.MULTILINE)


def test_a_revision_needs_a_model(capsys):
    assert cli.main(["predict", str(EXAMPLE), "--revision", "v1"]) == cli.WRONG_USE
    assert "got --revision v1 without a model on the Hub. Pass --model" in capsys.readouterr().err


def test_the_demo_uses_it_and_shows_what_it_is(monkeypatch):
    pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")
    from hf_ser.demo import app

    shown = {}
    monkeypatch.setattr(app, "launch", lambda page, *_: shown.update(page=str(page.config)) or "")
    ended = SimpleNamespace(wait=lambda: None)  # instead of waiting for Ctrl-C
    monkeypatch.setattr(app, "threading", SimpleNamespace(**vars(threading) | {"Event": lambda: ended}))
    assert cli.main(["demo", "--device", "cpu"]) == 0
    assert "hf_ser/pretrained: Trained on " in shown["page"]
    assert "Acted English speech only; non-commercial use (CC BY-NC-SA 4.0)." in shown["page"]


def test_a_copy_of_the_package_prints_the_notice_once_on_stderr(tmp_path):
    """In a fresh process, as after an installation: nothing of the checkout is needed."""
    shutil.copytree(ROOT / "hf_ser", tmp_path / "hf_ser", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from hf_ser import SpeechEmotionPipeline as P; import hf_ser\n"
        f"print(hf_ser.__file__); P(); print(P(device='cpu')({str(EXAMPLE)!r})[0]['label'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    place, label = done.stdout.split()
    assert (
        Path(place).is_relative_to(tmp_path)
        and label in read_results(default_model.FOLDER)["splits"]["test"]["labels"]
    )
    assert done.stderr.count(NOTICE) == 1
