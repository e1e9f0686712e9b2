"""Arguments of recipes/pretrain.py: the encoder and its masks, the recordings, and the Trainer."""

from dataclasses import dataclass, field, fields
from typing import ClassVar

from transformers import TrainingArguments

from hf_ser.arguments import ConfigError
from hf_ser.data.splits import DataArguments
from hf_ser.training.training_arguments import SerTrainingArguments

_OWN = ("overwrite", "precision", "one_cycle", "early_stopping_patience")  # fields of this package that apply here
# Of held-out segments; training logs those without accuracy too.
SCORES = ("contrastive_loss", "diversity_loss", "codevector_perplexity", "contrastive_accuracy")
_OF_DATASET = ("configuration", "protocol", "fold", "channel")


@dataclass
class PretrainingModelArguments:
    """The encoder to pretrain, and how its frames are masked.

    >>> PretrainingModelArguments("facebook/wav2vec2-base").mask_time_prob
    0.65
    >>> PretrainingModelArguments("facebook/wav2vec2-base", mask_time_length=1)
    Traceback (most recent call last):
    hf_ser.errors.ConfigError: mask_time_length is 1; expected at least 2 frames, such as 10.
    """

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "wav2vec2 checkpoint with the weights of its pretraining, folder or Hub id"}
    )
    revision: str = field(default="main", metadata={"help": "revision of the checkpoint on the Hub"})
    model_config: dict | str | None = field(
        default=None, metadata={"help": "model configuration, with model_type, to pretrain from scratch; YAML only"}
    )
    freeze_feature_encoder: bool = field(default=False, metadata={"help": "freeze the convolutional feature encoder"})
    # The masks of wav2vec 2.0. Checkpoints store those of fine-tuning, which are far fewer, and keep them.
    mask_time_prob: float = field(default=0.65, metadata={"help": "upper bound of the masked share of the frames"})
    mask_time_length: int = field(default=10, metadata={"help": "frames in a masked span"})
    max_gumbel_temperature: float = field(default=2.0, metadata={"help": "Gumbel temperature of the first step"})
    min_gumbel_temperature: float = field(default=0.5, metadata={"help": "smallest Gumbel temperature"})
    gumbel_temperature_decay: float = field(
        default=0.999995, metadata={"help": "factor of the Gumbel temperature per optimizer step"}
    )

    def __post_init__(self) -> None:
        if (self.model_name_or_path is None) == (self.model_config is None):
            given = "neither" if self.model_config is None else "both"
            raise ConfigError(
                f"got {given} of model_name_or_path and model_config; expected one: a checkpoint to adapt, or a "
                "configuration to pretrain from scratch."
            )
        if isinstance(self.model_config, str):
            raise ConfigError("model_config is a string; expected a mapping with model_type in the YAML file.")
        if not 0 < self.mask_time_prob <= 1:
            raise ConfigError(f"mask_time_prob is {self.mask_time_prob}; expected above 0 to 1, such as 0.65.")
        if self.mask_time_length < 2:  # negatives are other masked frames
            raise ConfigError(f"mask_time_length is {self.mask_time_length}; expected at least 2 frames, such as 10.")
        if not 0 < self.min_gumbel_temperature <= self.max_gumbel_temperature or not (
            0 < self.gumbel_temperature_decay <= 1
        ):
            raise ConfigError(
                f"the Gumbel temperature goes from {self.max_gumbel_temperature} to {self.min_gumbel_temperature} by "
                f"a factor of {self.gumbel_temperature_decay}; expected positive numbers, max_gumbel_temperature at "
                "least min_gumbel_temperature, and gumbel_temperature_decay of at most 1."
            )


@dataclass
class PretrainingDataArguments:
    """The recordings: a prepared dataset, folders or a CSV file.

    >>> PretrainingDataArguments(recordings=["calls/2023", "calls/2024"]).max_duration_s
    15.0
    >>> PretrainingDataArguments(csv="calls.csv", protocol="random")
    Traceback (most recent call last):
    hf_ser.errors.ConfigError: protocol is given without dataset; leave it out.
    """

    dataset: str | None = field(
        default=None, metadata={"help": "prepared dataset, folder or Hub id; only its training split is used"}
    )
    configuration: str = field(default="all", metadata={"help": "dataset configuration: all, ravdess, ..."})
    protocol: str | None = field(
        default=None, metadata={"help": "split protocol; default: the stored splits of the configuration"}
    )
    fold: int | None = field(default=None, metadata={"help": "fold of the protocol, from 1"})
    protocol_seed: int = field(default=0, metadata={"help": "random seed of the protocol"})
    channel: str | None = field(default=None, metadata={"help": "vocal channel: speech or song; default: both"})
    recordings: list[str] | None = field(
        default=None, metadata={"help": "folders of recordings, searched at any depth"}
    )
    csv: str | None = field(
        default=None,
        metadata={"help": "CSV file with the column path, and optional columns such as speaker, start, end, split"},
    )
    audio_dir: str | None = field(
        default=None, metadata={"help": "folder that the paths in the CSV file are relative to; default: its folder"}
    )
    max_duration_s: float = field(
        default=15.0, metadata={"help": "longer recordings are cut into equal segments of at most this many seconds"}
    )
    min_duration_s: float = field(default=0.5, metadata={"help": "recordings shorter than this are not used"})
    validation_share: float = field(
        default=0.05, metadata={"help": "share of the speech to hold out for validation, by speaker or recording"}
    )

    def __post_init__(self) -> None:
        sources = [name for name in ("dataset", "recordings", "csv") if getattr(self, name)]
        if len(sources) != 1:
            raise ConfigError(
                f"got {' and '.join(sources) or 'none of dataset, recordings and csv'}; expected one of --dataset, "
                "--recordings and --csv."
            )
        if self.dataset is None:
            defaults = {known.name: known.default for known in fields(self)}
            given = [name for name in _OF_DATASET if getattr(self, name) != defaults[name]]
            if given:
                raise ConfigError(f"{given[0]} is given without dataset; leave it out.")
        if self.audio_dir is not None and self.csv is None:
            raise ConfigError("audio_dir is given without csv; leave it out.")
        if not 0 < self.min_duration_s <= self.max_duration_s < float("inf"):
            raise ConfigError(
                f"min_duration_s is {self.min_duration_s} and max_duration_s is {self.max_duration_s}; expected "
                "positive numbers of seconds, the first at most the second."
            )
        if not 0 < self.validation_share < 1:
            raise ConfigError(f"validation_share is {self.validation_share}; expected between 0 and 1, such as 0.05.")

    @property
    def of_dataset(self) -> DataArguments:
        """The clips of the prepared dataset, in the form of the other recipes."""
        return DataArguments(
            dataset=self.dataset,
            configuration=self.configuration,
            protocol=self.protocol,
            fold=self.fold,
            protocol_seed=self.protocol_seed,
            channel=self.channel,
        )


@dataclass
class PretrainingArguments(SerTrainingArguments):
    """`TrainingArguments` for pretraining: the checkpoint with the best contrastive accuracy is kept.

    >>> PretrainingArguments("runs/encoder").metric_for_best_model
    'contrastive_accuracy'
    >>> PretrainingArguments("runs/encoder", mixup_alpha=0.2)
    Traceback (most recent call last):
    hf_ser.errors.ConfigError: mixup_alpha is given, but pretraining has no labels and does not use it; leave it out.
    """

    unused: ClassVar[frozenset[str]] = frozenset(
        {known.name for known in fields(SerTrainingArguments)}.difference(
            (known.name for known in fields(TrainingArguments)), _OWN
        )
    )

    metric_for_best_model: str | None = field(
        default="contrastive_accuracy", metadata={"help": "validation score that selects the best checkpoint"}
    )
    num_proc: int | None = field(
        default=None, metadata={"help": "processes that check recordings; default: all CPU cores"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.given:
            if name in self.unused:
                raise ConfigError(f"{name} is given, but pretraining has no labels and does not use it; leave it out.")
        if self.num_proc is not None and self.num_proc < 1:
            raise ConfigError(f"num_proc is {self.num_proc}; expected at least 1, or none for all CPU cores.")

    def check_figures(self) -> None:
        """Pretraining draws no figures."""
