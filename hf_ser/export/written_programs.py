"""Exported files of PyTorch and OpenVINO, loaded again for the comparison with the model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_ser.export.quiet import quiet
from hf_ser.extras import needs_extra
from hf_ser.runtime.onnx_pipeline import padded_batch


class TorchProgram:
    """A program that `to_torch` wrote; it computes with the number of threads that PyTorch is set to.

    Args:
        path: the file (.pt2).
        metadata: see `describe_graph`.
    """

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        with quiet():
            self._module = torch.export.load(path).module()

    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities (clips, classes) of waveforms (samples,) at 16 kHz."""
        batch = padded_batch(waveforms, self._metadata["min_samples"], self._metadata["needs_mask"])
        with torch.inference_mode():
            found = self._module(**{name: torch.from_numpy(values) for name, values in batch.items()})
        return found["probabilities"].numpy()


class OpenVINOProgram:
    """A model that `to_openvino` wrote, on the CPU.

    Args:
        path: the file (.xml).
        metadata: see `describe_graph`.
        threads: number of threads.
        precision: OpenVINO's INFERENCE_PRECISION_HINT, such as f32; None for the default on this CPU.
    """

    def __init__(
        self, path: Path, metadata: Mapping[str, Any], threads: int = 1, precision: str | None = None
    ) -> None:
        with needs_extra("openvino"):
            import openvino
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
        if precision is not None:
            settings["INFERENCE_PRECISION_HINT"] = precision
        self._metadata = metadata
        self._compiled = openvino.Core().compile_model(str(path), "CPU", settings)

    @property
    def precision(self) -> str:
        """The precision that OpenVINO computes in, such as f32 or bf16."""
        return self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()

    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities (clips, classes) of waveforms (samples,) at 16 kHz."""
        batch = padded_batch(waveforms, self._metadata["min_samples"], self._metadata["needs_mask"])
        return self._compiled(batch)["probabilities"]
