"""Load a trained classifier with its feature extractor, and choose device and precision."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoConfig, AutoFeatureExtractor, PreTrainedModel

import hf_ser.models  # noqa: F401 - registers the companion models with transformers
from hf_ser.arguments import ConfigError
from hf_ser.audio import SAMPLING_RATE, Preprocessing
from hf_ser.errors import SerError
from hf_ser.local_or_hub import refuse_missing
from hf_ser.model_files import ModelFilesError, check_finite, check_model_files
from hf_ser.remote_code.dimensions import are_dimensions, is_dimensional
from hf_ser.remote_code.hardware import PrecisionChoice, check_device, detect, resolve
from hf_ser.remote_code.pooled_head import AutoPooledOrNative
from hf_ser.remote_code.preprocessing import complete_preprocessing
from hf_ser.remote_code.speech_emotion_pipeline import MISMATCH
from hf_ser.run_folder import refuse_unfinished

# Checkpoints trained without masking lack the mask embedding, which only training uses.
_HARMLESS = ("masked_spec_embed",)


class CheckpointError(SerError):
    """An unusable checkpoint."""


def label_names(config: Any) -> list[str]:
    """Return the class names from a configuration, in the order of the model's outputs."""
    return [str(config.id2label[index]) for index in sorted(config.id2label)]


def labels_of_model(name: str, revision: str = "main") -> list[str]:
    """Return the class names of a model in a folder or on the Hub, from its configuration only.

    Raises:
        CheckpointError: the configuration cannot be loaded.

    >>> labels_of_model("runs/audio_cnn")[:3]
    ['neutral', 'calm', 'happy']
    """
    try:
        return label_names(AutoConfig.from_pretrained(name, revision=revision))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"--model {name}: {' '.join(str(error).split())}") from error


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence the key report of transformers, which lists harmless keys; the caller checks them."""
    logger = logging.getLogger("transformers.modeling_utils")

    def is_other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def missing_weights(loading_info: dict[str, Any]) -> set[str]:
    """Return the weights that a checkpoint lacks, from `from_pretrained(output_loading_info=True)`.

    transformers initializes them at random and only logs that.
    """
    names = set(loading_info["missing_keys"]) | {entry[0] for entry in loading_info["mismatched_keys"]}
    return {name for name in names if not any(part in name for part in _HARMLESS)}


def load_classifier(name: str, revision: str = "main", *, dimensions: bool = False) -> tuple[PreTrainedModel, Any]:
    """Load a trained classifier, always in float32, and its feature extractor from a folder or the Hub.

    Heads of other authors that transformers does not have are loaded too, see `PooledHead`.

    Args:
        name: folder or Hub id.
        revision: on the Hub.
        dimensions: whether models of arousal, valence and dominance are accepted; their outputs are no logits.

    Raises:
        CheckpointError: the model does not exist, its files are broken or do not match, or weights are missing; or it
            predicts dimensions and these are not accepted.

    >>> from hf_ser import load_classifier
    >>> model, extractor = load_classifier("runs/audio_cnn")
    >>> model.config.model_type, extractor.sampling_rate
    ('ser-audio-cnn', 16000)
    """
    refuse_missing(name, "--model", CheckpointError)
    refuse_unfinished(name, "--model", CheckpointError)
    try:
        check_model_files(name, revision)
        _refuse_kind(name, revision, dimensions)
        extractor = AutoFeatureExtractor.from_pretrained(name, revision=revision)
        with quiet_loading():
            model, info = AutoPooledOrNative.from_pretrained(
                name, revision=revision, output_loading_info=True, dtype=torch.float32
            )
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"--model {name}: {' '.join(str(error).split())}") from error
    # transformers raises many kinds of errors: wrong shapes, a truncated file, a broken configuration.
    except Exception as error:
        cause = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"--model {name}: the weights do not fit config.json or are broken ({cause}); expected a complete "
            "trained model. Download or train it again."
        ) from error
    if extractor.sampling_rate != SAMPLING_RATE:
        raise CheckpointError(f"--model {name}: got {extractor.sampling_rate} Hz; expected {SAMPLING_RATE} Hz.")
    try:
        complete_preprocessing(model, extractor, name, revision)
        Preprocessing.of(extractor)
    except ValueError as error:
        raise CheckpointError(f"--model {name}, preprocessor_config.json: {error}") from error
    missing = missing_weights(info)
    if missing:
        shown = ", ".join(sorted(missing)[:5])
        raise CheckpointError(
            f"--model {name} lacks {len(missing)} weights ({shown}), which would be random; expected a complete "
            "classifier. Train it with recipes/finetune.py first."
        )
    try:
        check_finite(model)
    except ModelFilesError as error:
        raise CheckpointError(f"--model {name}: {error}. Fetch or train it again.") from error
    return model, extractor


def _refuse_kind(name: str, revision: str, dimensions: bool) -> None:
    """Raise `CheckpointError` for an encoder with the head of its pretraining, and for a model of other outputs."""
    config = AutoConfig.from_pretrained(name, revision=revision)
    kind = next((kind for kind in config.architectures or () if kind.endswith("ForPreTraining")), None)
    if kind is not None:
        raise CheckpointError(
            f"--model {name} is an encoder pretrained without labels ({kind}); expected a classifier. Fine-tune it "
            f"first: python recipes/finetune.py --model_name_or_path {name} --dataset DATASET --output_dir FOLDER"
        )
    labels = label_names(config)
    if is_dimensional(config) != are_dimensions(labels):
        raise CheckpointError(f"--model {name}: {MISMATCH.format(config.problem_type)}")
    if is_dimensional(config) and not dimensions:
        raise CheckpointError(
            f"--model {name} predicts {', '.join(labels)}; expected a classifier of emotions. hf-ser predict prints "
            "these values, and recipes/evaluate.py scores them."
        )


def choose_device(name: str | None) -> str:
    """Return the given device; without one, a GPU if there is one, else the CPU."""
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(precision: str, device: str | None) -> PrecisionChoice:
    """Resolve --precision for --device.

    Raises:
        ConfigError: the device or the precision does not exist, or the device does not support the precision.
    """
    try:
        check_device(device)
        return resolve(precision, detect(choose_device(device)))
    except ValueError as error:
        raise ConfigError(str(error)) from error
