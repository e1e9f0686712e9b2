"""Published accuracies, shown next to our own scores of the same architecture."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from hf_ser.arguments import ConfigError, load_yaml

_FIELDS = {"accuracy", "corpus", "protocol", "runs"}


@dataclass(frozen=True)
class Published:
    """A published accuracy, the corpus and (in words) the clips it was measured on, and our runs of the system."""

    accuracy: float
    corpus: str
    protocol: str
    runs: tuple[str, ...]


def read_published(path: Path) -> dict[str, Published]:
    """Read a YAML file of systems: `{accuracy: 0.56, corpus: ravdess, protocol: in words, runs: [audio_cnn]}`.

    `runs` lists the names of our runs of the system, with or without their protocol.

    Raises:
        ConfigError: another structure, an accuracy outside 0 to 1, or a run in two systems.
    """
    expected = (
        "expected systems with {accuracy: from 0 to 1, corpus: such as ravdess, protocol: in words, runs: a list of "
        "names}"
    )
    content = load_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"--published {path}: got {type(content).__name__}; {expected}.")
    reported: dict[str, Published] = {}
    for name, entry in content.items():
        if not isinstance(entry, dict) or entry.keys() != _FIELDS or not isinstance(entry["runs"], list):
            raise ConfigError(f"--published {path}: {name} is {entry!r}; {expected}.")
        accuracy, runs = entry["accuracy"], tuple(map(str, entry["runs"]))
        if not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
            raise ConfigError(f"--published {path}: the accuracy of {name} is {accuracy!r}; {expected}.")
        for other, before in reported.items():
            if repeated := set(runs) & set(before.runs):
                raise ConfigError(f"--published {path}: {min(repeated)} is in the runs of {other} and {name}.")
        reported[str(name)] = Published(accuracy, str(entry["corpus"]), str(entry["protocol"]), runs)
    return reported


def published_for(
    run_names: Collection[str], corpora: Collection[str], reported: Mapping[str, Published]
) -> str | None:
    """Return the system that lists a run, or None.

    Args:
        run_names: names of the run, with and without its protocol.
        corpora: of its test clips. A figure for one corpus is not shown for other or several corpora.
        reported: see `read_published`.
    """
    found = (name for name, other in reported.items() if set(other.runs) & set(run_names))
    name = next(found, None)
    return name if name is not None and set(corpora) == {reported[name].corpus} else None
