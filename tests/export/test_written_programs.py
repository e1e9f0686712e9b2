"""Programs of `torch.export` and OpenVINO are loaded again and compared with the model before the folder appears."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from hf_ser import cli
from hf_ser.export import ExportArguments, ExportError, export_command, export_graph
from hf_ser.export.classifier_graph import ClassifierGraph
from hf_ser.export.exporters import to_onnx, to_torch
from hf_ser.inference import load_classifier
from hf_ser.labels import EMOTIONS


@pytest.fixture(scope="module")
def model(save_companion, tmp_path_factory):
    """The folder of a tiny AudioCNN whose answers depend on the clip."""
    folder = save_companion(tmp_path_factory.mktemp("model") / "tiny", EMOTIONS)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"calibration_temperature": 0.05}))
    return str(folder)


@pytest.fixture(scope="module")
def onnx_content(model):
    return to_onnx(ClassifierGraph(*load_classifier(model))).SerializeToString()


@pytest.fixture
def traced_once(onnx_content, monkeypatch):
    """OpenVINO models are converted from the same ONNX graph."""
    monkeypatch.setattr(export_command, "to_onnx", lambda graph: onnx.ModelProto.FromString(onnx_content))


@pytest.fixture(scope="module")
def other(save_companion, tmp_path_factory):
    """A model with other weights."""
    return str(save_companion(tmp_path_factory.mktemp("model") / "other", EMOTIONS, seed=1))


def test_the_torch_program_is_loaded_again(model, tmp_path):
    report = export_graph(ExportArguments(model, str(tmp_path / "graph"), format="torch"))
    assert report["verification"]["largest_difference"] < 1e-5 and report["verification"]["same_label"] == 1.0
    assert json.loads((tmp_path / "graph" / "export.json").read_text()) == report
    program = torch.export.load(tmp_path / "graph" / "model.pt2").module()
    graph = ClassifierGraph(*load_classifier(model))
    for shape in ((1, 4000), (5, 12_345)):
        values = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(program(input_values=values)["probabilities"], graph(values)["probabilities"])


def test_a_torch_program_that_differs_is_not_written(model, other, tmp_path, monkeypatch):
    wrong = ClassifierGraph(*load_classifier(other))
    monkeypatch.setattr(export_command, "to_torch", lambda graph, path: to_torch(wrong, path))
    with pytest.raises(ExportError, match=r"probabilities differ from PyTorch's by up to 0\.\d+ on 8 clips"):
        export_graph(ExportArguments(model, str(tmp_path / "graph"), format="torch"))
    assert not [*tmp_path.iterdir()]


class FakeOpenVINO(types.ModuleType):
    """The functions of OpenVINO that an export calls, computed by onnxruntime; bfloat16 rounds the answers."""

    def __init__(self, error=0.0):
        super().__init__("openvino")
        self.error, self.settings = error, []
        self.convert_model = lambda file: file.getvalue()
        self.Core = lambda: self

    def save_model(self, content, path, compress_to_fp16):
        assert not compress_to_fp16
        Path(path).write_bytes(content)

    def compile_model(self, path, device, settings):
        import onnxruntime

        self.settings.append(settings)
        session = onnxruntime.InferenceSession(path)
        precision = settings.get("INFERENCE_PRECISION_HINT", "bf16")

        def compute(batch):
            found = session.run(None, batch)[0] + self.error
            rounded = torch.from_numpy(found).bfloat16().float().numpy()
            return {"probabilities": found if precision == "f32" else rounded}

        compute.get_property = lambda name: types.SimpleNamespace(get_type_name=lambda: precision)
        return compute


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize("real", [False, True], ids=["fake", "openvino"])
def test_openvino_is_compared_in_both_precisions(real, model, tmp_path, monkeypatch, capsys):
    if real and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed (extra openvino, 180 MB)")
    if not real:
        monkeypatch.setitem(sys.modules, "openvino", FakeOpenVINO())
    folder = tmp_path / "graph"
    assert cli.main(["export", model, "--format", "openvino", "--output", str(folder)]) == 0
    report = json.loads((folder / "export.json").read_text())
    exact, usual = report["verification"], report["default_precision"]
    assert exact["largest_difference"] < 1e-5 and exact["same_label"] == 1.0
    assert exact["largest_difference"] <= usual["largest_difference"] < 0.05 and usual["precision"] in ("bf16", "f32")
    printed = capsys.readouterr().out
    for precision, found in (("f32", exact), (f"{usual['precision']}, the default on this CPU", usual)):
        shown = f"largest difference of a probability {found['largest_difference']:.1e}, "
        assert f"INFERENCE_PRECISION_HINT {precision}:\n{shown}" in printed


@pytest.mark.usefixtures("traced_once")
def test_openvino_that_differs_in_float32_is_refused(model, tmp_path, monkeypatch):
    fake = FakeOpenVINO(np.float32(0.002))
    monkeypatch.setitem(sys.modules, "openvino", fake)
    with pytest.raises(ExportError, match=r"probabilities differ from PyTorch's by up to 0\.002 on 8 clips"):
        export_graph(ExportArguments(model, str(tmp_path / "graph"), format="openvino"))
    assert {settings["INFERENCE_PRECISION_HINT"] for settings in fake.settings} == {"f32"}
    assert not [*tmp_path.iterdir()]
