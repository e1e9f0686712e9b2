"""Arguments of hybrids: base models, kind of hybrid, settings of the fit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_ser.arguments import ConfigError, did_you_mean
from hf_ser.inference import resolve_precision
from hf_ser.reporting import ReportArguments
from hf_ser.run_folder import is_finished
from hf_ser.scoring import AbstentionArguments

KINDS = ("stacking", "deep_features", "functionals", "random_forest")
PUBLISHED = "published"
FEATURE_SETS = (PUBLISHED, "prosodic")
FORESTS = ("random", "extra")
META_LEARNERS = ("lightgbm", "logistic", "pool", "mean")
OUT_OF_FOLD = "out_of_fold"  # a choice of fit_on, and the name of the folder of the nested runs
FIT_ON = {  # by kind, the default first
    "stacking": ("validation", OUT_OF_FOLD),
    "deep_features": ("train", "validation"),
    "functionals": ("train", "validation"),
    "random_forest": ("train",),
}


@dataclass
class HybridArguments(AbstentionArguments, ReportArguments):
    """Base models of a hybrid and settings of the fit. LightGBM defaults are the published settings."""

    output_dir: str = field(metadata={"help": "folder for the model, predictions, results and report"})
    kind: str = field(
        default="stacking",
        metadata={
            "help": "stacking (on the probabilities of base models), deep_features (LightGBM on their embeddings), "
            "functionals (LightGBM on functionals of the clips) or random_forest (on embeddings, or on functionals if "
            "there are no base models)"
        },
    )
    bases: list[str] = field(
        default_factory=list,
        metadata={
            "help": "base models: FOLDER, NAME=FOLDER or owner/name@revision; {protocol}, {protocol_seed} and {fold} "
            "are replaced by the values of these arguments"
        },
    )
    feature_sets: list[str] = field(
        default_factory=lambda: [PUBLISHED],
        metadata={"help": "functionals of clips: published, prosodic (pitch, voice quality, derivatives), or both"},
    )
    layer: int | None = field(
        default=None,
        metadata={"help": "layer of a wav2vec2-family encoder whose mean hidden states are used; default: last"},
    )
    fit_on: str | None = field(
        default=None,
        metadata={
            "help": "stacking: validation, with inner folds (default), or out_of_fold (training clips, predicted by "
            "base models that are trained again on nested_folds); deep_features and functionals: train, with early "
            "stopping on validation (default), or validation"
        },
    )
    out_of_fold_dir: str | None = field(
        default=None,
        metadata={
            "help": "out_of_fold: folder for the runs of the nested folds, which several stacks can share; default: "
            "out_of_fold in output_dir"
        },
    )
    recipes: str = field(
        default="recipes", metadata={"help": "out_of_fold: folder with the recipes that train the base models"}
    )
    launch_config: str | None = field(
        default=None, metadata={"help": "out_of_fold: accelerate configuration that launches each training"}
    )
    train_only: bool = field(
        default=False, metadata={"help": "out_of_fold: train the nested folds, and stop before the fit"}
    )
    predictions: list[str] = field(
        default_factory=list,
        metadata={"help": "NAME=FILE.parquet: stored probabilities by clip id; a NAME may have several files"},
    )
    meta: str = field(
        default="lightgbm",
        metadata={"help": "meta-learner: lightgbm, logistic, pool (one weight per base model) or mean"},
    )
    inner_folds: int = field(
        default=5,
        metadata={"help": "folds of the fitting clips that select the number of trees or C; reduced for few speakers"},
    )
    max_trees: int = field(default=5000, metadata={"help": "LightGBM: maximum number of trees per class"})
    learning_rate: float = field(default=0.02, metadata={"help": "LightGBM: learning rate"})
    early_stopping_rounds: int = field(default=100, metadata={"help": "LightGBM: stop after this many trees"})
    num_leaves: int = field(default=31, metadata={"help": "LightGBM: maximum number of leaves per tree"})
    min_child_samples: int = field(default=20, metadata={"help": "LightGBM: minimum number of clips per leaf"})
    subsample: float = field(default=1.0, metadata={"help": "LightGBM: fraction of the clips per tree"})
    colsample_bytree: float = field(default=1.0, metadata={"help": "LightGBM: fraction of the features per tree"})
    reg_alpha: float = field(default=0.0, metadata={"help": "LightGBM: L1 penalty of leaf values"})
    reg_lambda: float = field(default=0.0, metadata={"help": "LightGBM: L2 penalty of leaf values"})
    class_weights: bool = field(default=True, metadata={"help": "weight clips so that all classes count equally"})
    penalties: list[float] = field(
        default_factory=lambda: [0.001, 0.01, 0.1, 1.0, 10.0],
        metadata={"help": "logistic: inverse penalties C; the inner folds select one"},
    )
    n_estimators: int = field(default=500, metadata={"help": "random forest: number of trees"})
    forest: str = field(
        default="random", metadata={"help": "random_forest: random, or extra (extremely randomised trees)"}
    )
    max_features: list[float] = field(
        default_factory=lambda: [0.05, 0.1, 0.2],
        metadata={"help": "random forest: fractions of the features per split; validation selects one"},
    )
    min_samples_leaf: list[int] = field(
        default_factory=lambda: [1, 2, 4],
        metadata={"help": "random forest: minimum numbers of clips per leaf; validation selects one"},
    )
    trust_bases: bool = field(
        default=False, metadata={"help": "accept base models and tables whose training clips are unknown"}
    )
    allow_leak: bool = field(
        default=False,
        metadata={"help": "fit on clips that the base models were trained on, to measure the leak; do not report it"},
    )
    calibrate: bool = field(
        default=True,
        metadata={"help": "fit temperature and abstention threshold on validation and store them in the model"},
    )
    embed_bases: bool = field(
        default=True,
        metadata={
            "help": "save the base models' weights in the folder; false: load them from the Hub at their commit"
        },
    )
    batch_size: int = field(default=32, metadata={"help": "clips per forward pass"})
    precision: str = field(
        default="auto",
        metadata={
            "help": "precision of the base models: bf16, fp16, fp32, or auto (bf16 if the hardware supports it "
            "natively, else fp16 on CUDA, else fp32)"
        },
    )
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; default: a GPU if available"})
    seed: int = field(default=0, metadata={"help": "seed of the inner folds, the booster and the forest"})
    overwrite: bool = field(default=False, metadata={"help": "replace an earlier run's files in output_dir"})

    def __post_init__(self) -> None:
        choices: list[tuple[str, str, Sequence[str]]] = [("kind", self.kind, KINDS)]
        choices += [("meta", self.meta, META_LEARNERS), ("forest", self.forest, FORESTS)]
        choices += [("feature_sets", name, FEATURE_SETS) for name in self.feature_sets]
        if self.fit_on is not None and self.kind in FIT_ON:
            choices.append(("fit_on", self.fit_on, FIT_ON[self.kind]))
        for name, value, known in choices:
            if value not in known:
                raise ConfigError(
                    f"{name} is {value!r}; expected one of {', '.join(known)}{did_you_mean(value, known)}."
                )
        self.check_figures()
        self.check_abstention()
        self._check_bases()
        self._check_numbers()
        resolve_precision(self.precision, self.device)  # raises ConfigError if this machine does not support it
        folder = Path(self.output_dir)
        if is_finished(folder) and not self.overwrite:
            raise ConfigError(f"--output_dir {folder} contains a finished run; pass --overwrite true.")

    @property
    def fitted_split(self) -> str:
        """Clips that the hybrid is fitted on: train, validation or out_of_fold (train, predicted out of fold)."""
        return self.fit_on or FIT_ON[self.kind][0]

    @property
    def out_of_fold_root(self) -> Path:
        """Folder of the nested runs."""
        return Path(self.out_of_fold_dir) if self.out_of_fold_dir else Path(self.output_dir) / OUT_OF_FOLD

    @property
    def computed_in(self) -> str:
        """Precision on `device` after resolving auto: bf16, fp16 or fp32."""
        return resolve_precision(self.precision, self.device).precision

    def _check_out_of_fold(self) -> None:
        if self.fit_on != OUT_OF_FOLD:
            for name in ("out_of_fold_dir", "launch_config", "train_only"):
                if getattr(self, name):
                    raise ConfigError(f"{name} has no effect without fit_on out_of_fold. Pass it, or remove {name}.")
            return
        if self.predictions:
            raise ConfigError(
                "predictions cannot be predicted out of fold; expected bases only. Remove predictions or fit_on."
            )
        if self.allow_leak or self.meta == "mean":
            what = "allow_leak" if self.allow_leak else "meta mean, which is not fitted,"
            raise ConfigError(f"{what} cannot be combined with fit_on out_of_fold. Remove one of them.")

    def _check_bases(self) -> None:
        self._check_out_of_fold()
        self._check_functionals()
        if self.kind == "stacking":
            nameless = [text for text in self.predictions if not all(text.partition("="))]
            if nameless:
                raise ConfigError(f"predictions has {nameless[0]!r}; expected NAME=FILE.parquet.")
            if self.allow_leak and self.meta == "mean":
                raise ConfigError("allow_leak has no effect with meta mean, which is not fitted. Remove one of them.")
            if self.layer is not None:
                raise ConfigError("layer has no effect with kind stacking, which uses probabilities. Remove it.")
            return
        for name in ("predictions", "allow_leak"):
            if getattr(self, name):
                raise ConfigError(f"{name} is for kind stacking only; kind is {self.kind}. Remove one of them.")
        if self.layer is not None and not self.bases:
            raise ConfigError("layer needs an encoder, but bases is empty. Add the encoder to bases.")
        if self.layer is not None and self.layer < 0:
            raise ConfigError(f"layer is {self.layer}; expected 0 or more.")

    def _check_functionals(self) -> None:
        if self.kind == "functionals" and self.bases:
            raise ConfigError("bases has no effect with kind functionals. Remove it, or pass --kind deep_features.")
        if not self.feature_sets or len(set(self.feature_sets)) != len(self.feature_sets):
            raise ConfigError(f"feature_sets is {self.feature_sets}; expected one or more different names.")
        if self.feature_sets != [PUBLISHED] and (self.bases or self.kind in ("stacking", "deep_features")):
            raise ConfigError("feature_sets has no effect with base models. Remove one of them.")

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
                raise ConfigError(f"{name} is {values}; expected at least one positive number.")
        if max(self.max_features) > 1:
            raise ConfigError(f"max_features is {self.max_features}; expected fractions of the features, at most 1.")


def reported_settings(args: HybridArguments) -> dict[str, Any]:
    """Settings of the meta-learner for results.json, in addition to the selected ones."""
    names: tuple[str, ...] = ()
    if args.meta == "lightgbm":
        names = ("learning_rate", "num_leaves", "min_child_samples", "subsample", "colsample_bytree")
        names += ("reg_alpha", "reg_lambda", "max_trees", "early_stopping_rounds", "class_weights")
    if args.meta == "logistic":
        names = ("penalties", "class_weights")
    return {name: getattr(args, name) for name in names}


def reported_sets(args: HybridArguments) -> dict[str, Any]:
    """Feature sets of functionals for results.json, unless only the published set is used."""
    return {} if args.feature_sets == [PUBLISHED] else {"feature_sets": list(args.feature_sets)}
