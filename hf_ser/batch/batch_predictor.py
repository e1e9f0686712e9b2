"""Answers for the batches of an engine such as Ray Data or Spark, as a function of a table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from hf_ser.batch.answer_rows import answer_row, columns, tabular
from hf_ser.batch.batch_answers import batch_answers
from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.loaded_model import LoadedModel, load_model
from hf_ser.batch.predict_command import PredictArguments
from hf_ser.default_model import chosen_model
from hf_ser.remote_code.audio_sources import describe
from hf_ser.runtime.graph_file import is_graph

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_OF_WINDOWS = ("start", "end")  # columns that are empty without a timeline


@dataclass(frozen=True)
class BatchPredictor:
    """Classify the recordings in a table: one row of answers per row, in the same order.

    An instance is small when it is pickled. The model is loaded on the first call in a process and shared by all equal
    instances there. Answers are those of `hf-ser predict`; a recording that cannot be used gets a text in the column
    error. A pyarrow table returns a table, a pandas frame a frame, and a mapping of columns a mapping.

    Args:
        model: model folder, Hub id or exported graph; None for the model that comes with hf_ser.
        column: column with paths, URLs, bytes, or mappings of bytes and path as in `datasets`.
        name: column that names the recordings in the answers; default: their paths.
        keep: columns of the table that the answers keep, such as an id.
        revision: on the Hub.
        window_s: window length in seconds; None for the whole recording, or several windows if it is long.
        stride_s: step between windows in seconds; None for half a window.
        top_k: number of classes with a probability; None for all.
        batch_size: number of windows in a forward pass.
        device: such as cuda; None for a GPU if there is one.
        precision: auto, bf16, fp16 or fp32.
        abstain: threshold of abstention, or off; None for that of the model.

    >>> predictor = BatchPredictor("runs/audio_cnn")
    >>> predictor({"path": ["voice.wav", "missing.wav"]})["error"]
    [None, 'missing.wav: got no such file; expected an audio file. Check the path.']
    """

    model: str | None = None
    column: str = "path"
    name: str | None = None
    keep: tuple[str, ...] = ()
    revision: str = "main"
    window_s: float | None = None
    stride_s: float | None = None
    top_k: int | None = None
    batch_size: int = 8
    device: str | None = None
    precision: str = "auto"
    abstain: str | None = None

    def __post_init__(self) -> None:
        """Reject invalid options.

        Raises:
            BatchError: the message names the option.
        """
        object.__setattr__(self, "keep", tuple(self.keep))  # lists cannot be hashed
        self._command(self.model or "")

    def __call__(self, table: Any) -> Any:
        """Classify the recordings of a batch.

        Args:
            table: a pyarrow table, a pandas frame, or a mapping of columns.

        Returns:
            The columns of `keep`, then file, emotion, a probability per class, abstained if the model abstains, error
            and warning. Models of dimensions have the value of each dimension in place of emotion and probabilities.

        Raises:
            SerError: a column is missing, or the model cannot be used.
        """
        needed = self._needed(getattr(table, "column_names", table))
        if hasattr(table, "to_pydict"):  # a pyarrow table
            answers = self._answers({name: table[name].to_pylist() for name in needed})
            return type(table).from_pydict(answers, self.schema(table.schema))
        answers = self._answers({name: list(table[name]) for name in needed})
        return type(table)(answers) if hasattr(table, "to_dict") else answers  # pandas frame or mapping

    def frames(self, frames: "Iterable[pd.DataFrame]") -> "Iterator[pd.DataFrame]":
        """Classify one pandas frame after the other, for `mapInPandas` of Spark."""
        return map(self, frames)

    def schema(self, kept: "pa.Schema | None" = None) -> "pa.Schema":
        """Return the columns of the answers and their types, without loading the weights.

        Args:
            kept: types of the columns of `keep`.
        """
        import pyarrow as pa

        from hf_ser.batch.parquet_output import schema_of

        fields = [] if kept is None else [kept.field(name) for name in self.keep]
        return pa.schema([*fields, *schema_of(self._columns(*self._labels()))])

    def _needed(self, present: Iterable[str]) -> list[str]:
        found = list(present)
        needed = list(dict.fromkeys([*self.keep, self.column, *([self.name] if self.name else [])]))
        missing = [name for name in needed if name not in found]
        if missing:
            raise BatchError(
                f"got a table with the columns {', '.join(found)}; expected a column {missing[0]}. Name the columns "
                "with BatchPredictor(column=..., name=..., keep=...)."
            )
        return needed

    def _answers(self, table: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        loaded, options = _load(self)
        sources = [_source(value) for value in table[self.column]]
        names = [str(name) for name in table[self.name]] if self.name else [describe(source) for source in sources]
        labels, abstains = loaded.labels, options["abstain"] is not False
        numbers = [str(number) for number in range(len(sources))]
        answers = batch_answers(loaded.classify, numbers, options, source_of=lambda number: sources[int(number)])
        rows = [
            tabular(answer_row(names[int(number)], answer, loaded.warning), labels, abstains)[0]
            for number, answer in answers
        ]
        found = {name: [row[name] for row in rows] for name in self._columns(labels, abstains)}
        return {name: table[name] for name in self.keep} | found

    def _columns(self, labels: Sequence[str], abstains: bool) -> list[str]:
        return [name for name in columns(labels, abstains) if name not in _OF_WINDOWS]

    def _labels(self) -> tuple[list[str], bool]:
        """The classes of the model, and whether its answers say if they are below a threshold."""
        command = self._command(chosen_model(self.model, self.revision))
        if is_graph(command.model):  # which has no configuration beside it, and opens quickly
            loaded, options = _load(self)
            return loaded.labels, options["abstain"] is not False
        from transformers import AutoConfig

        from hf_ser.inference import labels_of_model

        labels = labels_of_model(command.model, self.revision)
        config = AutoConfig.from_pretrained(command.model, revision=self.revision)
        return labels, command.abstains(getattr(config, "abstention_threshold", None)) is not False

    def _command(self, model: str) -> PredictArguments:
        return PredictArguments.with_options_of(self, model, ["a table"])


def _source(value: Any) -> Any:
    """A cell of a table as the pipeline reads it: Spark gives bytes as bytearray, and structs as rows."""
    if hasattr(value, "asDict"):
        return value.asDict()
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


@cache
def _load(predictor: BatchPredictor) -> tuple[LoadedModel, dict[str, Any]]:
    """Load the model of a predictor once per process."""
    command = predictor._command(chosen_model(predictor.model, predictor.revision))
    loaded = load_model(command.model, command.revision, command.device, command.precision, command.call_options)
    return loaded, command.call_options | {"abstain": command.abstains(loaded.abstention_threshold)}
