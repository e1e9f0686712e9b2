"""The folder that transformers.js loads: `onnx/model.onnx` and the configurations of model and extractor."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_ser.export.classifier_graph import ClassifierGraph
from hf_ser.export.export_error import ExportError
from hf_ser.export.exporters import to_onnx
from hf_ser.export.graph_session import open_session
from hf_ser.models import model_inputs

FILE = "onnx/model.onnx"
_TYPES = ("wav2vec2", "hubert", "wavlm")  # that transformers.js has classifiers for


class LogitsGraph(ClassifierGraph):
    """The model alone: transformers.js standardises waveforms, and turns logits into probabilities.

    Raises:
        ExportError: transformers.js lacks the model type, or would ignore preprocessing.
    """

    def __init__(self, model: Any, extractor: Any) -> None:
        if model.config.model_type not in _TYPES:
            raise ExportError(
                f"--format transformers.js: got a model of type {model.config.model_type}; expected one of "
                f"{', '.join(_TYPES)}. Pass --format web for a page with other models."
            )
        super().__init__(model, extractor)
        if self.steps.steps:
            raise ExportError(
                f"--format transformers.js: the model has preprocessing ({', '.join(self.steps.steps)}), which "
                "transformers.js ignores; expected none. Pass --format web, or train it without."
            )

    def forward(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Standardised waveforms (batch, samples) -> logits (batch, classes)."""
        inputs = {} if attention_mask is None else {"attention_mask": attention_mask}
        return {"logits": self.model(input_values, **inputs).logits}


def write_folder(graph: ClassifierGraph, extractor: Any, folder: Path) -> None:
    """Write a `LogitsGraph` with the configurations of model and extractor."""
    (folder / FILE).parent.mkdir()
    (folder / FILE).write_bytes(to_onnx(graph).SerializeToString())
    graph.model.config.save_pretrained(folder)
    extractor.save_pretrained(folder)


class LogitsProgram:
    """The written graph in onnxruntime, with the steps of transformers.js around it."""

    def __init__(self, path: Path, extractor: Any, floor: int, threads: int = 1) -> None:
        self._session, self._extractor, self._floor = open_session(path.read_bytes(), threads), extractor, floor

    def probabilities(self, waveforms: Any) -> np.ndarray:
        """Probabilities (clips, classes) of waveforms (samples,) of one length at 16 kHz."""
        inputs = model_inputs(self._extractor, waveforms, self._floor)
        names = {each.name for each in self._session.get_inputs()}
        inputs["attention_mask"] = torch.ones_like(inputs["input_values"], dtype=torch.long)  # there is no padding
        feed = {name: values.numpy() for name, values in inputs.items() if name in names}
        return torch.softmax(torch.from_numpy(self._session.run(["logits"], feed)[0]).double(), dim=-1).numpy()
