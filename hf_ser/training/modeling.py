"""A checkpoint to fine-tune or a configuration to train from scratch, with its feature extractor."""

from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    PretrainedConfig,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)

from hf_ser.arguments import ConfigError
from hf_ser.audio import SAMPLING_RATE
from hf_ser.models import CompanionConfig, make_feature_extractor, takes_attention_mask
from hf_ser.training.checkpoints import FIXED, check_fields, load_checkpoint
from hf_ser.training.layerwise import freeze_layers
from hf_ser.training.lora import add_lora
from hf_ser.training.pooling import pool_true_frames
from hf_ser.training.training_arguments import ModelArguments


def build_model(args: ModelArguments, labels: tuple[str, ...]) -> tuple[PreTrainedModel, Any]:
    """Build the model and its feature extractor.

    Args:
        args: a checkpoint or a configuration.
        labels: class names; their order is the order of the head's outputs.

    Returns:
        The model, with a head for `labels`, and the feature extractor, which gives an attention mask if and only if
        the encoder was trained with one (`feat_extract_norm == "layer"`).

    Raises:
        ModelError: no such checkpoint, another sampling rate, or encoder or head weights that do not match.
        ConfigError: an unknown key in the configuration.
    """
    names: dict[str, Any] = {
        "num_labels": len(labels),
        "label2id": {label: index for index, label in enumerate(labels)},
        "id2label": dict(enumerate(labels)),
    }
    if args.model_config is not None:
        assert isinstance(args.model_config, dict)  # ModelArguments refuses strings
        config = _config_from_scratch(args.model_config, names)
        try:
            model = AutoModelForAudioClassification.from_config(config, attn_implementation=args.attn_implementation)
        except (ValueError, ImportError) as error:
            if args.attn_implementation is None:
                raise
            raise ConfigError(f"attn_implementation {args.attn_implementation!r}: {error}") from error
        if isinstance(config, CompanionConfig):
            extractor = make_feature_extractor(SAMPLING_RATE)
        else:
            extractor = Wav2Vec2FeatureExtractor(sampling_rate=SAMPLING_RATE, do_normalize=True)
    else:
        model, extractor = load_checkpoint(args, names)
    extractor.return_attention_mask = takes_attention_mask(model.config)
    has_feature_encoder = hasattr(model, "freeze_feature_encoder")
    if args.freeze_feature_encoder and not has_feature_encoder:
        raise ConfigError(f"freeze_feature_encoder: {model.config.model_type} has no such encoder; leave it out.")
    if args.lora_rank and args.freeze_encoder_layers:
        raise ConfigError("lora_rank freezes every encoder layer; leave freeze_encoder_layers out.")
    if has_feature_encoder and (args.freeze_feature_encoder or args.freeze_encoder_layers or args.lora_rank):
        # LoRA and frozen layers keep it as it is, too, but transformers goes back through it unless it is told.
        model.freeze_feature_encoder()
    if args.freeze_encoder_layers:
        freeze_layers(model, args.freeze_encoder_layers)
    pool_true_frames(model)
    if args.lora_rank:
        model = add_lora(model, args)
    return model, extractor


def _config_from_scratch(content: dict[str, Any], names: dict[str, Any]) -> PretrainedConfig:
    content = dict(content)
    model_type = content.pop("model_type", None)
    if model_type is None:
        raise ConfigError("model_config has no model_type; expected one such as wav2vec2, hubert or wavlm.")
    try:
        known = AutoConfig.for_model(model_type)
    except ValueError as error:
        raise ConfigError(f"model_config: model_type {model_type!r} is unknown to transformers.") from error
    check_fields("model_config", content, known)
    fixed = {} if isinstance(known, CompanionConfig) else FIXED
    try:
        return AutoConfig.for_model(model_type, **content, **names, **fixed)
    except ValueError as error:  # a field that cannot be
        raise ConfigError(f"model_config: {error}") from error
