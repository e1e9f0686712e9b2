"""results.json as a model's folder has it: read, checked against its schema, its numbers as text.

This much is needed to run a model; `hf_ser.scoring.results` computes and writes the file.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_ser.errors import SerError

RESULTS = "results.json"
_SCHEMA = Path(__file__).parent / "scoring" / "results.schema.json"


class ResultsError(SerError):
    """A results.json that is missing or does not follow the schema."""


def read_results(folder: Path) -> dict[str, Any]:
    """Read the results.json of a run's folder.

    >>> read_results(Path("runs/audio_cnn"))["kind"]
    'training'

    Raises:
        ResultsError: there is none, it is no JSON, or it does not follow `results.schema.json`.
    """
    path = folder / RESULTS
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{folder} holds no {RESULTS}; expected the folder of a finished run.") from error
    except ValueError as error:
        raise ResultsError(f"{path} is no JSON ({error}); expected a file written by a recipe.") from error
    check_results(results, str(path))
    return results


def model_results(name: str, revision: str = "main") -> dict[str, Any] | None:
    """The results.json beside a model in a folder or on the Hub; None where there is none of ours.

    >>> model_results("runs/audio_cnn")["protocol"]["name"]
    'random'
    """
    from hf_ser.remote_code.preprocessing import file_beside  # here: it brings transformers, for models on the Hub

    path = file_beside(name, RESULTS, revision)
    try:
        results = json.loads(path.read_text(encoding="utf-8")) if path else None
    except ValueError:
        return None
    if not isinstance(results, dict) or "schema_version" not in results:
        return None
    check_results(results, f"{RESULTS} of {name}")
    return results


def check_results(results: Any, name: str) -> None:
    """Raise `ResultsError`, naming the place, unless the results follow `results.schema.json`."""
    import jsonschema  # here: most models that are run have no results.json

    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(results))
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "the top"
        raise ResultsError(f"{name} does not follow its schema at {place}: {error.message[:300]}")


def number(value: float | None) -> str:
    """A score with three digits; a dash where it is undefined."""
    return "-" if value is None else f"{value:.3f}"


def bounds(interval: Sequence[float | None] | None) -> str:
    """An interval, or a dash where there is none."""
    if interval is None or interval[0] is None:
        return "-"
    return f"{number(interval[0])} to {number(interval[1])}"
