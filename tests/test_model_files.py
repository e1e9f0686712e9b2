"""Model folders whose configuration asks for the impossible, and weights that are no numbers."""

import json
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_ser.model_files import ModelFilesError, check_finite, check_model_files
from hf_ser.models import AudioCNNConfig, AudioCNNForAudioClassification


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    config = AudioCNNConfig(channels=(4, 8), kernel_sizes=(3, 3), hidden_size=8)
    AudioCNNForAudioClassification(config).save_pretrained(tmp_path)
    return tmp_path


def _set(folder, **fields):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps(content))


def test_a_model_as_it_was_saved(folder):
    check_model_files(str(folder))


def test_a_folder_without_weights_is_left_to_from_pretrained(folder):
    (folder / "model.safetensors").unlink()
    check_model_files(str(folder))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_labels": 10**9}, "num_labels is 1000000000; expected at most 100,000"),
        ({"channels": [4, 10**6], "hidden_size": 10**6}, "describes .* weights, but .* are stored"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers is 10000000, but only .* tensors are stored"),
        ({"inner": {"encoder_layers": 10**7}}, "encoder_layers is 10000000"),
        ({"calibration_temperature": "warm"}, "calibration_temperature is 'warm'; expected a positive number"),
        ({"calibration_temperature": -1.0}, "calibration_temperature is -1.0"),
        ({"calibration_temperature": 0}, "calibration_temperature is 0"),
        ({"calibration_temperature": float("nan")}, "calibration_temperature is nan"),
        ({"calibration_temperature": True}, "calibration_temperature is True"),
        (
            {"abstention_threshold": "high"},
            "abstention_threshold is 'high'; expected a number from 0 to below 1 or null",
        ),
        ({"abstention_threshold": 1.0}, "abstention_threshold is 1.0"),
        ({"abstention_threshold": -0.1}, "abstention_threshold is -0.1"),
        ({"abstention_threshold": False}, "abstention_threshold is False"),
    ],
)
def test_impossible_values_are_rejected_at_once(folder, fields, message):
    _set(folder, **fields)
    start = time.monotonic()
    with pytest.raises(ModelFilesError, match=message):
        check_model_files(str(folder))
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("levels", [100, 100_000])
def test_deep_nesting(folder, levels):
    (folder / "config.json").write_text('{"a": ' + "[" * levels + "1" + "]" * levels + "}")
    with pytest.raises(ModelFilesError, match="nested too deeply"):
        check_model_files(str(folder))


def test_weights_cut_short(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelFilesError, match="no whole safetensors file"):
        check_model_files(str(folder))


def test_weights_in_parts_are_counted_together(folder):
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for part, keys in parts.items():
        save_file({key: weights[key] for key in keys}, folder / part)
    index = {"weight_map": {key: part for part, keys in parts.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    check_model_files(str(folder))
    _set(folder, num_hidden_layers=len(names) + 1)
    with pytest.raises(ModelFilesError, match=f"only {len(names)} tensors"):
        check_model_files(str(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(value):
    model = torch.nn.Linear(2, 2)
    check_finite(model)
    model.bias.data[1] = value
    with pytest.raises(ModelFilesError, match="the weights bias are not finite"):
        check_finite(model)
