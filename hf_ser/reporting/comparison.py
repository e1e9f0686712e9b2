"""Finished runs side by side: which of them are comparable, and their ranking.

Scores under different protocols, or on different clips, are not comparable: such runs are in separate groups.
"""

import glob
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hf_ser.arguments import ConfigError
from hf_ser.data.protocols import FOLDED
from hf_ser.errors import SerError
from hf_ser.labels import EMOTIONS
from hf_ser.reporting.run_report import ReportArguments
from hf_ser.results_file import RESULTS, read_results
from hf_ser.scoring.bootstrap import CLUSTERED, PLAIN, point_scores
from hf_ser.scoring.predictions import Predictions, read_predictions

COMPARISON = "comparison.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


class ComparisonError(SerError):
    """Runs that are not comparable, or a file without the markers for the tables."""


@dataclass
class CompareArguments(ReportArguments):
    """The runs to compare, and where the tables are written.

    >>> CompareArguments(["runs/audio_cnn", "runs/mel_cnn"], output_dir="runs/comparison", figures=False).overwrite
    False
    """

    runs: list[str] = field(
        metadata={"help": "folders of finished runs, or patterns such as 'runs/*'; the flag itself may be omitted"}
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "folder for comparison.md, .csv, .tex and figures; default: print only"}
    )
    protocol: str | None = field(default=None, metadata={"help": "raise an error for runs of another protocol"})
    readme: str | None = field(
        default=None, metadata={"help": f"file in which the tables replace the text between {BEGIN} and {END}"}
    )
    names: list[str] = field(
        default_factory=list,
        metadata={"help": "names for tables and figures, as RUN=NAME; RUN with or without its protocol"},
    )
    published: str | None = field(
        default=None, metadata={"help": "YAML file of published accuracies, such as results/published.yaml"}
    )
    equivalence: float | None = field(
        default=None, metadata={"help": "also test whether each run is within this UAR of the best one, such as 0.02"}
    )
    overwrite: bool = field(default=False, metadata={"help": "replace an earlier comparison in output_dir"})

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("runs is empty; expected at least one folder of a finished run.")
        names_of_runs(self.names)
        if self.readme is not None and not Path(self.readme).is_file():
            raise ConfigError(
                f"--readme {self.readme}: no such file; expected one with the markers {BEGIN} and {END}."
            )
        if self.equivalence is not None and not 0 < self.equivalence < 1:
            raise ConfigError(f"--equivalence is {self.equivalence}; expected a difference in UAR, such as 0.02.")
        if self.published is not None and not Path(self.published).is_file():
            raise ConfigError(f"--published {self.published}: no such file; expected YAML.")
        folder = Path(self.output_dir or "")
        if self.output_dir is None:
            return
        self.check_figures()
        if (folder / RESULTS).exists():
            raise ConfigError(f"--output_dir {folder} contains a run; expected another folder.")
        if (folder / COMPARISON).exists() and not self.overwrite:
            raise ConfigError(f"--output_dir {folder} contains a comparison; pass --overwrite true to replace it.")


def names_of_runs(entries: Sequence[str]) -> dict[str, str]:
    """Return run -> name for tables and figures.

    Args:
        entries: of the form RUN=NAME.

    Raises:
        ConfigError: an entry of another form, or a run with two names.

    >>> names_of_runs(["audio_cnn=AudioCNN (ours)"])
    {'audio_cnn': 'AudioCNN (ours)'}
    """
    pairs = [[" ".join(part.split()) for part in entry.split("=", 1)] for entry in entries]
    for entry, pair in zip(entries, pairs, strict=True):
        if len(pair) != 2 or not all(pair):
            raise ConfigError(f'--names: got {entry!r}; expected RUN=NAME, such as audio_cnn="AudioCNN (ours)".')
    repeated = [run for run, count in Counter(run for run, _ in pairs).items() if count > 1]
    if repeated:
        raise ConfigError(f"--names: {repeated[0]} has two names; expected one.")
    return {run: name for run, name in pairs}


class Key(NamedTuple):
    """What runs must have in common to be comparable."""

    protocol: str
    dataset: str
    configuration: str | None
    synthetic: tuple[str, ...]
    fold: int | None
    classes: tuple[str, ...]
    seeds: tuple[int, ...]  # only if the test clips depend on them
    clips: str


_WORDS = {"clips": "test clips", "seeds": "seeds of the splits", "synthetic": "synthetic corpora"}


@dataclass(eq=False)
class Run:
    """A finished run.

    Args:
        folder: of the run.
        name: from results.json, or chosen by the person.
        short: the name without the protocol at its end.
        results: content of results.json.
        shown: the name in tables and figures, unique within the run's group.
    """

    folder: Path
    name: str
    short: str
    results: dict[str, Any]
    shown: str

    @property
    def scored(self) -> dict[str, Any] | None:
        """The test split, or all clips; None if folds have different classes, so that no scores are pooled."""
        return self.results["splits"].get("test") or self.results["splits"].get("all")

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The folds and seeds of a cross-validation."""
        return self.results.get("runs") or []

    @property
    def scores(self) -> dict[str, float | None]:
        """Every score of the split, or its mean over folds."""
        over = self.results.get("over_folds")
        return self.scored["scores"] if self.scored else over["mean"] if over else self.parts[0]["test"]

    @property
    def std(self) -> dict[str, float | None]:
        """Standard deviation of every score over seeds, or over folds without pooled scores; empty for one run."""
        over = self.results.get("over_folds")
        return (self.scored["std"] if self.scored else over["std"] if over else None) or {}

    @property
    def by_corpus(self) -> dict[str, Any] | None:
        """The mean over corpora; None for one corpus, and for runs of versions without it."""
        return self.scored.get("by_corpus") if self.scored else None

    def interval(self, score: str) -> tuple[float | None, float | None]:
        """A score's 95 % interval, clustered on speakers if they are known."""
        low, high = self.scored["intervals"][0].get(score, (None, None)) if self.scored else (None, None)
        return low, high

    def headline(self, merged: bool) -> tuple[float | None, tuple[float | None, float | None]]:
        """The UAR that ranks the run, with its interval; of a merged set, the mean over its corpora."""
        if merged and self.by_corpus:
            low, high = self.by_corpus["intervals"]["uar"] or (None, None)
            return self.by_corpus["scores"]["uar"], (low, high)
        return self.scores["uar"], self.interval("uar")

    @property
    def drawn(self) -> str:
        """How the bootstrap of the intervals draws clips, to follow the noun."""
        plain = self.scored and self.scored["intervals"][0]["method"] == PLAIN
        return "over clips (speakers unknown)" if plain else CLUSTERED

    @property
    def labels(self) -> tuple[str, ...]:
        """The scored classes, in the package's order."""
        order = {label: index for index, label in enumerate(EMOTIONS)}
        names = self.scored["labels"] if self.scored else ()
        return tuple(sorted(names, key=lambda label: (order.get(label, len(order)), label)))

    @property
    def left_out(self) -> dict[str, int]:
        """Clips per class that were not scored."""
        every = [self.scored["left_out"] if self.scored else {}, *(part["left_out"] for part in self.parts)]
        return dict(sum((Counter(counts) for counts in every), Counter()))

    @property
    def _configuration(self) -> str | None:
        """The dataset's configuration; with auxiliary corpora, that of the only corpus under test."""
        corpora = list(self.scored["groups"]["corpus"]["groups"]) if self.scored else []
        if self.results["protocol"].get("auxiliary_corpora") and len(corpora) == 1:
            return corpora[0]
        return self.results["dataset"]["configuration"]

    @property
    def key(self) -> Key:
        """The run's group."""
        dataset, protocol = self.results["dataset"], self.results["protocol"]
        seeds = self.results["seeds"] if self.parts and protocol["name"] not in FOLDED else []
        if self.scored:
            clips = self.scored["clips_hash"]
        else:
            columns = ("fold_name", "seed", "protocol_hash", "clips", "left_out")
            parts = sorted(json.dumps([part[column] for column in columns], sort_keys=True) for part in self.parts)
            clips = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return Key(
            protocol["name"],
            dataset["name"],
            self._configuration,
            tuple(sorted(dataset["synthetic"])),
            protocol["fold"],
            self.labels,
            tuple(sorted(seeds)) if len(seeds) > 1 else (),
            clips,
        )

    @cached_property
    def predictions(self) -> list[Predictions]:
        """One table per seed, classes in the order of `labels`.

        Raises:
            PredictionsError: a table is invalid.
            ComparisonError: a table is missing, or does not match results.json.
        """
        if self.scored is None:
            raise ComparisonError("its folds are not pooled")
        tables = []
        for name in self.scored["predictions"]:
            if not (self.folder / name).is_file():
                raise ComparisonError(f"its {name} is missing")
            table = read_predictions(self.folder / name)
            if sorted(table.labels) != sorted(self.labels):
                raise ComparisonError(f"the classes in its {name} differ from those in its results.json")
            columns = [table.labels.index(label) for label in self.labels]
            label_ids = [self.labels.index(table.labels[label]) for label in table.clips["label"]]
            clips = {**table.clips, "label": label_ids}
            tables.append(Predictions(clips, table.probabilities[:, columns], self.labels))
        ids = sorted({clip for table in tables for clip in table.clips["id"]})
        uar = np.mean([point_scores(table.label_ids, table.predicted, len(self.labels))["uar"] for table in tables])
        same = hashlib.sha256("\n".join(ids).encode()).hexdigest() == self.scored["clips_hash"]
        if not same or abs(uar - self.scored["scores"]["uar"]) > 1e-6:
            raise ComparisonError("its predictions do not match its results.json")
        return tables

    def pooled(self) -> tuple[np.ndarray, np.ndarray]:
        """True class ids (clips,) and probabilities (clips, classes) of all seeds."""
        tables = self.predictions
        label_ids = np.concatenate([table.label_ids for table in tables])
        return label_ids, np.concatenate([table.probabilities for table in tables])


def find_runs(patterns: Sequence[str]) -> list[Path]:
    """Return the folders of runs that are named or match a pattern such as `results/*_emobox`.

    Args:
        patterns: folders, which are returned as they are, and glob patterns. A pattern skips folders without a
            results.json. Its matches are sorted, and folders that were found before are not repeated.

    Raises:
        ComparisonError: a pattern matches no run.
    """
    found: list[Path] = []
    for pattern in patterns:
        if Path(pattern).exists() or not glob.has_magic(pattern):
            found.append(Path(pattern))
            continue
        matches = [path for path in map(Path, sorted(glob.glob(pattern))) if (path / RESULTS).is_file()]
        if not matches:
            raise ComparisonError(f"runs: {pattern!r} matches no folder with a {RESULTS}.")
        known = {path.resolve() for path in found}
        found += [path for path in matches if path.resolve() not in known]
    return found


def load_runs(
    folders: Sequence[str | Path], names: Mapping[str, str] | None = None, protocol: str | None = None
) -> list[Run]:
    """Read the results of finished runs.

    Args:
        folders: of the runs.
        names: run, with or without its protocol, or its folder -> name to show.
        protocol: the only protocol that is allowed.

    Raises:
        ResultsError: a folder without a valid results.json.
        ComparisonError: a repeated folder, runs without test scores or of another protocol, or a name without a run.
    """
    paths = [Path(folder) for folder in folders]
    repeated = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if repeated:
        raise ComparisonError(f"got {repeated[0]} twice; expected each run once.")
    runs, used = [], set()
    for path in paths:
        results = read_results(path)
        name = " ".join(results["name"].split())
        short = without_protocol(name, results["protocol"]["name"])
        key = next((key for key in (path.as_posix(), name, short) if key in (names or {})), None)
        if names and key is not None:
            used.add(key)
            name = short = names[key]
        runs.append(Run(path, name, short, results, name))
    unused = [key for key in names or {} if key not in used]
    if unused:
        raise ComparisonError(f"--names: no run is called {unused[0]}; got {', '.join(run.name for run in runs)}.")
    dimensional = [str(run.folder) for run in runs if run.results.get("dimensions")]
    if dimensional:
        raise ComparisonError(f"{', '.join(dimensional)}: scores of dimensions; expected runs with scores of classes.")
    empty = [str(run.folder) for run in runs if run.scored is None and not run.parts]
    if empty:
        raise ComparisonError(f"{', '.join(empty)}: no test scores; expected runs with a scored test split.")
    other = [f"{run.folder} ({run.key.protocol})" for run in runs if protocol not in (None, run.key.protocol)]
    if other:
        raise ComparisonError(f"got {', '.join(other)}; expected runs under {protocol} only (--protocol).")
    return runs


def without_protocol(name: str, protocol: str) -> str:
    """Return a run's name without its protocol at the end; the whole name if nothing else is left.

    >>> without_protocol("audio_cnn_plus_emobox", "emobox")
    'audio_cnn_plus'
    """
    return re.sub(rf"[\s_.,(-]*{re.escape(protocol)}\)?$", "", name, flags=re.IGNORECASE) or name


def group(runs: Iterable[Run]) -> dict[Key, list[Run]]:
    """Group comparable runs, each group ranked by UAR; names omit the protocol where they stay unique."""
    groups: dict[Key, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.key].append(run)
    return {key: rank(distinct(groups[key], short=True)) for key in sorted(groups, key=str)}


def rank(runs: Sequence[Run]) -> list[Run]:
    """Order the runs of one group by UAR, the best first; on several corpora, by the mean over them if all have it.

    Raises:
        ComparisonError: the runs belong to several groups; the message names what differs.
    """
    keys = {run.key for run in runs}
    protocols = sorted({key.protocol for key in keys})
    if len(protocols) > 1:
        raise ComparisonError(f"got runs under {' and '.join(protocols)}; expected one protocol per ranking.")
    if len(keys) > 1:
        names = ", ".join(str(run.folder) for run in runs)
        raise ComparisonError(f"got runs with different {differing(keys)} ({names}); expected one ranking for each.")
    merged = are_merged(runs)
    return sorted(runs, key=lambda run: (-(run.headline(merged)[0] or 0.0), run.shown, str(run.folder)))


def are_merged(runs: Sequence[Run]) -> bool:
    """Whether all runs have a mean over corpora, which then ranks them."""
    return all(run.by_corpus for run in runs)


def differing(keys: Iterable[Key]) -> str:
    """Return in words what differs between these groups."""
    columns = zip(Key._fields, zip(*keys, strict=True), strict=True)
    return ", ".join(_WORDS.get(name, name) for name, values in columns if len(set(values)) > 1)


def distinct(runs: Iterable[Run], *, short: bool = False) -> list[Run]:
    """Set the names to show: names that occur more than once get their folder.

    Args:
        runs: to name.
        short: whether names omit the protocol, unless that would make two of them equal.
    """
    runs = list(runs)
    count = Counter(run.short for run in runs)
    runs = [replace(run, shown=run.short if short and count[run.short] == 1 else run.name) for run in runs]
    for extra in (lambda run: run.folder.name, lambda run: str(run.folder)):
        count = Counter(run.shown for run in runs)
        runs = [
            replace(run, shown=f"{run.name} ({extra(run)})")
            if count[run.shown] > 1 and extra(run) != run.name
            else run
            for run in runs
        ]
    return runs
