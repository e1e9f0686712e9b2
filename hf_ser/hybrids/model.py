"""A fitted hybrid as a model: its parts put together, saved, and seen to answer as it was fitted."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from hf_ser.audio import Preprocessing
from hf_ser.data.splits import decoded
from hf_ser.errors import SerError
from hf_ser.evaluation import predict_logits
from hf_ser.hybrids.convert import from_forest, from_lightgbm
from hf_ser.hybrids.metas import Fitted
from hf_ser.inference import load_classifier
from hf_ser.models import HybridConfig, HybridForAudioClassification, TreeEnsemble, make_feature_extractor
from hf_ser.models.encoder_inputs import max_input_s
from hf_ser.models.hybrid import LogLinear
from hf_ser.models.hybrid_sources import Source
from hf_ser.models.windows import WindowPlan
from hf_ser.scoring import softmax

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

logger = logging.getLogger(__name__)
_CHECKED = 16  # clips
# Mean over clips of the largest difference. Bases answer a little otherwise in other batches (1e-6), which may take a
# clip across a threshold of a tree.
_TOLERANCE = 0.02


class HybridError(SerError):
    """A saved hybrid that does not answer as the fitted one."""


def assemble(
    sources: Sequence[Source],
    fitted: "Fitted | RandomForestClassifier",
    labels: Sequence[str],
    classes: Sequence[int],
    temperature: float | None,
) -> HybridForAudioClassification:
    """Put sources and what was fitted on their columns together.

    Args:
        sources: in the order of the columns.
        fitted: a stack, a booster or a forest.
        labels: of the dataset.
        classes: ids of those that it was fitted to tell apart.
        temperature: by which scores are divided; None for not.
    """
    names = [str(labels[index]) for index in classes]
    columns = [name for source in sources for name in source.column_names]
    head: nn.Module | None
    if not isinstance(fitted, Fitted):
        head = from_forest(fitted, names, columns)
    elif fitted.booster is not None:
        head = from_lightgbm(fitted.booster, names, columns)
    else:
        head = LogLinear.from_weights(*fitted.linear) if fitted.linear is not None else None
    kind, trees = "linear" if head is not None else "mean", None
    if isinstance(head, TreeEnsemble):
        its = head.config
        kind = "trees"
        trees = {"num_trees": its.num_trees, "num_nodes": its.num_nodes, "aggregation": its.aggregation}
    config = HybridConfig(
        [source.settings.to_dict() for source in sources],
        kind,
        list(classes),
        trees,
        temperature,
        id2label={index: str(label) for index, label in enumerate(labels)},
        label2id={str(label): index for index, label in enumerate(labels)},
    )
    return HybridForAudioClassification.from_parts(config, [source.model for source in sources], head)


def save(
    hybrid: HybridForAudioClassification, folder: Path, split: Any, expected: np.ndarray, device: str, precision: str
) -> None:
    """Write a hybrid's files, after what was written has been loaded and asked about some clips.

    Args:
        hybrid: put together.
        folder: where to.
        split: clips of a prepared dataset.
        expected: their probabilities (clips, classes), as fitted.
        device: where it answers.
        precision: in which its bases' columns were computed.

    Raises:
        HybridError: the loaded one gives others.
    """
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        hybrid.save_pretrained(partial)
        extractor = make_feature_extractor()
        Preprocessing().store(extractor)  # each source has its own
        extractor.save_pretrained(partial)
        _check(partial, split, expected, device, precision)
        (folder / "config.json").unlink(missing_ok=True)  # without it nothing loads, until all files are there
        for path in sorted(partial.iterdir(), key=lambda path: path.name == "config.json"):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove what an earlier run's model left, so that none lies beside the scores of a run without one."""
    for name in ("config.json", "model.safetensors", "preprocessor_config.json", "README.md"):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob("*.py"):
        path.unlink()


def _check(folder: Path, split: Any, expected: np.ndarray, device: str, precision: str) -> None:
    model, extractor = load_classifier(str(folder))
    # Longer clips are cut into windows when the model is used, and were fitted whole.
    longest = WindowPlan.for_model(max_input_s(model, Preprocessing())).whole_s
    whole = np.flatnonzero(np.asarray(split["duration"]) <= longest) if len(split) else np.zeros(0, int)
    if len(whole) == 0:
        return
    rows = whole[np.linspace(0, len(whole) - 1, min(_CHECKED, len(whole))).astype(int)]
    some = split.select(rows)
    clips = decoded(some)
    order, logits = predict_logits(
        model,
        extractor,
        some["duration"],
        lambda numbers: clips[numbers]["waveform"],
        device=device,
        precision=precision,
        progress=False,
    )
    differ = float(np.abs(softmax(logits)[np.argsort(order)] - expected[rows]).max(axis=1).mean())
    logger.info("The saved model's probabilities differ by %.1e from the fitted one's", differ)
    if differ > _TOLERANCE:
        raise HybridError(
            f"{folder.parent}: once saved and loaded, the model's probabilities differ by {differ:.3f} from those it "
            f"was fitted for; expected {_TOLERANCE} at most. The bases' stored predictions may be of other weights or "
            "other audio: evaluate the bases again."
        )
