"""Checkpoints of other authors, by tiny folders of their layout, against a computation of their logits in the test."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from foreign_models import DIMENSIONS, LAYOUTS, write_folder
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import pipeline

from hf_ser.batch import PredictArguments, predict
from hf_ser.data import DataArguments
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.inference import CheckpointError, load_classifier
from hf_ser.models import SpeechEmotionPipeline


def reference(encoder, head, last, pooling, waveform):
    """Logits of one clip (labels,), from the encoder's frames and matrix products."""
    normed = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
    with torch.no_grad():
        frames = encoder(torch.tensor(normed)[None]).last_hidden_state[0]
    pooled = {"mean": frames.mean(0), "sum": frames.sum(0), "max": frames.amax(0)}[pooling or "mean"]
    dense = torch.tanh(functional.linear(pooled, head["classifier.dense.weight"], head["classifier.dense.bias"]))
    return functional.linear(dense, head[f"classifier.{last}.weight"], head[f"classifier.{last}.bias"])


@pytest.fixture(scope="module")
def clips(tone):
    return [tone(duration, frequency_hz=pitch) for duration, pitch in ((0.3, 200), (0.42, 500), (0.35, 900))]


@pytest.mark.parametrize("author", LAYOUTS)
def test_the_head_computes_what_its_author_computed(author, tmp_path, tiny_config, clips):
    _, last, labels, pooling, _ = LAYOUTS[author]
    encoder, head = write_folder(tmp_path, tiny_config, *LAYOUTS[author])
    expected = torch.stack([reference(encoder, head, last, pooling, clip) for clip in clips]).double()
    model, extractor = load_classifier(str(tmp_path), dimensions=labels == DIMENSIONS)
    classify = SpeechEmotionPipeline(model=model, feature_extractor=extractor, precision="fp32")
    if labels != DIMENSIONS:
        expected = expected.softmax(dim=1)
    for batch_size in (1, 3):  # clips of different lengths: padding does not change them
        answers = classify(clips, batch_size=batch_size)
        found = [
            [{entry["label"]: entry["score"] for entry in answer}[label] for label in labels] for answer in answers
        ]
        torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("author", ["ehcalabres", "audeering"])
def test_pipeline_and_saved_model_are_the_same(author, tmp_path, tiny_config, clips):
    """`pipeline` by name loads the same head, and a saved model is recognised again."""
    labels = LAYOUTS[author][2]
    write_folder(tmp_path / "foreign", tiny_config, *LAYOUTS[author])
    model, extractor = load_classifier(str(tmp_path / "foreign"), dimensions=labels == DIMENSIONS)
    for part in (model, extractor):
        part.save_pretrained(tmp_path / "saved")
    expected = SpeechEmotionPipeline(model=model, feature_extractor=extractor)(clips[0])
    for folder in ("foreign", "saved"):
        answer = pipeline("speech-emotion-recognition", model=str(tmp_path / folder))(clips[0])
        assert [entry["label"] for entry in answer] == [entry["label"] for entry in expected]
        np.testing.assert_allclose(*([entry["score"] for entry in each] for each in (answer, expected)), rtol=1e-5)


def test_dimensions_keep_their_order_and_are_no_probabilities(tmp_path, tiny_config, clips):
    write_folder(tmp_path, tiny_config, *LAYOUTS["audeering"])
    model, extractor = load_classifier(str(tmp_path), dimensions=True)
    classify = SpeechEmotionPipeline(model=model, feature_extractor=extractor)
    answer = classify(clips[0], top_k=1)
    assert [entry["label"] for entry in answer] == list(DIMENSIONS)
    assert abs(sum(entry["score"] for entry in answer) - 1) > 0.01
    with pytest.raises(ValueError, match="abstain: a model of dimensions has no probabilities"):
        classify(clips[0], abstain=0.5)


def test_a_long_recording_has_the_mean_of_its_windows(tmp_path, tiny_config, tone):
    write_folder(tmp_path, tiny_config, *LAYOUTS["audeering"])
    model, extractor = load_classifier(str(tmp_path), dimensions=True)
    classify = SpeechEmotionPipeline(model=model, feature_extractor=extractor)
    answer = classify(tone(1.0), window_s=0.5, stride_s=0.5, return_timeline=True)
    windows = [[entry["score"] for entry in window["scores"]] for window in answer["timeline"]]
    assert len(windows) == 2
    np.testing.assert_allclose([entry["score"] for entry in answer["scores"]], np.mean(windows, axis=0), rtol=1e-6)


def test_commands_for_classes_refuse_dimensions(tmp_path, tiny_config):
    write_folder(tmp_path, tiny_config, *LAYOUTS["audeering"])
    with pytest.raises(CheckpointError, match="predicts arousal, dominance, valence; expected a classifier"):
        load_classifier(str(tmp_path))


def test_a_command_prints_and_writes_the_dimensions(tmp_path, tiny_config, tone, encode, capsys):
    write_folder(tmp_path / "model", tiny_config, *LAYOUTS["audeering"])
    (tmp_path / "voice.wav").write_bytes(encode(tone(0.4)))
    arguments = {"model": str(tmp_path / "model"), "recordings": [str(tmp_path / "voice.wav")], "timeline": True}
    assert predict(PredictArguments(**arguments)) == 0
    printed = capsys.readouterr().out.splitlines()
    values = {line.split()[0]: float(line.split()[1]) for line in printed[1:4]}
    assert list(values) == list(DIMENSIONS)
    assert printed[4].endswith(", ".join(f"{name} {value:.3f}" for name, value in values.items()))
    for suffix, read in (("csv", csv_dicts), ("parquet", lambda path: pq.read_table(path).to_pylist())):
        assert predict(PredictArguments(**arguments, output=str(tmp_path / f"answers.{suffix}"))) == 0
        whole = read(tmp_path / f"answers.{suffix}")[0]
        assert {name: float(whole[name]) for name in DIMENSIONS} == pytest.approx(values, abs=1e-3)
        assert "emotion" not in whole and not any(name.startswith("p_") for name in whole)
        content = (tmp_path / f"answers.{suffix}").read_bytes()
        assert predict(PredictArguments(**arguments, output=str(tmp_path / f"answers.{suffix}"))) == 0  # continued
        assert (tmp_path / f"answers.{suffix}").read_bytes() == content


def csv_dicts(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_foreign_head_is_scored_and_calibrated(tmp_path, tiny_config, dataset_dir):
    """`evaluate` on a folder of ehcalabres's layout; the temperature goes into the output layer."""
    write_folder(tmp_path / "model", tiny_config, *LAYOUTS["ehcalabres"])
    arguments = {"model": str(tmp_path / "model"), "figures": False, "calibrate": True}
    results = evaluate(
        EvaluateArguments(str(tmp_path / "out"), **arguments), DataArguments(str(dataset_dir), "crema_d")
    )
    scored = results["splits"]["test"]
    assert scored["clips"] > 0 and scored["calibration"]["temperature"] > 0
    before, after = (load_classifier(str(tmp_path / name))[0] for name in ("model", "out/model"))
    ratio = before.classifier.output.weight / after.classifier.output.weight
    torch.testing.assert_close(ratio, torch.full_like(ratio, scored["calibration"]["temperature"]), rtol=1e-4, atol=0)


def _change(folder, **fields):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | fields), encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling_mode": "attention"}, "pooling_mode is 'attention'; expected one of mean, sum, max"),
        ({"hidden_size": 32}, "do not fit config.json"),
        (
            {"problem_type": "regression"},
            "problem_type is 'regression'; expected regression for",
        ),
    ],
)
def test_a_broken_configuration_is_refused(fields, message, tmp_path, tiny_config):
    write_folder(tmp_path, tiny_config, *LAYOUTS["m3hrdadfi"])
    _change(tmp_path, **fields)
    with pytest.raises(CheckpointError, match=message):
        load_classifier(str(tmp_path))


def test_dimensions_without_a_problem_type_are_refused(tmp_path, tiny_config):
    write_folder(tmp_path, tiny_config, *LAYOUTS["audeering"])
    _change(tmp_path, problem_type=None)
    with pytest.raises(CheckpointError, match="problem_type is None; expected regression"):
        load_classifier(str(tmp_path), dimensions=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weights: weights | {"classifier.norm.weight": torch.ones(16)},
            "has the weights classifier.norm",
        ),
        (lambda weights: {k: w for k, w in weights.items() if k != "classifier.dense.bias"}, "lacks 1 weights"),
        (lambda weights: {k: w for k, w in weights.items() if k != "classifier.out_proj.weight"}, "lacks"),
    ],
    ids=["more", "less", "none"],
)
def test_another_head_is_refused(change, message, tmp_path, tiny_config):
    write_folder(tmp_path, tiny_config, *LAYOUTS["m3hrdadfi"])
    file = tmp_path / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        load_classifier(str(tmp_path))


def test_a_pickle_that_runs_code_is_not_read(tmp_path, tiny_config):
    write_folder(tmp_path, tiny_config, *LAYOUTS["ehcalabres"])

    class Harmful:
        def __reduce__(self):
            return (tmp_path / "harmed").touch, ()

    torch.save({"classifier.dense.weight": Harmful()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        load_classifier(str(tmp_path))
    assert not (tmp_path / "harmed").exists()
