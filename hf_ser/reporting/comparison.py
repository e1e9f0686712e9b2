"""Finished runs side by side: which of them compare, their ranking, and paired tests.

Scores under different protocols, or on different clips, do not compare: their runs stand in groups of their own.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
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
from hf_ser.scoring.bootstrap import compare, point_scores
from hf_ser.scoring.predictions import Predictions, read_predictions

COMPARISON = "comparison.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
CLUSTERED = "clustered on speakers"


class ComparisonError(SerError):
    """Runs that cannot be compared, or a file that cannot take the tables."""


@dataclass
class CompareArguments(ReportArguments):
    """Which runs are compared, and where the tables go.

    >>> CompareArguments(["runs/audio_cnn", "runs/mel_cnn"], output_dir="runs/comparison", figures=False).overwrite
    False
    """

    runs: list[str] = field(metadata={"help": "folders of finished runs; may stand first, without the flag"})
    output_dir: str | None = field(
        default=None, metadata={"help": "folder for comparison.md, .csv, .tex and figures; default: print only"}
    )
    protocol: str | None = field(default=None, metadata={"help": "refuse runs of another protocol"})
    readme: str | None = field(
        default=None, metadata={"help": f"file whose text between {BEGIN} and {END} becomes the tables"}
    )
    names: list[str] = field(default_factory=list, metadata={"help": "shown instead of the runs' own names"})
    published: str | None = field(
        default=None, metadata={"help": "YAML file of what others report, such as results/published.yaml"}
    )
    overwrite: bool = field(default=False, metadata={"help": "replace an earlier comparison in output_dir"})

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("runs is empty; expected at least one folder of a finished run.")
        if self.names and len(self.names) != len(self.runs):
            raise ConfigError(f"--names has {len(self.names)} names for {len(self.runs)} runs; expected one for each.")
        if self.readme is not None and not Path(self.readme).is_file():
            raise ConfigError(
                f"--readme {self.readme}: no such file; expected one with the markers {BEGIN} and {END}."
            )
        if self.published is not None and not Path(self.published).is_file():
            raise ConfigError(f"--published {self.published}: no such file; expected YAML.")
        folder = Path(self.output_dir or "")
        if self.output_dir is None:
            return
        self.check_figures()
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--output_dir {folder} is a file; expected a folder or a new name.")
        if (folder / RESULTS).exists():
            raise ConfigError(f"--output_dir {folder} holds a run; expected another folder.")
        if (folder / COMPARISON).exists() and not self.overwrite:
            raise ConfigError(f"--output_dir {folder} holds a comparison; pass --overwrite true to replace it.")


class Key(NamedTuple):
    """What runs must have in common for their scores to compare."""

    protocol: str
    dataset: str
    configuration: str | None
    synthetic: tuple[str, ...]
    fold: int | None
    classes: tuple[str, ...]
    seeds: tuple[int, ...]  # only where they decide which clips test
    clips: str


_WORDS = {"clips": "test clips", "seeds": "seeds of the splits", "synthetic": "synthetic corpora"}


@dataclass(eq=False)
class Run:
    """A finished run; `shown` is its name, made distinct within its group."""

    folder: Path
    name: str
    results: dict[str, Any]
    shown: str

    @property
    def scored(self) -> dict[str, Any] | None:
        """The split that counts; None where folds have different classes, so that nothing is pooled."""
        return self.results["splits"].get("test") or self.results["splits"].get("all")

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The folds and seeds of a cross-validation."""
        return self.results.get("runs") or []

    @property
    def scores(self) -> dict[str, float | None]:
        """Every score: of the split, else the mean over folds."""
        over = self.results.get("over_folds")
        return self.scored["scores"] if self.scored else over["mean"] if over else self.parts[0]["test"]

    @property
    def std(self) -> dict[str, float | None]:
        """Standard deviation of every score over seeds, or over folds where nothing is pooled; empty for one run."""
        over = self.results.get("over_folds")
        return (self.scored["std"] if self.scored else over["std"] if over else None) or {}

    def interval(self, score: str) -> tuple[float | None, float | None]:
        """A score's 95 % interval, clustered on speakers."""
        every = self.scored["intervals"] if self.scored else []
        low, high = next((interval[score] for interval in every if interval["method"] == CLUSTERED), (None, None))
        return low, high

    @property
    def labels(self) -> tuple[str, ...]:
        """The scored classes in the package's order, whatever theirs is."""
        order = {label: index for index, label in enumerate(EMOTIONS)}
        names = self.scored["labels"] if self.scored else ()
        return tuple(sorted(names, key=lambda label: (order.get(label, len(order)), label)))

    @property
    def left_out(self) -> dict[str, int]:
        """Clips per class that were not scored."""
        every = [self.scored["left_out"] if self.scored else {}, *(part["left_out"] for part in self.parts)]
        return dict(sum((Counter(counts) for counts in every), Counter()))

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
            dataset["configuration"],
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
            PredictionsError: a table is broken.
            ComparisonError: a table is missing, or is not what results.json was made from.
        """
        if self.scored is None:
            raise ComparisonError("its folds are not pooled")
        tables = []
        for name in self.scored["predictions"]:
            if not (self.folder / name).is_file():
                raise ComparisonError(f"its {name} is missing")
            table = read_predictions(self.folder / name)
            if sorted(table.labels) != sorted(self.labels):
                raise ComparisonError(f"its {name} has other classes than its results.json")
            columns = [table.labels.index(label) for label in self.labels]
            label_ids = [self.labels.index(table.labels[label]) for label in table.clips["label"]]
            clips = {**table.clips, "label": label_ids}
            tables.append(Predictions(clips, table.probabilities[:, columns], self.labels))
        ids = sorted({clip for table in tables for clip in table.clips["id"]})
        uar = np.mean([point_scores(table.label_ids, table.predicted, len(self.labels))["uar"] for table in tables])
        same = hashlib.sha256("\n".join(ids).encode()).hexdigest() == self.scored["clips_hash"]
        if not same or abs(uar - self.scored["scores"]["uar"]) > 1e-6:
            raise ComparisonError("its predictions are not those that its results.json describes")
        return tables

    def pooled(self) -> tuple[np.ndarray, np.ndarray]:
        """True class ids (clips,) and probabilities (clips, classes) of all seeds."""
        tables = self.predictions
        label_ids = np.concatenate([table.label_ids for table in tables])
        return label_ids, np.concatenate([table.probabilities for table in tables])


def load_runs(folders: Sequence[str | Path], names: Sequence[str] = (), protocol: str | None = None) -> list[Run]:
    """Read the results of finished runs.

    Args:
        folders: of the runs.
        names: shown instead of the runs' own.
        protocol: refuse runs of another.

    Raises:
        ResultsError: a folder without a valid results.json.
        ComparisonError: a folder that comes twice, runs without test scores, or of another protocol.
    """
    paths = [Path(folder) for folder in folders]
    repeated = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if repeated:
        raise ComparisonError(f"got {repeated[0]} twice; expected each run once.")
    runs = []
    for path, name in zip(paths, names or [""] * len(paths), strict=True):
        results = read_results(path)
        name = " ".join((name or results["name"]).split())
        runs.append(Run(path, name, results, name))
    empty = [str(run.folder) for run in runs if run.scored is None and not run.parts]
    if empty:
        raise ComparisonError(f"{', '.join(empty)}: no scores on test; expected runs that scored unseen clips.")
    other = [f"{run.folder} ({run.key.protocol})" for run in runs if protocol not in (None, run.key.protocol)]
    if other:
        raise ComparisonError(f"got {', '.join(other)}; expected runs under {protocol} only (--protocol).")
    return runs


def group(runs: Iterable[Run]) -> dict[Key, list[Run]]:
    """Put runs that compare together, each group ranked by UAR."""
    groups: dict[Key, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.key].append(run)
    return {key: rank(distinct(groups[key])) for key in sorted(groups, key=str)}


def rank(runs: Sequence[Run]) -> list[Run]:
    """Order the runs of one group by UAR, the best first.

    Raises:
        ComparisonError: the runs belong to several groups; says what differs.
    """
    keys = {run.key for run in runs}
    protocols = sorted({key.protocol for key in keys})
    if len(protocols) > 1:
        raise ComparisonError(f"got runs under {' and '.join(protocols)}; expected one protocol in one ranking.")
    if len(keys) > 1:
        names = ", ".join(str(run.folder) for run in runs)
        raise ComparisonError(f"got runs with other {differing(keys)} ({names}); expected one ranking for each.")
    return sorted(runs, key=lambda run: (-(run.scores["uar"] or 0.0), run.shown, str(run.folder)))


def differing(keys: Iterable[Key]) -> str:
    """In words, what these groups do not have in common."""
    columns = zip(Key._fields, zip(*keys, strict=True), strict=True)
    return ", ".join(_WORDS.get(name, name) for name, values in columns if len(set(values)) > 1)


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Tell runs that bear one name apart by their folders."""
    runs = [replace(run, shown=run.name) for run in runs]
    for extra in (lambda run: run.folder.name, lambda run: str(run.folder)):
        count = Counter(run.shown for run in runs)
        runs = [
            replace(run, shown=f"{run.name} ({extra(run)})")
            if count[run.shown] > 1 and extra(run) != run.name
            else run
            for run in runs
        ]
    return runs


def paired(a: Run, b: Run) -> dict[str, dict[str, Any]]:
    """Does run A beat run B? A bootstrap over speakers on the clips of both, the seeds pooled (see `compare`).

    Raises:
        ComparisonError: the clips, their labels or the seeds differ.
        PredictionsError: predictions are missing.
    """
    seeds = [run.results["seeds"] if len(run.predictions) > 1 else [None] for run in (a, b)]
    if sorted(seeds[0]) != sorted(seeds[1]):
        raise ComparisonError(f"it has the seeds {a.results['seeds']} and {b.shown} has {b.results['seeds']}")
    columns: list[list[Any]] = [[], [], [], []]
    of_b = dict(zip(seeds[1], b.predictions, strict=True))
    for seed, left in zip(seeds[0], a.predictions, strict=True):
        right = of_b[seed]
        row_of = {clip: row for row, clip in enumerate(right.clips["id"])}
        if row_of.keys() != set(left.clips["id"]):
            raise ComparisonError(f"its clips are not those of {b.shown}")
        rows = [row_of[clip] for clip in left.clips["id"]]
        if (left.label_ids != right.label_ids[rows]).any():
            raise ComparisonError(f"its clips bear other labels than those of {b.shown}")
        for column, values in zip(
            columns, (left.label_ids, left.predicted, right.predicted[rows], left.clips["speaker"]), strict=True
        ):
            column.extend(values)
    label_ids, predicted_a, predicted_b, speakers = (np.asarray(column) for column in columns)
    return compare(label_ids, predicted_a, predicted_b, speakers.tolist(), len(a.labels))
