"""A saved folder loads without this package."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf
import torch

import hf_ser.remote_code
from hf_ser.models import make_feature_extractor

KINDS = ("mel_cnn", "audio_cnn", "audio_lstm", "cnn_lstm", "cnn_gru", "hybrid")
_CHILD = """
import json, sys

class Without:  # hides packages that are installed here
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        absent = name.split(".")[0] in ("hf_ser", "lightgbm", "sklearn")
        return None if absent else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import numpy as np, torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

waveform = np.load("waveform.npy")
results = {}
for folder in sys.argv[1:]:
    model = AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=True)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits[0].tolist()
    classify = pipeline("audio-classification", model=folder, trust_remote_code=True, device="cpu", precision="fp32")
    answers = [classify({"raw": waveform, "sampling_rate": 16_000}, top_k=None), classify("clip.flac")]
    scores, of_file = ({row["label"]: row["score"] for row in answer} for answer in answers)
    timeline = classify("clip.flac", window_s=0.2, stride_s=0.15, return_timeline=True)["timeline"]
    results[folder] = {"logits": logits, "scores": scores, "of_file": of_file, "timeline": timeline}
    results[folder]["class"] = type(classify).__name__
assert not {"hf_ser", "lightgbm", "sklearn"} & {name.split(".")[0] for name in sys.modules}
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def fresh_process(tmp_path_factory, tiny, build, hybrid, waveforms):
    import numpy as np

    root = tmp_path_factory.mktemp("elsewhere")
    waveform, expected = waveforms(1)[0], {}
    waveform = (waveform * 2**15).round() / 2**15  # which 16 bits store exactly
    np.save(root / "waveform.npy", waveform[0].numpy())
    sf.write(root / "clip.flac", waveform[0].numpy(), 16_000)
    for kind in KINDS:
        options = {"pooling": "statistics", "normalize": "clip"} if kind == "cnn_gru" else {}
        model = hybrid() if kind == "hybrid" else build(tiny(kind, **options))
        model.save_pretrained(root / kind)
        make_feature_extractor().save_pretrained(root / kind)
        expected[kind] = model(waveform).logits[0]
    environment = {"HF_HOME": str(root / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": ""}
    command = [sys.executable, "-I", "-c", _CHILD, *expected]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return expected, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_the_same_scores_in_a_fresh_process(fresh_process, kind):
    expected, results = fresh_process
    torch.testing.assert_close(torch.tensor(results[kind]["logits"]), expected[kind], atol=1e-6, rtol=1e-5)
    scores = torch.softmax(expected[kind], dim=0)
    names = ("neutral", "happy", "sad", "angry") if kind == "hybrid" else [f"LABEL_{number}" for number in range(4)]
    for name, score in zip(names, scores.tolist(), strict=True):
        assert results[kind]["scores"][name] == pytest.approx(score, abs=1e-5)
        assert results[kind]["of_file"][name] == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_brings_its_pipeline_along(fresh_process, kind):
    results = fresh_process[1][kind]
    assert results["class"] == "SpeechEmotionPipeline"
    times = [(window["start"], window["end"]) for window in results["timeline"]]
    assert times == [(0.0, 0.2), (0.15, 0.35), (0.3, 0.5)]
    for window in results["timeline"]:
        assert {row["label"] for row in window["scores"]} == set(results["scores"])
        assert sum(row["score"] for row in window["scores"]) == pytest.approx(1.0)


def test_modules_import_siblings_only():
    files = sorted(Path(hf_ser.remote_code.__file__).parent.glob("*.py"))
    assert len(files) > 8
    for file in files:
        if file.name == "__init__.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1 and not (node.module or "").startswith("hf_ser"), file
                assert node.level == 0 or "." not in (node.module or ""), file
            elif isinstance(node, ast.Import):
                assert not any(name.name.startswith("hf_ser") for name in node.names), file
