"""Arguments of the evaluation of a trained model or a table of predictions."""

from dataclasses import dataclass, field
from pathlib import Path

from hf_ser.arguments import ConfigError
from hf_ser.data.protocols import SPLITS
from hf_ser.inference import resolve_precision
from hf_ser.reporting.run_report import ReportArguments
from hf_ser.scoring.abstention import AbstentionArguments
from hf_ser.scoring.thresholds import read_thresholds

_FOR_MODELS = ("calibrate", "embeddings", "dimension_map")


@dataclass
class EvaluateArguments(AbstentionArguments, ReportArguments):
    """The model or predictions to score, and the clips.

    >>> EvaluateArguments("runs/scored", model="runs/audio_cnn", figures=False).split
    'test'
    """

    output_dir: str = field(metadata={"help": "folder for predictions, results, report and figures"})
    model: str | None = field(default=None, metadata={"help": "model folder or Hub id of an audio classifier"})
    revision: str = field(default="main", metadata={"help": "revision of the model on the Hub"})
    label_mapping: dict | str | None = field(
        default=None,
        metadata={
            "help": "maps the labels of the model, or of the table, to classes of the dataset or null; YAML only"
        },
    )
    dimension_map: str | None = field(
        default=None,
        metadata={
            "help": "for a model of arousal, valence and dominance: map to classes (dimension_map.json), or the word "
            "fit to fit one on validation and write it to output_dir"
        },
    )
    predictions: str | None = field(
        default=None, metadata={"help": "score this table of predictions (Parquet) instead of a model"}
    )
    split: str = field(default="test", metadata={"help": "split of the dataset to score"})
    recordings: str | None = field(
        default=None, metadata={"help": "score a folder of recordings that are named as in one of the corpora"}
    )
    csv: str | None = field(
        default=None,
        metadata={"help": "score the recordings in a CSV file with the columns path and label, and optional metadata"},
    )
    batch_size: int = field(default=8, metadata={"help": "clips per forward pass"})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; default: a GPU if available"})
    precision: str = field(
        default="auto",
        metadata={"help": "bf16, fp16 or fp32; auto: bf16 if the hardware supports it, else fp16 on CUDA, else fp32"},
    )
    calibrate: bool = field(
        default=False,
        metadata={
            "help": "fit temperature and abstention threshold on validation; the calibrated model is written to "
            "output_dir/model"
        },
    )
    embeddings: bool = field(default=False, metadata={"help": "draw a projection of the embeddings"})
    allow_seen: bool = field(default=False, metadata={"help": "also score clips that the model was trained on"})
    name: str | None = field(default=None, metadata={"help": "name in reports; default: that of the model"})
    transductive_speaker_normalization: bool = field(
        default=False,
        metadata={
            "help": "standardise the log-probabilities of each test speaker with all clips of this speaker; scored as "
            "a protocol of its own"
        },
    )
    thresholds: str | None = field(
        default=None,
        metadata={
            "help": "YAML file of limits for scores and groups; the program ends with exit code 3 if one is missed"
        },
    )
    overwrite: bool = field(default=False, metadata={"help": "replace an earlier run in output_dir"})

    def __post_init__(self) -> None:
        self.check_figures()
        if self.thresholds is not None:
            read_thresholds(self.thresholds)  # raises ConfigError before anything is computed
        self.check_abstention()
        if self.split not in SPLITS:
            raise ConfigError(f"split is {self.split!r}; expected one of {', '.join(SPLITS)}.")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; expected at least 1.")
        if isinstance(self.label_mapping, str):
            raise ConfigError("label_mapping is a string; expected a mapping of labels to classes, in the YAML file.")
        if self.recordings is not None and self.csv is not None:
            raise ConfigError("got both recordings and csv; pass one of them.")
        if self.calibrate and self.label_mapping is not None:
            raise ConfigError("calibrate does not support label_mapping; leave one out.")
        if self.calibrate and self.transductive_speaker_normalization:
            raise ConfigError(
                "calibrate and transductive_speaker_normalization are both given; the calibrated model would be "
                "scored on other probabilities than it has. Leave one out."
            )
        if self.calibrate and self.dimension_map is not None:
            raise ConfigError(
                "calibrate and dimension_map are both given; a map is calibrated already. Leave one out."
            )
        if self.predictions is not None:
            self._refuse(_FOR_MODELS, "predictions")
        resolve_precision(self.precision, self.device)  # raises if it is not available
        output = Path(self.output_dir)
        if self.model is not None and output.exists() and Path(self.model).exists() and output.samefile(self.model):
            raise ConfigError(f"--output_dir {output} is the folder of the model; choose another.")

    def refuse_model_options(self) -> None:
        """Reject options for a trained model or a table; cross-validation calls this."""
        other = ("model", "predictions", "recordings", "csv", "name", "allow_seen", "label_mapping", *_FOR_MODELS)
        self._refuse((*other, "transductive_speaker_normalization"), "model_recipe")
        if self.precision != "auto":
            said = f"precision={self.precision}"
            raise ConfigError(f"got precision together with model_recipe; use --recipe_overrides {said} instead.")
        if self.split != "test":
            raise ConfigError(
                "got split together with model_recipe, which scores the test split of every fold; leave split out."
            )

    def _refuse(self, names: tuple[str, ...], beside: str) -> None:
        for name in names:
            if getattr(self, name):
                raise ConfigError(f"got {name} together with {beside}; leave one out.")
