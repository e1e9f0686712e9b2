"""Arguments of the training recipes: of the model and of the Trainer."""

import math
import multiprocessing
import os
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_utils import SchedulerType

from hf_ser.arguments import ConfigError
from hf_ser.recipe_file import changed_fields
from hf_ser.remote_code.hardware import PRECISIONS, detect, resolve
from hf_ser.reporting import ReportArguments
from hf_ser.scoring import AbstentionArguments
from hf_ser.training.augmentation import make_transforms
from hf_ser.training.averaged_weights import check_average
from hf_ser.training.dimension_targets import DimensionArguments
from hf_ser.training.losses import make_loss
from hf_ser.training.speed import check_speed_factors
from hf_ser.training.vote_targets import TargetArguments

_ERRORS = ("loss", "brier", "ece")  # endings of the names of scores for which smaller is better
# Fields of logging and debugging whose defaults HfArgumentParser replaces by equivalent values.
_PARSED = ("debug", "include_num_input_tokens_seen")


@dataclass
class ModelArguments:
    """The model to train: a checkpoint, or a configuration to train from scratch.

    >>> args = ModelArguments(model_name_or_path="facebook/wav2vec2-base", lora_rank=8)
    >>> args.lora_alpha, args.lora_target_modules
    (16, ['q_proj', 'v_proj'])
    >>> ModelArguments()
    Traceback (most recent call last):
    hf_ser.errors.ConfigError: got neither of model_name_or_path and model_config; expected one: ...
    """

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "wav2vec2-family checkpoint, folder or Hub id"}
    )
    revision: str = field(default="main", metadata={"help": "revision of the checkpoint on the Hub"})
    model_config: dict | str | None = field(
        default=None, metadata={"help": "model configuration, with model_type, to train from scratch; YAML only"}
    )
    config_overrides: dict | str | None = field(
        default=None,
        metadata={"help": "changes to the checkpoint's configuration, as --config_overrides.FIELD VALUE"},
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={
            "help": "attention implementation: eager, sdpa or flash_attention_2; default: the fastest available"
        },
    )
    new_head: bool = field(
        default=False, metadata={"help": "replace the classification head of a checkpoint that has one"}
    )
    key_mapping: dict | str | None = field(
        default=None,
        metadata={"help": "regular expressions that rename the checkpoint's weights; YAML only"},
    )
    freeze_feature_encoder: bool = field(default=False, metadata={"help": "freeze the convolutional feature encoder"})
    freeze_encoder_layers: int = field(
        default=0, metadata={"help": "number of encoder layers to freeze, from the bottom, with all below them"}
    )
    lora_rank: int = field(default=0, metadata={"help": "LoRA rank; 0 trains all weights"})
    lora_alpha: int = field(default=16, metadata={"help": "LoRA scaling factor alpha"})
    lora_dropout: float = field(default=0.0, metadata={"help": "LoRA dropout probability"})
    lora_target_modules: list[str] = field(
        default_factory=lambda: ["q_proj", "v_proj"], metadata={"help": "names of the layers with LoRA"}
    )
    save_adapter: bool = field(
        default=False, metadata={"help": "also save the LoRA adapter, in adapter/; the saved model has it merged"}
    )

    def __post_init__(self) -> None:
        if self.lora_rank < 0 or not 0 <= self.lora_dropout < 1 or self.lora_alpha < 1:
            raise ConfigError(
                f"lora_rank is {self.lora_rank}, lora_alpha {self.lora_alpha}, lora_dropout {self.lora_dropout}; "
                "expected at least 0, at least 1, and from 0 to below 1."
            )
        if self.save_adapter and not self.lora_rank:
            raise ConfigError("save_adapter is true without lora_rank; expected a rank such as --lora_rank 8.")
        if self.freeze_encoder_layers < 0:
            raise ConfigError(f"freeze_encoder_layers is {self.freeze_encoder_layers}; expected 0 or more.")
        if (self.model_name_or_path is None) == (self.model_config is None):
            given = "neither" if self.model_config is None else "both"
            raise ConfigError(
                f"got {given} of model_name_or_path and model_config; expected one: a checkpoint to fine-tune, or a "
                "configuration to train from scratch."
            )
        if isinstance(self.model_config, str):
            raise ConfigError("model_config is a string; expected a mapping with model_type in the YAML file.")
        if isinstance(self.config_overrides, str):
            raise ConfigError("config_overrides is a string; expected --config_overrides.FIELD VALUE, or a mapping.")
        if isinstance(self.key_mapping, str):
            raise ConfigError("key_mapping is a string; expected a mapping of patterns to names, in the YAML file.")
        if self.key_mapping and (self.new_head or self.model_config is not None):
            raise ConfigError("key_mapping renames the weights of a checkpoint; leave new_head and model_config out.")
        if self.config_overrides and self.model_config is not None:
            raise ConfigError("config_overrides changes the configuration of a checkpoint; change model_config.")


@dataclass
class SerTrainingArguments(
    TargetArguments, DimensionArguments, AbstentionArguments, ReportArguments, TrainingArguments
):
    """`TrainingArguments` with the defaults of this package: the best checkpoint on validation is kept.

    >>> args = SerTrainingArguments(output_dir="runs/new", precision="fp32", layer_decay=0.9)
    >>> args.metric_for_best_model, args.greater_is_better, args.precision_choice.precision
    ('auto', True, 'fp32')
    >>> SerTrainingArguments(output_dir="runs/new", layer_decay=1.1)
    Traceback (most recent call last):
    hf_ser.errors.ConfigError: layer_decay is 1.1; expected above 0 to 1 (none), such as 0.9.
    """

    output_dir: str | None = field(default=None, metadata={"help": "folder of the trained model"})
    overwrite: bool = field(default=False, metadata={"help": "replace an earlier run in output_dir"})
    eval_strategy: str = field(default="epoch", metadata={"help": "when to evaluate: no, steps or epoch"})
    save_strategy: str = field(default="epoch", metadata={"help": "when to save a checkpoint: no, steps or epoch"})
    save_total_limit: int | None = field(default=2, metadata={"help": "maximum number of checkpoints to keep"})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "load the best checkpoint after training"})
    metric_for_best_model: str | None = field(
        default="auto",
        metadata={
            "help": "validation score that selects the best checkpoint; auto: uar_by_corpus if validation has several "
            "corpora, else f1_weighted"
        },
    )
    greater_is_better: bool | None = field(
        default=None, metadata={"help": "whether a larger score is better; default: by its name"}
    )
    logging_strategy: str = field(
        default="epoch", metadata={"help": "when to log the training loss: no, steps or epoch"}
    )
    precision: str = field(
        default="auto",
        metadata={
            "help": "bf16, fp16 or fp32; auto: bf16 if the hardware computes it natively, else fp16 on CUDA, else fp32"
        },
    )
    # SerTrainer stops at a non-finite loss, so the Trainer need not check every batch.
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "leave non-finite losses out of the log"})
    loss: str = field(default="cross_entropy", metadata={"help": "loss function: cross_entropy or focal"})
    focal_gamma: float = field(default=2.0, metadata={"help": "focusing parameter gamma of the focal loss"})
    label_smoothing: float = field(default=0.0, metadata={"help": "label smoothing factor"})
    class_weights: bool = field(default=False, metadata={"help": "weight the loss by inverse class frequency"})
    augmentation: list | str | None = field(
        default=None, metadata={"help": "augmentation of training clips: transforms of audiomentations; YAML only"}
    )
    ema_decay: float | None = field(
        default=None,
        metadata={"help": "validate and save an exponential moving average of the weights with this decay"},
    )
    swa_start: float | None = field(
        default=None,
        metadata={"help": "validate and save the average of the weights after this fraction of the training (SWA)"},
    )
    balance_corpora: bool = field(
        default=False, metadata={"help": "draw every training corpus equally often, with epochs of the same length"}
    )
    corpus_classes: bool = field(
        default=False,
        metadata={"help": "in the loss, limit the softmax of a clip to the classes of its corpus in train"},
    )
    mixup_alpha: float = field(
        default=0.0, metadata={"help": "mixup: parameter alpha of the Beta distribution; 0 turns it off"}
    )
    speed_factors: list[float] | None = field(
        default=None,
        metadata={"help": "speed perturbation: factors of which each training clip gets one in every epoch"},
    )
    copy_paste: float = field(
        default=0.0, metadata={"help": "probability that a training clip is joined to another one of its class"}
    )
    speaker_adversary: float = field(
        default=0.0,
        metadata={"help": "speaker-adversarial training: final factor of the reversed gradient; 0 turns it off"},
    )
    supervised_contrastive: float = field(
        default=0.0, metadata={"help": "weight of the supervised contrastive loss; 0 turns it off"}
    )
    teachers: list[str] = field(
        default_factory=list,
        metadata={
            "help": "knowledge distillation: trained models whose mean probabilities of the training clips are "
            "learned too; {protocol}, {protocol_seed} and {fold} are replaced"
        },
    )
    distillation_weight: float = field(
        default=0.5, metadata={"help": "share of the loss for the probabilities of the teachers"}
    )
    distillation_temperature: float = field(
        default=2.0, metadata={"help": "temperature of both probabilities in the distillation loss"}
    )
    one_cycle: bool = field(
        default=False, metadata={"help": "one-cycle learning-rate schedule with learning_rate as its maximum"}
    )
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "learning rate of the classification head; default: learning_rate"}
    )
    layer_decay: float = field(default=1.0, metadata={"help": "layer-wise learning-rate decay factor; 1 turns it off"})
    unfreeze_every: float | None = field(
        default=None,
        metadata={"help": "gradual unfreezing: epochs between two encoder layers, from the top; default: off"},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "early stopping: evaluations without improvement; default: off"}
    )
    calibrate: bool = field(
        default=True,
        metadata={"help": "fit temperature and abstention threshold on validation and store them in the model"},
    )
    # The collator reads columns that are not arguments of the model's forward.
    remove_unused_columns: bool = field(default=False, metadata={"help": "must be false"})
    label_names: list[str] | None = field(
        default_factory=lambda: ["labels"], metadata={"help": "names of the label inputs"}
    )

    def __post_init__(self) -> None:
        if self.output_dir is None:
            raise ConfigError("output_dir is not given; expected the folder of the trained model.")
        # Before transformers replaces values by their meaning on this machine.
        self.given = {name: value for name, value in changed_fields(self).items() if name not in _PARSED}
        self.check_figures()
        self.check_abstention()
        if self.remove_unused_columns:
            raise ConfigError("remove_unused_columns is true; expected false: audio is decoded from its columns.")
        make_loss(self.loss, gamma=self.focal_gamma, label_smoothing=self.label_smoothing)  # raises ConfigError
        if self.label_smoothing_factor:
            raise ConfigError(
                "label_smoothing_factor does not affect the losses of this package; use label_smoothing."
            )
        if self.early_stopping_patience is not None and self.early_stopping_patience < 1:
            raise ConfigError(f"early_stopping_patience is {self.early_stopping_patience}; expected at least 1.")
        check_average(self.ema_decay, self.swa_start, bool(self.fsdp or self.deepspeed))
        if self.balance_corpora and self.train_sampling_strategy != "random":
            raise ConfigError(
                f"balance_corpora is true and train_sampling_strategy is {self.train_sampling_strategy}; expected "
                "only one of them."
            )
        if not 0 <= self.mixup_alpha < math.inf:
            raise ConfigError(f"mixup_alpha is {self.mixup_alpha}; expected 0 (no mixup) or more, such as 0.2.")
        if self.speed_factors is not None:
            check_speed_factors(self.speed_factors)  # raises ConfigError
        if not 0 <= self.copy_paste <= 1:
            raise ConfigError(f"copy_paste is {self.copy_paste}; expected a probability from 0 (none) to 1.")
        self._check_auxiliary()
        self._check_distillation()
        plain = {"loss": "cross_entropy"}
        options = ("loss", "class_weights", "copy_paste", "supervised_contrastive", "corpus_classes", "teachers")
        given = {name: getattr(self, name) for name in options}
        self.check_target({name: value for name, value in given.items() if value and value != plain.get(name)})
        self.check_dimensions()
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"layer_decay is {self.layer_decay}; expected above 0 to 1 (none), such as 0.9.")
        for name in ("head_learning_rate", "unfreeze_every"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; expected a number above 0.")
        if self.augmentation is not None:
            make_transforms(self.augmentation)  # raises ConfigError
        self.asked_metric = self.metric_for_best_model  # compared when a run is resumed; auto depends on the clips
        if self.greater_is_better is None:
            self.greater_is_better = not str(self.metric_for_best_model).endswith(_ERRORS)
        self._check_workers()
        self._set_precision()
        super().__post_init__()
        self._check_schedule()
        # Pinned memory speeds up copies to a GPU; without one, torch only warns about it at every epoch.
        self.dataloader_pin_memory = self.dataloader_pin_memory and self.device.type == "cuda"

    def _check_auxiliary(self) -> None:
        for name in ("speaker_adversary", "supervised_contrastive"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 (none) or more, such as 0.1.")
        if self.supervised_contrastive and self.mixup_alpha:
            raise ConfigError(
                "supervised_contrastive and mixup_alpha are both given, but a mixture of two clips has no single "
                "class. Leave one of them out."
            )
        if self.supervised_contrastive and self.per_device_train_batch_size < 2:
            raise ConfigError(
                "supervised_contrastive compares the clips of a batch, and per_device_train_batch_size is "
                f"{self.per_device_train_batch_size}; expected several clips per class, such as 32."
            )

    def _check_distillation(self) -> None:
        if not 0 < self.distillation_weight <= 1:
            raise ConfigError(f"distillation_weight is {self.distillation_weight}; expected above 0 to 1.")
        if not 0 < self.distillation_temperature < math.inf:
            raise ConfigError(f"distillation_temperature is {self.distillation_temperature}; expected above 0.")
        for name in ("corpus_classes", "copy_paste"):
            if self.teachers and getattr(self, name):
                raise ConfigError(f"teachers and {name} are both given; expected only one of them.")

    def _check_workers(self) -> None:
        workers = self.dataloader_num_workers
        if workers < 0:
            raise ConfigError(f"dataloader_num_workers is {workers}; expected 0 (no workers) or more.")
        known = multiprocessing.get_all_start_methods()
        if self.dataloader_multiprocessing_context not in (None, *known):
            raise ConfigError(
                f"dataloader_multiprocessing_context is {self.dataloader_multiprocessing_context!r}; expected one of "
                f"{', '.join(known)} on this system, or none for its default."
            )
        of_workers = (
            "dataloader_persistent_workers",
            "dataloader_prefetch_factor",
            "dataloader_multiprocessing_context",
        )
        given = [name for name in of_workers if getattr(self, name)]
        if not workers and given:
            raise ConfigError(
                f"{given[0]} is {getattr(self, given[0])}, but dataloader_num_workers is 0; pass "
                f"--dataloader_num_workers 1 or more, or leave {given[0]} out."
            )

    def _set_precision(self) -> None:
        """Set bf16 or fp16 by `precision` and the hardware; at most one of them may be given."""
        half: tuple[str, ...] = ("bf16", "fp16")
        flags = [name for name in half if getattr(self, name)]
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}.")
        if len(flags) == 2:
            raise ConfigError("bf16 and fp16 are both true; expected one of them, or --precision auto.")
        if flags and self.precision not in ("auto", *flags):
            raise ConfigError(
                f"precision is {self.precision} and {flags[0]} is true; expected one choice: leave {flags[0]} out."
            )
        # The setting of accelerate's launcher counts too; "no" is its default.
        launched = [name for name in half if os.environ.get("ACCELERATE_MIXED_PRECISION") == name]
        asked = self.precision if self.precision != "auto" else next(iter(flags + launched), None)
        cpu = self.use_cpu or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        hardware = detect("cpu" if cpu else None)
        # Compared when a run is resumed; auto may choose another precision on another machine.
        self.asked_precision = asked or "auto"
        self.earlier_precisions: list[str] = []  # of the run that is resumed
        try:
            self.precision_choice = resolve(self.asked_precision, hardware)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        taken = self.precision_choice.precision
        self.bf16, self.fp16 = taken == "bf16", taken == "fp16"
        if taken == "fp32" and launched:
            os.environ["ACCELERATE_MIXED_PRECISION"] = "no"  # otherwise the Trainer would use that of the launcher
        # transformers rejects bfloat16 on CPU without it.
        self.use_cpu = self.use_cpu or hardware.kind == "cpu"

    def _check_schedule(self) -> None:
        if self.one_cycle and self.lr_scheduler_type != SchedulerType.LINEAR:
            raise ConfigError(
                f"one_cycle is true and lr_scheduler_type is {SchedulerType(self.lr_scheduler_type).value}; expected "
                "only one of them."
            )
        if self.lr_scheduler_type in (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY):
            # torch minimises by default, and would treat every better F1 as worse.
            options: Any = self.lr_scheduler_kwargs or {}
            self.lr_scheduler_kwargs = {"mode": "max" if self.greater_is_better else "min", **options}
