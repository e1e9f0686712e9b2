"""The settings of a training recipe as its YAML file would state them."""

from typing import Any

from hf_ser.data.splits import DataArguments
from hf_ser.recipe_file import changed_fields, recipe_text
from hf_ser.training.pretraining_arguments import PretrainingDataArguments, PretrainingModelArguments
from hf_ser.training.training_arguments import ModelArguments, SerTrainingArguments

AnyModel = ModelArguments | PretrainingModelArguments
AnyData = DataArguments | PretrainingDataArguments


def settings_of(model_args: AnyModel, data_args: AnyData, args: SerTrainingArguments) -> dict[str, Any]:
    """The YAML fields that give these arguments, except output_dir: those that are not at their defaults."""
    settings = changed_fields(model_args) | changed_fields(data_args) | args.given
    settings |= {"use_cpu": True} if args.use_cpu else {}
    kept = {name: value for name, value in settings.items() if name not in ("output_dir", "overwrite")}
    return {name: value for name, value in kept.items() if not name.endswith("_token")}


def training_recipe(model_args: AnyModel, data_args: AnyData, args: SerTrainingArguments) -> str:
    """The text of the run's recipe.yaml.

    >>> args = SerTrainingArguments("runs/new", learning_rate=1e-4, figures=False)
    >>> text = training_recipe(ModelArguments("facebook/wav2vec2-base"), DataArguments("data/emotions"), args)
    >>> [line for line in text.splitlines() if not line.startswith("#")]
    ['model_name_or_path: facebook/wav2vec2-base', 'learning_rate: 0.0001', 'figures: false']
    """
    settings = settings_of(model_args, data_args, args)
    # bf16 and fp16 follow from precision and the hardware, and use_cpu is set where there is no GPU.
    settings = {name: value for name, value in settings.items() if name not in ("bf16", "fp16", "use_cpu")}
    if args.asked_precision != "auto":
        settings["precision"] = args.asked_precision
    if args.given.get("use_cpu"):
        settings["use_cpu"] = True
    if isinstance(model_args, PretrainingModelArguments):
        return recipe_text(settings, "pretrain", "--dataset DATASET " if data_args.dataset else "")
    model_type = (model_args.model_config or {}).get("model_type", "")  # type: ignore[union-attr]
    return recipe_text(settings, "train_companion" if model_type.startswith("ser-") else "finetune")
