"""`hf-ser predict`: from the options to the last answer."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ser.batch.answer_rows import TextOutput
from hf_ser.batch.appended_file import AppendedFile
from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.escaped_names import escaped_name
from hf_ser.batch.loaded_model import LoadedModel, check_graph_options, load_model
from hf_ser.batch.recordings_listing import STDIN, is_stream, list_recordings, read_list
from hf_ser.batch.run_stamp import RunStamp, stamp
from hf_ser.batch.written_answers import Answers, say, write_all
from hf_ser.runtime.graph_file import is_graph

OUTPUTS = (".csv", ".jsonl", ".parquet")
# What `BatchPredictor` and recipes/predict.py have in common with `hf-ser predict`.
_MODEL_OPTIONS = (
    "revision",
    "timeline",
    "window_s",
    "stride_s",
    "top_k",
    "batch_size",
    "device",
    "precision",
    "abstain",
)
MAX_STDIN_BYTES = 1 << 30
MAX_THREADS = 1024  # far more than that exhaust the threads of the system


@dataclass(frozen=True)
class PredictArguments:
    """The options of `hf-ser predict`; `hf-ser predict --help` describes them.

    >>> PredictArguments(model="runs/audio_cnn", recordings=["voice.wav"], top_k=3).call_options["top_k"]
    3
    """

    model: str
    recordings: Sequence[str] = ()
    recordings_from: str | None = None
    revision: str = "main"
    format: str | None = None
    output: str | None = None
    overwrite: bool = False
    timeline: bool = False
    window_s: float | None = None
    stride_s: float | None = None
    top_k: int | None = None
    batch_size: int = 8
    num_threads: int | None = None
    device: str | None = None
    precision: str = "auto"
    abstain: str | None = None  # a threshold or "off"; None for the threshold of the model, if it has one

    def __post_init__(self) -> None:
        """Reject invalid and contradictory options.

        Raises:
            BatchError: the message names the option.
        """
        if self.batch_size < 1:
            raise BatchError(f"--batch_size {self.batch_size}; expected at least 1.")
        if self.num_threads is not None and not 1 <= self.num_threads <= MAX_THREADS:
            raise BatchError(f"--num_threads {self.num_threads}; expected a number from 1 to {MAX_THREADS}.")
        _ = self.given_threshold  # raises BatchError
        check_graph_options(self.model, self.device, self.precision)
        if not self.recordings and self.recordings_from is None:
            raise BatchError("got no recordings. Name at least one, or pass --recordings_from FILE.")
        if self.recordings_from == STDIN and STDIN in self.recordings:
            raise BatchError("--recordings_from - and the recording - both read standard input. Remove one of them.")
        if self.output is None and self.overwrite:
            raise BatchError("--overwrite needs --output. Remove it or pass --output.")
        if self.output is None:
            return
        if self.format is not None:
            raise BatchError(f"--format {self.format} cannot be combined with --output. Remove one of them.")
        if Path(self.output).suffix.lower() not in OUTPUTS:
            raise BatchError(f"--output {self.output}: expected a file that ends in {', '.join(OUTPUTS)}.")
        if not Path(self.output).absolute().parent.is_dir():
            raise BatchError(
                f"--output {self.output}: the folder {Path(self.output).parent} does not exist. Create it first."
            )

    @classmethod
    def with_options_of(cls, other: Any, model: str, recordings: Sequence[str]) -> "PredictArguments":
        """Make the arguments for a model and recordings, with the options of the model that `other` has.

        Args:
            other: has attributes with the names and the meaning of these options; absent ones keep their defaults.
            model: model folder, Hub id or graph.
            recordings: paths, URLs or folders.

        Raises:
            BatchError: an option is invalid.
        """
        options = {name: getattr(other, name) for name in _MODEL_OPTIONS if hasattr(other, name)}
        return cls(model=model, recordings=recordings, **options)

    @property
    def given_threshold(self) -> float | None:
        """The threshold that the option `abstain` gives; None for off and for the one of the model."""
        if self.abstain in (None, "off"):
            return None
        try:
            threshold = float(str(self.abstain))
        except ValueError:
            threshold = math.nan
        if not 0 <= threshold <= 1:
            raise BatchError(f"--abstain {self.abstain}; expected a number from 0 to 1, or off.")
        return threshold

    def abstains(self, stored: float | None) -> bool | float:
        """The pipeline's parameter `abstain` for a model with this threshold."""
        if self.given_threshold is not None:
            return self.given_threshold
        return self.abstain is None and stored is not None

    @property
    def call_options(self) -> dict[str, Any]:
        """Arguments for a call of the pipeline."""
        changed = {"top_k": self.top_k, "window_s": self.window_s, "stride_s": self.stride_s}
        return {"batch_size": self.batch_size, "return_timeline": self.timeline, **changed}


def predict(args: PredictArguments) -> int:
    """Classify recordings and write every answer as soon as it is known.

    >>> predict(PredictArguments(model="runs/audio_cnn", recordings=["voice.wav"], output="answers.csv"))
    0
    >>> Path("answers.csv").read_text().partition(",p_")[0]
    'file,start,end,emotion'

    Returns:
        The number of recordings that failed.

    Raises:
        SerError: the command cannot be carried out; raised before the first answer if possible.
        Interrupted: Ctrl-C; the answers so far have been written.
    """
    names = _names(args)
    computed_in = choose_precision(args)
    if args.output is None:
        return _to_stdout(args, names)
    run = stamp_run(args, computed_in)
    return _to_file(args, list(dict.fromkeys(names)), run)


def choose_precision(args: PredictArguments, tell: Callable[[str], None] = say) -> str:
    """Choose bf16, fp16 or fp32, and print the choice if it is automatic and not float32.

    The pipeline warns about a slow choice. Graphs have a precision of their own, whose answers are stamped as fp32.
    """
    if is_graph(args.model):
        return "fp32"
    from hf_ser.inference import resolve_precision

    choice = resolve_precision(args.precision, args.device)
    if args.precision == "auto" and choice.precision != "fp32":
        tell(f"{choice}; scores differ from float32 by up to about 0.01; pass --precision fp32 for float32")
    return choice.precision


def stamp_run(args: PredictArguments, computed_in: str) -> RunStamp:
    """Stamp the answers of a run with its model and its options, without loading the model.

    Args:
        args: the options.
        computed_in: bf16, fp16 or fp32.

    Raises:
        SerError: the model cannot be used.
    """
    options: dict[str, Any] = {
        "timeline": args.timeline,
        "window_s": args.window_s,
        "stride_s": args.stride_s,
        "top_k": args.top_k,
        "abstain": args.given_threshold if args.abstain != "off" else "off",
        "precision": None if computed_in == "fp32" else computed_in,  # as in files of earlier versions
    }
    run = stamp(args.model, args.revision, options)
    if run is None:
        _load(args)  # raises the reason
        raise BatchError(f"--model {args.model}: has no config.json; expected a trained model.")
    return run


def _names(args: PredictArguments) -> list[str]:
    places = list(args.recordings)
    if args.recordings_from is not None:
        places += read_list(args.recordings_from, getattr(sys.stdin, "buffer", None))
        if args.recordings_from == STDIN and STDIN in places:
            raise BatchError("--recordings_from -: the list contains -, which is the list itself. Remove it.")
    names, listings = list_recordings(places)
    for listing in listings:
        for line in listing.lines():
            say(line)
    return names


def _to_stdout(args: PredictArguments, names: Sequence[str]) -> int:
    stdin = _read_stdin(names)
    loaded = _load(args)
    options = args.call_options | {"abstain": args.abstains(loaded.abstention_threshold)}
    abstains = options["abstain"] is not False
    output = TextOutput(args.format or "table", loaded.labels, loaded.warning, sys.stdout, abstains)
    if loaded.warning and output.format != "table":  # the table ends with it
        say(f"warning: {loaded.warning}")
    answers = Answers(loaded, names, options, _reader(stdin))
    # Answers on a terminal show the progress.
    return write_all(output, answers, show_bar=not sys.stdout.isatty(), tell=output.format == "table")


def _to_file(args: PredictArguments, names: Sequence[str], run: RunStamp) -> int:
    started_s = time.monotonic()
    with ExitStack() as stack:
        output = _open_output(args, run)
        stack.callback(output.release)
        before = {name for name in names if escaped_name(name) in output.failed}
        todo = [name for name in names if name not in before]
        failed_before = sum(output.failed[escaped_name(name)] for name in before)
        for name in filter(is_stream, sorted(before)):
            say(f"note: {escaped_name(name)} has an answer in {args.output} and is not read again")
        if not todo and output.is_whole:
            failures = f" ({failed_before:,} of them failed)" if failed_before else ""
            output.close(complete=True)
            say(f"{args.output}: all {len(names):,} recordings have answers{failures}; nothing to do.")
            return failed_before
        stdin = _read_stdin(todo)
        loaded = _load(args)
        options = args.call_options | {"abstain": args.abstains(loaded.abstention_threshold)}
        output.start(loaded.labels, options["abstain"] is not False)
        if loaded.warning:
            say(f"warning: {loaded.warning}")
        answers = Answers(loaded, todo, options, _reader(stdin), answered_before=len(before))
        failed = write_all(output, answers, remedy=f" in {args.output}; run the same command to continue")
    kept = f"; {len(before):,} had answers before" if before else ""
    duration_s = time.monotonic() - started_s
    say(f"{args.output}: {len(todo) - failed:,} recordings answered, {failed:,} failed in {duration_s:.1f} s{kept}")
    return failed + failed_before


def _load(args: PredictArguments) -> LoadedModel:
    return load_model(args.model, args.revision, args.device, args.precision, args.call_options, args.num_threads)


def _open_output(args: PredictArguments, run: RunStamp) -> Any:
    path = Path(str(args.output))
    kind = path.suffix.lower().removeprefix(".")
    if kind != "parquet":
        return AppendedFile(path, kind, run, args.overwrite)
    from hf_ser.batch.parquet_output import ParquetOutput

    return ParquetOutput(path, run, args.overwrite)


def _reader(stdin: bytes | None) -> Callable[[str], Any]:
    return lambda name: {"bytes": stdin, "path": STDIN} if name == STDIN else name


def _read_stdin(names: Sequence[str]) -> bytes | None:
    if STDIN not in names:
        return None
    stdin = getattr(sys.stdin, "buffer", None)
    content = stdin.read(MAX_STDIN_BYTES + 1) if stdin else b""
    if len(content) > MAX_STDIN_BYTES:
        raise BatchError(f"-: got more than {MAX_STDIN_BYTES >> 30} GiB on standard input; expected a recording.")
    return content
