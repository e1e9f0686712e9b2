"""Map the labels of a model to the classes of a dataset."""

from collections.abc import Mapping, Sequence

import numpy as np

from hf_ser.arguments import ConfigError, did_you_mean
from hf_ser.labels import EMOTIONS, in_order
from hf_ser.scoring.predictions import softmax

_LEAST = 1e-300  # keeps the logarithm of a zero probability finite


def resolve_mapping(
    model_labels: Sequence[str], mapping: Mapping[str, str | None] | None, classes: Sequence[str] = EMOTIONS
) -> dict[str, str | None]:
    """Return the class of each label of a model; None for labels without one.

    Args:
        model_labels: the model's labels, in the order of its outputs.
        mapping: label -> class or None; without it, the labels must be classes, in any case.
        classes: those of the dataset. The emotions of the default set are known too: a dataset need not have clips of
            every class of a model.

    Raises:
        ConfigError: a label without an entry, an entry without a label, an unknown class, or fewer than two shared
            classes.
    """
    known = tuple(dict.fromkeys([*classes, *EMOTIONS]))
    if mapping is None:
        named = {name.casefold(): name for name in reversed(known)}
        unknown = [label for label in model_labels if label.casefold() not in named]
        if unknown:
            raise ConfigError(
                f"the model's labels are {', '.join(model_labels)}; {', '.join(unknown)} are not among "
                f"{', '.join(classes)}. Add a label_mapping to the YAML file: each label to a class or null."
            )
        found: dict[str, str | None] = {label: named[label.casefold()] for label in model_labels}
    else:
        _check_entries(model_labels, mapping, known, classes)
        found = {label: mapping[label] for label in model_labels}
    shared = {name for name in found.values() if name is not None} & set(classes)
    if len(shared) < 2:
        what = "the model and the dataset share" if mapping is None else "label_mapping maps to"
        raise ConfigError(
            f"{what} fewer than two classes ({', '.join(shared) or 'none'}); the model's labels are "
            f"{', '.join(model_labels)}, and the classes of the dataset are {', '.join(classes)}. Map at least two "
            "labels with label_mapping in the YAML file."
        )
    return found


def _check_entries(
    model_labels: Sequence[str], mapping: Mapping[str, str | None], known: Sequence[str], classes: Sequence[str]
) -> None:
    missing = [label for label in model_labels if label not in mapping]
    extra = [label for label in mapping if label not in model_labels]
    wrong = [name for name in mapping.values() if name is not None and name not in known]
    if missing:
        raise ConfigError(
            f"label_mapping has no entry for the model's {', '.join(missing)}; map each to a class or null."
        )
    if extra:
        raise ConfigError(
            f"label_mapping has unknown labels {', '.join(map(str, extra))}; the model's labels are "
            f"{', '.join(model_labels)}."
        )
    if wrong:
        hint = did_you_mean(str(wrong[0]), known) or f"; expected one of {', '.join(classes)} or null"
        raise ConfigError(f"label_mapping maps to {wrong[0]!r}{hint}.")


def convert_table(
    probabilities: np.ndarray,
    model_labels: Sequence[str],
    mapping: Mapping[str, str | None],
    classes: Sequence[str],
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Map a table of probabilities, for `read_predictions`; classes that the model does not have get 0.

    Args:
        probabilities: (rows, labels).
        model_labels: names of the columns.
        mapping: label -> class or None.
        classes: those of the dataset.

    Returns:
        (rows, classes), and the names of the columns: `classes`, and others that the labels are mapped to.
    """
    resolved = resolve_mapping(model_labels, mapping, classes)
    mapped, known = map_probabilities(np.log(np.maximum(probabilities, _LEAST)), model_labels, resolved)
    every = in_order([*classes, *known])
    whole = np.zeros((len(mapped), len(every)))
    whole[:, [every.index(label) for label in known]] = mapped
    return whole, every


def map_probabilities(
    logits: np.ndarray, model_labels: Sequence[str], mapping: Mapping[str, str | None]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Probabilities over the classes of a model: labels of one class are summed, labels of none are left out.

    Args:
        logits: (clips, labels).
        model_labels: names of the columns.
        mapping: from `resolve_mapping`.

    Returns:
        (clips, classes) with rows that sum to 1, and the classes: emotions in this package's order, others in the
        model's.
    """
    kept = [index for index, label in enumerate(model_labels) if mapping[label] is not None]
    known = in_order(str(mapping[model_labels[index]]) for index in kept)
    # Normalised over the labels that are mapped to a class.
    shares = softmax(logits[:, kept])
    probabilities = np.zeros((len(logits), len(known)))
    for column, index in enumerate(kept):
        probabilities[:, known.index(str(mapping[model_labels[index]]))] += shares[:, column]
    return probabilities, known
