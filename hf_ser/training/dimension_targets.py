"""Training on dimensions (arousal, valence, dominance) instead of classes: arguments, clips, loss and metric."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import EvalPrediction
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError
from hf_ser.data.clip_dimensions import values_of_split
from hf_ser.data.splits import SplitData
from hf_ser.remote_code.dimensions import DIMENSIONS
from hf_ser.scoring.dimension_scores import concordance
from hf_ser.training.numbered_clips import NumberedClips

if TYPE_CHECKING:
    from hf_ser.training.training_arguments import SerTrainingArguments

logger = logging.getLogger(__name__)

TARGET = "dimensions"  # the value of the option target
LOSSES = ("ccc", "mse")
METRIC = "ccc"
# Each needs one class per clip, mixes clips of different values, or replaces the loss.
NEED_CLASSES = {
    "loss": "cross_entropy",
    "label_smoothing": 0.0,
    "class_weights": False,
    "mixup_alpha": 0.0,
    "copy_paste": 0.0,
    "speaker_adversary": 0.0,
    "supervised_contrastive": 0.0,
    "corpus_classes": False,
    "teachers": [],
}
Collate = Callable[[Sequence[dict[str, Any]]], dict[str, torch.Tensor]]
_EPSILON = 1e-8  # keeps the loss of a batch without any variance finite


@dataclass(kw_only=True)
class DimensionArguments:
    """Options of a training with the target dimensions; the target is in `TargetArguments`.

    >>> DimensionArguments(dimensions=["arousal", "valence"]).dimension_loss
    'ccc'
    """

    dimensions: list[str] = field(
        default_factory=list,
        metadata={"help": "with target dimensions: which of arousal, valence, dominance; default: all in the dataset"},
    )
    dimension_loss: str = field(
        default="ccc", metadata={"help": "with target dimensions: ccc (1 - concordance of the batch) or mse"}
    )

    def check_dimensions(self) -> None:
        """Reject unknown dimensions, and options that need classes; choose the concordance as the metric.

        Raises:
            ConfigError: names the option.
        """
        args: Any = self  # the fields of the training
        if self.dimension_loss not in LOSSES:
            raise ConfigError(f"dimension_loss is {self.dimension_loss!r}; expected one of {', '.join(LOSSES)}.")
        unknown = [name for name in self.dimensions if name not in DIMENSIONS]
        if unknown or len(set(self.dimensions)) < len(self.dimensions):
            raise ConfigError(
                f"dimensions is {' '.join(self.dimensions)}; expected different ones of {', '.join(DIMENSIONS)}."
            )
        if args.target != TARGET:
            if self.dimensions or self.dimension_loss != "ccc":
                raise ConfigError(f"dimensions or dimension_loss is given and target is {args.target}; pass {TARGET}.")
            return
        for name, plain in NEED_CLASSES.items():
            value = getattr(args, name)
            if value != plain:
                raise ConfigError(
                    f"target is dimensions and {name} is {value}, which needs classes; expected one of them. Leave "
                    f"{name} out."
                )
        if args.metric_for_best_model == type(args).metric_for_best_model:  # the default, of classes
            args.metric_for_best_model = METRIC


def score_names(names: Sequence[str]) -> list[str]:
    """Names of the validation scores, for `metric_for_best_model`."""
    return [METRIC, *(f"{METRIC}_{name}" for name in names)]


def with_dimensions(data: SplitData, args: "SerTrainingArguments") -> SplitData:
    """Keep the clips that have values of all dimensions, if the target is dimensions.

    Raises:
        ConfigError: a dimension that the dataset lacks, or a split without such clips.

    >>> from hf_ser.data import DataArguments, load_splits
    >>> from hf_ser.training import SerTrainingArguments
    >>> data = load_splits(DataArguments("data/emotions", "ravdess"))
    >>> with_dimensions(data, SerTrainingArguments("runs/new")) is data
    True
    """
    if args.target != TARGET:
        return data
    names = dimension_names(data, args)
    kept = {}
    for split, part in data.splits.items():
        rows = np.flatnonzero(np.isfinite(values_of_split(part, names)).all(axis=1))
        if len(rows) == 0 and split != "test":
            raise ConfigError(
                f"target is dimensions, and no clip in {split} has {' and '.join(names)}; expected at least one. "
                "Prepare the dataset from a CSV file with these columns."
            )
        if len(rows) < len(part):
            logger.info("%s: %d of %d clips have %s", split, len(rows), len(part), ", ".join(names))
        kept[split] = part.select(rows)
    return replace(data, splits=kept)


def dimension_names(data: SplitData, args: "SerTrainingArguments") -> tuple[str, ...]:
    """The dimensions to learn: those in the arguments, or all that the dataset has.

    Raises:
        ConfigError: the dataset lacks one.
    """
    present = [name for name in DIMENSIONS if name in data.splits["train"].column_names]
    missing = [name for name in args.dimensions if name not in present]
    if missing or not present:
        raise ConfigError(
            f"target is dimensions, and the dataset has no column {', '.join(missing or DIMENSIONS)}; expected "
            "those of a CSV file that the dataset was prepared from (recipes/prepare.py --csv FILE)."
        )
    return tuple(args.dimensions or present)


def outputs(data: SplitData, args: "SerTrainingArguments") -> tuple[str, ...]:
    """Names of the model's outputs: the classes, or the dimensions.

    >>> from hf_ser.data import DataArguments, load_splits
    >>> from hf_ser.training import SerTrainingArguments
    >>> outputs(load_splits(DataArguments("data/emotions", "ravdess")), SerTrainingArguments("runs/new"))[:2]
    ('neutral', 'calm')
    """
    return dimension_names(data, args) if args.target == TARGET else data.labels


@dataclass(frozen=True)
class DimensionTask:
    """The clips, the loss and the metric of a training on dimensions."""

    data: SplitData
    names: tuple[str, ...]
    loss_name: str

    @classmethod
    def of(cls, data: SplitData, args: "SerTrainingArguments") -> "DimensionTask | None":
        """The task for arguments; None for classes."""
        return cls(data, dimension_names(data, args), args.dimension_loss) if args.target == TARGET else None

    def values(self, split: str) -> np.ndarray:
        """Annotated values (clips, dimensions)."""
        return values_of_split(self.data.splits[split], self.names)

    def labelled(self, clips: Any, split: str, rows: np.ndarray | None = None) -> NumberedClips:
        """Decoded clips of a split, at these positions, with their values as labels."""
        values = self.values(split)
        chosen: Any = (values if rows is None else values[rows]).tolist()
        return NumberedClips(clips, "label", chosen)

    def training_clips(self, clips: Any) -> Any:
        """Training clips with their values as labels; those of a stream get them in the collator."""
        return clips if self.data.stream is not None else self.labelled(clips, "train")

    def collator(self, plain: Collate) -> Collate:
        """Batches of a collator with float32 labels (batch, dimensions)."""
        return _Collator(plain, self.values("train") if self.data.stream is not None else None)

    def loss(
        self, outputs: SequenceClassifierOutput, labels: torch.Tensor, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The loss for `compute_loss_func`, weighted by the share of the clips in the whole accumulated batch.

        Concordance is computed within a batch on the device, so that it depends on the size of the batch.
        """
        assert outputs.logits is not None  # typed as optional; models always return them
        loss = ccc_loss if self.loss_name == "ccc" else torch.nn.functional.mse_loss
        count = len(labels) if num_items_in_batch is None else num_items_in_batch
        return loss(outputs.logits.float(), labels.float()) * len(labels) / count

    def metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Validation scores, under the names for `metric_for_best_model`."""
        predicted = prediction.predictions
        predicted = predicted[0] if isinstance(predicted, tuple) else predicted
        found = concordance(np.asarray(prediction.label_ids), np.asarray(predicted))
        return dict(zip(score_names(self.names), [float(found.mean()), *map(float, found)], strict=True))


class _Collator:
    """A class, so that it can be pickled for workers.

    Args:
        plain: of waveforms, or of a stream.
        streamed: values (clips, dimensions) of the clips of a stream, by their number.
    """

    def __init__(self, plain: Collate, streamed: np.ndarray | None) -> None:
        self.plain, self.streamed = plain, streamed

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        values, without = [], []
        for example in examples:
            if self.streamed is not None and "waveform" not in example:  # not yet decoded, with a class as label
                values.append(self.streamed[example["number"]].tolist())
                without.append(example)
            else:
                values.append(example["label"])
                without.append({name: value for name, value in example.items() if name != "label"})
        return {**self.plain(without), "labels": torch.tensor(values, dtype=torch.float32)}


def ccc_loss(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """1 minus the mean concordance over the dimensions, (batch, dimensions) twice -> scalar.

    >>> true = torch.tensor([[0.1], [0.5], [0.9]])
    >>> round(float(ccc_loss(true, true)), 3), round(float(ccc_loss(true + 0.4, true)), 3)
    (0.0, 0.429)
    """
    means = predicted.mean(dim=0), true.mean(dim=0)
    centred = predicted - means[0], true - means[1]
    covariance = (centred[0] * centred[1]).mean(dim=0)
    spread = (centred[0] ** 2).mean(dim=0) + (centred[1] ** 2).mean(dim=0) + (means[0] - means[1]) ** 2
    return 1 - (2 * covariance / (spread + _EPSILON)).mean()
