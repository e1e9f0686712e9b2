"""Arguments of hybrids: base models, the kind of fit, its settings, and the clips that it is fitted on."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from hf_ser.arguments import ConfigError, did_you_mean
from hf_ser.inference import resolve_precision
from hf_ser.remote_code.reading_ahead import available_processors
from hf_ser.reporting import ReportArguments
from hf_ser.results_file import RESULTS

KINDS = ("stacking", "deep_features", "random_forest")
META_LEARNERS = ("lightgbm", "logistic", "pool", "mean")
FIT_ON = ("train", "validation")


@dataclass
class HybridArguments(ReportArguments):
    """Base models, and how the hybrid is fitted on them. The defaults of LightGBM are the published ones."""

    output_dir: str = field(metadata={"help": "folder for the model, predictions, results and report"})
    kind: str = field(
        default="stacking",
        metadata={
            "help": "stacking (of the bases' probabilities), deep_features (LightGBM on their embeddings) or "
            "random_forest (on their embeddings; without bases on functionals of the clips)"
        },
    )
    bases: list[str] = field(
        default_factory=list,
        metadata={
            "help": "base models: FOLDER, NAME=FOLDER or owner/name@revision of each; {protocol}, {protocol_seed} and "
            "{fold} are filled in"
        },
    )
    layer: int | None = field(
        default=None,
        metadata={"help": "layer of a wav2vec2-family encoder whose mean states are the embeddings; default: last"},
    )
    fit_on: str = field(
        default="train",
        metadata={"help": "deep_features: train, with early stopping on validation, or validation, with inner folds"},
    )
    predictions: list[str] = field(
        default_factory=list,
        metadata={"help": "NAME=FILE.parquet: stored probabilities by clip id; one NAME may have several files"},
    )
    meta: str = field(
        default="lightgbm", metadata={"help": "meta-learner: lightgbm, logistic, pool (one weight per base) or mean"}
    )
    inner_folds: int = field(
        default=5, metadata={"help": "folds of the fitting clips that choose trees or C; fewer with few speakers"}
    )
    max_trees: int = field(default=5000, metadata={"help": "LightGBM: maximum number of trees per class"})
    learning_rate: float = field(default=0.02, metadata={"help": "LightGBM: learning rate"})
    early_stopping_rounds: int = field(default=100, metadata={"help": "LightGBM: trees without improvement"})
    num_leaves: int = field(default=31, metadata={"help": "LightGBM: maximum number of leaves per tree"})
    min_child_samples: int = field(default=20, metadata={"help": "LightGBM: minimum number of clips per leaf"})
    subsample: float = field(default=1.0, metadata={"help": "LightGBM: fraction of the clips per tree"})
    colsample_bytree: float = field(default=1.0, metadata={"help": "LightGBM: fraction of the features per tree"})
    reg_alpha: float = field(default=0.0, metadata={"help": "LightGBM: L1 penalty of leaf values"})
    reg_lambda: float = field(default=0.0, metadata={"help": "LightGBM: L2 penalty of leaf values"})
    class_weights: bool = field(default=True, metadata={"help": "weight clips so that every class counts the same"})
    penalties: list[float] = field(
        default_factory=lambda: [0.001, 0.01, 0.1, 1.0, 10.0],
        metadata={"help": "logistic: inverse penalties C, of which the inner folds choose one"},
    )
    n_estimators: int = field(default=500, metadata={"help": "random forest: number of trees"})
    max_features: list[float] = field(
        default_factory=lambda: [0.05, 0.1, 0.2],
        metadata={"help": "random forest: fractions of the features per split, of which validation chooses one"},
    )
    min_samples_leaf: list[int] = field(
        default_factory=lambda: [1, 2, 4],
        metadata={"help": "random forest: minimum numbers of clips per leaf, of which validation chooses one"},
    )
    trust_bases: bool = field(
        default=False, metadata={"help": "accept bases and tables whose training clips are unknown"}
    )
    allow_leak: bool = field(
        default=False,
        metadata={"help": "fit on the clips that the bases were trained on, to measure the leak; never quote it"},
    )
    calibrate: bool = field(
        default=True, metadata={"help": "fit a temperature on validation and keep it in the model"}
    )
    embed_bases: bool = field(
        default=True,
        metadata={"help": "save the bases' weights in the folder; false: refer to bases on the Hub at their revision"},
    )
    batch_size: int = field(default=32, metadata={"help": "clips per forward pass"})
    precision: str = field(
        default="auto",
        metadata={
            "help": "of the bases when fitting: bf16, fp16 or fp32; auto: bf16 where it is native, else fp16 on CUDA, "
            "else fp32"
        },
    )
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; default: a GPU where there is one"})
    seed: int = field(default=0, metadata={"help": "of the inner folds, the booster and the forest"})
    overwrite: bool = field(default=False, metadata={"help": "replace an earlier run's files in output_dir"})

    def __post_init__(self) -> None:
        choices = (("kind", self.kind, KINDS), ("meta", self.meta, META_LEARNERS), ("fit_on", self.fit_on, FIT_ON))
        for name, value, known in choices:
            if value not in known:
                raise ConfigError(
                    f"{name} is {value!r}; expected one of {', '.join(known)}{did_you_mean(value, known)}."
                )
        self.check_figures()
        self._check_bases()
        self._check_numbers()
        resolve_precision(self.precision, self.device)  # raises ConfigError for what this machine lacks
        folder = Path(self.output_dir)
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--output_dir {folder} is a file; expected a folder or a new name.")
        if (folder / RESULTS).is_file() and not self.overwrite:
            raise ConfigError(f"--output_dir {folder} holds a finished run; pass --overwrite true.")

    @property
    def computed_in(self) -> str:
        """The precision that `precision` stands for on `device`: bf16, fp16 or fp32."""
        return resolve_precision(self.precision, self.device).precision

    def _check_bases(self) -> None:
        if self.kind == "stacking":
            nameless = [text for text in self.predictions if not all(text.partition("="))]
            if nameless:
                raise ConfigError(f"predictions has {nameless[0]!r}; expected NAME=FILE.parquet.")
            if self.allow_leak and self.meta == "mean":
                raise ConfigError("got allow_leak beside meta mean, which is fitted on nothing; leave one out.")
            if self.layer is not None:
                raise ConfigError("got layer beside kind stacking, which takes probabilities; leave it out.")
            return
        for name in ("predictions", "allow_leak"):
            if getattr(self, name):
                raise ConfigError(f"got {name} beside kind {self.kind}, which stacks nothing; leave one out.")
        if self.layer is not None and not self.bases:
            raise ConfigError("got layer without bases; expected the encoder whose layer it is.")
        if self.layer is not None and self.layer < 0:
            raise ConfigError(f"layer is {self.layer}; expected 0 or more.")

    def _check_numbers(self) -> None:
        least = {
            "inner_folds": 2,
            "max_trees": 1,
            "early_stopping_rounds": 1,
            "num_leaves": 2,
            "min_child_samples": 1,
            "reg_alpha": 0,
            "reg_lambda": 0,
            "n_estimators": 1,
            "batch_size": 1,
        }
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least {bound}.")
        for name in ("learning_rate", "subsample", "colsample_bytree"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected more than 0 and at most 1.")
        for name in ("penalties", "max_features", "min_samples_leaf"):
            values = getattr(self, name)
            if not values or not min(values) > 0:
                raise ConfigError(f"{name} are {values}; expected positive numbers, at least one.")
        if max(self.max_features) > 1:
            raise ConfigError(f"max_features are {self.max_features}; expected fractions of the features, at most 1.")


def threads() -> int:
    """Threads for LightGBM and scikit-learn: OMP_NUM_THREADS if it is set, else the processors of this process."""
    number = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if number.isdigit() and int(number) > 0:
        return int(number)
    return available_processors()
