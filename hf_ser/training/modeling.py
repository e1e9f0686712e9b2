"""A checkpoint to fine-tune or a configuration to train from scratch, with its feature extractor."""

import logging
from typing import Any

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PretrainedConfig,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)

from hf_ser.arguments import ConfigError, did_you_mean
from hf_ser.audio import SAMPLING_RATE
from hf_ser.errors import SerError
from hf_ser.evaluation import missing_weights, takes_attention_mask
from hf_ser.models import CompanionConfig, make_feature_extractor
from hf_ser.training.arguments import ModelArguments
from hf_ser.training.layers import freeze_layers
from hf_ser.training.lora import add_lora
from hf_ser.training.pooling import pool_true_frames

logger = logging.getLogger(__name__)

_CLASSIFIERS = ("ForSequenceClassification", "ForAudioClassification")
_HEAD = ("classifier.", "projector.", "layer_weights")
# A layer that is dropped has no gradient, and then DistributedDataParallel waits for it forever.
_FIXED: dict[str, Any] = {"layerdrop": 0.0}


class ModelError(SerError):
    """A checkpoint or configuration that cannot be trained."""


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
        model, extractor = _load_checkpoint(args, names)
    extractor.return_attention_mask = takes_attention_mask(model.config)
    if args.freeze_feature_encoder:
        if not hasattr(model, "freeze_feature_encoder"):
            raise ConfigError(f"freeze_feature_encoder: {model.config.model_type} has no such encoder; leave it out.")
        model.freeze_feature_encoder()
    if args.lora_rank and args.freeze_encoder_layers:
        raise ConfigError("lora_rank freezes every encoder layer; leave freeze_encoder_layers out.")
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
    _check_fields("model_config", content, known)
    fixed = {} if isinstance(known, CompanionConfig) else _FIXED
    try:
        return AutoConfig.for_model(model_type, **content, **names, **fixed)
    except ValueError as error:  # a field that cannot be
        raise ConfigError(f"model_config: {error}") from error


def _check_fields(what: str, content: dict[str, Any], config: PretrainedConfig) -> None:
    """Refuse misspelt fields: a configuration takes any keyword, and would keep them in silence."""
    for key in content:
        if not hasattr(config, key):
            hint = did_you_mean(key, config.to_dict())
            raise ConfigError(f"{what}: {config.model_type} has no field {key}{hint}")


def _load_checkpoint(args: ModelArguments, names: dict[str, Any]) -> tuple[PreTrainedModel, Any]:
    source: dict[str, Any] = {"revision": args.revision}
    name = str(args.model_name_or_path)
    try:
        overrides: Any = args.config_overrides or {}
        if overrides:
            _check_fields("config_overrides", overrides, AutoConfig.from_pretrained(name, **source))
        config = AutoConfig.from_pretrained(name, **source, **{**overrides, **names, **_FIXED})
        extractor = AutoFeatureExtractor.from_pretrained(name, **source)
        model, info = AutoModelForAudioClassification.from_pretrained(
            name,
            config=config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            attn_implementation=args.attn_implementation,
            **source,
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"--model_name_or_path {name}: {error}") from error
    if extractor.sampling_rate != SAMPLING_RATE:
        raise ModelError(f"{name} was trained at {extractor.sampling_rate} Hz; expected {SAMPLING_RATE} Hz.")
    _check_keys(args, config, info)
    return model, extractor


def _check_keys(args: ModelArguments, config: PretrainedConfig, info: dict[str, Any]) -> None:
    """Refuse weights that did not arrive: transformers fills them at random and says so in one log line."""
    missing = missing_weights(info)
    head = {key for key in missing if key.startswith(_HEAD)}
    if missing - head:
        shown = ", ".join(sorted(missing - head)[:5])
        raise ModelError(
            f"{args.model_name_or_path} lacks {len(missing - head)} weights of its encoder ({shown}, ...); expected a "
            "whole checkpoint of this architecture."
        )
    is_classifier = any(name.endswith(_CLASSIFIERS) for name in config.architectures or ())
    if head and is_classifier and not args.new_head:
        raise ModelError(
            f"{args.model_name_or_path} is a classifier whose head does not fit {config.num_labels} labels: "
            f"{', '.join(sorted(head))}. Pass --new_head true to train a new one."
        )
    if head:
        logger.info("new classification head: %s", ", ".join(sorted(head)))
