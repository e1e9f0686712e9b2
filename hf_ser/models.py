"""The models and their frontends. `import hf_ser.models` registers them with transformers.

Without a model, `SpeechEmotionPipeline()` and `pipeline("speech-emotion-recognition")` use the one of the package.

Their code is in `hf_ser.remote_code`, whose modules for decoding and preparing audio do not import torch.
"""

import logging
from typing import Any

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from hf_ser.default_model import FOLDER, announce, default_model
from hf_ser.remote_code.audio_cnn import AudioCNNConfig, AudioCNNForAudioClassification
from hf_ser.remote_code.audio_lstm import AudioLSTMConfig, AudioLSTMForAudioClassification
from hf_ser.remote_code.cnn_rnn import CNNRNNConfig, CNNRNNForAudioClassification
from hf_ser.remote_code.companion import CompanionModel
from hf_ser.remote_code.companion_config import CompanionConfig
from hf_ser.remote_code.encoder_inputs import min_samples, model_inputs, takes_attention_mask
from hf_ser.remote_code.feature_extractor import make_feature_extractor
from hf_ser.remote_code.functionals import Functionals
from hf_ser.remote_code.hybrid import HybridConfig, HybridForAudioClassification
from hf_ser.remote_code.hybrid_sources import COMPANIONS
from hf_ser.remote_code.log_mel import LogMel
from hf_ser.remote_code.mel_cnn import MelCNNConfig, MelCNNForAudioClassification
from hf_ser.remote_code.mfcc import MFCC
from hf_ser.remote_code.pooled_head import AutoPooledOrNative
from hf_ser.remote_code.prosody import ProsodicFunctionals
from hf_ser.remote_code.speech_emotion_pipeline import SpeechEmotionPipeline
from hf_ser.remote_code.tree_ensemble import TreeEnsemble, TreeEnsembleConfig

_CLASSIFIERS: list[tuple[type[PreTrainedConfig], type[PreTrainedModel]]] = [
    *COMPANIONS.items(),
    (HybridConfig, HybridForAudioClassification),
]
for _config, _model in _CLASSIFIERS:
    AutoConfig.register(_config.model_type, _config)
    AutoModelForAudioClassification.register(_config, _model)
    AutoFeatureExtractor.register(_config, Wav2Vec2FeatureExtractor)
    _config.register_for_auto_class()
    _model.register_for_auto_class("AutoModelForAudioClassification")


class _Default(dict):
    """The entry `default` of the pipeline in transformers' registry, read only if no model is given."""

    def __getitem__(self, key: str) -> Any:
        return (default_model("model="), None) if key == "model" else super().__getitem__(key)


def _replace_warning(record: logging.LogRecord) -> bool:
    """Log the notice in place of transformers' advice to pin a revision, which a folder does not have."""
    if not record.getMessage().startswith(f"No model was supplied, defaulted to {FOLDER} "):
        return True
    announce("model=")
    return False


def _load_default() -> tuple[PreTrainedModel, Any]:
    """Load the model that comes with the package, in float32, and its feature extractor."""
    folder = default_model("model=")
    announce("model=")
    model = AutoModelForAudioClassification.from_pretrained(folder)
    return model, AutoFeatureExtractor.from_pretrained(folder)


logging.getLogger("transformers.pipelines").addFilter(_replace_warning)
SpeechEmotionPipeline.load_default = staticmethod(_load_default)

# For wav2vec2 folders, which contain no custom code, and for every model if this package is installed. The class loads
# heads that transformers would replace by random ones.
PIPELINE_REGISTRY.register_pipeline(
    "speech-emotion-recognition",
    pipeline_class=SpeechEmotionPipeline,
    pt_model=AutoPooledOrNative,
    default=_Default(model=None),
    type="audio",
)

AutoConfig.register(TreeEnsembleConfig.model_type, TreeEnsembleConfig)
AutoModel.register(TreeEnsembleConfig, TreeEnsemble)
TreeEnsembleConfig.register_for_auto_class()
TreeEnsemble.register_for_auto_class("AutoModel")

__all__ = [
    "COMPANIONS",
    "AudioCNNConfig",
    "AudioCNNForAudioClassification",
    "AudioLSTMConfig",
    "AudioLSTMForAudioClassification",
    "CNNRNNConfig",
    "CNNRNNForAudioClassification",
    "CompanionConfig",
    "CompanionModel",
    "Functionals",
    "HybridConfig",
    "HybridForAudioClassification",
    "LogMel",
    "MelCNNConfig",
    "MelCNNForAudioClassification",
    "MFCC",
    "ProsodicFunctionals",
    "SpeechEmotionPipeline",
    "TreeEnsemble",
    "TreeEnsembleConfig",
    "make_feature_extractor",
    "min_samples",
    "model_inputs",
    "takes_attention_mask",
]
