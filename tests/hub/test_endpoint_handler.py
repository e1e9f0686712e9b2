"""handler.py as Inference Endpoints use it: pushed with the model, loaded and called as the toolkit does."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from hf_ser.hub import PushArguments, make_plan
from hf_ser.inference import load_classifier
from hf_ser.models import SpeechEmotionPipeline

# The toolkit adds the folder to sys.path, loads the file as a module of no package, and calls the handler with the
# content of requests. It answers 400 with the text of an exception.
TOOLKIT = """
import base64, importlib.util, json, sys

class Without:  # hides the package that is installed here
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] == "hf_ser" else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
folder, requests = sys.argv[1:]
spec = importlib.util.spec_from_file_location("handler", f"{folder}/handler.py")
sys.path.insert(0, folder)
module = importlib.util.module_from_spec(spec)
sys.modules["handler"] = module
spec.loader.exec_module(module)
handler = module.EndpointHandler(folder)
answers = []
for number, data in enumerate(json.load(open(requests))):
    if isinstance(data.get("inputs"), dict) and "raw_body" in data["inputs"]:  # an audio/* body
        data["inputs"] = bytearray(base64.b64decode(data["inputs"]["raw_body"]))
    try:
        answers.append(handler(data))
    except Exception as error:
        answers.append({"error": str(error), "type": type(error).__name__})
answers.append(len(module.EndpointHandler()(json.load(open(requests))[1])))  # the folder of the file
assert not any(name.partition(".")[0] == "hf_ser" for name in sys.modules)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def repository(made, tmp_path_factory):
    """What a push puts into the repository."""
    folder = tmp_path_factory.mktemp("repository")
    for file in make_plan(PushArguments("owner/tiny", folder=str(made))).files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(file.read())
    return folder


@pytest.fixture(scope="module")
def clip(tone, encode):
    return encode(tone(0.9))


@pytest.fixture(scope="module")
def answers(repository, clip, tone, tmp_path_factory):
    """The answers of one handler to all requests of this file."""
    encoded = base64.b64encode(clip).decode()
    requests = [
        {"inputs": {"raw_body": encoded}, "parameters": {"top_k": 2}},
        {"inputs": encoded},
        {"inputs": [encoded, base64.b64encode(b"text").decode()], "parameters": {"top_k": 1}},
        {"inputs": {"array": tone(0.9).tolist(), "sampling_rate": 16_000}, "parameters": None},
        {"inputs": encoded, "parameters": {"window_s": 0.5, "return_timeline": True, "abstain": 0.9}},
        {"inputs": "https://example.org/voice.wav"},
        {"inputs": "/etc/hostname"},
        {"inputs": {"path": "/etc/hostname", "sampling_rate": 16_000}},
        {"inputs": base64.b64encode(b"text").decode()},
        {"inputs": encoded, "parameters": {"top": 1}},
        {"inputs": encoded, "parameters": [1]},
        {"inputs": encoded, "parameters": {"return_embeddings": True}},
        {},
    ]
    root = tmp_path_factory.mktemp("endpoint")
    (root / "requests.json").write_text(json.dumps(requests))
    home = {"HF_HOME": str(root / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TOOLKIT, str(repository), "requests.json"]
    environment = {**os.environ, **home, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_form_of_input_gives_the_scores_of_the_pipeline(answers, made, clip):
    model, extractor = load_classifier(str(made))
    classify = SpeechEmotionPipeline(model=model, feature_extractor=extractor, task="audio-classification")
    expected = {row["label"]: row["score"] for row in classify(clip)}
    body, text, several, array, detailed = answers[:5]
    assert [len(answer) for answer in (body, text, array)] == [2, 3, 3]
    for answer in (body, text, several[0], array):
        for row in answer:
            assert row["score"] == pytest.approx(expected[row["label"]], abs=1e-5)
    assert several[1]["reason"] == "undecodable" and several[1]["error"].startswith("inputs[1]: got ")
    assert [window["start"] for window in detailed["timeline"]] == [0.0, 0.25, 0.5] and detailed["threshold"] == 0.9
    assert answers[-1] == 3


def test_invalid_requests_have_one_line_and_strings_are_never_opened(answers):
    url, path, mapping, text, parameter, parameters, embeddings, nothing = answers[5:13]
    assert url["error"].startswith("inputs: got a URL, which is not downloaded; expected base64-encoded audio. ")
    assert path["error"].startswith("inputs: got a string that is not base64; expected base64-encoded audio. ")
    assert mapping["error"].startswith("inputs: got dict; expected the content of an audio file ")
    assert text["error"].startswith("inputs: got ") and text["type"] == "AudioError"
    assert parameter["error"].startswith("top is not a parameter; expected one of top_k, ")
    assert parameters["error"] == "parameters: got a list; expected an object. Correct the request."
    assert embeddings["error"].startswith("return_embeddings is not a parameter of the endpoint; ")
    assert nothing["error"].startswith("inputs: got NoneType; ")
    assert not any("\n" in answer["error"] for answer in answers[5:13])


def test_the_requirements_name_what_the_code_imports(repository):
    names = {Requirement(line).name for line in (repository / "requirements.txt").read_text().splitlines()}
    code = "\n".join(path.read_text() for path in repository.glob("*.py"))
    for name in names - {"safetensors"}:  # transformers needs it for the weights
        assert f"import {name}" in code or f"from {name}" in code, name
    assert {"torch", "torchaudio", "transformers", "soundfile", "soxr"} <= names


def test_a_handler_of_ones_own_is_pushed_unchanged(model_dir):
    (model_dir / "handler.py").write_text("class EndpointHandler:\n    pass\n")
    files = {file.path: file for file in make_plan(PushArguments("owner/tiny", folder=str(model_dir))).files}
    assert files["handler.py"].source == Path(model_dir / "handler.py") and "requirements.txt" not in files


def test_native_models_have_none(tmp_path, tiny_config):
    """The toolkit itself serves models of transformers."""
    from model_folders import LABELS, make_model
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**{**tiny_config, **names}))
    folder = make_model(tmp_path / "native", model=model)
    names = [file.path for file in make_plan(PushArguments("owner/tiny", folder=str(folder))).files]
    assert "model.safetensors" in names and not any(name.endswith(".py") for name in names)
