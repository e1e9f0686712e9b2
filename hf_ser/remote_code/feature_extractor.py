"""Feature extractor of the companion models."""

from transformers import Wav2Vec2FeatureExtractor


def make_feature_extractor(sampling_rate: int = 16_000) -> Wav2Vec2FeatureExtractor:
    """Make a feature extractor that pads waveforms and masks the padding. Its class is part of transformers.

    >>> from hf_ser.models import make_feature_extractor
    >>> inputs = make_feature_extractor()([[0.1, 0.2], [0.3]], sampling_rate=16_000, padding=True, return_tensors="pt")
    >>> inputs["attention_mask"].tolist()
    [[1, 1], [1, 0]]
    """
    return Wav2Vec2FeatureExtractor(sampling_rate=sampling_rate, do_normalize=False, return_attention_mask=True)
