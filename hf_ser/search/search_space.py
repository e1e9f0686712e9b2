"""The search space of a hyperparameter search, and the arguments of a trial."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from hf_ser.arguments import ConfigError, did_you_mean, load_yaml, parse
from hf_ser.data.splits import DataArguments
from hf_ser.training.training_arguments import ModelArguments, SerTrainingArguments

Arguments = tuple[ModelArguments, DataArguments, SerTrainingArguments]

# These define the folders and the value of a trial, which are the same in all trials.
_SHARED = (
    *("output_dir", "overwrite", "resume_from_checkpoint", "save_strategy", "load_best_model_at_end", "push_to_hub"),
    *("metric_for_best_model", "greater_is_better"),
)
_RANGE = ("low", "high", "log")


@dataclass(frozen=True)
class Dimension:
    """The values of a field: from `low` to `high`, integers if both are, or one of `choices`."""

    name: str
    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Any) -> Any:
        """Return the value that an Optuna trial suggests."""
        if self.choices:
            return trial.suggest_categorical(self.name, list(self.choices))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The values to check before training: all choices, or both ends."""
        return self.choices or (self.low, self.high)


Space = Sequence[Dimension]


def read_space(path: Path) -> tuple[Dimension, ...]:
    """Read a search space: field -> `{low: 1e-6, high: 1e-4, log: true}` or a list of choices.

    Fields are those of `SerTrainingArguments` and `ModelArguments`, and `field.key` for one key of a mapping, such as
    `model_config.dropout`.

    Raises:
        ConfigError: no such file, invalid YAML, an unknown field (close matches are named), or invalid bounds.
    """
    if not path.is_file():
        raise ConfigError(f"--search_space {path}: no such file; expected one such as recipes/search_spaces/*.yaml.")
    content = load_yaml(path)
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{path} is not a mapping; expected fields such as learning_rate: {{low: 1e-6, high: 1e-4}}")
    for name in content:
        _check_name(path, str(name))
    return tuple(_dimension(f"{path}: {name}", str(name), value) for name, value in content.items())


def _check_name(path: Path, name: str) -> None:
    known = [field.name for cls in (ModelArguments, SerTrainingArguments) for field in fields(cls) if field.init]
    head, dot, key = name.partition(".")
    if head in _SHARED or head in [field.name for field in fields(DataArguments)]:
        raise ConfigError(f"{path}: {name} must be the same in all trials; set it in --config or on the command line.")
    if head not in known:
        hint = did_you_mean(head, known) or " (no field has a similar name)"
        raise ConfigError(f"{path}: unknown field {name}{hint}")
    if dot and not key:
        raise ConfigError(f"{path}: {name} has no key; expected a name such as model_config.dropout.")


def _dimension(where: str, name: str, value: Any) -> Dimension:
    if isinstance(value, list):
        return Dimension(name, choices=_choices(where, value))
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is {value!r}; expected a list of choices or {{low: ..., high: ..., log: true}}.")
    for key in value:
        if key not in _RANGE:
            hint = did_you_mean(str(key), _RANGE) or f"; expected {', '.join(_RANGE)}"
            raise ConfigError(f"{where} has an unknown key {key}{hint}.")
    low, high = (_typed(value.get(key)) for key in ("low", "high"))
    log = value.get("log", False)
    for key, bound in (("low", low), ("high", high)):
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
            raise ConfigError(f"{where} has {key} {value.get(key)!r}; expected a number.")
    if not isinstance(log, bool):
        raise ConfigError(f"{where} has log {log!r}; expected true or false.")
    if not low < high or (log and low <= 0):
        raise ConfigError(
            f"{where} goes from {low} to {high}{' on a log scale' if log else ''}; expected low below high"
            f"{', and above 0' if log else ''}."
        )
    return Dimension(name, low, high, log)


def _choices(where: str, values: list[Any]) -> tuple[Any, ...]:
    typed = [_typed(value) for value in values]
    odd = [value for value in typed if not isinstance(value, bool | int | float | str | None)]
    if odd:
        raise ConfigError(f"{where} has the choice {odd[0]!r}; expected numbers, words, true, false or null.")
    if len(typed) < 2 or len(set(typed)) < len(typed):
        raise ConfigError(f"{where} has the choices {typed}; expected two or more different ones.")
    return tuple(typed)


def _typed(value: Any) -> Any:
    """Convert numbers that YAML reads as text, such as 3e-5."""
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return value if isinstance(number, float) and not math.isfinite(number) else number


def propose(space: Space, trial: Any) -> dict[str, Any]:
    """Return an Optuna trial's value of each field; repeated calls return the same values."""
    return {dimension.name: dimension.suggest(trial) for dimension in space}


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with a trial's values; `field.key` changes one key of a mapping.

    Raises:
        ConfigError: `field` of `field.key` is not a mapping.
    """
    changed = dict(settings)
    for name, value in values.items():
        head, dot, key = name.partition(".")
        before = changed.get(head) or {}
        if dot and not isinstance(before, dict):
            raise ConfigError(f"{head} is {before!r}; expected a mapping for {name}.")
        changed[head] = {**before, key: value} if dot else value
    return changed


def arguments_of(settings: Mapping[str, Any]) -> Arguments:
    """Return the arguments that a recipe would parse from these settings, with all its checks.

    Raises:
        ConfigError: see `parse`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.yaml"
        path.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8", newline="\n")
        try:
            made = parse(ModelArguments, DataArguments, SerTrainingArguments, argv=["--config", str(path)])
        except ConfigError as error:
            raise ConfigError(str(error).removeprefix(f"{path}: ")) from error
    return made[0], made[1], made[2]


def check_space(space: Space, settings: Mapping[str, Any], source: str) -> None:
    """Check all choices and both ends of each range before training starts.

    Raises:
        ConfigError: an invalid value; the message names the field, the value and the reason.
    """
    for dimension in space:
        for value in dimension.extremes:
            try:
                arguments_of(with_values(settings, {dimension.name: value}))
            except ConfigError as error:
                raise ConfigError(f"{source}, {dimension.name} = {value}: {error}") from error
