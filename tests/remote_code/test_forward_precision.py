"""Precision at inference: chosen by hardware, close to float32, without changing the weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, pipeline

from hf_ser.models import SpeechEmotionPipeline, make_feature_extractor
from hf_ser.remote_code import forward_precision as module
from hf_ser.remote_code.forward_precision import ForwardPass, autocast, choose_precision, lowered
from hf_ser.remote_code.hardware import Hardware, check_device, detect, resolve

NATIVE = Hardware("cpu", "this CPU", cpu_flags=frozenset({"avx512_bf16"}))
MACHINES = {
    "AVX2": (Hardware("cpu", "this CPU", cpu_flags=frozenset({"avx2"})), "fp32"),
    "AVX512_BF16": (NATIVE, "bf16"),
    "AMX": (Hardware("cpu", "this CPU", cpu_flags=frozenset({"amx_bf16"})), "bf16"),
    "limited": (Hardware("cpu", "this CPU", cpu_flags=NATIVE.cpu_flags, cpu_limit="ONEDNN_MAX_CPU_ISA=AVX2"), "fp32"),
    "T4": (Hardware("cuda", "Tesla T4", (7, 5)), "fp16"),
    "H100": (Hardware("cuda", "NVIDIA H100", (9, 0)), "bf16"),
    "Mac": (Hardware("mps", "the Apple GPU"), "fp32"),
}
KINDS = ("mel_cnn", "audio_cnn", "audio_lstm", "cnn_lstm", "cnn_gru", "group", "layer", "hybrid")


@pytest.fixture
def make(companion, wav2vec2, hybrid):
    """A model whose scores differ between clips, and its feature extractor."""

    def build(kind):
        if kind == "hybrid":
            return hybrid(), make_feature_extractor()
        if kind not in ("group", "layer"):
            return companion(kind), make_feature_extractor()
        model = wav2vec2(kind)
        with torch.no_grad():
            model.classifier.weight.mul_(20)
        return model, Wav2Vec2FeatureExtractor(return_attention_mask=kind == "layer")

    return build


@pytest.fixture
def classify(make):
    def build(kind="group", **options):
        model, extractor = make(kind)
        options = {"device": "cpu", "task": "audio-classification", **options}
        return SpeechEmotionPipeline(model=model, feature_extractor=extractor, **options)

    return build


@pytest.fixture
def clips(waveforms):
    return [clip.numpy()[:length] for clip, length in zip(waveforms(4)[0], (8000, 6000, 8000, 4000), strict=True)]


def table(answers):
    return np.array([[entry["score"] for entry in sorted(row, key=lambda entry: entry["label"])] for row in answers])


@pytest.mark.parametrize("name", MACHINES)
def test_auto_takes_what_the_hardware_computes_natively(classify, monkeypatch, name):
    machine, expected = MACHINES[name]
    monkeypatch.setattr(module, "detect", lambda device=None: machine)
    for kind in ("group", "hybrid"):
        assert classify(kind).precision.precision == expected
    assert classify(precision="fp32").precision.precision == "fp32"


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp32"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_model_answers_in_every_precision_and_stays_float32(classify, clips, kind, precision):
    exact = classify(kind, precision="fp32")
    other = classify(kind, precision=precision)
    before = {name: tensor.clone() for name, tensor in other.model.state_dict().items()}
    expected, found = table(exact(clips)), table(other(clips, batch_size=3))
    if precision == "bf16":
        assert kind == "hybrid" or not np.array_equal(found, expected)  # trees answer in steps
        np.testing.assert_allclose(found, expected, atol=0.02)
    else:
        np.testing.assert_allclose(found, expected, atol=1e-5)
    for name, tensor in other.model.state_dict().items():
        assert tensor.dtype == before[name].dtype and torch.equal(tensor, before[name])


@pytest.mark.parametrize("kind", ["group", "layer", "hybrid"])
def test_weights_cast_once_give_what_autocast_gives(make, clips, kind):
    model, extractor = make(kind)
    inputs = extractor(clips[0], sampling_rate=16_000, return_tensors="pt")
    forward = ForwardPass(model.eval(), "bf16")
    with torch.inference_mode():
        found = forward(**inputs).logits
        for source in getattr(model, "sources", ()):
            source.column_precision = "bf16"
        with autocast("cpu", "fp32" if kind == "hybrid" else "bf16"):
            expected = model(**inputs).logits
    assert forward.module is not model and torch.equal(found, expected)
    same = {tensor.data_ptr() for tensor in model.state_dict().values()}
    copied = [name for name, tensor in forward.module.state_dict().items() if tensor.data_ptr() not in same]
    assert copied and all(forward.module.get_parameter(name).dtype == torch.bfloat16 for name in copied)
    assert not any("norm" in name or "frontend" in name or name.startswith("sources.0") for name in copied)


def test_a_hybrids_networks_compute_in_the_precision_and_its_functionals_do_not(make, clips):
    model, extractor = make("hybrid")
    inputs = extractor(clips[0], sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        low, exact = ForwardPass(model, "bf16").module.embeddings(**inputs), model.embeddings(**inputs)
    assert low.dtype == torch.float64 and torch.equal(low[:, 8:], exact[:, 8:])
    for columns in (slice(0, 4), slice(4, 8)):
        assert 0 < (low - exact)[:, columns].abs().max() < 0.02


def test_weights_that_changed_are_cast_again(classify, clips):
    low = classify(precision="bf16")
    first = table(low(clips))
    with torch.no_grad():
        low.model.classifier.weight.mul_(-2)
    second = table(low(clips))
    assert np.abs(second - table(low(clips, precision="fp32"))).max() < 0.02 < np.abs(second - first).max()


def test_embeddings_and_windows_are_those_of_the_precision(classify, clips):
    low = classify(precision="bf16")
    options = {"return_embeddings": True, "return_timeline": True, "window_s": 0.2}
    found, exact = low(clips[0], **options), low(clips[0], precision="fp32", **options)
    assert len(found["timeline"]) == len(exact["timeline"]) > 1
    difference = np.linalg.norm(found["embedding"] - exact["embedding"])
    assert 0 < difference < 0.05 * np.linalg.norm(exact["embedding"])


def test_an_explicit_dtype_is_left_as_it_is(make, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "detect", lambda device=None: NATIVE)
    for part in make("group"):
        part.save_pretrained(tmp_path)

    def load(**options):
        return pipeline("speech-emotion-recognition", model=str(tmp_path), device="cpu", **options)

    half = load(dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16 and str(half.precision) == "precision bf16 (dtype of the loaded model)"
    exact, auto = load(dtype=torch.float32), load()
    assert exact.precision.precision == "fp32" and auto.precision.precision == "bf16"
    answers = [table(classify(clips)) for classify in (half, exact, auto)]
    np.testing.assert_allclose(answers[0], answers[1], atol=0.05)
    np.testing.assert_allclose(answers[2], answers[1], atol=0.02)
    with pytest.raises(ValueError, match="precision is 'fp32' for a model that was loaded in bf16; expected auto"):
        half(clips, precision="fp32")


def test_what_float16_cannot_hold_is_computed_in_float32(make, clips):
    model, extractor = make("layer")
    with torch.no_grad():
        model.classifier.bias += torch.tensor([1e6, 0.0, 0.0, 0.0])
    inputs = extractor(clips[0], sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(ForwardPass(model, "fp16")(**inputs).logits, model(**inputs).logits)
        with autocast("cpu", "fp16"):
            assert not torch.isfinite(model(**inputs).logits).all()


def test_functionals_and_thresholds_know_no_precision(forest, waveforms, monkeypatch):
    monkeypatch.setattr(module, "detect", lambda device=None: NATIVE)
    assert choose_precision(forest, "auto", "cpu").precision == "fp32"
    clip = waveforms(2)[0]
    assert torch.equal(lowered(forest, "bf16")(clip).logits, forest(clip).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "half"}, "precision is 'half'; expected one of auto, bf16, fp16, fp32"),
        ({"precision": "fp16"}, "precision fp16: float16 needs a CUDA GPU.*--precision auto"),
        ({"device": "cuda:77"}, "device is 'cuda:77'; expected one that PyTorch finds on this machine: cpu"),
        ({"device": torch.device("cuda", 77)}, "device is 'cuda:77'"),
        ({"device": "abacus"}, "device is 'abacus'"),
    ],
)
def test_what_is_not_there_is_refused(classify, options, message):
    with pytest.raises(ValueError, match=message) as refused:
        classify(**options)
    assert "\n" not in str(refused.value)
    if "precision" in options:
        with pytest.raises(ValueError, match=message):
            classify()(np.ones(8000, np.float32), **options)


def test_devices_are_those_of_the_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: [(9, 0), (7, 0)][index])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: ["H100", "V100"][index])
    for name in (None, "cpu", "cpu:0", "cuda", "cuda:1", torch.device("cuda:0"), -1, 0):
        check_device(name)
    for name in ("cuda:2", "mps", "xpu:0"):
        with pytest.raises(ValueError, match=f"device is '{name}'; expected one .*: cpu, cuda:0, cuda:1"):
            check_device(name)
    assert [resolve("auto", detect(f"cuda:{index}")).precision for index in (0, 1)] == ["bf16", "fp16"]


FRESH = """
import json, sys
import numpy as np
from transformers import pipeline
folder, expected = sys.argv[1:]
clip = np.load(f"{folder}/clip.npy")
def load(**options):
    return pipeline("audio-classification", model=folder, trust_remote_code=True, device="cpu", **options)
auto, exact = load(), load(precision="fp32")
assert "hf_ser" not in sys.modules and exact.precision.precision == "fp32"
answers = [{entry["label"]: entry["score"] for entry in classify(clip)} for classify in (auto, exact)]
print(json.dumps([auto.precision.precision, *answers]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["AVX2", "DEFAULT"])
def test_a_folder_chooses_in_a_process_without_the_package(make, clips, tmp_path, isa):
    model, extractor = make("audio_cnn")
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    np.save(tmp_path / "clip.npy", clips[0])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"ONEDNN_MAX_CPU_ISA": isa}
    command = [sys.executable, "-P", "-c", FRESH, str(tmp_path), isa]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(tmp_path).parent)
    assert done.returncode == 0, done.stderr[-2000:]
    precision, auto, exact = json.loads(done.stdout.splitlines()[-1])
    flags = detect("cpu").cpu_flags
    native = isa == "DEFAULT" and flags & {"avx512_bf16", "amx_bf16"} and "ATEN_CPU_CAPABILITY" not in os.environ
    assert precision == ("bf16" if native else "fp32")
    assert (auto == exact) == (precision == "fp32") and auto == pytest.approx(exact, abs=0.02)
