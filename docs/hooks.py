"""Fill the reference pages from the code when the site is built: help texts, fields, the schema and the API."""

import dataclasses
import importlib
import importlib.util
import inspect
import itertools
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

ROOT = Path(__file__).parents[1]
ARGUMENTS = {
    "Data (training, evaluation, hybrids)": ("hf_ser.data", "DataArguments"),
    "Model (training)": ("hf_ser.training", "ModelArguments"),
    "Training": ("hf_ser.training", "SerTrainingArguments"),
    "Pretraining: model": ("hf_ser.training.pretraining", "PretrainingModelArguments"),
    "Pretraining: recordings": ("hf_ser.training.pretraining", "PretrainingDataArguments"),
    "Pretraining: training": ("hf_ser.training.pretraining", "PretrainingArguments"),
    "Preparation": ("hf_ser.data", "PrepareArguments"),
    "Download": ("hf_ser.corpora.download", "DownloadArguments"),
    "Evaluation": ("hf_ser.evaluation", "EvaluateArguments"),
    "Cross-validation": ("hf_ser.evaluation", "CrossValidationArguments"),
    "Prediction with several processes (recipes/predict.py)": (
        "hf_ser.batch.sharded_arguments",
        "ShardedPredictArguments",
    ),
    "Hybrids": ("hf_ser.hybrids.hybrid_arguments", "HybridArguments"),
    "Baseline": ("hf_ser.hybrids.baseline", "BaselineArguments"),
    "Robustness": ("hf_ser.robustness", "RobustnessArguments"),
    "Comparison": ("hf_ser.reporting.comparison", "CompareArguments"),
    "Leaderboard": ("hf_ser.reporting.leaderboard", "LeaderboardArguments"),
    "Search": ("hf_ser.search", "SearchArguments"),
    "Packaging (recipes/make_pretrained.py)": ("hf_ser.hub.pretrained_folder", "PackageArguments"),
    "Push": ("hf_ser.hub.push_plan", "PushArguments"),
}
# Model configurations, each with the fields that it declares itself.
MODELS = {
    "All companion models": ("hf_ser.remote_code.companion_config", "CompanionConfig"),
    "MelCNN, AudioCNN, CNN-LSTM, CNN-GRU": ("hf_ser.remote_code.companion_config", "ConvStackConfig"),
    "MelCNN (ser-mel-cnn), AudioCNN (ser-audio-cnn)": ("hf_ser.remote_code.cnn", "CNNConfig"),
    "CNN-LSTM, CNN-GRU (ser-cnn-rnn)": ("hf_ser.remote_code.cnn_rnn", "CNNRNNConfig"),
    "AudioLSTM (ser-audio-lstm)": ("hf_ser.remote_code.audio_lstm", "AudioLSTMConfig"),
    "Hybrids (ser-hybrid)": ("hf_ser.remote_code.hybrid", "HybridConfig"),
    "Tree ensembles (ser-tree-ensemble)": ("hf_ser.remote_code.tree_ensemble", "TreeEnsembleConfig"),
}
_INHERITED = "Every field of transformers.TrainingArguments works too."


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the markers of a page, such as `<!-- help: hf-ser predict -->`."""
    makers = {"fields": fields, "models": models, "schema": schema, "api": api, "help": help_text}

    def made(match: re.Match[str]) -> str:
        return makers[match[1]](*([match[2]] if match[2] else []))

    return re.sub(r"<!-- (fields|models|schema|api|help)(?:: (.*?))? -->", made, markdown)


def help_text(command: str) -> str:
    """The output of a command with --help."""
    program = [sys.executable, "-m", "hf_ser.cli", *command.split()[1:], "--help"]
    environment = os.environ | {"COLUMNS": "100", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=True)
    return f"```\n{done.stdout.strip()}\n```"


def fields() -> str:
    """A table for each dataclass of arguments: field, type, default and help."""
    sections = []
    for title, (module, name) in ARGUMENTS.items():
        cls = getattr(importlib.import_module(module), name)
        own = [field for field in dataclasses.fields(cls) if field.init and field.name in _declared(cls)]
        rows = [f"| `{f.name}` | {_type(f)} | {_default(f)} | {_cell(f.metadata.get('help', ''))} |" for f in own]
        table = "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows])
        note = f"\n\n{_INHERITED}" if name == "SerTrainingArguments" else ""
        sections.append(f"## {title}\n\n`{name}`: {_cell((cls.__doc__ or '').splitlines()[0])}{note}\n\n{table}")
    return "\n\n".join(sections)


def models() -> str:
    """A table for each companion's configuration: each field with the comment after or above it."""
    sections = []
    for title, (module, name) in MODELS.items():
        cls = getattr(importlib.import_module(module), name)
        rows, above = [], []
        for line in inspect.getsource(cls).splitlines():
            found = re.match(r"    (\w+): (.+?) = (.+?)(?:  # (.*))?$", line)
            if found:
                field, kind, default, beside = found.groups()
                kind = _cell(kind).replace(" or None", "")
                rows.append(f"| `{field}` | {kind} | `{default}` | {_cell(beside or ' '.join(above))} |")
            above = [*above, line.strip("# ")] if line.startswith("    # ") else []
        table = "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows])
        sections.append(f"### {title}\n\n{table}")
    return "\n\n".join(sections)


def _declared(cls: type) -> set[str]:
    """Fields declared in this package, without those of transformers."""
    documented = {name for _, name in ARGUMENTS.values()} - {cls.__name__}  # their fields are in tables of their own
    parents = itertools.takewhile(lambda parent: parent.__name__ not in documented, cls.__mro__)
    own = [parent for parent in parents if parent.__module__.startswith("hf_ser")]
    return {name for parent in own for name in parent.__dict__.get("__annotations__", {})}


def _type(field: "dataclasses.Field[Any]") -> str:
    text = field.type if isinstance(field.type, str) else _written(field.type)
    return "`" + text.replace(" | None", "").replace("|", "or") + "`"


def _written(annotation: Any) -> str:
    if get_origin(annotation) is None:
        return str(getattr(annotation, "__name__", annotation))
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if (
        annotation is not None
        and "|" in str(annotation)
        or "Union" in str(annotation)
        or "Optional" in str(annotation)
    ):
        return " or ".join(_written(part) for part in parts)
    return f"{_written(get_origin(annotation))}[{', '.join(_written(part) for part in parts)}]"


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return "-" if field.default is None else f"`{field.default}`"
    return "required" if field.default_factory is dataclasses.MISSING else f"`{field.default_factory()}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "or").split())


def schema() -> str:
    """The schema of results.json as nested lists."""
    content = json.loads((ROOT / "hf_ser/scoring/results.schema.json").read_text(encoding="utf-8"))
    sections = [("Top level", content)]
    sections += [(f"`{name}`", part) for name, part in content.get("$defs", {}).items() if "properties" in part]
    return "\n\n".join(f"## {title}\n\n" + "\n".join(_properties(part)) for title, part in sections)


def _properties(part: dict[str, Any], depth: int = 0) -> list[str]:
    lines = []
    for name, content in part.get("properties", {}).items():
        about = content.get("description") or ""
        lines.append(f"{'    ' * depth}- `{name}` ({_kind(content)}){': ' + about if about else ''}")
        inner = next((o for o in (content, *content.get("anyOf", ())) if "properties" in o), None)
        lines += _properties(inner, depth + 1) if inner else []
    return lines


def _kind(content: dict[str, Any]) -> str:
    if "$ref" in content:
        return content["$ref"].rsplit("/", 1)[-1]
    if "anyOf" in content:
        return " or ".join(_kind(option) for option in content["anyOf"])
    if "enum" in content:
        return " or ".join(map(str, content["enum"]))
    if "const" in content:
        return str(content["const"])
    kind = content.get("type", "any")
    if kind == "array" and "items" in content:
        return f"list of {_kind(content['items'])}"
    return " or ".join(kind) if isinstance(kind, list) else kind


def api() -> str:
    """A heading for each subpackage, and the documentation of each exported name, once."""
    import hf_ser

    rooms = [
        hf_ser,
        *(importlib.import_module(f"hf_ser.{info.name}") for info in pkgutil.iter_modules(hf_ser.__path__)),
    ]
    seen: set[str] = set()
    sections = []
    for room in rooms:
        members = [getattr(room, name) for name in getattr(room, "__all__", ())]
        ours = [member for member in members if callable(member) and member.__module__.startswith("hf_ser")]
        names = [f"{member.__module__}.{member.__qualname__}" for member in ours]
        fresh = [name for name in names if name not in seen]
        seen.update(fresh)
        if fresh:
            sections.append(f"## {room.__name__}\n\n" + "\n\n".join(f"::: {name}" for name in fresh))
    return "\n\n".join(sections)
