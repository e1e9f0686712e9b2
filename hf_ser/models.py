"""The models and their frontends. `import hf_ser.models` registers them with transformers.

Their code is in `hf_ser.remote_code`, whose modules for decoding and preparing audio do not import torch.
"""

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

# For wav2vec2 folders, which contain no custom code, and for every model if this package is installed.
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
    "ProsodicFunctionals",
    "SpeechEmotionPipeline",
    "TreeEnsemble",
    "TreeEnsembleConfig",
    "make_feature_extractor",
    "min_samples",
    "model_inputs",
    "takes_attention_mask",
]
