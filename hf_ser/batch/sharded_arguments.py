"""The options of recipes/predict.py."""

from dataclasses import dataclass, field, replace
from functools import cached_property

from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.predict_command import PredictArguments
from hf_ser.default_model import chosen_model
from hf_ser.runtime.graph_file import is_graph
from hf_ser.system_errors import check_output


@dataclass
class ShardedPredictArguments:
    """Recordings, model and output of a run with any number of processes.

    >>> ShardedPredictArguments(input="archive", output="answers", clips_per_part=0)
    Traceback (most recent call last):
        ...
    hf_ser.batch.batch_error.BatchError: --clips_per_part 0; expected at least 1.
    """

    input: str = field(
        metadata={"help": "folder of recordings, CSV file with a column path, or dataset (folder or Hub id)"}
    )
    output: str = field(metadata={"help": "folder for the answers; run the same command again to resume"})
    model: str | None = field(
        default=None,
        metadata={"help": "model folder, Hub id or exported graph (.onnx); default: the model that comes with hf_ser"},
    )
    revision: str = field(default="main", metadata={"help": "revision of the model on the Hub"})
    configuration: str | None = field(default=None, metadata={"help": "configuration of the dataset"})
    split: str | None = field(default=None, metadata={"help": "split of the dataset; default: all"})
    clips_per_part: int = field(
        default=1000, metadata={"help": "number of clips in each Parquet file; processes take whole parts"}
    )
    merge: bool = field(default=True, metadata={"help": "also write all answers into one file, answers.parquet"})
    overwrite: bool = field(default=False, metadata={"help": "replace the answers of an earlier run in the folder"})
    timeline: bool = field(default=False, metadata={"help": "add the scores of overlapping windows"})
    window_s: float | None = field(
        default=None, metadata={"help": "window length in seconds; default: the whole clip, or several if it is long"}
    )
    stride_s: float | None = field(
        default=None, metadata={"help": "step between windows in seconds; default: half a window"}
    )
    top_k: int | None = field(default=None, metadata={"help": "number of classes per clip; default: all"})
    batch_size: int = field(default=8, metadata={"help": "windows per forward pass"})
    device: str | None = field(
        default=None, metadata={"help": "such as cpu; default: one GPU per process if there are GPUs"}
    )
    precision: str = field(default="auto", metadata={"help": "auto, bf16, fp16 or fp32"})
    abstain: str | None = field(
        default=None, metadata={"help": "threshold of abstention, or off; default: the model's, if it has one"}
    )

    def __post_init__(self) -> None:
        if self.clips_per_part < 1:
            raise BatchError(f"--clips_per_part {self.clips_per_part}; expected at least 1.")
        check_output(self.output, "--output")
        _ = self._with_model(self.model or "")  # raises BatchError for other options

    @cached_property
    def command(self) -> PredictArguments:
        """The same options as of `hf-ser predict`, with the model of the package if none is given."""
        return self._with_model(chosen_model(self.model, self.revision))

    def on(self, device: str) -> PredictArguments:
        """The options of a process that computes on this device, unless --device names another one."""
        if device == "cpu" or is_graph(self.command.model):
            return self.command
        return replace(self.command, device=self.device or device)

    def _with_model(self, model: str) -> PredictArguments:
        return PredictArguments.with_options_of(self, model, [self.input])
