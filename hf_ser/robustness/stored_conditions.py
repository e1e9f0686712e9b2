"""The folder of a robustness report: predictions stored per condition, with the settings that they belong to."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_ser.arguments import ConfigError
from hf_ser.conditions.condition_list import Level, level_text
from hf_ser.errors import SerError
from hf_ser.scoring.predictions import Predictions, read_predictions, write_predictions
from hf_ser.scoring.results import write_json

REPORT_FILE = "robustness.json"
SETTINGS = "robustness_settings.json"
FOLDER = "predictions"
CLEAN = "clean"
_SCHEMA = Path(__file__).with_name("robustness.schema.json")
_MODEL_FILES = ("config.json", "preprocessor_config.json", "*.safetensors")
_OWN = {SETTINGS, REPORT_FILE, FOLDER, "flips.parquet", "robustness.md", "figures", ".lock", "unfinished.json"}


class ReportError(SerError):
    """A robustness.json that is missing or does not follow its schema."""


class StoredConditions:
    """Predictions of a report, one file per condition and level.

    Args:
        folder: of the report.
        settings: what the predictions depend on, besides condition and level.
        overwrite: whether to remove predictions with other settings.

    Raises:
        ConfigError: the folder holds other files, or a report with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = folder
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        before = _read_json(folder / SETTINGS)
        if before != dict(settings):
            if before is not None and not overwrite:
                differ = [name for name in settings if before.get(name) != settings[name]]
                raise ConfigError(
                    f"--output_dir {folder} holds a report with another {' and '.join(differ) or 'version'}. Pass "
                    "--overwrite true to replace it, or choose another folder."
                )
            for path in (folder / FOLDER).glob("*"):
                path.unlink()
            write_json(folder / SETTINGS, settings)
        (folder / REPORT_FILE).unlink(missing_ok=True)  # the report is not finished until everything is written

    def path(self, name: str, level: Level | None) -> Path:
        """The file of a condition with its level, or of the clean clips."""
        return self.folder / FOLDER / file_name(name, level)

    def get(self, name: str, level: Level | None) -> Predictions | None:
        """Stored predictions; None if they are missing."""
        path = self.path(name, level)
        return read_predictions(path) if path.is_file() else None

    def put(self, name: str, level: Level | None, predictions: Predictions) -> None:
        """Store predictions atomically."""
        write_predictions(self.path(name, level), predictions)


def file_name(name: str, level: Level | None) -> str:
    """File of the predictions under a condition.

    >>> file_name("gain", -20.0), file_name("clean", None)
    ('gain_-20.parquet', 'clean.parquet')
    """
    return f"{name}.parquet" if level is None else f"{name}_{level_text(level)}.parquet"


def model_digest(folder: Path) -> str | None:
    """SHA-256 of the files of a model folder that its predictions depend on; None on the Hub."""
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _MODEL_FILES for path in folder.rglob(pattern)}):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def check_folder(folder: Path) -> None:
    """Reject a folder with files that are not of a robustness report.

    Raises:
        ConfigError: names one of them.
    """
    others = sorted(path.name for path in folder.iterdir() if path.name not in _OWN) if folder.is_dir() else []
    if others:
        raise ConfigError(f"--output_dir {folder} holds other files ({', '.join(others[:3])}); choose another folder.")


def check_report(report: Any, name: str) -> None:
    """Raise `ReportError`, which names the place, if a report does not follow `robustness.schema.json`."""
    import jsonschema

    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(report))
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "the top"
        raise ReportError(f"{name} does not follow its schema at {place}: {error.message[:300]}")


def read_report(folder: Path) -> dict[str, Any]:
    """Read the robustness.json of a folder.

    Raises:
        ReportError: there is none, or it does not follow its schema.

    >>> read_report(Path("runs/audio_cnn"))
    Traceback (most recent call last):
    hf_ser.robustness.stored_conditions.ReportError: runs/audio_cnn has no robustness.json; expected the folder of ...
    """
    path = folder / REPORT_FILE
    if not path.is_file():
        raise ReportError(f"{folder} has no {REPORT_FILE}; expected the folder of a finished robustness report.")
    report = _read_json(path)
    check_report(report, str(path))
    assert report is not None
    return report


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path} is not valid JSON ({error}); expected a file written by a recipe.") from error
