"""How an ensemble of decision trees is evaluated: no loop over trees or samples, 64 samples to an integer.

A batch is cut to words of 64 samples, one bit each. For every distinct decision of the ensemble there is a row of
words that tells which samples go left. These rows cost one binary search per sample and feature: a sample of rank r
among a feature's thresholds goes left at all of them from the r-th, so its bit is added there and the rows are summed
up. Then all trees are walked level by level from their roots: who reaches the left child is `reach & row`, who reaches
the right one is `reach ^ left`, 64 samples at a time. The number of the leaf is read off bit by bit in the same way.
After QuickScorer (Lucchese et al. 2015, https://doi.org/10.1145/2766462.2767733), whose bits are a tree's leaves.

A batch that is small beside the trees, as with the deep trees of forests, follows each sample's path instead.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

# What counts as missing, and where it goes. LightGBM's missing types None (NaN counts as 0), NaN and Zero (NaN counts
# as 0, and 0 is missing); scikit-learn's missing_go_to_left is the second or third.
MISSING = ("nan_is_zero", "nan_left", "nan_right", "zero_left", "zero_right")
_FILL = np.array([0.0, -np.inf, np.nan, -np.inf, np.nan])  # NaN is not at most anything, and so goes right
_FIRST_ZERO_KIND = 3
# LightGBM's kZeroThreshold, a float that it compares with doubles: what is not above it is 0.
ZERO = float(np.float32(1e-35))
_WORDS = 8  # of a portion of the batch: 512 samples
_ROWS = 1 << 16  # leaves that are evaluated at once, so that the words fit a processor's cache
_TREES = 4096  # and trees
_PATHS = 1 << 18  # that are followed at once
_LEVELS = 3  # after which paths that have ended are set aside


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
        """Refuse what are no trees.

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
        # An infinite threshold parts what is missing from all the rest.
        if np.isnan(self.thresholds).any():
            raise ValueError("thresholds: got NaN; expected numbers.")
        if not np.isfinite(self.values).all():
            raise ValueError(f"leaf values: got {self.values[~np.isfinite(self.values)][0]}; expected finite numbers.")
        targets = np.concatenate([self.roots, self.branches.ravel()]).astype(np.int64)
        times = np.bincount(np.where(targets >= 0, targets, nodes + ~targets), minlength=nodes + leaves)
        if (times != 1).any():
            place = int(np.flatnonzero(times != 1)[0])
            what = f"node {place}" if place < nodes else f"leaf {place - nodes}"
            raise ValueError(f"branches: got {what} {times[place]} times; expected every node and leaf once.")
        # Each node is entered once, so a loop can only be one that no root leads to.
        reached = sum(len(level) for level in self.levels(self.roots))
        if reached != nodes:
            raise ValueError(f"branches: got a loop of {nodes - reached} nodes; expected trees.")

    def levels(self, roots: np.ndarray) -> list[np.ndarray]:
        """Nodes at depth 0, 1, ... of these trees; the order is that of the children of the level above."""
        levels, level = [], roots[roots >= 0]
        while len(level):
            levels.append(level)
            entries = self.branches[level].T.ravel()
            level = entries[entries >= 0]
        return levels

    def leaf_trees(self) -> tuple[np.ndarray, np.ndarray]:
        """Tree of each leaf, and how many leaves each tree has."""
        trees = np.empty(len(self.values), np.int64)
        entries, owners = self.roots, np.arange(len(self.roots))
        while len(entries):
            inner = entries >= 0
            trees[~entries[~inner]] = owners[~inner]
            entries, owners = self.branches[entries[inner]].ravel(), np.repeat(owners[inner], 2)
        return trees, np.bincount(trees, minlength=len(self.roots))


@dataclass
class _Chunk:
    """Trees that are evaluated at once.

    Level by level the words of left children are followed by those of right children; after the last come zeros.
    """

    num_trees: int
    num_slots: int  # most leaves of one of the trees
    levels: list[tuple[torch.Tensor, torch.Tensor]]  # decisions of a level's nodes; those of its children that decide
    slots: torch.Tensor  # (num_slots * trees,): where the words of each tree's leaves are
    values: torch.Tensor  # (trees * num_slots, leaf_size)
    first: torch.Tensor  # (trees, 1): where each tree's leaf values begin
    weights: torch.Tensor | None  # (classes, trees): the class that a tree adds to; None where leaves hold all classes


class TreePlan:
    """Tables made ready for evaluation on one device.

    Args:
        tables: checked.
        num_classes: columns of the result.
        device: where to evaluate.
    """

    def __init__(self, tables: Tables, num_classes: int, device: torch.device) -> None:
        self.num_classes, self.device = num_classes, device
        nodes, trees = len(tables.features), len(tables.roots)
        columns, decisions = self._make_columns(tables)
        leaf_trees, counts = tables.leaf_trees()
        order = np.argsort(leaf_trees, kind="stable")
        slots = np.empty(len(order), np.int64)
        slots[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        by_size, self.chunks, start = np.argsort(counts, kind="stable"), [], 0
        while start < trees:
            # The last of a chunk is its largest, to which the others are padded.
            sizes = counts[by_size[start : start + _TREES]]
            number = max(1, int(np.searchsorted(sizes * np.arange(1, len(sizes) + 1), _ROWS)))
            chosen = by_size[start : start + number]
            self.chunks.append(self._make_chunk(tables, chosen, decisions, leaf_trees, slots))
            start += number
        # For paths, leaves are nodes that lead to themselves.
        itself = np.arange(nodes, nodes + len(tables.values))
        children = np.where(tables.branches >= 0, tables.branches, nodes + ~tables.branches)
        widths = [len(level) for level in tables.levels(tables.roots)]
        self.depth = len(widths)
        ends = [2 * width - after for width, after in zip(widths, [*widths[1:], 0][: len(widths)], strict=True)]
        self.mean_depth = sum(depth * number for depth, number in enumerate(ends, 1)) / len(tables.values)
        self.num_nodes = nodes
        self.roots = self._index(np.where(tables.roots >= 0, tables.roots, nodes + ~tables.roots))
        self.children = self._index(np.concatenate([children.ravel(), np.repeat(itself, 2)]))
        self.columns = self._index(np.concatenate([columns, np.zeros(len(itself), np.int64)]))
        self.thresholds = self._tensor(np.concatenate([tables.thresholds, np.full(len(itself), np.inf)]))
        self.values = self._tensor(tables.values)
        self.weights = self._class_weights(tables, np.arange(trees))

    @torch.no_grad()
    def totals(self, features: torch.Tensor) -> torch.Tensor:
        """Sum the leaves that samples fall into.

        Args:
            features: (batch, num_features), float64.

        Returns:
            (batch, classes), float64.
        """
        words = -(-len(features) // 64)
        # Which is faster was measured: a step of a path costs about a sixth of what a node costs per word.
        if len(features) * len(self.roots) * self.mean_depth <= 6 * self.num_nodes * words or not words:
            portions = features.split(max(1, _PATHS // len(self.roots)))
            return torch.cat([self._by_paths(self._fill(portion)) for portion in portions], dim=1).T
        return torch.cat([self._by_words(self._fill(portion)) for portion in features.split(64 * _WORDS)], dim=1).T

    def _fill(self, features: torch.Tensor) -> torch.Tensor:
        """Features (batch, features) -> columns (columns, batch) in which infinity stands for what is missing."""
        columns = features.T.index_select(0, self.column_features)
        absent = columns.isnan()
        if self.column_zero is not None:
            absent |= self.column_zero & (columns == 0)
        return torch.where(absent, self.column_fill, columns)

    def _by_paths(self, columns: torch.Tensor) -> torch.Tensor:
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
        return self._sum(self.values, (leaves - self.num_nodes).view(trees, batch), self.weights)

    def _by_words(self, columns: torch.Tensor) -> torch.Tensor:
        batch = columns.shape[1]
        rows, everyone = self._decide(columns)
        total = torch.zeros(self.num_classes, batch, dtype=torch.float64, device=self.device)
        for chunk in self.chunks:
            leaves = self._leaves(chunk, rows, everyone)
            total += self._sum(chunk.values, leaves[:, :batch] + chunk.first, chunk.weights)
        return total

    def _decide(self, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Columns (columns, batch) -> who goes left at each decision (decisions, words), and all samples (words,)."""
        batch = columns.shape[1]
        words = -(-batch // 64)
        samples = torch.arange(batch, device=self.device)
        word, bit = samples // 64, torch.ones_like(samples) << samples % 64
        everyone = torch.zeros(words, dtype=torch.int64, device=self.device).index_add_(0, word, bit)
        ranks, start = [], 0
        for thresholds in self.column_thresholds:
            stop = start + len(thresholds)
            ranks.append(torch.searchsorted(thresholds, columns[start:stop]))
            start = stop
        rows = torch.zeros(self.num_rows, words, dtype=torch.int64, device=self.device)
        if ranks:
            # Each column brings every sample once, so that the next one begins where all of them are taken off again;
            # bits of 64 samples never meet, and the sum of a word wraps around as two's complement does.
            rows[self.column_first[1:, 0]] = -everyone
            # NaN ranks behind the padding, too.
            rank = torch.minimum(torch.cat(ranks), self.column_sizes)
            places = (rank + self.column_first) * words + word
            rows.view(-1).scatter_add_(0, places.view(-1), bit.expand(len(columns), batch).reshape(-1))
        return rows.cumsum(0), everyone

    def _leaves(self, chunk: _Chunk, rows: torch.Tensor, everyone: torch.Tensor) -> torch.Tensor:
        """Who goes left (decisions, words) -> the leaf of each sample within its tree (trees, 64 * words)."""
        words = len(everyone)
        size = sum(2 * len(decisions) for decisions, _ in chunk.levels)
        reached = torch.empty(size + 1, words, dtype=torch.int64, device=self.device)
        reached[size:] = 0
        reach, start = everyone.expand(len(chunk.levels[0][0]) if chunk.levels else 0, words), 0
        for decisions, inner in chunk.levels:
            middle, stop = start + len(decisions), start + 2 * len(decisions)
            left = torch.bitwise_and(reach, rows.index_select(0, decisions), out=reached[start:middle])
            torch.bitwise_xor(reach, left, out=reached[middle:stop])
            reach, start = reached[start:stop].index_select(0, inner), stop
        slots = reached.index_select(0, chunk.slots).view(chunk.num_slots, -1)
        leaves = torch.zeros(chunk.num_trees, 64 * words, dtype=torch.int32, device=self.device)
        packed = None
        # A digit of the leaf's number is the union of the upper half of the slots, which then joins the lower half.
        for digit in reversed(range(math.ceil(math.log2(chunk.num_slots)))):
            half = 1 << digit
            upper = slots[half:]
            union = _union(upper)
            if digit:
                slots[: len(upper)] |= upper
                slots = slots[:half]
            # Eight samples' digits at once, each in a byte of its own
            spread = self.spread[digit % 8].index_select(0, union.view(torch.uint8).int())
            packed = spread if packed is None else packed.bitwise_or_(spread)
            if digit % 8 == 0:
                leaves.add_(packed.view(torch.uint8).view(chunk.num_trees, -1), alpha=1 << digit)
                packed = None
        return leaves

    @staticmethod
    def _sum(values: torch.Tensor, leaves: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """Leaf values (leaves, leaf_size) that samples fall into (trees, batch) -> totals (classes, batch)."""
        if weights is None:
            return values.index_select(0, leaves.reshape(-1)).view(*leaves.shape, values.shape[1]).sum(0).T
        return weights @ values[:, 0].index_select(0, leaves.reshape(-1)).view(leaves.shape)

    def _make_columns(self, tables: Tables) -> tuple[np.ndarray, np.ndarray]:
        """Set what `_fill` and `_decide` need.

        A column is a feature with one treatment of what is missing.

        Returns:
            Each node's column, and its row of decisions.
        """
        keys = tables.features.astype(np.int64) * len(MISSING) + tables.missing
        order = np.lexsort((tables.thresholds, keys))
        new = np.arange(len(order)) == 0
        for values in (keys[order], tables.thresholds[order]):
            new[1:] |= values[1:] != values[:-1]
        distinct = np.empty(len(order), np.int64)
        distinct[order] = np.cumsum(new) - 1
        thresholds = tables.thresholds[order][new]
        used, first, counts = np.unique(keys[order][new], return_index=True, return_counts=True)
        # By size, so that columns of about as many thresholds are searched together and little is padded
        by_size = np.argsort(counts, kind="stable")
        place = np.empty(len(used), np.int64)
        place[by_size] = np.arange(len(used))
        sizes = counts[by_size]
        start = np.cumsum(sizes + 1) - (sizes + 1)  # a row more than thresholds, for samples that never go left
        columns = place[np.searchsorted(used, keys)]
        rows = start[columns] + distinct - first[by_size][columns] if len(used) else distinct
        self.num_rows = int((sizes + 1).sum())
        self.column_first, self.column_sizes = self._tensor(start)[:, None], self._tensor(sizes)[:, None]
        self.column_thresholds = []
        for exponent in np.unique(np.frexp(sizes)[1]):
            group = np.flatnonzero(np.frexp(sizes)[1] == exponent)
            padded = np.full((len(group), sizes[group].max()), np.inf)
            for row, column in zip(padded, by_size[group], strict=True):
                row[: counts[column]] = thresholds[first[column] : first[column] + counts[column]]
            self.column_thresholds.append(self._tensor(padded))
        kinds = used[by_size] % len(MISSING)
        self.column_features = self._tensor(used[by_size] // len(MISSING))
        self.column_fill = self._tensor(_FILL[kinds])[:, None]
        zero = kinds >= _FIRST_ZERO_KIND
        self.column_zero = self._tensor(zero)[:, None] if zero.any() else None
        spread = ((np.arange(256)[:, None] >> np.arange(8) & 1) << 8 * np.arange(8)).sum(axis=1)
        self.spread = self._tensor(spread << np.arange(8)[:, None])
        return columns, rows

    def _make_chunk(
        self, tables: Tables, trees: np.ndarray, rows: np.ndarray, leaf_trees: np.ndarray, slots: np.ndarray
    ) -> _Chunk:
        place = np.full(len(tables.roots), -1)
        place[trees] = np.arange(len(trees))
        levels, leaves, places, start = [], [], [], 0
        for level in tables.levels(tables.roots[trees]):
            entries = tables.branches[level].T.ravel()
            ends = np.flatnonzero(entries < 0)
            leaves.append(~entries[ends])
            places.append(start + ends)
            levels.append((self._index(rows[level]), self._index(np.flatnonzero(entries >= 0))))
            start += len(entries)
        num_slots = 1 + int(max((slots[leaf].max() for leaf in leaves if len(leaf)), default=0))
        found = np.full((num_slots, len(trees)), start)
        if leaves:
            leaf = np.concatenate(leaves)
            found[slots[leaf], place[leaf_trees[leaf]]] = np.concatenate(places)
        values = np.zeros((len(trees), num_slots, tables.values.shape[1]))
        inside = np.flatnonzero(place[leaf_trees] >= 0)
        values[place[leaf_trees[inside]], slots[inside]] = tables.values[inside]
        return _Chunk(
            num_trees=len(trees),
            num_slots=num_slots,
            levels=levels,
            slots=self._index(found.ravel()),
            values=self._tensor(values.reshape(-1, values.shape[2])),
            first=self._index(np.arange(len(trees)) * num_slots)[:, None],
            weights=self._class_weights(tables, trees),
        )

    def _class_weights(self, tables: Tables, trees: np.ndarray) -> torch.Tensor | None:
        if tables.values.shape[1] > 1:
            return None
        return self._tensor((np.arange(self.num_classes)[:, None] == tables.tree_classes[trees]).astype(np.float64))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _index(self, array: np.ndarray) -> torch.Tensor:
        return self._tensor(array.astype(np.int32))


def _union(words: torch.Tensor) -> torch.Tensor:
    """Words (slots, number) -> (number,): or them all."""
    while len(words) > 1:
        half = len(words) // 2
        joined = words[:half] | words[half : 2 * half]
        if len(words) % 2:
            joined[0] |= words[-1]
        words = joined
    return words[0].contiguous()


def _check_range(name: str, values: np.ndarray, least: int, beyond: int) -> None:
    if values.size and (values.min() < least or values.max() >= beyond):
        raise ValueError(f"{name}: got {values.min()} to {values.max()}; expected {least} to {beyond - 1}.")
