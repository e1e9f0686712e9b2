"""Arguments of a robustness report."""

import glob
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hf_ser.arguments import ConfigError
from hf_ser.conditions import chosen_levels
from hf_ser.conditions.condition_list import CONDITIONS, DEFAULTS, MEASURED_ROOM, Level
from hf_ser.data.protocols import SPLITS
from hf_ser.inference import resolve_precision
from hf_ser.reporting.run_report import ReportArguments
from hf_ser.results_file import RESULTS

QUICK_CLIPS = 64


@dataclass
class RobustnessArguments(ReportArguments):
    """The models, clips and conditions of a robustness report.

    >>> RobustnessArguments("runs/robustness", conditions=["hum"], levels=["hum=10,0"], figures=False).chosen
    {'hum': (10.0, 0.0)}
    """

    output_dir: str = field(metadata={"help": "folder for predictions, robustness.json, report and figures"})
    models: list[str] = field(
        default_factory=list,
        metadata={
            "help": "model folders, patterns such as 'runs/emobox/seed_0/fold_*', or Hub ids; each is scored on its "
            "own test clips, and all are pooled. Default: the model that comes with hf_ser"
        },
    )
    revision: str = field(default="main", metadata={"help": "revision of models on the Hub"})
    split: str = field(default="test", metadata={"help": "split of the dataset"})
    recordings: str | None = field(
        default=None, metadata={"help": "use a folder of recordings that are named as in one of the corpora"}
    )
    csv: str | None = field(
        default=None, metadata={"help": "use the recordings in a CSV file with the columns path and label"}
    )
    conditions: list[str] = field(
        default_factory=list, metadata={"help": f"conditions; default: {', '.join(DEFAULTS)}"}
    )
    levels: list[str] = field(
        default_factory=list,
        metadata={"help": "levels of conditions, as NAME=LEVEL,LEVEL such as white_noise=20,10,0"},
    )
    quick: bool = field(
        default=False,
        metadata={
            "help": f"one or two levels of each condition, and at most {QUICK_CLIPS} clips unless --clips is given"
        },
    )
    clips: int | None = field(
        default=None, metadata={"help": "most clips, drawn in equal parts from the classes; default: all"}
    )
    seed: int = field(default=0, metadata={"help": "seed of noise, rooms, lost packets and drawn clips"})
    room_responses: str | None = field(
        default=None, metadata={"help": f"folder of impulse responses for the condition {MEASURED_ROOM}"}
    )
    beside: list[str] = field(
        default_factory=list, metadata={"help": "folders of earlier reports to show in the same figures and tables"}
    )
    name: str | None = field(default=None, metadata={"help": "name in reports; default: that of the model"})
    skip_seen: bool = field(
        default=False, metadata={"help": "leave out clips that a model was trained or selected on"}
    )
    allow_seen: bool = field(default=False, metadata={"help": "also use clips that a model was trained on"})
    batch_size: int = field(default=16, metadata={"help": "clips per forward pass"})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; default: a GPU if available"})
    precision: str = field(default="auto", metadata={"help": "bf16, fp16, fp32 or auto, as for recipes/evaluate.py"})
    update_card: bool = field(
        default=False,
        metadata={"help": "also write robustness.json into the model's folder, and its section in the card"},
    )
    overwrite: bool = field(default=False, metadata={"help": "replace an earlier report with other settings"})

    def __post_init__(self) -> None:
        self.check_figures()
        self._check_numbers()
        if self.split not in SPLITS:
            raise ConfigError(f"split is {self.split!r}; expected one of {', '.join(SPLITS)}.")
        if self.recordings is not None and self.csv is not None:
            raise ConfigError("got both recordings and csv; pass one of them.")
        if self.allow_seen and self.skip_seen:
            raise ConfigError("got both allow_seen and skip_seen; pass one of them.")
        resolve_precision(self.precision, self.device)  # raises if it is not available
        names = list(self.conditions or DEFAULTS)
        if self.room_responses is not None and MEASURED_ROOM not in names:
            if self.conditions:
                raise ConfigError(f"got room_responses, but {MEASURED_ROOM} is not among the conditions; add it.")
            names = [name for name in CONDITIONS if name in (*names, MEASURED_ROOM)]
        if self.room_responses is None and MEASURED_ROOM in names:
            raise ConfigError(f"{MEASURED_ROOM} needs a folder of impulse responses; pass --room_responses FOLDER.")
        self.chosen: dict[str, tuple[Level, ...]] = chosen_levels(names, self.levels, quick=self.quick)

    def check_models(self) -> None:
        """Raise `ConfigError` for models that are missing or repeated, or whose folder is the output."""
        if self.update_card and not (len(self.model_names) == 1 and (Path(self.model_names[0]) / RESULTS).is_file()):
            raise ConfigError(f"update_card needs one model, in a folder with {RESULTS} that the card is made from.")
        output = Path(self.output_dir)
        for name in [*self.model_names, *self.beside]:
            if output.exists() and Path(name).exists() and output.samefile(name):
                raise ConfigError(f"--output_dir {output} is also given as a model or with --beside; choose another.")

    @property
    def most_clips(self) -> int | None:
        """The most clips to use; None for all."""
        return QUICK_CLIPS if self.quick and self.clips is None else self.clips

    def _check_numbers(self) -> None:
        for name, least in (("batch_size", 1), ("clips", 2), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}; expected at least {least}.")

    @cached_property
    def model_names(self) -> list[str]:
        """Folders and Hub ids of `models`, with patterns replaced by the folders that match them."""
        names: list[str] = []
        for given in self.models:
            found = sorted(glob.glob(given)) if glob.has_magic(given) else [given]
            if not found:
                raise ConfigError(f"--models {given}: no folder matches this pattern.")
            names += found
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ConfigError(f"--models: got {repeated[0]} twice; expected each model once.")
        return names
