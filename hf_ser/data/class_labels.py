"""The classes of a dataset: those of its ClassLabel, in its order."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_ser.errors import SerError
from hf_ser.labels import merge_calm

if TYPE_CHECKING:
    import datasets


class ClassLabelError(SerError):
    """Labels of a dataset that cannot be used."""


def class_names(parts: "Mapping[str, datasets.Dataset]", name: str) -> tuple[str, ...]:
    """The names of the classes, in the order of their ids.

    Args:
        parts: the splits of the dataset.
        name: of the dataset, for messages.

    Raises:
        ClassLabelError: the labels are not class labels, differ between splits or are missing, or there is only one
            class.
    """
    features: dict[str, Any] = {split: part.features["label"] for split, part in parts.items()}
    for split, feature in features.items():
        if getattr(feature, "names", None) is None:
            raise ClassLabelError(
                f"{name} ({split}) has labels of type {feature.dtype}; expected a ClassLabel. Prepare the dataset "
                "with recipes/prepare.py."
            )
    orders = {split: tuple(feature.names) for split, feature in features.items()}
    if len(set(orders.values())) > 1:
        described = "; ".join(f"{split}: {', '.join(names)}" for split, names in orders.items())
        raise ClassLabelError(f"{name} has different labels in its splits ({described}); expected the same in all.")
    names = next(iter(orders.values()))
    if len(names) < 2:
        raise ClassLabelError(f"{name} has the labels {', '.join(names) or 'none'}; expected at least two classes.")
    for split, part in parts.items():
        without = [clip for clip, label in zip(part["id"], part["label"], strict=True) if label is None or label < 0]
        if without:
            raise ClassLabelError(
                f"{name} ({split}) has {len(without)} clips without a label ({', '.join(without[:3])}); expected a "
                "label for every clip."
            )
    return names


def without_calm(names: Sequence[str], dataset: str) -> tuple[str, ...]:
    """The classes after calm is merged into neutral.

    Raises:
        ClassLabelError: there is no class neutral.
    """
    if "neutral" not in names:
        raise ClassLabelError(
            f"merge_calm needs the classes calm and neutral; the labels of {dataset} are {', '.join(names)}. Remove "
            "merge_calm."
        )
    return tuple(name for name in names if name != "calm")


def merged(part: "datasets.Dataset", names: Sequence[str]) -> "datasets.Dataset":
    """The clips of a split with calm merged into neutral; `names` are the remaining classes."""
    before = part.features["label"].names
    ids = [names.index(merge_calm(before[label])) for label in part["label"]]
    return with_labels(_with_merged_votes(part) if "votes" in part.column_names else part, ids, names)


def with_labels(part: "datasets.Dataset", ids: Sequence[int], names: Sequence[str]) -> "datasets.Dataset":
    """The clips of a split with other class ids, of the classes `names`."""
    import datasets

    feature = datasets.ClassLabel(names=list(names))
    return part.remove_columns("label").add_column("label", list(ids), feature=feature)


def _with_merged_votes(part: "datasets.Dataset") -> "datasets.Dataset":
    votes = [
        clip and [{"label": merge_calm(vote["label"]), "count": vote["count"]} for vote in clip]
        for clip in part["votes"]
    ]
    return part.remove_columns("votes").add_column("votes", votes, feature=part.features["votes"])
