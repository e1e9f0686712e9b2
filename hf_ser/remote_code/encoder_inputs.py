"""Convert waveforms to model inputs: padding and attention masks that do not change any score."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig, Wav2Vec2FeatureExtractor

from .decoder import SAMPLING_RATE
from .preprocessing import Preprocessing
from .windows import MIN_DURATION_S

_VARIANCE_FLOOR = 1e-7  # of Wav2Vec2FeatureExtractor


def takes_attention_mask(config: PreTrainedConfig) -> bool:
    """Whether the encoder was trained with attention masks (XLSR and the large models) or with zero padding only.

    >>> from transformers import Wav2Vec2Config
    >>> from hf_ser.models import takes_attention_mask
    >>> takes_attention_mask(Wav2Vec2Config(feat_extract_norm="group"))
    False
    """
    return getattr(config, "feat_extract_norm", "layer") == "layer"


def fewest_samples(config: PreTrainedConfig) -> int:
    """Minimum number of samples that the model can process: its receptive field, for one span of its time masking."""
    frames = max(1, int(getattr(config, "mask_time_length", 1)) if getattr(config, "mask_time_prob", 0) > 0 else 1)
    samples = frames
    kernels, strides = getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ())
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def min_samples(config: PreTrainedConfig) -> int:
    """Minimum number of samples to which clips are padded: the larger of `fewest_samples` and 0.1 s.

    The last window of a recording, or a trimmed clip, may be as short as one sample, too short for a spectrogram.

    >>> from transformers import Wav2Vec2Config
    >>> from hf_ser.models import min_samples
    >>> min_samples(Wav2Vec2Config(mask_time_prob=0.0)), min_samples(Wav2Vec2Config(mask_time_prob=0.05))
    (1600, 3280)
    """
    return max(fewest_samples(config), round(MIN_DURATION_S * SAMPLING_RATE))


def model_inputs(extractor: Any, waveforms: Sequence[np.ndarray], floor: int) -> dict[str, torch.Tensor]:
    """Pad waveforms (samples,) to a batch with the model's feature extractor.

    Args:
        extractor: feature extractor of the model.
        waveforms: float32 at 16 kHz.
        floor: minimum number of samples; shorter waveforms are padded with zeros (see `min_samples`).

    Returns:
        input_values (batch, samples), and attention_mask if the model uses one. Other extractors may return other
        inputs, such as spectrograms of a fixed length.

    >>> import numpy as np
    >>> from hf_ser.models import make_feature_extractor, model_inputs
    >>> clips = [np.zeros(16_000, np.float32), np.zeros(8_000, np.float32)]
    >>> inputs = model_inputs(make_feature_extractor(), clips, floor=1600)
    >>> inputs["input_values"].shape, inputs["attention_mask"].sum(dim=1).tolist()
    (torch.Size([2, 16000]), [16000, 8000])
    """
    if isinstance(extractor, Wav2Vec2FeatureExtractor) and not extractor.do_normalize:
        return _padded(waveforms, floor, bool(extractor.return_attention_mask))
    padded = [np.pad(waveform, (0, max(0, floor - len(waveform)))) for waveform in waveforms]
    # Spectrogram extractors (AST, Whisper) have a fixed length and must not pad.
    padding: dict[str, Any] = {"padding": True} if extractor.model_input_names[0] == "input_values" else {}
    return dict(extractor(padded, sampling_rate=SAMPLING_RATE, return_tensors="pt", **padding))


def _padded(waveforms: Sequence[np.ndarray], floor: int, masked: bool) -> dict[str, torch.Tensor]:
    """Pad as the extractor does, in a fifth of the time; without a mask if no waveform is padded."""
    if len(waveforms[0]) >= floor and len({len(waveform) for waveform in waveforms}) == 1:
        return {"input_values": torch.from_numpy(np.stack(waveforms))}
    lengths = torch.tensor([max(floor, len(waveform)) for waveform in waveforms])
    values = torch.zeros(len(waveforms), int(lengths.max()))
    for row, waveform in zip(values, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    mask = torch.arange(values.shape[1]) < lengths[:, None]
    return {"input_values": values, "attention_mask": mask} if masked else {"input_values": values}


def standardized(waveforms: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean 0 and variance 1 over the true samples of each clip, 0 for padding, as in Wav2Vec2FeatureExtractor.

    Args:
        waveforms: (batch, samples).
        mask: True for samples, False for padding (batch, samples).
    """
    counts = mask.sum(dim=1, keepdim=True)
    centred = (waveforms - (waveforms * mask).sum(dim=1, keepdim=True) / counts) * mask
    return centred / ((centred**2).sum(dim=1, keepdim=True) / counts + _VARIANCE_FLOOR).sqrt()


def takes_any_length(config: PreTrainedConfig, extractor: Any) -> bool:
    """Whether batches may contain clips of different lengths without changing scores: padding must be masked."""
    if not isinstance(extractor, Wav2Vec2FeatureExtractor):
        return True  # spectrograms have a fixed length
    return takes_attention_mask(config) and bool(extractor.return_attention_mask)


def max_input_s(model: Any, preprocessing: Preprocessing) -> float | None:
    """Number of seconds at the start of a clip that a model or part of a hybrid uses; None if all use whole clips."""
    parts = [(source.settings, source.model) for source in getattr(model, "sources", ())] or [(None, model)]
    limits = [getattr(settings, "duration_s", None) for settings, _ in parts]
    for _, part in parts:
        if part is not None and part is not model and hasattr(part, "sources"):  # a hybrid among the sources
            limits.append(max_input_s(part, Preprocessing()))
        elif part is not None:
            limits.append(getattr(part.config, "duration_s", None))
    limits.append(preprocessing.duration_s)
    return min((limit for limit in limits if limit), default=None)


def keep_classifier_inputs(model: Any, kept: list[np.ndarray]) -> Any:
    """Register a hook that appends the input of the last layer, one vector (dim,) per clip, at every forward pass.

    This is the pooled representation in the classifiers of transformers.

    Returns:
        The hook; call its `remove` method when it is no longer needed.
    """

    def keep(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        kept.extend(inputs[0].float().cpu().numpy())

    return model.classifier.register_forward_pre_hook(keep)
