"""The model to train and its feature extractor: from a checkpoint or from scratch, partly frozen, with LoRA."""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    PretrainedConfig,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)

from hf_ser.arguments import ConfigError
from hf_ser.audio import SAMPLING_RATE
from hf_ser.extras import needs_extra
from hf_ser.models import CompanionConfig, make_feature_extractor, takes_attention_mask
from hf_ser.remote_code.dimensions import are_dimensions
from hf_ser.remote_code.grouped_convolution import use_matrix_products
from hf_ser.training.checkpoints import FIXED, check_fields, load_checkpoint
from hf_ser.training.layerwise import HEAD, freeze_layers
from hf_ser.training.training_arguments import ModelArguments

ADAPTER = "adapter"


def build_model(args: ModelArguments, labels: tuple[str, ...]) -> tuple[PreTrainedModel, Any]:
    """Build the model and its feature extractor.

    Args:
        args: a checkpoint or a configuration.
        labels: names of classes or dimensions; their order is the order of the head's outputs.

    Returns:
        The model, with a head for `labels`, and the feature extractor, which returns an attention mask only if
        the encoder was trained with one (`feat_extract_norm == "layer"`).

    Raises:
        ModelError: no such checkpoint, another sampling rate, or encoder or head weights that do not match.
        ConfigError: an unknown field or invalid value.

    >>> model_args = ModelArguments(model_config={"model_type": "ser-audio-cnn"})
    >>> model, extractor = build_model(model_args, ("angry", "calm", "sad"))
    >>> model.config.id2label
    {0: 'angry', 1: 'calm', 2: 'sad'}
    """
    names: dict[str, Any] = {
        "label2id": {label: index for index, label in enumerate(labels)},
        "id2label": dict(enumerate(labels)),
        "problem_type": "regression" if are_dimensions(labels) else None,
    }
    if args.model_config is not None:
        assert isinstance(args.model_config, dict)  # ModelArguments rejects strings
        config = config_from_scratch(args.model_config, names)
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
        raise ConfigError(f"freeze_feature_encoder: {model.config.model_type} has no feature encoder. Leave it out.")
    if args.lora_rank and args.freeze_encoder_layers:
        raise ConfigError("lora_rank already freezes every encoder layer. Leave freeze_encoder_layers out.")
    if has_feature_encoder and (args.freeze_feature_encoder or args.freeze_encoder_layers or args.lora_rank):
        # It does not train with LoRA or frozen layers, but transformers would still compute its gradients.
        model.freeze_feature_encoder()
    if args.freeze_encoder_layers:
        freeze_layers(model, args.freeze_encoder_layers)
    pool_true_frames(model)
    use_matrix_products(model)
    if args.lora_rank:
        model = add_lora(model, args)
    return model, extractor


def config_from_scratch(content: dict[str, Any], names: dict[str, Any]) -> PretrainedConfig:
    """Make a configuration from the fields of `model_config` and the names of the labels.

    Raises:
        ConfigError: an unknown field or model type, or an invalid value.
    """
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
    except ValueError as error:  # an invalid value
        raise ConfigError(f"model_config: {error}") from error


def pool_true_frames(model: PreTrainedModel) -> None:
    """Average only true frames in the head, also if the encoder takes no mask (wav2vec2-base, HuBERT-base).

    These encoders were pretrained with zero padding, and are trained with it here. Their stock classifiers would also
    average the frames of the padding, which a single clip does not have. The saved model is the stock one.
    """

    def without_mask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "attention_mask": None}

    if not takes_attention_mask(model.config):
        model.base_model.register_forward_pre_hook(without_mask, with_kwargs=True)


def add_lora(model: PreTrainedModel, args: ModelArguments) -> Any:
    """Freeze a model except for its head and LoRA matrices in the named layers.

    Low-rank adaptation (Hu et al. 2021, https://arxiv.org/abs/2106.09685) through peft.

    Returns:
        A peft model.

    Raises:
        MissingExtraError: peft is not installed.
        ConfigError: the model has no layer with such a name, or uses a weighted layer sum.
    """
    with needs_extra():
        from peft import LoraConfig, get_peft_model
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    absent = [target for target in args.lora_target_modules if target not in names]
    if absent:
        raise ConfigError(
            f"lora_target_modules: {model.config.model_type} has no layer named {', '.join(absent)}; expected names "
            "such as q_proj, k_proj, v_proj, out_proj."
        )
    if hasattr(model, "layer_weights"):
        raise ConfigError(
            "lora_rank does not work with use_weighted_layer_sum: the weights of the sum would not train, and "
            "checkpoints of peft do not hold them. Leave one of them out."
        )
    config = LoraConfig(
        r=args.lora_rank,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=args.lora_target_modules,
        modules_to_save=[name for name, _ in model.named_children() if f"{name}." in HEAD],
    )
    return get_peft_model(model, config)


def merge_lora(model: Any, folder: Path | None) -> Any:
    """Merge trained LoRA matrices into their layers, which gives a native model.

    Args:
        model: the trained model; other than a peft model, it is returned unchanged.
        folder: for `adapter/`; None to save no adapter.

    Returns:
        The model without peft.
    """
    if not hasattr(model, "merge_and_unload"):
        return model
    if folder is not None:
        model.save_pretrained(str(folder / ADAPTER))
    return model.merge_and_unload()
