"""The entries of a leaderboard: runs in folders or on the Hub, and what is known about each beside its scores."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.errors import SerError
from hf_ser.local_or_hub import id_and_revision, is_hub_id
from hf_ser.reporting.comparison import Run, find_runs, load_runs
from hf_ser.results_file import RESULTS

ROBUSTNESS, CARD = "robustness.json", "README.md"
_FILES = (RESULTS, ROBUSTNESS, CARD, "predictions*.parquet")
# Names in a file from elsewhere are printed in headings, so that they must not contain markup.
_NAME = re.compile(r"[\w .,:()/+@=-]{1,200}")


class LeaderboardError(SerError):
    """Entries that cannot be used, or a file with speeds that does not follow its format."""


@dataclass(frozen=True)
class Speeds:
    """Clips per second of models, all measured on one machine by benchmarks/model_speed.py.

    Args:
        said: machine, length of the clips, threads and precision, in one sentence.
        clips_per_s: name of the model -> clips per second.
    """

    said: str
    clips_per_s: Mapping[str, float]


@dataclass(frozen=True)
class Entry:
    """A run on the leaderboard.

    Args:
        run: its results and predictions.
        source: its Hub id with the commit, or its folder's name.
        speed: clips per second; None if it was not measured.
    """

    run: Run
    source: str
    speed: float | None

    @cached_property
    def is_checked(self) -> bool:
        """Whether the stored predictions give the score in results.json."""
        try:
            return bool(self.run.predictions)
        except SerError:
            return False

    @cached_property
    def licence(self) -> str | None:
        """The licence in the model card; None without a card or a licence in it."""
        from huggingface_hub import ModelCard

        path = self.run.folder / CARD
        if not path.is_file():
            return None
        try:
            licence = ModelCard.load(path).data.license
        except ValueError:  # no valid YAML at the top
            return None
        return licence if isinstance(licence, str) and _NAME.fullmatch(licence) else None

    @cached_property
    def robustness(self) -> float | None:
        """Mean UAR over the levels of each condition, then over conditions; None without a robustness.json."""
        path = self.run.folder / ROBUSTNESS
        if not path.is_file():
            return None
        try:
            conditions = json.loads(path.read_text(encoding="utf-8"))["conditions"]
            means = [np.mean([level["scores"]["uar"] for level in of["levels"]]) for of in conditions]
        except (ValueError, KeyError, TypeError) as error:
            raise LeaderboardError(f"{path}: expected a file written by recipes/robustness.py ({error}).") from error
        return float(np.mean(means)) if means else None


def load_entries(
    names: Sequence[str], shown: Mapping[str, str], protocol: str | None, speeds: Speeds | None
) -> list[Entry]:
    """Read the entries; those on the Hub are downloaded without their weights.

    Args:
        names: folders of runs, patterns of folders, and Hub ids, as OWNER/NAME or OWNER/NAME@REVISION.
        shown: run -> name to show.
        protocol: the only protocol that is allowed; None for any.
        speeds: measured speeds; None for none.

    Raises:
        LeaderboardError: an entry on the Hub that cannot be downloaded, or has names with markup.
        ComparisonError, ResultsError: folders without usable results.
    """
    folders: list[Path] = []
    hub_names: dict[str, str] = {}  # folder -> id
    for name in names:
        repository, revision = id_and_revision(name)
        if is_hub_id(repository):
            folder = download(repository, revision)
            hub_names[folder.as_posix()] = repository
            folders.append(folder)
        else:
            folders += [folder for folder in find_runs([name]) if folder not in folders]
    runs = load_runs(folders, {**hub_names, **shown}, protocol)
    entries = []
    for run in runs:
        hub_id = hub_names.get(run.folder.as_posix())
        if hub_id is not None:
            _check_names(run, hub_id)
        source = f"{hub_id}@{run.folder.name[:8]}" if hub_id else run.folder.name
        entries.append(Entry(run, source, _speed(run, hub_id, speeds)))
    return entries


def download(repository: str, revision: str) -> Path:
    """Download the results of a model on the Hub, without its weights -> the folder of its commit in the cache.

    Raises:
        LeaderboardError: the repository does not exist, is not reachable, or has no results.json.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(_FILES)))
    except (OSError, ValueError) as error:  # those of the Hub are OSErrors
        raise LeaderboardError(f"{repository}@{revision}: {' '.join(str(error).split())[:300]}") from error
    if not (folder / RESULTS).is_file():
        raise LeaderboardError(
            f"{repository}@{revision} has no {RESULTS}; expected a model pushed by recipes/push.py. Score other "
            "models with recipes/evaluate.py, and pass the folder of that run."
        )
    return folder


def _check_names(run: Run, name: str) -> None:
    dataset, protocol = run.results["dataset"], run.results["protocol"]
    notes = [note for note in protocol["notes"] if not _NAME.fullmatch(note.replace("'", ""))]
    words = [dataset["name"], dataset["configuration"] or "-", protocol["name"], run.results["model_type"] or "-"]
    wrong = [word for word in [*words, *run.labels, *dataset["synthetic"]] if not _NAME.fullmatch(word)] + notes
    if wrong:
        raise LeaderboardError(f"{name}: {wrong[0][:80]!r} in its {RESULTS} is not a plain name.")


def read_speeds(path: Path) -> Speeds:
    """Read a file of benchmarks/model_speed.py.

    Raises:
        LeaderboardError: the file is missing or does not follow the format.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        speeds = {str(name): float(speed) for name, speed in content["clips_per_s"].items()}
        said = f"Clips of {content['clip_s']:g} s, one by one, {content['threads']} thread(s): {content['machine']}."
    except OSError as error:
        raise LeaderboardError(f"--speeds {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LeaderboardError(
            f"--speeds {path}: expected a file of benchmarks/model_speed.py ({error!r})."
        ) from error
    return Speeds(said, speeds)


def _speed(run: Run, hub_id: str | None, speeds: Speeds | None) -> float | None:
    known = speeds.clips_per_s if speeds else {}
    names = (hub_id or run.name, str(run.results["name"]), run.short)
    return next((known[name] for name in names if name in known), None)
