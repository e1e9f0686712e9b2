"""Check recordings before they are prepared: `hf-ser check`. No dataset is written."""

import inspect
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hf_ser.data.clip_summary import measure, summarise
from hf_ser.data.label_set import ALL, choose_labels
from hf_ser.data.preparation_arguments import PrepareArguments
from hf_ser.data.prepare import assign_all, find_sources, refuse_nothing, render_report
from hf_ser.data.report import count
from hf_ser.data.scan import scan
from hf_ser.errors import SerError


class CheckError(SerError):
    """Recordings that cannot be checked."""


@dataclass
class CheckArguments:
    """Recordings to check, and how preparation would read them."""

    recordings: list[str] = field(
        metadata={
            "help": "CSV files with the columns path and label, or folders of recordings in folders named by class"
        }
    )
    audio_dir: str | None = field(
        default=None, metadata={"help": "folder of the paths in CSV files; default: the folder of the file"}
    )
    columns: dict | str | None = field(
        default=None, metadata={"help": "names of columns, such as --columns.path wav; null ignores a column"}
    )
    labels: list[str] = field(
        default_factory=lambda: [ALL], metadata={"help": "label set; default: every label that occurs"}
    )
    label_mapping: dict | str | None = field(
        default=None, metadata={"help": "maps labels of the sources to labels or null, which drops them; YAML only"}
    )
    licence: str = field(default="unknown", metadata={"help": "licence of the recordings, such as cc-by-4.0"})
    seed: int = field(default=0, metadata={"help": "random seed of the splits"})
    min_duration_s: float = field(default=0.3, metadata={"help": "reject clips shorter than this (seconds)"})
    silence_dbfs: float = field(default=-60.0, metadata={"help": "reject clips whose peak level is below this (dBFS)"})
    num_proc: int | None = field(default=None, metadata={"help": "worker processes; default: one per CPU core"})

    @property
    def preparation(self) -> PrepareArguments:
        """The preparation that is checked; its output folder is not used."""
        if not self.recordings:
            raise CheckError("no recordings given; expected CSV files or folders.")
        tables = [name for name in self.recordings if not Path(name).is_dir()]
        shared = (
            "audio_dir",
            "columns",
            "labels",
            "label_mapping",
            "seed",
            "min_duration_s",
            "silence_dbfs",
            "num_proc",
        )
        return PrepareArguments(
            "-",
            csv=tables or None,
            audio_folder=[name for name in self.recordings if Path(name).is_dir()] or None,
            **{name: getattr(self, name) for name in shared},
        )


def check_recordings(args: CheckArguments, *, progress: bool = True) -> str:
    """Check recordings as preparation does, and look for problems of their labels, speakers, levels and splits.

    Returns:
        The report of preparation, tables of classes, speakers and leaks, and what to look at.

    Raises:
        CheckError, PrepareError, ListingError, LabelError: the recordings cannot be prepared.
    """
    wanted = args.preparation
    found, labels = choose_labels(find_sources(wanted), wanted.labels, wanted.label_mapping)
    with tempfile.TemporaryDirectory(prefix="hf_ser_check_") as folder:
        packs = Path(folder)
        result = scan(found, packs, limits=wanted.limits, num_proc=wanted.num_proc, progress=progress)
        refuse_nothing(result)
        assignments = assign_all([clip.row for clip in result.clips], wanted)
        summary = summarise(result.clips, measure(result.clips, packs), assignments)
    counts = count(result, labels, found.own)
    return f"{render_report(result, counts, found, labels, assignments, args.licence)}\n\n{summary}"


def main(argv: Sequence[str]) -> None:
    """Check your own recordings before they are prepared and trained on. Nothing is written.

    hf-ser check recordings.csv
    hf-ser check FOLDER
    hf-ser check recordings.csv --columns.path wav --columns.label emotion --labels angry neutral happy other
    """
    from hf_ser.arguments import parse

    text = inspect.cleandoc(main.__doc__ or "")
    (args,) = parse(CheckArguments, argv=argv, description=text, positional="recordings", prog="hf-ser check")
    print(check_recordings(args))  # noqa: T201
    words = ["--csv" if not Path(name).is_dir() else "--audio_folder" for name in args.recordings]
    sources = " ".join(f"{word} {shlex.quote(name)}" for word, name in zip(words, args.recordings, strict=True))
    labels = " ".join(map(shlex.quote, args.labels))
    print(f"\nNext: python recipes/prepare.py {sources} --labels {labels} --output_dir data/own")  # noqa: T201
