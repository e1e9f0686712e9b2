"""`--help` of the recipes: fields of this package by dataclass, then the common fields of transformers."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import Field, fields, is_dataclass
from typing import Any

from transformers import HfArgumentParser

FLAGS = ("-h", "--help", "--help_all")
# The fields of transformers' classes that the configurations and the documentation use; --help_all shows the others.
_USED = (
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "optim",
    "weight_decay",
    "max_grad_norm",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "metric_for_best_model",
    "seed",
    "use_cpu",
    "dataloader_num_workers",
    "train_sampling_strategy",
    "resume_from_checkpoint",
    "report_to",
    "log_level",
    "disable_tqdm",
)
_MANY = 6  # choices


class RecipeHelp(argparse.HelpFormatter):
    """Keep the line breaks of the description, and show one spelling, the type and the default of each flag."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if "default" in text or action.default in (None, argparse.SUPPRESS, "", []):
            return text
        return f"{text} (default: %(default)s)".strip()

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = [name for name in action.option_strings if "-" not in name.lstrip("-")]
        arguments = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(names)} {arguments}".rstrip()

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        kind = getattr(action.type, "__name__", "value")
        return {"str": "TEXT", "string_to_bool": "true|false"}.get(kind, kind.upper())

    def _metavar_formatter(self, action: argparse.Action, default_metavar: str) -> Any:
        if action.choices is not None and len(list(action.choices)) > _MANY:
            return lambda size: ("NAME",) * size
        return super()._metavar_formatter(action, default_metavar)


def arrange_help(
    parser: HfArgumentParser, dataclass_types: Sequence[type], show_all: bool, positional: str | None = None
) -> None:
    """Group the output of `--help` by dataclass. Parsing is not changed.

    Args:
        parser: has the fields of the dataclasses as arguments.
        dataclass_types: in the order of the groups.
        show_all: whether to include the rarely used fields of transformers.
        positional: a field that also takes the words before the first flag.
    """
    shown = {action.dest: action for action in reversed(parser._actions)}  # the first one: --x, not --no_x
    # Inherited fields that a recipe rejects are not shown.
    unused = {name for cls in dataclass_types for name in getattr(cls, "unused", ())}
    ours = [
        (cls, [field.name for field in fields(cls) if _is_ours(cls, field) and field.name not in unused])
        for cls in dataclass_types
    ]
    theirs = {field.name for cls in dataclass_types for field in fields(cls)} - unused
    theirs -= {name for _, names in ours for name in names}
    used = [name for name in _USED if name in theirs]
    rest = sorted(theirs - set(used))
    general: list[argparse.Action] = [action for action in parser._actions if isinstance(action, argparse._HelpAction)]
    general += [shown[name] for name in ("config", "log_level") if name not in theirs]
    if rest:
        text = "also show the rarely used fields of transformers"
        general.append(parser.add_argument("--help_all", action="help", help=text))
    _set_group(parser._optionals, general)
    for cls, names in ours:
        _add_group(parser, _title(cls), [shown[name] for name in names if name in shown])
    _add_group(parser, "Fields of transformers' TrainingArguments", [shown[name] for name in used])
    if show_all:
        _add_group(parser, "Rarely used fields", [shown[name] for name in rest if name in shown])
    required = [action.dest for action in parser._actions if action.required]
    words = [f"{name.upper()} ..." if name == positional else f"--{name} {name.upper()}" for name in required]
    parser.usage = " ".join(["%(prog)s", *words, "[--config FILE.yaml] [--FIELD VALUE ...]"])


def _is_ours(cls: type, field: "Field[Any]") -> bool:
    """Whether a field is documented by a class outside transformers."""
    bases = [base for base in cls.__mro__ if base.__module__.startswith("transformers.")]
    inherited = {known.name: known for base in bases if is_dataclass(base) for known in fields(base)}
    before, text = inherited.get(field.name), field.metadata.get("help")
    return before is None or bool(text and text != before.metadata.get("help"))


def _title(cls: type) -> str:
    text = (cls.__doc__ or "").strip()
    return cls.__name__ if text.startswith(f"{cls.__name__}(") or not text else text.splitlines()[0].rstrip(".:")


def _add_group(parser: argparse.ArgumentParser, title: str, actions: Iterable[argparse.Action]) -> None:
    _set_group(parser.add_argument_group(title), actions)


def _set_group(group: Any, actions: Iterable[argparse.Action]) -> None:
    group._group_actions[:] = list(actions)
