"""Recipe arguments: dataclasses filled from `--config FILE.yaml` and `--field value` overrides.

`HfArgumentParser.parse_yaml_file` leaves `3e-5` a string and cannot be combined with the command line; `set_defaults`
converts values but ignores misspelt keys. `parse` combines both sources and rejects unknown keys in either.
"""

import argparse
import difflib
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import yaml
from tqdm import tqdm
from transformers import HfArgumentParser

from hf_ser.console import LEVELS, set_up_logging
from hf_ser.errors import ConfigError, SerError
from hf_ser.extras import missing_extra
from hf_ser.parent_process import end_with_named_parent
from hf_ser.recipe_help import FLAGS, RecipeHelp, arrange_help
from hf_ser.system_errors import check_output, system_trouble
from hf_ser.terminal import tolerate_any_character
from hf_ser.yaml_files import load_yaml

LOG_LEVEL = "log_level"
_SHOWN = 10  # unknown fields in one message


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


class _Finder(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def parse(
    *dataclass_types: type,
    argv: Sequence[str] | None = None,
    description: str | None = None,
    positional: str | None = None,
    prog: str | None = None,
) -> tuple[Any, ...]:
    """Fill the dataclasses from `argv` (default: the command line), then set up logging by `--log_level`.

    Later sources override earlier ones: field defaults, then the YAML file of `--config`, then `--field value`, or
    `--field.key value` for one key of a field that holds a mapping. Every recipe takes `--log_level`.

    Args:
        dataclass_types: the dataclasses to fill.
        argv: the words of the command line.
        description: the first text of `--help`.
        positional: a field that also takes the words before the first flag: `A B --x 1` means `--field A B --x 1`.
        prog: name of the program in `--help`; default: that of the running script.

    Returns:
        One instance per dataclass, in the order given.

    Raises:
        ConfigError: for an unknown key (close matches are named), a value of the wrong type, or a missing field.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if positional is not None:
        argv = _name_leading_words(argv, positional)
    parser = _Parser(
        dataclass_types,  # type: ignore[arg-type]
        prog=prog,
        allow_abbrev=False,
        description=description,
        formatter_class=RecipeHelp,
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="YAML file of fields; the command line overrides it")
    known = {field.name for cls in dataclass_types for field in fields(cls) if field.init}
    if LOG_LEVEL not in known:  # TrainingArguments has it
        known.add(LOG_LEVEL)
        parser.add_argument(
            f"--{LOG_LEVEL}",
            type=str,
            choices=LEVELS,
            help="log level (default: this package and warnings)",
        )
    if set(FLAGS) & set(argv):
        arrange_help(parser, dataclass_types, show_all="--help_all" in argv, positional=positional)
    argv, nested = _split_nested(argv)
    _refuse_unknown_words(parser, argv, known)

    finder = _Finder(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    config_file = finder.parse_known_args(argv)[0].config
    content = {} if config_file is None else _read_yaml(Path(config_file))
    source = "command line" if config_file is None else config_file
    if content or nested:
        _refuse_unknown(list(nested), known, "command line")
        hints = {name: hint for cls in dataclass_types for name, hint in get_type_hints(cls).items()}
        hints.setdefault(LOG_LEVEL, str)
        _set_defaults(parser, _with_nested(content, nested, source), known, source, hints)

    filled = _parse_into(parser, argv)
    for output in [getattr(values, "output_dir", None) for values in filled]:
        if output:
            check_output(output)
    set_up_logging(_log_level(filled))
    return tuple(filled[: len(dataclass_types)])


def run(main: Callable[[], None], *, after_interrupt: str = "run the same command again to continue") -> NoReturn:
    """Run a recipe's `main()` and exit: with one line and exit code 2 after invalid input, with 130 after Ctrl-C.

    The folder of the program is removed from `sys.path` if it has an evaluate.py; worker processes get the same path.

    Args:
        main: the recipe.
        after_interrupt: what to do after Ctrl-C, for the message.
    """
    tolerate_any_character()
    _uncover_evaluate()
    end_with_named_parent()
    try:
        main()
    except KeyboardInterrupt:
        tqdm.write(f"\ninterrupted; finished parts are kept: {after_interrupt}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        refused = missing_extra(error) or (None if isinstance(error, _bad_input()) else system_trouble(error)) or error
        if not isinstance(refused, _bad_input()):
            raise
        tqdm.write(f"error: {refused}", file=sys.stderr)  # removes a progress bar first
        sys.exit(2)
    sys.exit(0)


def _name_missing_extras(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line if an import of this package at the top of a program needs a missing extra (`sys.excepthook`)."""
    missing = missing_extra(error)
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(trace)]
    if missing is None or hasattr(sys, "ps1") or not any(name.startswith("hf_ser.") for name in modules):
        _excepthook(kind, error, trace)
        return
    print(f"error: {missing}", file=sys.stderr)
    sys.exit(2)


# Imports at the top of a recipe run before `run` can catch their errors.
_excepthook, sys.excepthook = sys.excepthook, _name_missing_extras


def _uncover_evaluate() -> None:
    """Let `import evaluate` find the library, not recipes/evaluate.py: Python searches a program's folder first."""
    program = getattr(sys.modules["__main__"], "__file__", None)
    folder = Path(program).resolve().parent if program else None
    if folder and (folder / "evaluate.py").is_file() and sys.path and Path(sys.path[0]).resolve() == folder:
        del sys.path[0]


def _bad_input() -> tuple[type[Exception], ...]:
    from hf_ser.audio import AudioError  # here: it imports torch, which recipes such as generate.py do not need

    return SerError, AudioError


def _log_level(filled: Iterable[Any]) -> int | None:
    """The requested level, or None. Processes other than the first use `log_level_replica`."""
    values = list(filled)
    training = next((value for value in values if hasattr(value, "get_process_log_level")), None)
    if training is not None:
        asked = training.log_level != "passive" or not training.should_log
        return training.get_process_log_level() if asked else None
    name = next((getattr(value, LOG_LEVEL) for value in values if hasattr(value, LOG_LEVEL)), None)
    return None if name is None else logging.getLevelNamesMapping()[name.upper()]


def _name_leading_words(argv: list[str], field_name: str) -> list[str]:
    """Insert the field's flag before the leading words."""
    if not argv or argv[0].startswith("-"):
        return argv
    flags = {f"--{field_name}", f"--{field_name.replace('_', '-')}"}
    if any(word.partition("=")[0] in flags for word in argv):
        raise ConfigError(f"command line: got both --{field_name} and the leading {argv[0]}; expected one of them.")
    return [f"--{field_name}", *argv]


def _refuse_unknown_words(parser: HfArgumentParser, argv: list[str], known: set[str]) -> None:
    """Reject unknown words before the dataclasses are made, whose checks could hide them behind another error."""
    if set(FLAGS) & set(argv):
        return
    required = [action for action in parser._actions if action.required]
    for action in required:
        action.required = False
    try:
        _, rest = parser.parse_known_args(argv)
    finally:
        for action in required:
            action.required = True
    if rest:
        words = [word for word in rest if word.startswith("-")] or rest
        names = [word.lstrip("-").partition("=")[0].replace("-", "_") for word in words]
        _refuse_unknown(names, known, "command line")
        raise ConfigError(f"command line: got {' '.join(rest)}; expected flags with two dashes, such as --{names[0]}")


def _split_nested(argv: list[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Extract `--field.key value` and `--field.key=value` -> the other words, and field -> key -> value."""
    rest: list[str] = []
    nested: dict[str, dict[str, Any]] = {}
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if re.fullmatch(r"--\w+\.\w+", flag) is None:
            rest.append(word)
            continue
        if not equals:
            value = next(words, "")
            if not value or value.startswith("--"):
                raise ConfigError(f"command line: {flag} has no value; expected one after it.")
        field_name, _, key = flag.removeprefix("--").partition(".")
        nested.setdefault(field_name, {})[key] = _yaml_value(value)
    return rest, nested


def _yaml_value(text: str) -> Any:
    """The value of a word in a YAML file, or the word itself if it is not valid YAML; 3e-5 is a number."""
    try:
        value = yaml.safe_load(text)
        return float(value) if isinstance(value, str) else value
    except (yaml.YAMLError, ValueError):
        return text


def _with_nested(content: dict[str, Any], nested: dict[str, dict[str, Any]], source: str) -> dict[str, Any]:
    content = dict(content)
    for name, values in nested.items():
        before = content.get(name) or {}
        if not isinstance(before, dict):
            raise ConfigError(
                f"{source}: {name} is {before!r}; expected a mapping to take --{name}.{next(iter(values))}."
            )
        content[name] = {**before, **values}
    return content


def _parse_into(parser: HfArgumentParser, argv: list[str]) -> tuple[Any, ...]:
    try:
        return parser.parse_args_into_dataclasses(args=argv, return_remaining_strings=True, look_for_args_file=False)
    except SerError:
        raise
    except ValueError as error:  # raised by the checks of the dataclasses
        raise ConfigError(str(error)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(
            f"--config {path}: no such file; expected a YAML file such as recipes/configs/quickstart.yaml"
        )
    content = load_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}; expected a mapping of field names to values")
    return content


def _set_defaults(
    parser: HfArgumentParser, content: dict[str, Any], known: set[str], source: str, hints: dict[str, Any]
) -> None:
    _refuse_unknown([str(key) for key in content], known, source)
    actions: dict[str, argparse.Action] = {}
    for action in parser._actions:
        actions.setdefault(action.dest, action)
    for key, value in content.items():
        action, allowed = actions[key], {hints[key], *get_args(hints[key])}
        if value is None and type(None) not in allowed:
            raise ConfigError(f"{source}: {key} is empty; expected {_type_name(action)}, or leave the key out")
        if isinstance(value, dict) and not any(dict in (kind, get_origin(kind)) for kind in allowed):
            expected = "a list" if list in allowed else _type_name(action)
            raise ConfigError(f"{source}: {key} holds a mapping; expected {expected}")
        whole = isinstance(value, list) and list in allowed  # items of any type: the dataclass checks them
        parser.set_defaults(**{key: value if whole else _typed(action, key, value, source)})
        action.required = False


def _typed(action: argparse.Action, key: str, value: Any, source: str) -> Any:
    """Convert a YAML value to the type that it has on the command line (`3e-5` becomes a float)."""
    if value is None or action.type is None:
        return value
    if isinstance(value, list) and action.nargs == "+":
        return [_typed_scalar(action, key, item, source) for item in value]
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        raise ConfigError(f"{source}: {key} holds a list; expected one {_type_name(action)}")
    typed = _typed_scalar(action, key, value, source)
    return [typed] if action.nargs == "+" else typed


def _typed_scalar(action: argparse.Action, key: str, value: Any, source: str) -> Any:
    if isinstance(value, bool) and action.type in (int, float):
        raise ConfigError(f"{source}: {key} is {value}; expected {_type_name(action)}")
    try:
        typed = action.type(str(value))  # type: ignore[operator, misc]
    except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
        raise ConfigError(f"{source}: {key} is {value!r}; expected {_type_name(action)}") from error
    if action.choices is not None and typed not in action.choices:
        raise ConfigError(f"{source}: {key} is {value!r}; expected one of {', '.join(map(str, action.choices))}")
    return typed


def _type_name(action: argparse.Action) -> str:
    return getattr(action.type, "__name__", str(action.type)).replace("string_to_bool", "true or false")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint with the close matches of a misspelt name; empty if there are none."""
    close = difflib.get_close_matches(name, list(known), n=3)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _refuse_unknown(names: Iterable[str], known: set[str], source: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        shown = unknown[:_SHOWN]
        hints = [name + (did_you_mean(name, known) or " (no field has a similar name)") for name in shown]
        more = f"; and {len(unknown) - len(shown)} more" if len(unknown) > len(shown) else ""
        raise ConfigError(f"{source}: unknown field {'; '.join(hints)}{more}")
