"""Evaluation of an ensemble of decision trees: all trees and samples of a batch take one step at a time."""

from dataclasses import dataclass

import numpy as np
import torch

# What counts as missing, and which way it goes. LightGBM's missing types None (NaN counts as 0), NaN and Zero (NaN
# counts as 0, and 0 is missing); scikit-learn's missing_go_to_left is the second or third.
MISSING = ("nan_is_zero", "nan_left", "nan_right", "zero_left", "zero_right")
_FILL = np.array([0.0, -np.inf, np.nan, -np.inf, np.nan])  # NaN is not at most anything, and so goes right
_FIRST_ZERO_KIND = 3
# LightGBM's kZeroThreshold, a float that it compares with doubles: what is not above it is 0.
ZERO = float(np.float32(1e-35))
_PATHS = 1 << 18  # that are followed at once
_LEVELS = 3  # after which paths that have ended are dropped


@dataclass
class Tables:
    """Trees as numpy arrays; see `TreeEnsemble` for what they hold."""

    roots: np.ndarray
    branches: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    missing: np.ndarray
    tree_classes: np.ndarray
    values: np.ndarray

    def check(self, num_features: int, num_classes: int) -> None:
        """Check that the arrays are trees.

        Raises:
            ValueError: indices that point outside, nodes or leaves that are not reached exactly once, thresholds that
                are NaN, leaf values that are not finite.
        """
        nodes, leaves = len(self.features), len(self.values)
        _check_range("roots", self.roots, -leaves, nodes)
        _check_range("branches", self.branches, -leaves, nodes)
        _check_range("features", self.features, 0, num_features)
        _check_range("missing", self.missing, 0, len(MISSING))
        _check_range("tree_classes", self.tree_classes, 0, num_classes)
        # An infinite threshold separates missing values from all others.
        if np.isnan(self.thresholds).any():
            raise ValueError("thresholds: got NaN; expected numbers.")
        if not np.isfinite(self.values).all():
            raise ValueError(f"leaf values: got {self.values[~np.isfinite(self.values)][0]}; expected finite numbers.")
        targets = np.concatenate([self.roots, self.branches.ravel()]).astype(np.int64)
        times = np.bincount(np.where(targets >= 0, targets, nodes + ~targets), minlength=nodes + leaves)
        if (times != 1).any():
            first = int(np.flatnonzero(times != 1)[0])
            what = f"node {first}" if first < nodes else f"leaf {first - nodes}"
            raise ValueError(f"branches: got {what} {times[first]} times; expected every node and leaf once.")
        # Each node is entered once, so a loop can only be one that no root leads to.
        reached = sum(len(level) for level in self.levels())
        if reached != nodes:
            raise ValueError(f"branches: got a loop of {nodes - reached} nodes; expected trees.")

    def levels(self) -> list[np.ndarray]:
        """Nodes at depth 0, 1, ... of all trees."""
        levels, level = [], self.roots[self.roots >= 0]
        while len(level):
            levels.append(level)
            children = self.branches[level].ravel()
            level = children[children >= 0]
        return levels


class TreeInference:
    """Tables made ready for evaluation on one device.

    Args:
        tables: checked.
        num_classes: columns of the result.
        device: where to evaluate.
    """

    def __init__(self, tables: Tables, num_classes: int, device: torch.device) -> None:
        self.device, self.num_nodes, self.depth = device, len(tables.features), len(tables.levels())
        # A column is a feature with one treatment of what is missing.
        keys = tables.features.astype(np.int64) * len(MISSING) + tables.missing
        columns, of_node = np.unique(keys, return_inverse=True)
        kinds = columns % len(MISSING)
        self.column_features = self._tensor(columns // len(MISSING))
        self.column_fill = self._tensor(_FILL[kinds])[:, None]
        zero = kinds >= _FIRST_ZERO_KIND
        self.column_zero = self._tensor(zero)[:, None] if zero.any() else None
        # Leaves are further nodes that lead to themselves, whose column and threshold do not matter.
        leaves = np.arange(self.num_nodes, self.num_nodes + len(tables.values))
        children = self._numbered(tables.branches).ravel()
        self.roots = self._index(self._numbered(tables.roots))
        self.children = self._index(np.concatenate([children, np.repeat(leaves, 2)]))
        self.columns = self._index(np.concatenate([of_node, np.zeros(len(leaves), np.int64)]))
        self.thresholds = self._tensor(np.concatenate([tables.thresholds, np.full(len(leaves), np.inf)]))
        self.values = self._tensor(tables.values)
        self.class_weights: torch.Tensor | None = None  # (classes, trees), if a leaf holds one number
        if tables.values.shape[1] == 1:
            of_class = np.arange(num_classes)[:, None] == tables.tree_classes
            self.class_weights = self._tensor(of_class.astype(np.float64))

    @torch.no_grad()
    def totals(self, features: torch.Tensor) -> torch.Tensor:
        """Sum the leaves that samples fall into.

        Args:
            features: (batch, num_features), float64.

        Returns:
            (batch, classes), float64.
        """
        portions = features.split(max(1, _PATHS // len(self.roots)))
        return torch.cat([self._sum(self._leaves(self._fill(portion))) for portion in portions])

    def _fill(self, features: torch.Tensor) -> torch.Tensor:
        """Features (batch, features) -> columns (columns, batch) in which infinity stands for what is missing."""
        columns = features.T.index_select(0, self.column_features)
        absent = columns.isnan()
        if self.column_zero is not None:
            absent |= self.column_zero & (columns == 0)
        return torch.where(absent, self.column_fill, columns)

    def _leaves(self, columns: torch.Tensor) -> torch.Tensor:
        """Columns (columns, batch) -> the leaf of each sample in each tree (trees, batch)."""
        batch, trees = columns.shape[1], len(self.roots)
        flat = columns.reshape(-1)
        nodes = self.roots.repeat_interleave(batch)
        samples = torch.arange(batch, dtype=torch.int32, device=self.device).repeat(trees)
        going, leaves = torch.arange(len(nodes), device=self.device), torch.empty_like(nodes)
        for level in range(1, self.depth + 1):
            places = self.columns.index_select(0, nodes) * batch + samples
            left = flat.index_select(0, places) <= self.thresholds.index_select(0, nodes)
            nodes = self.children.index_select(0, 2 * nodes + ~left)
            if level % _LEVELS == 0 and level < self.depth:
                leaves.index_copy_(0, going, nodes)
                goes = (nodes < self.num_nodes).nonzero()[:, 0]
                nodes, samples, going = (values.index_select(0, goes) for values in (nodes, samples, going))
        leaves.index_copy_(0, going, nodes)
        return (leaves - self.num_nodes).view(trees, batch)

    def _sum(self, leaves: torch.Tensor) -> torch.Tensor:
        """Leaves (trees, batch) -> totals (batch, classes)."""
        values = self.values.index_select(0, leaves.reshape(-1)).view(*leaves.shape, self.values.shape[1])
        return values.sum(0) if self.class_weights is None else (self.class_weights @ values[:, :, 0]).T

    def _numbered(self, entries: np.ndarray) -> np.ndarray:
        """Entries of tables, in which -1 - number is a leaf, as numbers of nodes."""
        return np.where(entries >= 0, entries, self.num_nodes + ~entries)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _index(self, array: np.ndarray) -> torch.Tensor:
        return self._tensor(array.astype(np.int32))


def _check_range(name: str, values: np.ndarray, least: int, beyond: int) -> None:
    if values.size and (values.min() < least or values.max() >= beyond):
        raise ValueError(f"{name}: got {values.min()} to {values.max()}; expected {least} to {beyond - 1}.")
