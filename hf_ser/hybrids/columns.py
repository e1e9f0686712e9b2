"""The columns that a hybrid is fitted on: what its own sources give for every clip, computed once and kept."""

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

from hf_ser.audio import SAMPLING_RATE
from hf_ser.console import progress_bar
from hf_ser.data.splits import DataArguments, decoded
from hf_ser.errors import SerError
from hf_ser.evaluation.predict import batches
from hf_ser.hybrids.bases import Base, StackError
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.inference import CheckpointError, choose_device, load_classifier, missing_weights, quiet_loading
from hf_ser.models import COMPANIONS, HybridConfig
from hf_ser.models.forward_precision import lowered
from hf_ser.models.hybrid_sources import Source, SourceSettings, cut_encoder, describe_base
from hf_ser.models.preprocessing import file_beside
from hf_ser.scoring import versions

logger = logging.getLogger(__name__)
_FOLDER = "hf_ser_columns"


class SourceError(StackError):
    """A base that can be stacked by its stored probabilities only, and not be a part of a model."""


def open_source(
    base: Base | None,
    columns: str,
    labels: Sequence[str],
    classes: Sequence[int],
    data_args: DataArguments,
    args: HybridArguments,
) -> Source:
    """Load a base as the source of columns that it is within a hybrid; without a base, functionals of the clips.

    Args:
        base: what `open_bases` found.
        columns: probabilities, embeddings or functionals.
        labels: of the dataset.
        classes: ids of those whose probabilities are columns.
        data_args: how clips are cut; the base's own training decides where it tells.
        args: layer, precision, device and embed_bases.

    Raises:
        SourceError: a table, a model that takes no waveforms at 16 kHz, other labels, or a layer that it has not.
        CheckpointError: it cannot be loaded, or weights are missing.
    """
    id2label = {index: str(label) for index, label in enumerate(labels)}
    if base is None:
        settings = SourceSettings("functionals", "functionals", **asdict(data_args.steps))
        return Source(settings, list(classes), id2label).eval()
    if base.model is None or file_beside(base.model, "config.json", base.revision) is None:
        raise SourceError(f"base {base.name} ({base.place}) holds predictions only; expected a model.")
    try:
        model, normalizes = _load(base, columns, args.layer)
        settings = SourceSettings(
            base.name,
            columns,
            describe_base(model.config),
            args.layer if columns == "embeddings" else None,
            normalizes,
            **asdict(base.steps(data_args)),
            fitted_precision=fitted_precision(base, columns, args),
            **_reference(base, args),
        )
        with torch.device("meta"):  # nothing is drawn at random for what is there already
            source = Source(settings, list(classes), id2label)
    except SerError:  # which are ValueErrors
        raise
    except ValueError as error:
        raise SourceError(f"base {base.name} ({base.place}): {error}") from error
    source.model = model
    return source.eval()


def fitted_precision(base: Base, columns: str, args: HybridArguments) -> str | None:
    """In which the columns are computed that a hybrid is fitted on; None for stored ones of which nothing tells."""
    return base.precision if columns == "probabilities" and base.tables else args.computed_in


def _reference(base: Base, args: HybridArguments) -> dict[str, Any]:
    if args.embed_bases:
        return {}
    if base.commit is None:
        raise SourceError(
            f"embed_bases is false and base {base.name} ({base.place}) is a folder; expected one on the Hub, such as "
            "owner/name, that the hybrid can refer to."
        )
    return {"repository": str(base.model), "revision": base.commit}


def _load(base: Base, columns: str, layer: int | None) -> tuple[PreTrainedModel, bool]:
    """The base's model or for embeddings its encoder, and whether its extractor normalizes clips."""
    config = AutoConfig.from_pretrained(str(base.model), revision=base.revision)
    if isinstance(config, HybridConfig):
        raise SourceError(
            f"base {base.name} ({base.place}) is a hybrid, which cannot be a part of another; expected a model "
            "without parts. A stack may take its stored predictions."
        )
    if columns == "probabilities" or type(config) in COMPANIONS:
        model, extractor = load_classifier(str(base.model), base.revision)
    else:
        model, extractor = _load_encoder(base, config, layer)
    if not isinstance(extractor, Wav2Vec2FeatureExtractor) or extractor.sampling_rate != SAMPLING_RATE:
        raise SourceError(
            f"base {base.name} ({base.place}) takes no waveforms at 16 kHz, which a hybrid's bases must."
        )
    return model, bool(extractor.do_normalize)


def _load_encoder(base: Base, config: PreTrainedConfig, layer: int | None) -> tuple[PreTrainedModel, Any]:
    cut_encoder(config, SourceSettings(base.name, "embeddings", {"model_type": config.model_type}, layer))
    place, revision = str(base.model), base.revision
    try:
        extractor = AutoFeatureExtractor.from_pretrained(place, revision=revision)
        with quiet_loading():
            model, info = AutoModel.from_pretrained(
                place, revision=revision, config=config, output_loading_info=True, dtype=torch.float32
            )
    except OSError as error:
        raise CheckpointError(f"base {base.name} ({base.place}): {' '.join(str(error).split())}") from error
    missing = sorted(missing_weights(info))
    if missing:
        raise CheckpointError(
            f"base {base.name} ({base.place}) lacks {len(missing)} weights ({', '.join(missing[:3])}), which would be "
            "random; expected a whole encoder."
        )
    return model, extractor


def check_columns(features: np.ndarray, names: Sequence[str]) -> None:
    """Tell which columns are the same for every fitting clip.

    Args:
        features: (clips, columns).
        names: of the columns.

    Raises:
        StackError: all are.
    """
    constant = [name for name, varies in zip(names, np.ptp(features, axis=0) > 0, strict=True) if not varies]
    if len(constant) == len(names):
        raise StackError(
            f"all {len(names)} columns are the same for each of the {len(features)} fitting clips; expected bases "
            "that answer different clips differently."
        )
    if constant:
        more = f" and {len(constant) - 8} more" if len(constant) > 8 else ""
        logger.warning("%d columns are constant: %s%s", len(constant), ", ".join(constant[:8]), more)


def columns_of(source: Source, split: Any, args: HybridArguments, name: str) -> np.ndarray:
    """What a source gives for a split's clips (clips, columns), float64, in the order of the split.

    It is kept below the datasets cache under the clips' hashes and everything else that decides it: no clip is heard
    twice by one model.

    Args:
        source: what `open_source` loaded.
        split: a prepared dataset's split.
        args: batch_size, device and precision.
        name: of the split, for the bar.
    """
    size = len(source.column_names)
    known = "sha256" in split.column_names and all(split["sha256"])
    clips = list(split["sha256"] if known else split["id"])
    path = _path(source, _computed_in(source, args)) if known else None
    kept = _read(path, size)
    first = {clip: row for row, clip in reversed(list(enumerate(clips))) if _key(clip) not in kept}
    if first:
        rows = sorted(first.values())
        kept |= {
            _key(clips[row]): values
            for row, values in zip(rows, _compute(source, split.select(rows), args, name), strict=True)
        }
        _write(path, kept)
    return np.stack([kept[_key(clip)] for clip in clips]) if clips else np.zeros((0, size))


def _compute(source: Source, split: Any, args: HybridArguments, name: str) -> np.ndarray:
    """Columns of all clips of a split, in batches of similar length."""
    device, precision = choose_device(args.device), _computed_in(source, args)
    source = source.to(device)
    low: Any = source if precision == "fp32" else lowered(source, precision)
    items = decoded(split)
    order = [int(row) for row in np.argsort(split["duration"], kind="stable")[::-1]]
    table = np.zeros((len(split), len(source.column_names)))
    title = f"{source.settings.columns.capitalize()} of {name}"
    if source.settings.columns != "functionals":
        title += f" by {source.settings.name}"
    with torch.inference_mode(), progress_bar(total=len(order), desc=title, unit="clips") as bar:
        for rows, waveforms in batches(order, lambda rows: (rows, items[rows]["waveform"]), args.batch_size, True):
            lengths = torch.tensor([len(waveform) for waveform in waveforms])
            padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(its) for its in waveforms], batch_first=True)
            table[rows] = low(padded.to(device), lengths.to(device)).cpu().numpy()
            bar.update(len(rows))
    source.cpu()
    return table


def _computed_in(source: Source, args: HybridArguments) -> str:
    return "fp32" if source.model is None else args.computed_in


def _path(source: Source, precision: str) -> Path:
    """A file whose name says everything that decides a clip's columns, but for the clip."""
    digest = hashlib.sha256()
    for name, tensor in sorted(source.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    its = versions()
    ignored = ("name", "repository", "revision", "fitted_precision")
    settings = {
        "source": {key: value for key, value in source.settings.to_dict().items() if key not in ignored},
        "weights": digest.hexdigest(),
        "precision": precision,
        "columns": list(source.column_names) if source.model is None else source.classes,
        "versions": [its["hf_ser"], its["torch"], its["transformers"]],
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return Path(datasets.config.HF_DATASETS_CACHE) / _FOLDER / f"{key}.safetensors"


def _key(clip: str) -> bytes:
    return hashlib.sha256(clip.encode()).digest()


def _read(path: Path | None, size: int) -> dict[bytes, np.ndarray]:
    """What an earlier run kept; nothing where there is no file, or none that is whole."""
    try:
        its = load_file(path) if path is not None and path.is_file() else None
    except (OSError, SafetensorError):
        return {}
    if its is None or set(its) != {"clips", "columns"} or its["columns"].shape != (len(its["clips"]), size):
        return {}
    return {clip.tobytes(): row for clip, row in zip(its["clips"], its["columns"], strict=True)}


def _write(path: Path | None, kept: dict[bytes, np.ndarray]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    clips = np.stack([np.frombuffer(clip, dtype=np.uint8) for clip in kept])
    save_file({"clips": clips, "columns": np.stack(list(kept.values()))}, partial)
    os.replace(partial, path)
