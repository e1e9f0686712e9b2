"""Graphs say the same as their models, for any batch and length, and nothing half written is left after an error."""

import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_ser import cli
from hf_ser.audio import Preprocessing
from hf_ser.data import DataArguments, load_splits
from hf_ser.export import ExportArguments, ExportError, export_graph, exporters, quantization
from hf_ser.export.classifier_graph import ClassifierGraph
from hf_ser.export.exporters import to_onnx
from hf_ser.export.graph_session import GraphSession
from hf_ser.export.output_folder import new_folder
from hf_ser.hybrids.fitting import fit_hybrid
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.inference import load_classifier
from hf_ser.labels import EMOTIONS
from hf_ser.models import (
    AudioCNNConfig,
    AudioCNNForAudioClassification,
    AudioLSTMConfig,
    AudioLSTMForAudioClassification,
    CNNRNNConfig,
    CNNRNNForAudioClassification,
    MelCNNConfig,
    MelCNNForAudioClassification,
    make_feature_extractor,
    model_inputs,
)

IDS = {"id2label": dict(enumerate(EMOTIONS))}
SMALL = {"n_mels": 16, "duration_s": 1.0, **IDS}
CONV = {**SMALL, "channels": [4, 4, 8]}
IMPROVED = {**CONV, "trim_db": 30.0, "n_fft": 640, "hop_length": 320, "normalize": "global", "pooling": "statistics"}
COMPANIONS = {
    "audio_cnn": (AudioCNNForAudioClassification, AudioCNNConfig, {**CONV, "channels": [4] * 4, "hidden_size": 8}),
    "improved": (AudioCNNForAudioClassification, AudioCNNConfig, {**IMPROVED, "channels": [4] * 4}),
    "speeds": (MelCNNForAudioClassification, MelCNNConfig, {**IMPROVED, "inference_speeds": [0.9, 1.0]}),
    "pcen": (
        MelCNNForAudioClassification,
        MelCNNConfig,
        {**IMPROVED, "normalize": "pcen", "deltas": 2, "pooling_heads": 4},
    ),
    # The trace unrolls the recurrent layer: it takes twice as long for a second.
    "audio_lstm": (
        AudioLSTMForAudioClassification,
        AudioLSTMConfig,
        {**SMALL, "duration_s": 0.5, "n_mfcc": 12, "hidden_size": 8},
    ),
    "cnn_lstm": (CNNRNNForAudioClassification, CNNRNNConfig, {**CONV, "hidden_size": 8, "cell": "lstm"}),
    "cnn_gru": (CNNRNNForAudioClassification, CNNRNNConfig, {**CONV, "hidden_size": 8, "cell": "gru"}),
}
STEPS = Preprocessing(trim_db=25.0, normalize=True, duration_s=0.8)
ENCODERS = {  # feat_extract_norm, preprocessing
    "wav2vec2_base_cut": ("group", Preprocessing(normalize=True, duration_s=0.8)),
    "xlsr_trimmed": ("layer", Preprocessing(trim_db=25.0, normalize=True)),
}


def _voice(seconds, seed=0):
    """A tone between silent ends, with a little noise."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * 16_000)) / 16_000
    loud = (times > 0.2 * seconds) & (times < 0.8 * seconds)
    return (0.3 * np.sin(2 * np.pi * 220 * times) * loud + 1e-4 * rng.standard_normal(len(times))).astype(np.float32)


def _in_torch(graph, extractor, waveform):
    """The probabilities of one clip, as the pipeline computes them."""
    inputs = model_inputs(extractor, [Preprocessing.of(extractor)(waveform)], graph.floor)
    with torch.inference_mode():
        return torch.softmax(graph.model(**inputs).logits.double(), dim=-1)[0].numpy()


def _check(model, extractor):
    """Export, and compare clips alone and in batches."""
    graph = ClassifierGraph(model.eval(), extractor)
    content = to_onnx(graph).SerializeToString()
    session = GraphSession(content, {"min_samples": graph.floor, "needs_mask": graph.needs_mask})
    clips = [_voice(seconds, seed) for seed, seconds in enumerate((0.05, 0.4, 1.0, 1.7, 3.1))]
    clips.append(np.zeros(8000, np.float32))
    expected = np.stack([_in_torch(graph, extractor, clip) for clip in clips])
    alone = np.concatenate([session.probabilities([clip]) for clip in clips])
    np.testing.assert_allclose(alone, expected, rtol=0, atol=2e-5)
    assert np.ptp(expected, axis=0).max() > 1e-4  # otherwise clips could be confused
    if graph.any_length:
        np.testing.assert_allclose(session.probabilities(clips), expected, rtol=0, atol=2e-5)
    same = [clips[2], clips[2][::-1].copy()]
    pair = np.stack([_in_torch(graph, extractor, clip) for clip in same])
    np.testing.assert_allclose(session.probabilities(same), pair, rtol=0, atol=2e-5)
    return graph


@pytest.mark.parametrize("name", COMPANIONS)
def test_graphs_of_companions_say_the_same(name):
    kind, config, fields = COMPANIONS[name]
    torch.manual_seed(0)
    graph = _check(kind(config(**fields)), make_feature_extractor())
    assert graph.any_length and not graph.needs_mask


def test_stored_preprocessing_is_part_of_the_graph():
    torch.manual_seed(0)
    extractor = make_feature_extractor()
    STEPS.store(extractor)
    _check(MelCNNForAudioClassification(MelCNNConfig(**CONV, hidden_size=8)), extractor)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_graphs_of_encoders_say_the_same(name, tiny_config):
    norm, steps = ENCODERS[name]
    config = {key: value for key, value in tiny_config.items() if key != "model_type"}
    torch.manual_seed(0)
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**config, **IDS, feat_extract_norm=norm))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=norm == "layer")
    steps.store(extractor)
    graph = _check(model, extractor)
    assert graph.any_length is graph.needs_mask is (norm == "layer")


def test_trimming_before_an_encoder_without_mask_is_refused(tiny_config):
    config = {key: value for key, value in tiny_config.items() if key != "model_type"}
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**config, **IDS, feat_extract_norm="group"))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    Preprocessing(trim_db=30.0).store(extractor)
    with pytest.raises(ExportError, match=r"trim_db 30.0.*without attention mask.*Train it without trim_db"):
        ClassifierGraph(model, extractor)


FOREST = {"kind": "random_forest", "n_estimators": 5, "min_samples_leaf": [1], "max_features": [0.2]}
BOOSTER = {"learning_rate": 0.1, "early_stopping_rounds": 5, "min_child_samples": 2, "num_leaves": 4}
HYBRIDS = {
    "stack": BOOSTER,
    "logistic": {"meta": "logistic"},
    "forest": FOREST | {"feature_sets": ["prosodic"]},
}


@pytest.fixture(scope="module")
def hybrid(sounds_dir, companions, tmp_path_factory):
    """Fit a hybrid of tiny companions or functionals; return its folder."""
    data = load_splits(DataArguments(str(sounds_dir), "ravdess", protocol="random"))

    def fit(name):
        folder = tmp_path_factory.mktemp("hybrids") / name
        bases = [] if HYBRIDS[name].get("kind") == "random_forest" else [str(base) for base in companions]
        fit_hybrid(data, HybridArguments(output_dir=str(folder), bases=bases, figures=False, **HYBRIDS[name]), name)
        return folder

    return fit


@pytest.mark.slow
@pytest.mark.parametrize("name", HYBRIDS)
def test_graphs_of_hybrids_say_the_same(name, hybrid):
    graph = _check(*load_classifier(str(hybrid(name))))
    assert graph.any_length and graph.needs_mask


@pytest.fixture(scope="module")
def exported(companions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "graph"
    return folder, export_graph(ExportArguments(str(companions[0]), str(folder)))


def test_the_folder_and_the_report(exported, companions):
    folder, report = exported
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "model.onnx"]
    assert json.loads((folder / "export.json").read_text()) == report
    assert report["sha256"] == {"model.onnx": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()}
    found = report["verification"]
    assert found["clips"] == len(EMOTIONS) and found["largest_difference"] < 1e-5 and found["same_label"] == 1.0
    assert {name.split(",")[0] for name in found["seconds"]} == {"pytorch", "graph"}
    assert all(seconds > 0 for seconds in found["seconds"].values())


def test_metadata_is_in_the_file(exported, companions):
    folder, report = exported
    entries = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    metadata = json.loads(entries["hf_ser"])
    assert metadata == report["metadata"]
    results = (companions[0] / "results.json").read_bytes()
    assert metadata["labels"] == list(EMOTIONS) and metadata["results_sha256"] == hashlib.sha256(results).hexdigest()
    assert metadata["source"] == companions[0].name and metadata["synthetic"] and metadata["max_input_s"] == 0.5
    assert str(companions[0].parent) not in entries["hf_ser"]  # no path of this machine


def test_an_export_replaces_an_earlier_one_and_nothing_else(exported, companions, tmp_path):
    folder = tmp_path / "graph"
    shutil.copytree(exported[0], folder)
    (folder / "old.txt").write_text("old")
    export_graph(ExportArguments(str(companions[0]), str(folder), float16=True))
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "model.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["graph"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("a year of work")
    with pytest.raises(ExportError, match=r"--output mine exists and has no export.json; expected a new or empty"):
        export_graph(ExportArguments(str(companions[0]), str(tmp_path / "mine")))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "a year of work"


@pytest.mark.parametrize("error", [ExportError("broken"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_after_an_error_the_earlier_folder_is_unchanged(tmp_path, error):
    folder = tmp_path / "graph"
    folder.mkdir()
    (folder / "export.json").write_text("earlier")
    with pytest.raises(type(error)), new_folder(folder, "export.json") as hidden:
        (hidden / "export.json").write_text("half")
        raise error
    assert (folder / "export.json").read_text() == "earlier" and [*tmp_path.iterdir()] == [folder]


def test_a_graph_that_differs_is_not_written(companions, tmp_path, monkeypatch):
    monkeypatch.setattr(GraphSession, "probabilities", lambda self, clips: np.full((len(clips), len(EMOTIONS)), 0.125))
    with pytest.raises(ExportError, match=r"probabilities differ from PyTorch's by up to 0\.\d+ on 8 clips"):
        export_graph(ExportArguments(str(companions[0]), str(tmp_path / "graph")))
    assert not [*tmp_path.iterdir()]


def test_a_model_beyond_the_limit_of_onnx_is_refused_before_the_trace(companions, tmp_path, monkeypatch):
    monkeypatch.setattr(exporters, "MAX_ONNX_BYTES", 1000)
    expected = r"ser-.* has 0\.0 GB of weights; expected at most 0\.0 GB, .* Pass --format torch\."
    with pytest.raises(ExportError, match=expected):
        export_graph(ExportArguments(str(companions[0]), str(tmp_path / "graph")))
    assert not [*tmp_path.iterdir()]


def test_half_precision_halves_the_weights(companions, tmp_path):
    report = export_graph(ExportArguments(str(companions[0]), str(tmp_path / "graph"), float16=True))
    weights = onnx.load(tmp_path / "graph" / "model.onnx").graph.initializer
    large = [weight for weight in weights if np.prod(weight.dims) >= 1024 and weight.data_type in (1, 10)]
    assert large and {weight.data_type for weight in large} == {onnx.TensorProto.FLOAT16}
    assert 0 < report["verification"]["largest_difference"] < 1e-2 and report["metadata"]["precision"] == "float16"


@pytest.mark.slow
def test_int8_is_compared_on_validation_clips(companions, sounds_dir, tmp_path):
    arguments = ExportArguments(str(companions[0]), str(tmp_path / "graph"), int8=True, dataset=str(sounds_dir))
    report = export_graph(arguments)
    data = load_splits(DataArguments(str(sounds_dir), "ravdess", protocol="random"))
    loss = report["quantization"]
    assert loss["clips"] == len(data.splits["validation"]) and loss["uar_float32"] - loss["uar"] < 0.01
    found = onnx.load(tmp_path / "graph" / "model.onnx").graph
    made_by = {name: node for node in found.node for name in node.output}
    types = {weight.name: weight.data_type for weight in found.initializer}
    stored = []  # the type of the stored weights of each convolution
    for node in (node for node in found.node if node.op_type == "Conv"):
        weights = made_by[node.input[1]].input[0] if node.input[1] in made_by else node.input[1]
        stored.append(types[weights])
    assert stored == [onnx.TensorProto.FLOAT] + [onnx.TensorProto.INT8] * (len(stored) - 1) and len(stored) > 1
    assert "verification" in report and report["metadata"]["precision"] == "int8"


def test_int8_without_layers_to_quantize_is_refused():
    kind, config, fields = COMPANIONS["audio_lstm"]
    graph = ClassifierGraph(kind(config(**fields)), make_feature_extractor())
    weights = onnx.numpy_helper.from_array(np.zeros((8, len(EMOTIONS)), np.float32), "weights")
    nodes = [  # a recurrent layer, and the classifier
        onnx.helper.make_node("LSTM", ["x", "w", "r"], ["y", "h"], "lstm", hidden_size=8),
        onnx.helper.make_node("Gemm", ["h", "weights"], ["logits"], "classifier"),
    ]
    proto = onnx.helper.make_model(onnx.helper.make_graph(nodes, "graph", [], [], [weights]))
    with pytest.raises(ExportError, match=r"--int8: got ser-audio-lstm without layers to quantize.*Pass --float16"):
        quantization.to_int8(graph, proto, {"labels": list(EMOTIONS)}, [_voice(1.0)])


def test_int8_that_loses_too_much_is_refused(companions, sounds_dir, tmp_path, monkeypatch):
    data = load_splits(DataArguments(str(sounds_dir), "ravdess", protocol="random"))
    labels = iter(np.repeat(data.splits["validation"]["label"], 2))
    sides = iter([0, 1] * len(data.splits["validation"]))

    class Answers:
        def probabilities(self, clips):
            label, side = next(labels), next(sides)
            return np.eye(len(EMOTIONS))[[label if side == 0 else 0]]

    with pytest.raises(ExportError, match=r"UAR on 32 validation clips falls from 1.000 to 0.125; expected less than"):
        quantization.check_loss(Answers(), Answers(), data)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"format": "tflite"}, "--format tflite; expected one of onnx, torch, openvino, web, transformers.js"),
        ({"int8": True, "float16": True}, "--int8 and --float16 are both given"),
        ({"float16": True, "format": "torch"}, "need --format onnx or web; got torch"),
        ({"onnxruntime_web": "package"}, "--onnxruntime_web is only used with --format web; got onnx"),
        ({"dataset": "data/emotions"}, "--dataset is only used with --int8"),
    ],
)
def test_bad_options_are_rejected(fields, message):
    with pytest.raises(ExportError, match=message):
        ExportArguments("model", "folder", **fields)


def test_int8_without_the_dataset_of_the_training_is_told(save_companion, tmp_path):
    folder = save_companion(tmp_path / "model", EMOTIONS)
    with pytest.raises(ExportError, match=r"--int8 needs training clips .* Pass --dataset"):
        export_graph(ExportArguments(str(folder), str(tmp_path / "graph"), int8=True))
    assert not (tmp_path / "graph").exists()


def test_the_command(companions, tmp_path, capsys):
    assert cli.main(["export", str(companions[0]), "--output", str(tmp_path / "graph"), "--float16"]) == 0
    printed = capsys.readouterr().out
    assert "model.onnx" in printed and "largest difference of a probability" in printed and "1 thread" in printed
    assert cli.main(["export", str(companions[0]), "--output", str(tmp_path / "no" / "graph")]) == 2
    assert "Create it first" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path / "nothing"), "--output", str(tmp_path / "x")]) == 2


def test_recordings_to_verify_are_read_as_in_the_pipeline(companions, tmp_path, tone, encode):
    recording = tmp_path / "voice.wav"
    recording.write_bytes(encode(tone(1.2)))
    arguments = ExportArguments(str(companions[0]), str(tmp_path / "graph"), verify=[str(recording)])
    found = export_graph(arguments)["verification"]
    assert found["source"] == "1 recordings" and found["clips"] > 1  # windows of half a second
    with pytest.raises(ExportError, match=r"--verify .*missing.wav: got no such file"):
        export_graph(
            ExportArguments(str(companions[0]), str(tmp_path / "other"), verify=[str(tmp_path / "missing.wav")])
        )
    assert not (tmp_path / "other").exists()
