"""What others report for an architecture, to stand beside our own score of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from hf_ser.arguments import ConfigError


@dataclass(frozen=True)
class Published:
    """A reported accuracy, the corpus that it was measured on, and in words the clips."""

    accuracy: float
    corpus: str
    protocol: str


def read_published(path: Path) -> dict[str, Published]:
    """Read a YAML file that maps models to `{accuracy: 0.56, corpus: ravdess, protocol: in words}`.

    Raises:
        ConfigError: not such a mapping, or an accuracy outside 0 to 1.
    """
    expected = "expected models with {accuracy: from 0 to 1, corpus: such as ravdess, protocol: in words}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"--published {path}: {error}; {expected}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--published {path}: got {type(content).__name__}; {expected}.")
    reported = {}
    for name, entry in content.items():
        if not isinstance(entry, dict) or entry.keys() != {"accuracy", "corpus", "protocol"}:
            raise ConfigError(f"--published {path}: {name} is {entry!r}; {expected}.")
        accuracy = entry["accuracy"]
        if not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
            raise ConfigError(f"--published {path}: the accuracy of {name} is {accuracy!r}; {expected}.")
        reported[str(name)] = Published(accuracy, str(entry["corpus"]), str(entry["protocol"]))
    return reported


def published_for(run_name: str, corpora: Collection[str], reported: Mapping[str, Published]) -> str | None:
    """The longest model that the run's name begins with, as `audio_cnn_plus_random` is of audio_cnn.

    Args:
        run_name: of our run.
        corpora: of its test clips; a figure of one corpus says nothing about several, or another.
        reported: see `read_published`.
    """
    found = [name for name in reported if run_name == name or run_name.startswith(f"{name}_")]
    name = max(found, key=len, default=None)
    return name if name is not None and set(corpora) == {reported[name].corpus} else None
