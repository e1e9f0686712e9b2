"""Features that a hybrid is fitted on, computed once per clip by the hybrid's sources and cached."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)

from hf_ser.arguments import ConfigError
from hf_ser.audio import SAMPLING_RATE
from hf_ser.console import progress_bar
from hf_ser.data.seen import find_seen, marks_of_split
from hf_ser.data.splits import SplitData, decoded
from hf_ser.errors import SerError
from hf_ser.evaluation.predict import batches
from hf_ser.hybrids.base_models import BaseModel, StackError, check_leaks, open_base_models, training_notes
from hf_ser.hybrids.hybrid_arguments import PUBLISHED, HybridArguments
from hf_ser.inference import CheckpointError, choose_device, load_classifier, missing_weights, quiet_loading
from hf_ser.models import COMPANIONS, HybridConfig
from hf_ser.remote_code.forward_precision import lowered
from hf_ser.remote_code.hybrid_sources import Source, SourceSettings, cut_encoder, describe_base
from hf_ser.remote_code.preprocessing import file_beside
from hf_ser.scoring import versions

logger = logging.getLogger(__name__)
_FOLDER = "hf_ser_columns"
_SEEN = (
    "the hybrid was fitted on embeddings of clips that the base models were trained on, as in the published systems; "
    "these embeddings separate the classes better than those of new clips"
)


class SourceError(StackError):
    """A base model cannot be part of a hybrid; its stored probabilities can be stacked."""


def open_source(
    base_model: BaseModel, columns: str, data: SplitData, classes: Sequence[int], args: HybridArguments
) -> Source:
    """Load a base model as a source of features.

    Args:
        base_model: from `open_base_models`.
        columns: probabilities or embeddings.
        data: the dataset; its preprocessing applies if the base model's folder stores none.
        classes: ids of the classes whose probabilities are features.
        args: layer, precision, device and embed_bases.

    Raises:
        SourceError: the base model is a table, does not process waveforms at 16 kHz, has other labels, or does not
            have the layer.
        CheckpointError: the model cannot be loaded, or weights are missing.
    """
    id2label = {index: str(label) for index, label in enumerate(data.labels)}
    if base_model.model is None or file_beside(base_model.model, "config.json", base_model.revision) is None:
        raise SourceError(f"{base_model} contains predictions only; expected a model.")
    try:
        model, normalizes = _load(base_model, columns, args.layer)
        settings = SourceSettings(
            base_model.name,
            columns,
            describe_base(model.config),
            args.layer if columns == "embeddings" else None,
            normalizes,
            **asdict(base_model.steps(data)),
            fitted_precision=fitted_precision(base_model, columns, args),
            **_reference(base_model, args),
        )
        with torch.device("meta"):  # the weights are already loaded
            source = Source(settings, list(classes), id2label)
    except SerError:  # a subclass of ValueError
        raise
    except ValueError as error:
        raise SourceError(f"{base_model}: {error}") from error
    source.model = model
    return source.eval()


def open_functionals(data: SplitData, args: HybridArguments) -> list[Source]:
    """Make a source for each of `args.feature_sets`."""
    steps, id2label = asdict(data.args.steps), dict(enumerate(map(str, data.labels)))
    sources = []
    for name in args.feature_sets:
        own = None if name == PUBLISHED else name
        settings = SourceSettings(own or "functionals", "functionals", feature_set=own, **steps)
        sources.append(Source(settings, list(id2label), id2label).eval())
    return sources


def open_sources(
    data: SplitData, args: HybridArguments, fit_on: str
) -> tuple[list[BaseModel], list[Source], list[str]]:
    """Make the sources of functionals, or load the base models whose embeddings are the features.

    Returns:
        The base models, the sources, and notes for the report.

    Raises:
        ConfigError: kind deep_features has no base model.
        StackError: a base model was trained on validation or test clips.
    """
    if args.kind != "deep_features" and not args.bases:
        return [], open_functionals(data, args), []
    if not args.bases:
        raise ConfigError(f"bases is empty; kind {args.kind} needs at least one base model.")
    base_models = open_base_models(args, data.args)
    for base_model in base_models:
        check_leaks(base_model, marks_of_split(data.splits["validation"]), marks_of_split(data.splits["test"]), False)
    every = range(len(data.labels))
    sources = [open_source(base_model, "embeddings", data, every, args) for base_model in base_models]
    fitted = marks_of_split(data.splits[fit_on])
    seen = any(base_model.record and find_seen(base_model.record, fitted) for base_model in base_models)
    return base_models, sources, [_SEEN] * seen + training_notes(base_models, data, "hybrid")


def fitted_precision(base_model: BaseModel, columns: str, args: HybridArguments) -> str | None:
    """Precision of the features that a hybrid is fitted on; None if they are stored and it is unknown."""
    return base_model.precision if columns == "probabilities" and base_model.tables else args.computed_in


def _reference(base_model: BaseModel, args: HybridArguments) -> dict[str, Any]:
    if args.embed_bases:
        return {}
    if base_model.commit is None:
        raise SourceError(
            f"embed_bases is false and {base_model} is a folder; expected a model on the Hub, such as owner/name."
        )
    return {"repository": str(base_model.model), "revision": base_model.commit}


def _load(base_model: BaseModel, columns: str, layer: int | None) -> tuple[PreTrainedModel, bool]:
    """Load the classifier, or for embeddings the encoder; also return whether its extractor normalizes clips."""
    config = AutoConfig.from_pretrained(str(base_model.model), revision=base_model.revision)
    if isinstance(config, HybridConfig):
        on_functionals = all(source.get("columns") == "functionals" for source in config.sources)
        if columns != "probabilities" or not on_functionals:
            raise SourceError(
                f"{base_model} is a hybrid; expected one on functionals, and only in a stack. A stack can use the "
                "stored predictions of other hybrids."
            )
    if columns == "probabilities" or type(config) in COMPANIONS:
        model, extractor = load_classifier(str(base_model.model), base_model.revision)
    else:
        model, extractor = _load_encoder(base_model, config, layer)
    if not isinstance(extractor, Wav2Vec2FeatureExtractor) or extractor.sampling_rate != SAMPLING_RATE:
        raise SourceError(f"{base_model} does not process waveforms at 16 kHz, as required for base models.")
    return model, bool(extractor.do_normalize)


def _load_encoder(base_model: BaseModel, config: PreTrainedConfig, layer: int | None) -> tuple[PreTrainedModel, Any]:
    cut_encoder(config, SourceSettings(base_model.name, "embeddings", {"model_type": config.model_type}, layer))
    name, revision = str(base_model.model), base_model.revision
    try:
        extractor = AutoFeatureExtractor.from_pretrained(name, revision=revision)
        with quiet_loading():
            model, info = AutoModel.from_pretrained(
                name, revision=revision, config=config, output_loading_info=True, dtype=torch.float32
            )
    except OSError as error:
        raise CheckpointError(f"{base_model}: {' '.join(str(error).split())}") from error
    missing = sorted(missing_weights(info))
    if missing:
        raise CheckpointError(
            f"{base_model} lacks {len(missing)} weights ({', '.join(missing[:3])}), "
            "which would be random; expected a complete encoder."
        )
    return model, extractor


def check_varying(features: np.ndarray, names: Sequence[str]) -> None:
    """Warn about features that are constant over the fitting clips.

    Args:
        features: (clips, features).
        names: names of the features.

    Raises:
        StackError: all features are constant.
    """
    constant = [name for name, varies in zip(names, np.ptp(features, axis=0) > 0, strict=True) if not varies]
    if len(constant) == len(names):
        raise StackError(
            f"all {len(names)} features are constant over the {len(features)} fitting clips; expected base models "
            "whose outputs depend on the clip."
        )
    if constant:
        more = f" and {len(constant) - 8} more" if len(constant) > 8 else ""
        logger.warning("%d features are constant: %s%s", len(constant), ", ".join(constant[:8]), more)


def features_by_split(
    sources: Sequence[Source], data: SplitData, splits: Sequence[str], args: HybridArguments
) -> dict[str, np.ndarray]:
    """Compute the features of splits.

    Args:
        sources: from `open_source`.
        data: the dataset.
        splits: names of the splits.
        args: batch_size, device and precision.

    Returns:
        Split -> features of its clips (clips, features), grouped by source; without empty splits.
    """
    return {
        split: np.concatenate([compute(source, data.splits[split], args, split) for source in sources], axis=1)
        for split in splits
        if len(data.splits[split])
    }


def count_parameters(sources: Sequence[Source]) -> int:
    """Number of parameters of all sources."""
    return sum(parameter.numel() for source in sources for parameter in source.parameters())


def compute(source: Source, part: datasets.Dataset, args: HybridArguments, name: str) -> np.ndarray:
    """Compute a source's features of a split's clips, or read them from the cache.

    The cache is in the datasets cache folder; its key is the clips' hashes and all settings that affect the features.

    Args:
        source: from `open_source`.
        part: a split of a prepared dataset.
        args: batch_size, device and precision.
        name: name of the split, for the progress bar.

    Returns:
        (clips, features), float64, in the order of the split.
    """
    size = len(source.feature_names)
    known = "sha256" in part.column_names and all(part["sha256"])
    clips = list(part["sha256"] if known else part["id"])
    path = _path(source, _computed_in(source, args)) if known else None
    stored = _read(path, size)
    first = {clip: row for row, clip in reversed(list(enumerate(clips))) if _key(clip) not in stored}
    if first:
        rows = sorted(first.values())
        computed = _compute(source, part.select(rows), args, name)
        stored |= {_key(clips[row]): values for row, values in zip(rows, computed, strict=True)}
        _write(path, stored)
    return np.stack([stored[_key(clip)] for clip in clips]) if clips else np.zeros((0, size))


def _compute(source: Source, part: datasets.Dataset, args: HybridArguments, name: str) -> np.ndarray:
    """Compute features of all clips of a split, in batches of similar length."""
    device, precision = choose_device(args.device), _computed_in(source, args)
    source = source.to(device)
    low: Any = source if precision == "fp32" else lowered(source, precision)
    items = decoded(part)
    order = [int(row) for row in np.argsort(part["duration"], kind="stable")[::-1]]
    features = np.zeros((len(part), len(source.feature_names)))
    title = f"{source.settings.columns.capitalize()} of {name}"
    if source.settings.columns != "functionals":
        title += f" by {source.settings.name}"
    with torch.inference_mode(), progress_bar(total=len(order), desc=title, unit="clips") as bar:
        for rows, waveforms in batches(order, lambda rows: (rows, items[rows]["waveform"]), args.batch_size, True):
            lengths = torch.tensor([len(waveform) for waveform in waveforms])
            padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(wave) for wave in waveforms], batch_first=True)
            features[rows] = low(padded.to(device), lengths.to(device)).cpu().numpy()
            bar.update(len(rows))
    source.cpu()
    return features


def _computed_in(source: Source, args: HybridArguments) -> str:
    return "fp32" if source.model is None else args.computed_in


def _path(source: Source, precision: str) -> Path:
    """Path of the cache file; its name is a hash of everything that affects the features, except the clips."""
    digest = hashlib.sha256()
    for name, tensor in sorted(source.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    installed = versions()
    ignored = ("name", "repository", "revision", "fitted_precision")
    settings = {
        "source": {key: value for key, value in source.settings.to_dict().items() if key not in ignored},
        "weights": digest.hexdigest(),
        "precision": precision,
        "columns": list(source.feature_names) if source.model is None else source.classes,
        "versions": [installed["hf_ser"], installed["torch"], installed["transformers"]],
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return Path(datasets.config.HF_DATASETS_CACHE) / _FOLDER / f"{key}.safetensors"


def _key(clip: str) -> bytes:
    return hashlib.sha256(clip.encode()).digest()


def _read(path: Path | None, size: int) -> dict[bytes, np.ndarray]:
    """Read cached features; empty if the file does not exist or is damaged."""
    try:
        tensors = load_file(path) if path is not None and path.is_file() else {}
    except (OSError, SafetensorError):
        return {}
    if set(tensors) != {"clips", "columns"} or tensors["columns"].shape != (len(tensors["clips"]), size):
        return {}
    return {clip.tobytes(): row for clip, row in zip(tensors["clips"], tensors["columns"], strict=True)}


def _write(path: Path | None, features: dict[bytes, np.ndarray]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    clips = np.stack([np.frombuffer(clip, dtype=np.uint8) for clip in features])
    save_file({"clips": clips, "columns": np.stack(list(features.values()))}, partial)
    os.replace(partial, path)
