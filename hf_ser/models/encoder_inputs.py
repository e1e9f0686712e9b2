"""What the encoders of transformers take: with an attention mask or without, and how many samples at least."""

from transformers import PreTrainedConfig


def takes_attention_mask(config: PreTrainedConfig) -> bool:
    """Whether the encoder was trained with attention masks (XLSR and the large ones) or on plain zero padding."""
    return getattr(config, "feat_extract_norm", "layer") == "layer"


def min_samples(config: PreTrainedConfig) -> int:
    """The fewest samples that the model can take: its receptive field, and one whole span of its time masking."""
    frames = max(1, int(getattr(config, "mask_time_length", 1)) if getattr(config, "mask_time_prob", 0) > 0 else 1)
    samples = frames
    kernels, strides = getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ())
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
