"""Broken copies of good files, drawn at random from a seed."""

import copy
import random
from collections.abc import Iterator
from typing import Any

_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 10**9, 10**30, 0.5, -0.5, 1e308, float("nan"), float("inf"), "", "x", "1"),
    *([], {}, [[]], {"a": {}}, ["x"] * 3, "<script>alert(1)</script>", "../../etc/passwd", "\x00", "\ud800"),
)


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat, insert or remove bytes, more often near the start, where headers are."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        if not data:
            break
        end = len(data) if rng.random() < 0.4 else min(len(data), 128)
        at = rng.randrange(end)
        kind = rng.choice(("flip", "set", "cut", "insert", "remove", "repeat", "large"))
        if kind == "flip":
            data[at] ^= 1 << rng.randrange(8)
        elif kind == "set":
            data[at] = rng.choice((0, 1, 127, 128, 255))
        elif kind == "cut":
            del data[at:]
        elif kind == "insert":
            data[at:at] = rng.randbytes(rng.randint(1, 64))
        elif kind == "remove":
            del data[at : at + rng.randint(1, 64)]
        elif kind == "repeat":
            data[at:at] = data[at : at + rng.randint(1, 256)]
        else:
            data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)))
    return bytes(data)


def mutate_value(content: Any, rng: random.Random) -> Any:
    """Replace, remove, add or nest one to three values of nested lists and mappings."""
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(content))
        if not places:
            break
        holder, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.15:
            del holder[key]
        elif kind < 0.2 and isinstance(holder, dict):
            holder[str(key) + "_x"] = holder[key]
        elif kind < 0.25:
            holder[key] = [holder[key]]
        else:
            holder[key] = copy.deepcopy(rng.choice(_ODD))
    return content


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)
