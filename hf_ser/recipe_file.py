"""recipe.yaml: the settings of a run, as a configuration file that the same recipe accepts."""

import dataclasses
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml

import hf_ser
from hf_ser.arguments import load_yaml

RECIPE = "recipe.yaml"
# Fields of the user or the machine: where a run reads, writes and computes. They do not change the model.
_NOT_KEPT = re.compile(
    "dataset|output_dir|overwrite|resume_from_checkpoint|push_to_hub|hub_.*|.*_token|trackio_.*|project|run_name|"
    "report_to|logging_dir|disable_tqdm|log_level.*|log_on_each_node|device|deepspeed|fsdp.*|ddp_.*|local_rank|"
    "dataloader_(num_workers|persistent_workers|prefetch_factor|multiprocessing_context|pin_memory)"
)
_ABSOLUTE = re.compile(r"(?P<name>[\w.-]+=)?(?P<path>(?:/|~|[A-Za-z]:[\\/]).*)")


def changed_fields(arguments: Any) -> dict[str, Any]:
    """The fields of a dataclass instance whose values differ from the defaults.

    >>> from hf_ser.data import DataArguments
    >>> changed_fields(DataArguments("data/emotions", protocol="random"))
    {'dataset': 'data/emotions', 'protocol': 'random'}
    """
    changed = {}
    for field in dataclasses.fields(arguments):
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        value = getattr(arguments, field.name)
        if value != default:
            changed[field.name] = value.value if isinstance(value, Enum) else value
    return changed


def recipe_text(settings: Mapping[str, Any], recipe: str, source: str = "--dataset DATASET ") -> str:
    """The text of a run's recipe.yaml.

    The dataset, the output folder, credentials and settings of the machine are left out. Absolute paths become
    relative to the working directory, or the name of the file or folder where they are outside it.

    Args:
        settings: field -> value, of the fields that are not at their defaults.
        recipe: name of the program in recipes/, such as "finetune".
        source: the flag for the clips in the printed command; empty if the settings name them.

    >>> print(recipe_text({"seed": 1, "dataset": "data/emotions"}, "finetune"))
    # Settings of a run of hf_ser ... To repeat it, pass this file to the same recipe:
    #   python recipes/finetune.py --config recipe.yaml --dataset DATASET --output_dir OUTPUT_DIR
    seed: 1
    """
    shortened: list[str] = []
    kept = {
        name: _portable(value, name, shortened) for name, value in settings.items() if not _NOT_KEPT.fullmatch(name)
    }
    head = [
        f"Settings of a run of hf_ser {hf_ser.__version__}. To repeat it, pass this file to the same recipe:",
        f"  python recipes/{recipe}.py --config {RECIPE} {source}--output_dir OUTPUT_DIR",
    ]
    head += [f"{name}: local path, shortened. Change it to the path on your machine." for name in shortened]
    lines = "".join(f"# {line}\n" for line in head)
    return lines + (yaml.safe_dump(kept, sort_keys=False, allow_unicode=True) if kept else "")


def read_recipe(folder: Path) -> dict[str, Any] | None:
    """The settings in a run's recipe.yaml, or None if there is none, as in folders of version 0.2.0 and before.

    Raises:
        ConfigError: the file is not valid YAML.
    """
    path = folder / RECIPE
    return dict(load_yaml(path) or {}) if path.is_file() else None


def recipe_program(path: Path) -> str | None:
    """The program that wrote a recipe.yaml, such as "finetune"; None if the file does not name it."""
    found = re.search(r"^#\s+python recipes/(\w+)\.py --config ", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def _portable(value: Any, name: str, shortened: list[str]) -> Any:
    """The value without absolute paths; `shortened` gets the names of fields whose paths lose their folder."""
    if isinstance(value, Mapping):
        return {key: _portable(item, f"{name}.{key}", shortened) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(item, name, shortened) for item in value]
    found = _ABSOLUTE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    path = Path(found["path"])
    if path.is_relative_to(Path.cwd()):
        return f"{found['name'] or ''}{path.relative_to(Path.cwd()).as_posix()}"
    if name not in shortened:
        shortened.append(name)
    last = PureWindowsPath(found["path"]).name  # it accepts both kinds of separators
    return f"{found['name'] or ''}{last}"
