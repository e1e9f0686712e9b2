"""Map the classes of other models to the emotions of this package."""

from collections.abc import Mapping, Sequence

import numpy as np

from hf_ser.arguments import ConfigError, did_you_mean
from hf_ser.labels import EMOTIONS
from hf_ser.scoring.predictions import softmax


def resolve_mapping(model_labels: Sequence[str], mapping: Mapping[str, str | None] | None) -> dict[str, str | None]:
    """Return the emotion of each label of a model; None for labels without one.

    Args:
        model_labels: the model's labels, in the order of its outputs.
        mapping: label -> emotion or None; without it, the labels must be emotions.

    Raises:
        ConfigError: a label without an entry, an entry without a label, or an unknown emotion.
    """
    if mapping is None:
        unknown = [label for label in model_labels if label.lower() not in EMOTIONS]
        if unknown:
            raise ConfigError(
                f"the model's labels are {', '.join(model_labels)}; {', '.join(unknown)} are not among "
                f"{', '.join(EMOTIONS)}. Add a label_mapping to the YAML file: each label to an emotion or null."
            )
        return {label: label.lower() for label in model_labels}
    missing = [label for label in model_labels if label not in mapping]
    extra = [label for label in mapping if label not in model_labels]
    wrong = [emotion for emotion in mapping.values() if emotion is not None and emotion not in EMOTIONS]
    if missing:
        raise ConfigError(
            f"label_mapping has no entry for the model's {', '.join(missing)}; map each to an emotion or null."
        )
    if extra:
        raise ConfigError(
            f"label_mapping has unknown labels {', '.join(map(str, extra))}; the model's labels are "
            f"{', '.join(model_labels)}."
        )
    if wrong:
        hint = did_you_mean(str(wrong[0]), EMOTIONS) or f"; expected one of {', '.join(EMOTIONS)} or null"
        raise ConfigError(f"label_mapping maps to {wrong[0]!r}{hint}.")
    if len({emotion for emotion in mapping.values() if emotion is not None}) < 2:
        raise ConfigError("label_mapping maps to fewer than two emotions; expected at least two.")
    return {label: mapping[label] for label in model_labels}


def map_probabilities(
    logits: np.ndarray, model_labels: Sequence[str], mapping: Mapping[str, str | None]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Probabilities over the emotions of a model: labels of one emotion are summed, labels of none are left out.

    Args:
        logits: (clips, labels).
        model_labels: names of the columns.
        mapping: from `resolve_mapping`.

    Returns:
        (clips, emotions) with rows that sum to 1, and the emotions in this package's order.
    """
    kept = [index for index, label in enumerate(model_labels) if mapping[label] is not None]
    known = tuple(emotion for emotion in EMOTIONS if emotion in {mapping[model_labels[index]] for index in kept})
    # Normalised over the labels that are mapped to an emotion.
    shares = softmax(logits[:, kept])
    probabilities = np.zeros((len(logits), len(known)))
    for column, index in enumerate(kept):
        probabilities[:, known.index(str(mapping[model_labels[index]]))] += shares[:, column]
    return probabilities, known
