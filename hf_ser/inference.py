"""Load a trained classifier with its feature extractor, reject missing weights, choose device and precision."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, PreTrainedModel

import hf_ser.models  # noqa: F401 - makes the companion models known to transformers
from hf_ser.arguments import ConfigError
from hf_ser.audio import SAMPLING_RATE, Preprocessing
from hf_ser.errors import SerError
from hf_ser.local_or_hub import refuse_missing
from hf_ser.remote_code.hardware import PrecisionChoice, check_device, detect, resolve
from hf_ser.remote_code.preprocessing import complete_preprocessing

# The mask embedding is absent from checkpoints trained without masking, and used in training only.
_HARMLESS = ("masked_spec_embed",)


class CheckpointError(SerError):
    """A checkpoint that cannot be used."""


def label_names(config: Any) -> list[str]:
    """Class names of a model's configuration, in the order of the model's outputs."""
    return [str(config.id2label[index]) for index in sorted(config.id2label)]


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence transformers' table of keys, which lists harmless ones, where the caller checks them itself."""
    logger = logging.getLogger("transformers.modeling_utils")

    def is_other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def missing_weights(loading_info: dict[str, Any]) -> set[str]:
    """Names of the weights that a checkpoint lacks, from `from_pretrained(output_loading_info=True)`.

    transformers initializes them at random and only logs it.
    """
    names = set(loading_info["missing_keys"]) | {entry[0] for entry in loading_info["mismatched_keys"]}
    return {name for name in names if not any(part in name for part in _HARMLESS)}


def load_classifier(name: str, revision: str = "main") -> tuple[PreTrainedModel, Any]:
    """Load a trained classifier, in float32 however it is stored, and its feature extractor from a folder or the Hub.

    Raises:
        CheckpointError: there is no such model, its files are broken or do not fit together, or weights are missing,
            so that its answers would be random.

    >>> from hf_ser import load_classifier
    >>> model, extractor = load_classifier("runs/audio_cnn")
    >>> model.config.model_type, extractor.sampling_rate
    ('ser-audio-cnn', 16000)
    """
    refuse_missing(name, "--model", CheckpointError)
    try:
        extractor = AutoFeatureExtractor.from_pretrained(name, revision=revision)
        with quiet_loading():
            model, info = AutoModelForAudioClassification.from_pretrained(
                name, revision=revision, output_loading_info=True, dtype=torch.float32
            )
    except (OSError, ValueError) as error:
        raise CheckpointError(f"--model {name}: {' '.join(str(error).split())}") from error
    # Other shapes, half a file, a broken configuration: transformers raises many kinds of errors.
    except Exception as error:
        cause = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"--model {name}: the weights do not fit config.json or are broken ({cause}); expected a whole trained "
            "model. Fetch or train it again."
        ) from error
    if extractor.sampling_rate != SAMPLING_RATE:
        raise CheckpointError(f"--model {name} takes {extractor.sampling_rate} Hz; expected {SAMPLING_RATE} Hz.")
    try:
        complete_preprocessing(model, extractor, name, revision)
        Preprocessing.of(extractor)
    except ValueError as error:
        raise CheckpointError(f"--model {name}, preprocessor_config.json: {error}") from error
    missing = missing_weights(info)
    if missing:
        shown = ", ".join(sorted(missing)[:5])
        raise CheckpointError(
            f"--model {name} lacks {len(missing)} weights ({shown}), which would be random; expected a whole trained "
            "classifier. Train its head with recipes/finetune.py first."
        )
    return model, extractor


def choose_device(name: str | None) -> str:
    """The device of this name; without one a GPU where there is one."""
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(precision: str, device: str | None) -> PrecisionChoice:
    """The precision that a command computes in, by its --precision and --device.

    Raises:
        ConfigError: a device that is not there, or a precision that does not exist or that it cannot compute.
    """
    try:
        check_device(device)
        return resolve(precision, detect(choose_device(device)))
    except ValueError as error:
        raise ConfigError(str(error)) from error
