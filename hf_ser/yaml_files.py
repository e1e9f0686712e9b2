"""YAML files, safely loaded and bounded: no repeated keys, no nesting or anchors that grow beyond any use."""

from pathlib import Path
from typing import Any

import yaml

from hf_ser.errors import ConfigError

_LARGEST = 1 << 20  # bytes of a file
_DEEPEST = 30  # levels
_MERGE = "tag:yaml.org,2002:merge"  # <<: *anchor
_MOST = 20_000  # values, those behind repeated anchors counted each time


class _BoundedLoader(yaml.SafeLoader):
    """Safe loading that rejects a repeated key instead of keeping its last value, and deep nesting."""

    _level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._level += 1
        if self._level > _DEEPEST:
            raise yaml.YAMLError(f"it is nested too deeply; expected at most {_DEEPEST} levels")
        try:
            return super().compose_node(parent, index)
        finally:
            self._level -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.YAMLError(f"a key is a {type(key).__name__}; expected a word")
            if key in seen:
                raise yaml.YAMLError(f"the key {key} appears twice in one mapping")
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        ConfigError: it is not valid, too large, or nested too deeply.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise ConfigError(f"{path} has {size:,} bytes; expected a configuration of at most {_LARGEST:,}.")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_BoundedLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: encodings, dates, endless numbers
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())[:300]}") from error
    if _count(content, {}) > _MOST:
        raise ConfigError(f"{path} has more than {_MOST:,} values; expected a configuration. Repeated anchors count.")
    return content


def _count(value: Any, known: dict[int, int]) -> int:
    """Values in nested lists and mappings. Each anchor is counted once and multiplied, a cycle is infinite."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = _MOST + 1  # found again below itself, it is a cycle
        items = [*value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(item, known) for item in items)
    return known[id(value)]
