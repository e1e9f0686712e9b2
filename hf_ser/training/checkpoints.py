"""Loading checkpoints to fine-tune: every weight of the encoder must be loaded; a head of other labels is replaced."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, PretrainedConfig

from hf_ser.arguments import ConfigError, did_you_mean
from hf_ser.audio import SAMPLING_RATE
from hf_ser.errors import SerError
from hf_ser.inference import label_names, missing_weights, quiet_loading
from hf_ser.local_or_hub import refuse_missing
from hf_ser.models import CompanionConfig
from hf_ser.scoring import store_threshold
from hf_ser.training.layerwise import HEAD
from hf_ser.training.training_arguments import ModelArguments

logger = logging.getLogger(__name__)

# A dropped layer has no gradient, and DistributedDataParallel would wait for it forever.
FIXED: dict[str, Any] = {"layerdrop": 0.0}
_MOST_SHOWN = 12  # labels in a message


class ModelError(SerError):
    """A checkpoint or configuration that cannot be trained."""


def check_fields(what: str, content: dict[str, Any], config: PretrainedConfig) -> None:
    """Reject misspelt fields: configurations of transformers accept any keyword."""
    for key in content:
        if not hasattr(config, key):
            hint = did_you_mean(key, config.to_dict())
            raise ConfigError(f"{what}: {config.model_type} has no field {key}{hint}")


def load_checkpoint(args: ModelArguments, names: dict[str, Any]) -> tuple[Any, Any]:
    """Load an encoder, with its head if it is a classifier of the same labels, and with a new head otherwise.

    One line is logged if the head of a classifier of other labels is replaced.

    Args:
        args: of the model.
        names: label2id and id2label of the model to train.

    Returns:
        The model and its feature extractor.

    Raises:
        ModelError: no such checkpoint, one that does not take waveforms, another sampling rate, or an encoder or head
            that does not match.
        ConfigError: an unknown field of the configuration.
    """
    source: dict[str, Any] = {"revision": args.revision}
    name = str(args.model_name_or_path)
    mapping: Any = args.key_mapping or {}
    refuse_missing(name, "--model_name_or_path", ModelError, "the folder of a checkpoint")
    try:
        stored = AutoConfig.from_pretrained(name, **source)
        _check_kind(name, stored)
        overrides: Any = args.config_overrides or {}
        check_fields("config_overrides", overrides, stored)
        config = AutoConfig.from_pretrained(name, **source, **{**overrides, **names, **_fixed(stored)})
        extractor = AutoFeatureExtractor.from_pretrained(name, **source)
        with quiet_loading():
            model, info = AutoModelForAudioClassification.from_pretrained(
                name,
                config=config,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                attn_implementation=args.attn_implementation,
                key_mapping=mapping,
                **source,
            )
    except (OSError, ValueError) as error:
        raise ModelError(f"--model_name_or_path {name}: {' '.join(str(error).split())}") from error
    if extractor.sampling_rate != SAMPLING_RATE:
        raise ModelError(f"{name} was trained at {extractor.sampling_rate} Hz; expected {SAMPLING_RATE} Hz.")
    _forget_mapping(model, mapping)
    store_threshold(model, None)  # it holds for the scores before this training
    new_head = args.new_head or _has_other_labels(stored, model, info)
    if new_head and not args.new_head:
        _log_new_head(name, stored, model.config)
    if "layer_weights" in info["missing_keys"] or (new_head and hasattr(model, "layer_weights")):
        # transformers 5 does not initialise it for wav2vec2, WavLM and data2vec.
        torch.nn.init.constant_(model.layer_weights, 1 / len(model.layer_weights))
    if new_head:
        info["missing_keys"] = set(info["missing_keys"]) | _renew_head(model)
        model.config.calibration_temperature = None  # of the head that is replaced
    _check_keys(args, stored, model, info, new_head)
    return model, extractor


def _has_other_labels(stored: PretrainedConfig, model: Any, info: dict[str, Any]) -> bool:
    """Whether a checkpoint is a classifier of other labels, or of the same labels in another order."""
    own_head = {name for name in model.state_dict() if name.startswith(HEAD)} - missing_weights(info)
    is_classifier = own_head or _classifier_name(stored) or _other_head(info)
    given, wanted = label_names(stored), label_names(model.config)
    return bool(is_classifier) and [name.casefold() for name in given] != [name.casefold() for name in wanted]


def _classifier_name(stored: PretrainedConfig) -> str | None:
    return next((name for name in stored.architectures or () if name.endswith("Classification")), None)


def _other_head(info: dict[str, Any]) -> list[str]:
    """Names of the checkpoint's head that the model does not have."""
    return sorted(key for key in info["unexpected_keys"] if key.startswith(HEAD))


def _log_new_head(name: str, stored: PretrainedConfig, config: PretrainedConfig) -> None:
    if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
        return  # one line, not one per process
    logger.info(
        "%s is a classifier of %s. The labels of this dataset are %s: the encoder is kept and the head is new.",
        name,
        _shown(label_names(stored)),
        _shown(label_names(config)),
    )


def _shown(labels: Sequence[str]) -> str:
    """Labels for a message of one line."""
    return ", ".join(labels) if len(labels) <= _MOST_SHOWN else f"{', '.join(labels[:3])}, ... ({len(labels)} labels)"


def _fixed(config: PretrainedConfig) -> dict[str, Any]:
    return {} if isinstance(config, CompanionConfig) else FIXED


def _check_kind(name: str, config: PretrainedConfig) -> None:
    if not isinstance(config, CompanionConfig) and not hasattr(config, "conv_kernel"):
        raise ModelError(
            f"--model_name_or_path {name} is a {config.model_type} model; expected an encoder of waveforms, such as "
            "wav2vec2, hubert, wavlm or data2vec-audio."
        )


def _forget_mapping(model: Any, mapping: dict[str, str]) -> None:
    """Save the model under its present names: transformers would restore the old names of the checkpoint."""
    conversions = getattr(model, "_weight_conversions", None)
    if conversions and mapping:
        model._weight_conversions = [each for each in conversions if not set(each.source_patterns) & set(mapping)]


def _renew_head(model: Any) -> set[str]:
    """Initialise the weights of the head again -> their names."""
    for name, module in model.named_children():
        if f"{name}." in HEAD:
            for parameter in module.parameters():
                parameter._is_hf_initialized = False  # otherwise transformers would not initialise it
            module.apply(model._init_weights)
    return {name for name in model.state_dict() if name.startswith(HEAD)}


def _check_keys(
    args: ModelArguments, stored: PretrainedConfig, model: Any, info: dict[str, Any], new_head: bool
) -> None:
    """Reject missing weights: transformers would initialise them at random with one log line."""
    name, missing = args.model_name_or_path, missing_weights(info)
    new = sorted(key for key in missing if key.startswith(HEAD))
    if len(missing) > len(new):
        shown = ", ".join(sorted(missing - set(new))[:5])
        raise ModelError(
            f"{name} lacks {len(missing) - len(new)} weights of its encoder ({shown}, ...); expected a complete "
            "checkpoint of this architecture."
        )
    others, classifier = _other_head(info), _classifier_name(stored)
    if new and not new_head and (classifier or others):
        raise ModelError(
            f"{name} is a classifier whose head does not match: {', '.join(new)} would be new.{_hint(others)} Pass "
            "--new_head true to train a new one."
        )
    if not new:
        if args.key_mapping and classifier not in (None, type(model).__name__):
            raise ModelError(
                f"{name} is a {classifier}, whose head computes something else than {type(model).__name__}. Leave "
                "key_mapping out and pass --new_head true."
            )
    elif args.new_head or not new_head:  # otherwise, it is logged already
        logger.info("new classification head: %s", ", ".join(new))


def _hint(others: Sequence[str]) -> str:
    """The remedy for a head under other names."""
    if not others:
        return ""
    hint = f" The checkpoint has {', '.join(others)} instead."
    if any(key.startswith("classifier.dense.") for key in others):
        last = next((key.split(".")[1] for key in others if not key.startswith("classifier.dense.")), None)
        pairs = [("classifier.dense", "projector"), (f"classifier.{last}", "classifier")]
        if last is None:
            pairs = [("classifier.dense", "classifier")]
        entries = ", ".join(f"'^{old}': {new}" for old, new in pairs)
        hint += (
            f" If these layers are linear with nothing between them, add key_mapping: {{{entries}}} to the YAML "
            "file. Most heads with such names have a tanh between them, which a mapping cannot reproduce."
        )
    return hint
