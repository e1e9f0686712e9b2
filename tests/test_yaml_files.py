"""YAML files that are broken, hostile or only odd."""

import time

import pytest

from hf_ser.errors import ConfigError
from hf_ser.yaml_files import load_yaml

_LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 8)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "the key a appears twice"),
        ("[" * 5000, "nested too deeply"),
        ("a: " * 40 + "1", "not valid YAML|nested too deeply"),
        ("".join(f"{' ' * level}k:\n" for level in range(1, 60)), "nested too deeply"),
        ("a: " + "9" * 6000, "not valid YAML"),
        (_LAUGHS, "more than 20,000 values"),
        ("a: &a [*a]\n", "more than 20,000 values"),
        ("a: &a\n  b: *a\n", "more than 20,000 values"),
        ("? [1, 2]\n: 3\n", "a key is a list"),
        ("a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("a: 2024-13-45\n", "not valid YAML"),
        ("\x00", "not valid YAML"),
        ("x" * (1 << 21), "bytes; expected a configuration of at most"),
    ],
)
def test_what_is_rejected_is_rejected_at_once(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    start = time.monotonic()
    with pytest.raises(ConfigError, match=message):
        load_yaml(path)
    assert time.monotonic() - start < 5


def test_bytes_that_are_not_utf8(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_yaml(tmp_path / "config.yaml")


def test_anchors_of_reasonable_size(tmp_path):
    (tmp_path / "config.yaml").write_text("a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  y: 2\n")
    assert load_yaml(tmp_path / "config.yaml") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
