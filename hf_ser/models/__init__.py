"""Models and their frontends: flat and self-contained, since this folder goes to the Hub as remote code."""

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

from hf_ser.models.audio_cnn import AudioCNNConfig, AudioCNNForAudioClassification
from hf_ser.models.audio_lstm import AudioLSTMConfig, AudioLSTMForAudioClassification
from hf_ser.models.cnn_rnn import CNNRNNConfig, CNNRNNForAudioClassification
from hf_ser.models.companion import CompanionModel
from hf_ser.models.companion_config import CompanionConfig
from hf_ser.models.encoder_inputs import min_samples, model_inputs, takes_attention_mask
from hf_ser.models.feature_extractor import make_feature_extractor
from hf_ser.models.functionals import Functionals
from hf_ser.models.hybrid import HybridConfig, HybridForAudioClassification
from hf_ser.models.hybrid_sources import COMPANIONS
from hf_ser.models.log_mel import LogMel
from hf_ser.models.mel_cnn import MelCNNConfig, MelCNNForAudioClassification
from hf_ser.models.mfcc import MFCC
from hf_ser.models.speech_emotion_pipeline import SpeechEmotionPipeline
from hf_ser.models.tree_ensemble import TreeEnsemble, TreeEnsembleConfig

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

# For wav2vec2 folders, which carry no code, and wherever this package is at hand.
PIPELINE_REGISTRY.register_pipeline(
    "speech-emotion-recognition",
    pipeline_class=SpeechEmotionPipeline,
    pt_model=AutoModelForAudioClassification,
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
    "SpeechEmotionPipeline",
    "TreeEnsemble",
    "TreeEnsembleConfig",
    "make_feature_extractor",
    "min_samples",
    "model_inputs",
    "takes_attention_mask",
]
