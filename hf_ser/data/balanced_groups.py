"""Divide clips into parts by whole groups, such as speakers, with classes and genders in balance."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hf_ser.data.assignment import Row

_CANDIDATES = 256


def by(rows: "Iterable[Row]", key: "Callable[[Row], str]") -> "dict[str, list[Row]]":
    """Group rows by a key, in the order of the keys."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(sorted(groups.items()))


def quotas(total: int, ratios: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `ratios`: all but the first are rounded, to at least 1 if the total allows it."""
    others = [max(1, int(total * ratio + 0.5)) for ratio in ratios[1:]]
    while sum(others) > max(total - 1, 0):
        others[max(range(len(others)), key=lambda index: (others[index], index))] -= 1
    return [total - sum(others), *others]


def choose_groups(
    rows: "Sequence[Row]", group_of: "Callable[[Row], str]", ratios: Sequence[float], seed_key: str
) -> dict[str, int]:
    """Assign whole groups (speakers, texts) to parts so that each part gets about its share of each class and gender.

    The best of a fixed number of seeded shuffles is used. A class missing from a part outweighs any imbalance.

    Args:
        rows: the clips.
        group_of: clip -> its group.
        ratios: share of each part.
        seed_key: seed of the shuffles.

    Returns:
        Group -> number of its part.
    """
    groups = by(rows, group_of)
    names = list(groups)
    traits = sorted({row.emotion for row in rows}) + sorted({f"gender:{row.gender}" for row in rows})
    counts = np.zeros((len(names), len(traits)))
    for index, name in enumerate(names):
        for trait, count in Counter(row.emotion for row in groups[name]).items():
            counts[index, traits.index(trait)] = count
        for gender, count in Counter(row.gender for row in groups[name]).items():
            counts[index, traits.index(f"gender:{gender}")] = count
    bounds = np.cumsum([0, *quotas(len(names), ratios)])
    totals = counts.sum(axis=0)
    rng = random.Random(seed_key)
    best_cost, best_order = np.inf, list(range(len(names)))
    for _ in range(_CANDIDATES):
        order = list(range(len(names)))
        rng.shuffle(order)
        cost = 0.0
        for part, ratio in enumerate(ratios):
            held = counts[order[bounds[part] : bounds[part + 1]]].sum(axis=0)
            cost += float((((held - ratio * totals) ** 2) / totals).sum()) + 1e9 * float((held == 0).sum())
        if cost < best_cost:
            best_cost, best_order = cost, order
    return {names[index]: part for part in range(len(ratios)) for index in best_order[bounds[part] : bounds[part + 1]]}
