"""The encoder to pretrain, with the heads of its pretraining: from a checkpoint or from scratch."""

from typing import Any

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    PretrainedConfig,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
)

from hf_ser.arguments import ConfigError
from hf_ser.audio import SAMPLING_RATE
from hf_ser.inference import missing_weights, quiet_loading
from hf_ser.local_or_hub import refuse_missing
from hf_ser.models import takes_attention_mask
from hf_ser.remote_code.grouped_convolution import use_matrix_products
from hf_ser.training.checkpoints import FIXED, ModelError
from hf_ser.training.modeling import config_from_scratch
from hf_ser.training.pretraining_arguments import PretrainingModelArguments

_MODEL_TYPE = "wav2vec2"


def build_encoder(args: PretrainingModelArguments) -> tuple[Wav2Vec2ForPreTraining, Any]:
    """Build the encoder with its quantizer and projections, and its feature extractor.

    Its configuration is changed to mask exactly the frames that it is given; `restore_masking` undoes that.

    Raises:
        ModelError: no such checkpoint, another architecture or sampling rate, or weights that are missing.
        ConfigError: an unknown field or invalid value of `model_config`.

    >>> small = {"model_type": "wav2vec2", "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    >>> args = PretrainingModelArguments(model_config=small)
    >>> model, extractor = build_encoder(args)
    >>> model.config.mask_time_prob
    0.65
    """
    config = _config(args)
    config.apply_spec_augment, config.mask_feature_prob = True, 0.0
    config.mask_time_prob = args.mask_time_prob  # above 0, so that the model has an embedding of masked frames
    if args.model_config is None:
        model, extractor = _load(args, config)
    else:
        try:
            model = Wav2Vec2ForPreTraining(config)  # type: ignore[arg-type]
        except ValueError as error:
            raise ConfigError(f"model_config: {' '.join(str(error).split())}") from error
        extractor = Wav2Vec2FeatureExtractor(sampling_rate=SAMPLING_RATE, do_normalize=True)
    extractor.return_attention_mask = takes_attention_mask(config)
    if args.freeze_feature_encoder:
        model.freeze_feature_encoder()
    use_matrix_products(model)
    return model, extractor


def restore_masking(config: PretrainedConfig, args: PretrainingModelArguments) -> None:
    """Restore the masking of fine-tuning in a configuration that is to be saved.

    >>> args = PretrainingModelArguments(model_config={"model_type": "wav2vec2", "mask_time_prob": 0.1})
    >>> config = _config(args)
    >>> config.mask_time_prob = 0.65
    >>> restore_masking(config, args)
    >>> config.mask_time_prob
    0.1
    """
    before = _config(args)
    for name in ("apply_spec_augment", "mask_time_prob", "mask_feature_prob"):
        setattr(config, name, getattr(before, name))


def _config(args: PretrainingModelArguments) -> PretrainedConfig:
    """The configuration of the checkpoint, or of a model from scratch."""
    if args.model_config is not None:
        assert isinstance(args.model_config, dict)  # PretrainingModelArguments rejects strings
        model_type = args.model_config.get("model_type")
        if model_type != _MODEL_TYPE:
            raise ConfigError(f"model_config: model_type is {model_type!r}; expected {_MODEL_TYPE}.")
        return config_from_scratch(args.model_config, {})
    name = str(args.model_name_or_path)
    refuse_missing(name, "--model_name_or_path", ModelError, "the folder of a checkpoint")
    try:
        config = AutoConfig.from_pretrained(name, revision=args.revision, **FIXED)
    except (OSError, ValueError) as error:
        raise ModelError(f"--model_name_or_path {name}: {' '.join(str(error).split())}") from error
    if config.model_type != _MODEL_TYPE:
        raise ModelError(
            f"--model_name_or_path {name} is a {config.model_type} model; expected {_MODEL_TYPE}, such as "
            "facebook/wav2vec2-base or facebook/wav2vec2-large-xlsr-53."
        )
    return config


def _load(args: PretrainingModelArguments, config: PretrainedConfig) -> tuple[Wav2Vec2ForPreTraining, Any]:
    name = str(args.model_name_or_path)
    try:
        extractor = AutoFeatureExtractor.from_pretrained(name, revision=args.revision)
        with quiet_loading():
            loaded: Any = Wav2Vec2ForPreTraining.from_pretrained(
                name, config=config, revision=args.revision, output_loading_info=True
            )
        model, info = loaded
    except (OSError, ValueError) as error:
        raise ModelError(f"--model_name_or_path {name}: {' '.join(str(error).split())}") from error
    if extractor.sampling_rate != SAMPLING_RATE:
        raise ModelError(f"{name} was trained at {extractor.sampling_rate} Hz; expected {SAMPLING_RATE} Hz.")
    missing = sorted(missing_weights(info))
    if missing:
        raise ModelError(
            f"{name} lacks {len(missing)} weights of pretraining ({', '.join(missing[:3])}, ...); expected a "
            "checkpoint that was pretrained and not fine-tuned, such as facebook/wav2vec2-base."
        )
    return model, extractor
