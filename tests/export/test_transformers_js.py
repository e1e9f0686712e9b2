"""`--format transformers.js`: the folder, and its answers in Node.js where the npm package is there."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    pipeline,
)

from hf_ser.audio import Preprocessing
from hf_ser.export import ExportArguments, ExportError, export_graph, verification
from hf_ser.labels import EMOTIONS

PROGRAM = """
const [, , library, folder, samples] = process.argv;
const {pipeline, env} = await import(library);
env.allowRemoteModels = false;
const bytes = (await import("node:fs")).readFileSync(samples);
const waveform = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const classify = await pipeline("audio-classification", folder, {dtype: "fp32"});
console.log(JSON.stringify(await classify(waveform, {top_k: 8})));
"""


def _extractor(norm):
    return Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=norm == "layer")


@pytest.fixture(scope="module", params=["group", "layer"])
def folders(request, tiny_config, tmp_path_factory):
    """A native wav2vec2 folder whose answers differ between clips, and its export with the report."""
    root, norm = tmp_path_factory.mktemp(request.param), request.param
    config = {key: value for key, value in tiny_config.items() if key != "model_type"}
    torch.manual_seed(0)
    model = Wav2Vec2ForSequenceClassification(
        Wav2Vec2Config(**config, id2label=dict(enumerate(EMOTIONS)), feat_extract_norm=norm)
    )
    with torch.no_grad():
        model.classifier.weight.mul_(200)
    model.save_pretrained(root / "model")
    _extractor(norm).save_pretrained(root / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "available_processors", lambda: 1)
        report = export_graph(ExportArguments(str(root / "model"), str(root / "exported"), format="transformers.js"))
    return root / "model", root / "exported", report


def test_the_folder_has_the_layout_of_transformers_js(folders):
    _, exported, report = folders
    files = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert files == {"config.json", "export.json", "onnx/model.onnx", "preprocessor_config.json"}
    assert set(report["sha256"]) == files - {"export.json"}
    assert report["verification"]["largest_difference"] < 1e-5 and report["verification"]["same_label"] == 1.0
    config = json.loads((exported / "config.json").read_text())
    assert config["model_type"] == "wav2vec2" and config["architectures"] == ["Wav2Vec2ForSequenceClassification"]
    session = onnxruntime.InferenceSession(exported / "onnx" / "model.onnx")
    inputs = {each.name for each in session.get_inputs()}
    masked = json.loads((exported / "preprocessor_config.json").read_text())["return_attention_mask"]
    assert inputs == ({"input_values", "attention_mask"} if masked else {"input_values"})
    assert [each.name for each in session.get_outputs()] == ["logits"]


def test_its_answers_in_node_are_those_of_the_pipeline(folders, tmp_path):
    packages = os.environ.get("HF_SER_TRANSFORMERS_JS")
    if packages is None or shutil.which("node") is None:
        pytest.skip("no transformers.js: see docs/how-to/browser.md, and name its folder in HF_SER_TRANSFORMERS_JS")
    library = Path(packages, "node_modules/@huggingface/transformers/dist/transformers.node.mjs").resolve()
    model, exported, _ = folders
    (tmp_path / "program.mjs").write_text(PROGRAM)
    classify, answers = pipeline("audio-classification", model=str(model), top_k=8), []
    for seed, length in enumerate((8000, 21_345)):
        samples = (0.1 * np.random.default_rng(seed).standard_normal(length) + 0.01).astype(np.float32)
        samples.tofile(tmp_path / "samples.f32")
        command = ["node", "program.mjs", str(library), str(exported), "samples.f32"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        found = {each["label"]: each["score"] for each in json.loads(done.stdout)}
        expected = {each["label"]: each["score"] for each in classify({"raw": samples, "sampling_rate": 16_000})}
        assert found == pytest.approx(expected, abs=1e-5)
        answers.append(max(expected.values()))
    assert max(answers) > 0.2  # equal probabilities would prove little


def test_models_that_transformers_js_cannot_run_as_trained_are_refused(save_companion, folders, tmp_path):
    companion = save_companion(tmp_path / "companion", EMOTIONS)
    with pytest.raises(ExportError, match=r"got a model of type ser-audio-cnn; expected.*--format web"):
        export_graph(ExportArguments(str(companion), str(tmp_path / "graph"), format="transformers.js"))
    shutil.copytree(folders[0], tmp_path / "model")
    extractor = _extractor("group")
    Preprocessing(normalize=True).store(extractor)
    extractor.save_pretrained(tmp_path / "model")
    with pytest.raises(ExportError, match=r"has preprocessing \(normalize\), which transformers.js ignores"):
        export_graph(ExportArguments(str(tmp_path / "model"), str(tmp_path / "graph"), format="transformers.js"))
    assert not (tmp_path / "graph").exists()
