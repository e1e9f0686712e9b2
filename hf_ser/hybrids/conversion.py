"""Convert LightGBM boosters and scikit-learn forests to `TreeEnsemble`, which needs neither library."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hf_ser.errors import SerError
from hf_ser.remote_code.tree_ensemble import TreeEnsemble, TreeEnsembleConfig
from hf_ser.remote_code.tree_inference import MISSING, Tables

if TYPE_CHECKING:
    import lightgbm
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

_CATEGORICAL, _DEFAULT_LEFT = 1, 2  # bits of LightGBM's decision_type; the next two are the missing type
_MISSING_TYPES = {0: "nan_is_zero", 1: "zero", 2: "nan"}
_END = "end of parameters\n"


class ConversionError(SerError):
    """A booster, forest or file cannot be converted to a `TreeEnsemble`."""


def read_booster(path: str | Path) -> "lightgbm.Booster":
    """Read a booster from LightGBM's text format, and check that the file is complete.

    LightGBM itself crashes the process (segmentation fault or abort) on nearly every truncated file.

    Args:
        path: file written by `Booster.save_model`.

    Raises:
        ConversionError: the file does not exist, is not a booster, or is truncated or damaged.

    >>> import lightgbm, numpy as np
    >>> features = np.random.default_rng(0).normal(size=(60, 3))
    >>> data = lightgbm.Dataset(features, features[:, 0] > 0)
    >>> _ = lightgbm.train({"objective": "binary", "verbose": -1}, data, 5).save_model("booster.txt")
    >>> read_booster("booster.txt").num_trees()
    5
    """
    import lightgbm

    try:
        text = Path(path).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConversionError(f"{path} cannot be read as text ({error}); expected a LightGBM booster.") from error
    try:
        _parse(text)
        rest = text[text.rindex(_END) + len(_END) :].strip() if _END in text else None
        if rest is None:
            raise ValueError("no line 'end of parameters'")
        if rest:
            name, _, value = rest.partition(":")
            if name != "pandas_categorical":
                raise ValueError("unknown text at the end")
            json.loads(value)
        return lightgbm.Booster(model_str=text)
    except (ValueError, lightgbm.basic.LightGBMError) as error:
        raise ConversionError(
            f"{path}: got {error}; expected a complete LightGBM booster, written by save_model. Copy or fit it again."
        ) from error


def from_lightgbm(
    booster: "lightgbm.Booster", labels: Sequence[str], feature_names: Sequence[str] | None = None
) -> TreeEnsemble:
    """Convert a booster with a binary or multiclass objective; probabilities differ by less than 1e-6.

    Only the iterations that `predict` uses are kept: those up to `best_iteration` if it is set.

    Args:
        booster: a fitted booster.
        labels: class names, in the order of the classes.
        feature_names: names of the features; None for the booster's names.

    Raises:
        ConversionError: the objective is not supported, the number of classes or features differs, or the booster has
            categorical splits or linear trees.

    >>> import lightgbm, torch
    >>> features = np.random.default_rng(0).normal(size=(60, 3))
    >>> data = lightgbm.Dataset(features, features[:, 0] > 0)
    >>> booster = lightgbm.train({"objective": "binary", "verbose": -1}, data, 5)
    >>> model = from_lightgbm(booster, ["calm", "angry"])
    >>> np.allclose(model(torch.from_numpy(features))[:, 1], booster.predict(features))
    True
    """
    try:
        header, trees = _parse(booster.model_to_string())
    except ValueError as error:
        raise ConversionError(f"booster: got {error}; expected the text format of LightGBM 4.") from error
    objective = header.get("objective", "none").split()
    per_iteration = int(header["num_tree_per_iteration"])
    if objective[0] not in ("binary", "multiclass"):
        raise ConversionError(f"booster: got objective {objective[0]}; expected binary or multiclass.")
    classes = 2 if objective[0] == "binary" else per_iteration
    names = _check_names(labels, classes, feature_names, header["feature_names"].split(), "booster")
    scale = 1 / (len(trees) // per_iteration) if "average_output" in header else 1.0
    if objective[0] == "binary":  # sigmoid(k x) is the softmax of 0 and k x
        scale *= float(dict(item.split(":") for item in objective[1:] if ":" in item).get("sigmoid", 1))
    arrays = [_booster_tree(tree) for tree in trees]
    tree_classes = np.arange(len(trees)) % per_iteration + (objective[0] == "binary")
    values = [array["values"][:, None] * scale for array in arrays]
    return _assemble(arrays, values, tree_classes, "softmax", labels, names)


def from_forest(
    forest: "RandomForestClassifier | ExtraTreesClassifier",
    labels: Sequence[str],
    feature_names: Sequence[str] | None = None,
) -> TreeEnsemble:
    """Convert a forest; probabilities differ by less than 1e-6.

    Args:
        forest: a forest fitted on label ids.
        labels: names of the ids 0, 1, ...; classes that the forest was not fitted on have probability 0.
        feature_names: names of the features; None for the forest's names.

    Raises:
        ConversionError: not a fitted forest classifier, the number of features differs, or its classes are not label
            ids.

    >>> import torch
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> features = np.random.default_rng(0).normal(size=(60, 3))
    >>> forest = RandomForestClassifier(5).fit(features, (features[:, 0] > 0).astype(int))
    >>> model = from_forest(forest, ["calm", "angry"])
    >>> np.allclose(model(torch.from_numpy(features)), forest.predict_proba(features))
    True
    """
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    if not isinstance(forest, (RandomForestClassifier, ExtraTreesClassifier)) or not hasattr(forest, "estimators_"):
        raise ConversionError(
            f"forest: got {type(forest).__name__}; expected a fitted RandomForestClassifier or ExtraTreesClassifier."
        )
    if forest.n_outputs_ != 1:
        raise ConversionError(f"forest: got {forest.n_outputs_} outputs; expected one.")
    ids = np.asarray(forest.classes_)
    if not np.issubdtype(ids.dtype, np.number) or not np.isin(ids, np.arange(len(labels))).all():
        raise ConversionError(f"forest: got classes {ids.tolist()}; expected label ids from 0 to {len(labels) - 1}.")
    own = list(getattr(forest, "feature_names_in_", [f"Column_{number}" for number in range(forest.n_features_in_)]))
    names = _check_names(labels, len(labels), feature_names, own, "forest")
    arrays = [_forest_tree(estimator.tree_, ids.astype(int), len(labels)) for estimator in forest.estimators_]
    values = [array["values"] for array in arrays]
    return _assemble(arrays, values, np.zeros(len(arrays), int), "mean", labels, names)


def _assemble(
    trees: list[dict[str, np.ndarray]],
    values: list[np.ndarray],
    tree_classes: np.ndarray,
    aggregation: Literal["softmax", "mean"],
    labels: Sequence[str],
    feature_names: list[str],
) -> TreeEnsemble:
    """Concatenate trees, whose nodes and leaves are numbered from 0 each, to one ensemble."""
    nodes = np.cumsum([0, *(len(tree["features"]) for tree in trees)])
    leaves = np.cumsum([0, *(len(value) for value in values)])
    starts = list(zip(nodes[:-1], leaves[:-1], strict=True))

    def shift(entries: np.ndarray, node: int, leaf: int) -> np.ndarray:
        return np.where(entries >= 0, entries + node, entries - leaf)

    root = [np.array([0 if len(tree["features"]) else -1]) for tree in trees]
    branches = [tree["branches"].reshape(-1, 2) for tree in trees]
    tables = Tables(
        roots=np.concatenate([shift(entry, *start) for entry, start in zip(root, starts, strict=True)]),
        branches=np.concatenate([shift(entry, *start) for entry, start in zip(branches, starts, strict=True)]),
        features=np.concatenate([tree["features"] for tree in trees]),
        thresholds=np.concatenate([tree["thresholds"] for tree in trees]),
        missing=np.concatenate([tree["missing"] for tree in trees]),
        tree_classes=tree_classes,
        values=np.concatenate(values),
    )
    config = TreeEnsembleConfig(
        num_features=len(feature_names),
        num_trees=len(trees),
        num_nodes=int(nodes[-1]),
        aggregation=aggregation,
        feature_names=feature_names,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    try:
        return TreeEnsemble.from_tables(config, tables)
    except ValueError as error:
        raise ConversionError(f"{error} The booster or forest is damaged. Fit it again.") from error


def _check_names(
    labels: Sequence[str], classes: int, feature_names: Sequence[str] | None, own: list[str], what: str
) -> list[str]:
    if len(set(labels)) != len(labels) or len(labels) != classes or classes < 2:
        raise ConversionError(
            f"labels: got {list(labels)} for a {what} with {classes} classes; expected one name per class."
        )
    names = [str(name) for name in (own if feature_names is None else feature_names)]
    if len(names) != len(own):
        raise ConversionError(
            f"feature_names: got {len(names)} names for a {what} with {len(own)} features; expected one per feature."
        )
    return names


def _forest_tree(tree: Any, ids: np.ndarray, num_labels: int) -> dict[str, np.ndarray]:
    leaf = tree.children_left < 0
    inner = ~leaf
    # Nodes and leaves are numbered separately.
    entry = np.where(leaf, -np.cumsum(leaf), np.cumsum(inner) - 1)
    left = np.asarray(tree.missing_go_to_left, bool)[inner]
    counts = tree.value[leaf, 0]
    values = np.zeros((len(counts), num_labels))
    values[:, ids] = counts / counts.sum(axis=1, keepdims=True)
    return {
        "features": tree.feature[inner],
        "thresholds": tree.threshold[inner].astype(np.float64),
        "missing": np.where(left, MISSING.index("nan_left"), MISSING.index("nan_right")),
        "branches": np.stack([entry[tree.children_left[inner]], entry[tree.children_right[inner]]], axis=1),
        "values": values,
    }


def _booster_tree(tree: dict[str, str]) -> dict[str, np.ndarray]:
    if tree.get("is_linear", "0") != "0":
        raise ConversionError("booster: got linear trees (linear_tree=True); expected constant leaves.")
    decisions = _numbers(tree, "decision_type", int)
    if int(tree.get("num_cat", 0)) or (decisions & _CATEGORICAL).any():
        raise ConversionError("booster: got categorical splits, which are not supported; expected numeric features.")
    sides = np.where(decisions & _DEFAULT_LEFT, "left", "right")
    kinds = [
        MISSING.index(kind if kind == "nan_is_zero" else f"{kind}_{side}")
        for kind, side in zip((_MISSING_TYPES[int(number)] for number in decisions >> 2 & 3), sides, strict=True)
    ]
    return {
        "features": _numbers(tree, "split_feature", int),
        "thresholds": _numbers(tree, "threshold", float),
        "missing": np.array(kinds, np.int64),
        "branches": np.stack([_numbers(tree, "left_child", int), _numbers(tree, "right_child", int)], axis=1),
        "values": _numbers(tree, "leaf_value", float),
    }


def _numbers(tree: dict[str, str], name: str, kind: type) -> np.ndarray:
    return np.array([kind(word) for word in tree.get(name, "").split()], kind)


def _parse(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Split a booster's text into its header and its trees, each a dictionary of unparsed fields.

    Raises:
        ValueError: the text is not a complete booster; the message says what is missing.
    """
    head, start, _ = text.partition("Tree=0\n")
    header = dict((line + "=").split("=")[:2] for line in head.splitlines())
    if not text.startswith("tree\n") or not start or "tree_sizes" not in header:
        raise ValueError("no booster header")
    sizes = [int(size) for size in header["tree_sizes"].split()]
    data, position, trees = text.encode(), len(head.encode()), []
    for number, size in enumerate(sizes):
        block = data[position : position + size].decode(errors="replace")
        tree = dict((line + "=").split("=")[:2] for line in block.splitlines() if line)
        leaves = int(tree.get("num_leaves", 0))
        # Number of entries in each field; a tree with one leaf has no splits.
        counts = {"leaf_value": leaves}
        if leaves > 1:
            counts |= dict.fromkeys(("split_feature", "threshold", "decision_type"), leaves - 1)
            counts |= dict.fromkeys(("left_child", "right_child"), leaves - 1)
        if not block.startswith(f"Tree={number}\n") or any(
            len(tree.get(name, "").split()) != count for name, count in counts.items()
        ):
            raise ValueError(f"a damaged tree {number} of {len(sizes)}")
        trees.append(tree)
        position += size
    if not re.match(rb"\s*end of trees\n", data[position:]):
        raise ValueError(f"no end after {len(sizes)} trees")
    return header, trees
