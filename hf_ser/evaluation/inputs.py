"""Waveforms to what a model takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hf_ser.audio import SAMPLING_RATE


def model_inputs(extractor: Any, waveforms: Sequence[np.ndarray], floor: int) -> dict[str, torch.Tensor]:
    """Pad waveforms (samples,) to a batch through the model's feature extractor, which also decides about the mask.

    Args:
        extractor: the model's own.
        waveforms: float32 at 16 kHz.
        floor: shorter ones are padded with zeros to so many samples (see `hf_ser.models.min_samples`).

    Returns:
        input_values (batch, samples) and attention_mask where the model takes one; other kinds of model get what their
        extractor gives, such as spectrograms of a fixed length.
    """
    padded = [np.pad(waveform, (0, max(0, floor - len(waveform)))) for waveform in waveforms]
    # Extractors of spectrograms (AST, Whisper) have a fixed length of their own and must not be told to pad.
    padding: dict[str, Any] = {"padding": True} if extractor.model_input_names[0] == "input_values" else {}
    return dict(extractor(padded, sampling_rate=SAMPLING_RATE, return_tensors="pt", **padding))
