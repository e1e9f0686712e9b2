"""Evaluation of an ensemble of decision trees, level by level for all trees and samples of a batch."""

from dataclasses import dataclass

import numpy as np
import torch

# Which values are missing, and where they go. These are LightGBM's missing types None (NaN is 0), NaN, and Zero (NaN
# is 0, and 0 is missing). scikit-learn's missing_go_to_left corresponds to nan_left or nan_right.
MISSING = ("nan_is_zero", "nan_left", "nan_right", "zero_left", "zero_right")
_FILL = np.array([0.0, -np.inf, np.nan, -np.inf, np.nan])  # comparisons with NaN are false, so NaN goes right
_FIRST_ZERO_KIND = 3
# LightGBM's kZeroThreshold, a float that it compares with doubles: magnitudes up to it are 0.
ZERO = float(np.float32(1e-35))
_PATHS = 1 << 18  # maximum number of paths that are followed at once
_LEVELS = 3  # number of levels after which finished paths are dropped


@dataclass
class Tables:
    """Trees as numpy arrays; see `TreeEnsemble` for their meaning."""

    roots: np.ndarray
    branches: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    missing: np.ndarray
    tree_classes: np.ndarray
    values: np.ndarray

    def check(self, num_features: int, num_classes: int) -> None:
        """Check that the arrays are valid trees.

        Raises:
            ValueError: an index is out of range, a node or leaf is not reached exactly once, a threshold is NaN, or a
                leaf value is not finite.
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
        # Each node is entered once, so no root leads to a loop.
        reached = sum(len(level) for level in self.levels())
        if reached != nodes:
            raise ValueError(f"branches: got a loop of {nodes - reached} nodes; expected trees without loops.")

    def levels(self) -> list[np.ndarray]:
        """Indices of the nodes at depth 0, 1, ... of all trees."""
        levels, level = [], self.roots[self.roots >= 0]
        while len(level):
            levels.append(level)
            children = self.branches[level].ravel()
            level = children[children >= 0]
        return levels


class TreeInference:
    """Tables prepared for evaluation on one device.

    Args:
        tables: valid trees.
        num_classes: number of columns of the result.
        device: device to evaluate on.
    """

    def __init__(self, tables: Tables, num_classes: int, device: torch.device) -> None:
        self.device, self.num_nodes, self.depth = device, len(tables.features), len(tables.levels())
        # A column is a feature with one treatment of missing values.
        keys = tables.features.astype(np.int64) * len(MISSING) + tables.missing
        columns, of_node = np.unique(keys, return_inverse=True)
        kinds = columns % len(MISSING)
        self.column_features = self._tensor(columns // len(MISSING))
        self.column_fill = self._tensor(_FILL[kinds])[:, None]
        zero = kinds >= _FIRST_ZERO_KIND
        self.column_zero = self._tensor(zero)[:, None] if zero.any() else None
        # Leaves are additional nodes that lead to themselves; their column and threshold do not matter.
        leaves = np.arange(self.num_nodes, self.num_nodes + len(tables.values))
        children = self._numbered(tables.branches).ravel()
        self.roots = self._index(self._numbered(tables.roots))
        self.children = self._index(np.concatenate([children, np.repeat(leaves, 2)]))
        self.columns = self._index(np.concatenate([of_node, np.zeros(len(leaves), np.int64)]))
        self.thresholds = self._tensor(np.concatenate([tables.thresholds, np.full(len(leaves), np.inf)]))
        self.values = self._tensor(tables.values)
        self.class_weights: torch.Tensor | None = None  # (classes, trees), if a leaf is a number
        if tables.values.shape[1] == 1:
            of_class = np.arange(num_classes)[:, None] == tables.tree_classes
            self.class_weights = self._tensor(of_class.astype(np.float64))

    @torch.no_grad()
    def totals(self, features: torch.Tensor) -> torch.Tensor:
        """Sum the values of the leaves that samples reach.

        Args:
            features: (batch, num_features), float64.

        Returns:
            (batch, classes), float64.
        """
        if torch.compiler.is_exporting():
            return self._sum(self._leaves(self._fill(features)))
        portions = features.split(max(1, _PATHS // len(self.roots)))
        return torch.cat([self._sum(self._leaves(self._fill(portion))) for portion in portions])

    def _fill(self, features: torch.Tensor) -> torch.Tensor:
        """Features (batch, features) -> columns (columns, batch) with missing values replaced."""
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
        going, leaves = torch.arange(nodes.shape[0], device=self.device), torch.empty_like(nodes)
        for level in range(1, self.depth + 1):
            places = self.columns.index_select(0, nodes) * batch + samples
            left = flat.index_select(0, places) <= self.thresholds.index_select(0, nodes)
            nodes = self.children.index_select(0, 2 * nodes + ~left)
            if level % _LEVELS == 0 and level < self.depth and not torch.compiler.is_exporting():
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
        """Convert entries of tables, in which -1 - index is a leaf, to indices of nodes."""
        return np.where(entries >= 0, entries, self.num_nodes + ~entries)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _index(self, array: np.ndarray) -> torch.Tensor:
        return self._tensor(array.astype(np.int32))


def _check_range(name: str, values: np.ndarray, least: int, beyond: int) -> None:
    if values.size and (values.min() < least or values.max() >= beyond):
        raise ValueError(f"{name}: got {values.min()} to {values.max()}; expected {least} to {beyond - 1}.")
