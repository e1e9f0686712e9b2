"""`precision: auto` against a table of simulated hardware, explicit choices, and a step of every model in each."""

import logging
import os
import re
import subprocess
import sys

import pytest
import torch

from hf_ser.arguments import ConfigError, parse
from hf_ser.data import DataArguments, load_splits
from hf_ser.remote_code import hardware
from hf_ser.remote_code.hardware import Hardware, choose, cpu_limit, objection
from hf_ser.training import (
    ModelArguments,
    SerTrainingArguments,
    build_model,
    make_trainer,
    preflight,
    training_arguments,
)

AVX512 = frozenset({"avx2", "avx512f", "avx512_bf16"})
CPU = Hardware("cpu", "this CPU", cpu_flags=frozenset({"avx2"}))
NATIVE = Hardware("cpu", "this CPU", cpu_flags=AVX512)
T4 = Hardware("cuda", "Tesla T4", (7, 5))
H100 = Hardware("cuda", "NVIDIA H100", (9, 0))
MPS = Hardware("mps", "the Apple GPU")
BLOCKS = {"channels": [4, 4], "kernel_sizes": [3, 3], "n_mels": 16, "duration_s": 0.5}
MODELS = {
    "mel_cnn": {"model_type": "ser-mel-cnn", "hidden_size": 8, **BLOCKS},
    "audio_cnn": {"model_type": "ser-audio-cnn", "hidden_size": 8, **BLOCKS},
    "audio_lstm": {"model_type": "ser-audio-lstm", "hidden_size": 8, "duration_s": 0.5},
    "cnn_lstm": {"model_type": "ser-cnn-rnn", "cell": "lstm", "hidden_size": 8, **BLOCKS},
    "cnn_gru": {"model_type": "ser-cnn-rnn", "cell": "gru", "hidden_size": 8, **BLOCKS},
    "wav2vec2": None,
}


@pytest.fixture
def on(monkeypatch):
    """Simulate hardware."""
    return lambda machine: monkeypatch.setattr(training_arguments, "detect", lambda device=None: machine)


@pytest.fixture
def make(tmp_path):
    return lambda **given: SerTrainingArguments(output_dir=str(tmp_path / "run"), disable_tqdm=True, **given)


@pytest.mark.parametrize(
    ("machine", "expected", "why"),
    [
        (H100, "bf16", "NVIDIA H100 computes bfloat16 natively"),
        (Hardware("cuda", "A100", (8, 0)), "bf16", "natively"),
        (Hardware("cuda", "RTX 3060", (8, 6)), "bf16", "natively"),
        (T4, "fp16", "Tesla T4 has compute capability 7.5, and bfloat16 needs 8.0"),
        (Hardware("cuda", "Tesla P100", (6, 0)), "fp16", "6.0"),
        (MPS, "fp32", "the Apple GPU has no native bfloat16"),
        (CPU, "fp32", "this CPU has no native bfloat16"),
        (NATIVE, "bf16", "natively"),
        (Hardware("cpu", "this CPU", cpu_flags=frozenset({"amx_bf16", "amx_tile"})), "bf16", "natively"),
        (Hardware("cpu", "this CPU", cpu_flags=frozenset({"amx_tile", "avx512f"})), "fp32", "no native"),
        (
            Hardware("cpu", "this CPU", cpu_flags=AVX512, cpu_limit="ONEDNN_MAX_CPU_ISA=AVX2"),
            "fp32",
            "MAX_CPU_ISA=AVX2",
        ),
        (Hardware("xpu", "this xpu device"), "fp32", "no native"),
    ],
)
def test_auto_takes_what_the_hardware_computes_natively(on, make, machine, expected, why):
    precision, reason = choose(machine)
    assert precision == expected and why in reason
    if machine.kind == "cpu":  # elsewhere transformers looks for the device itself
        on(machine)
        args = make()
        assert (args.bf16, args.fp16, args.use_cpu) == (expected == "bf16", False, True)
        assert str(args.precision_choice) == f"precision {expected} (auto: {reason})"


@pytest.mark.parametrize(
    ("environment", "limit"),
    [
        ({}, None),
        ({"ONEDNN_MAX_CPU_ISA": ""}, None),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, "ONEDNN_MAX_CPU_ISA=AVX2"),
        ({"DNNL_MAX_CPU_ISA": "avx512_core_vnni"}, "DNNL_MAX_CPU_ISA=avx512_core_vnni"),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2_VNNI_2"}, "ONEDNN_MAX_CPU_ISA=AVX2_VNNI_2"),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "ONEDNN_MAX_CPU_ISA=AVX512_CORE"),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, None),
        ({"ONEDNN_MAX_CPU_ISA": "avx512_core_amx_fp16"}, None),
        ({"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, None),
        ({"ATEN_CPU_CAPABILITY": "avx2"}, "ATEN_CPU_CAPABILITY=avx2"),
        ({"ATEN_CPU_CAPABILITY": "avx512"}, None),
    ],
)
def test_environment_variables_cap_the_cpu(environment, limit):
    assert cpu_limit(environment) == limit


@pytest.mark.parametrize(
    ("precision", "machine", "impossible", "slow"),
    [
        ("fp16", CPU, "float16 needs a CUDA GPU.*--precision auto .fp32 here", None),
        ("fp16", MPS, "float16 needs a CUDA GPU", None),
        ("bf16", CPU, None, "6.3 times.*9 times.*--precision auto"),
        ("bf16", T4, None, "compute capability 7.5.*slower than float16"),
        ("bf16", H100, None, None),
        ("bf16", NATIVE, None, None),
        ("fp16", T4, None, None),
        ("fp32", H100, None, None),
    ],
)
def test_explicit_choices_are_judged(precision, machine, impossible, slow):
    for found, expected in zip(objection(precision, machine), (impossible, slow), strict=True):
        assert (found is None) == (expected is None)
        assert expected is None or re.search(expected, found)


def test_an_impossible_choice_is_one_error_and_a_slow_one_a_warning(on, make, caplog):
    on(CPU)
    for given in ({"precision": "fp16"}, {"fp16": True}):
        with pytest.raises(ConfigError, match="precision fp16: float16 needs a CUDA GPU, .*--precision auto"):
            make(**given)
    for given in ({"precision": "bf16"}, {"bf16": True}):
        args = make(**given)
        assert args.bf16 and args.use_cpu
        caplog.clear()
        with caplog.at_level(logging.INFO):
            preflight.check_arguments(args)
        assert [(each.levelname, "6.3 times" in each.message) for each in caplog.records] == [("WARNING", True)]


def test_the_choice_is_logged_in_one_line(on, make, caplog):
    on(NATIVE)
    with caplog.at_level(logging.INFO):
        preflight.check_arguments(make())
    assert caplog.messages == ["precision bf16 (auto: this CPU computes bfloat16 natively)"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": "half"}, "precision is 'half'; expected one of auto, bf16, fp16, fp32"),
        ({"precision": "fp32", "bf16": True}, "precision is fp32 and bf16 is true"),
        ({"precision": "bf16", "fp16": True}, "precision is bf16 and fp16 is true"),
        ({"bf16": True, "fp16": True}, "bf16 and fp16 are both true"),
    ],
)
def test_contradictions_are_refused(make, given, message):
    with pytest.raises(ConfigError, match=message):
        make(**given)


def test_flags_agree_with_the_precision(make):
    assert make(precision="bf16", bf16=True).bf16
    assert not make(precision="fp32").bf16


@pytest.mark.parametrize(
    ("launched", "given", "expected"),
    [
        ("bf16", {}, "bf16"),
        ("no", {}, "fp32"),  # what the tests' environment makes of auto
        ("bf16", {"precision": "fp32"}, "fp32"),
    ],
)
def test_what_accelerates_launcher_was_told_counts_as_given(make, monkeypatch, launched, given, expected):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    args = make(**given)
    assert args.precision_choice.precision == expected
    assert args.mixed_precision == ("no" if expected == "fp32" else expected)


def test_the_command_line_and_yaml_take_it(tmp_path):
    (tmp_path / "config.yaml").write_text("precision: bf16\n")
    words = ["--output_dir", str(tmp_path), "--config", str(tmp_path / "config.yaml")]
    assert parse(SerTrainingArguments, argv=words)[0].bf16
    assert not parse(SerTrainingArguments, argv=[*words, "--precision", "fp32"])[0].bf16


def test_this_machine_is_described(monkeypatch):
    for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    machine = hardware.detect("cpu")
    assert machine.kind == "cpu" and machine.cpu_limit is None
    if torch.cpu._is_avx512_bf16_supported():
        assert machine.native_bf16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: [(9, 0), (7, 0)][index])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: ["H100", "V100"][index])
    assert hardware.detect() == Hardware("cuda", "V100", (7, 0))  # the oldest decides
    assert hardware.detect("cpu").kind == "cpu"


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp32"])
@pytest.mark.parametrize("kind", MODELS)
def test_every_model_trains_a_step_in_every_precision(make, dataset_dir, tiny_config, kind, precision):
    settings = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "report_to": "none"}
    args = make(precision=precision, use_cpu=True, max_steps=1, per_device_train_batch_size=4, **settings)
    data = load_splits(DataArguments(dataset=str(dataset_dir), configuration="ravdess"))
    model, extractor = build_model(ModelArguments(model_config=MODELS[kind] or tiny_config), data.labels)
    trainer = make_trainer(model, extractor, data, args)
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


RECURRENT = """
import torch
from hf_ser.models import AudioLSTMConfig, CNNRNNConfig
from hf_ser.remote_code.audio_lstm import AudioLSTMForAudioClassification
from hf_ser.remote_code.cnn_rnn import CNNRNNForAudioClassification
from hf_ser.remote_code.precision import has_recurrence
torch.manual_seed(0)
waveforms, labels = torch.randn(2, 8000), torch.tensor([0, 1])
models = [AudioLSTMForAudioClassification(AudioLSTMConfig(duration_s=0.5, num_labels=2))]
for cell in ("lstm", "gru"):
    models.append(CNNRNNForAudioClassification(CNNRNNConfig(duration_s=0.5, num_labels=2, cell=cell)))
for model in models:
    with torch.autocast("cpu", torch.bfloat16):
        model.train()(waveforms, labels=labels).loss.backward()
    plain = model.eval()(waveforms).logits
    with torch.autocast("cpu", torch.bfloat16):
        assert (model(waveforms).logits - plain).norm() < 0.1 * plain.norm()
    assert all(torch.isfinite(weights.grad).all() for weights in model.parameters() if weights.grad is not None)
    with torch.inference_mode():
        half = model.to(torch.bfloat16)(waveforms).logits
    assert half.dtype == torch.bfloat16 and (half - plain).norm() < 0.1 * plain.norm()
print(has_recurrence("LSTM", torch.bfloat16))
"""


@pytest.mark.parametrize("isa", ["AVX2", "DEFAULT"])
def test_recurrent_layers_compute_where_onednn_has_no_primitive_for_them(isa):
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
    done = subprocess.run([sys.executable, "-c", RECURRENT], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    if isa == "AVX2":
        assert done.stdout.strip() == "False"
