"""Reading results.json: the file of a folder or a Hub repository, its schema, and scores as text.

Running a model needs only this part; `hf_ser.scoring.results` computes and writes the file.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_ser.errors import SerError

RESULTS = "results.json"
PRETRAINING_RESULTS = "pretraining.json"  # of an encoder without classification head
_LARGEST = 32 << 20  # bytes
_SCHEMA = Path(__file__).parent / "scoring" / "results.schema.json"


class ResultsError(SerError):
    """A results.json that is missing or does not follow the schema."""


def read_results(folder: Path) -> dict[str, Any]:
    """Read the results.json of a run's folder.

    >>> read_results(Path("runs/audio_cnn"))["kind"]
    'training'

    Raises:
        ResultsError: there is no such file, it is not JSON, or it does not follow `results.schema.json`.
    """
    path = folder / RESULTS
    try:
        results = _load(path)
    except OSError as error:
        raise ResultsError(f"{folder} has no {RESULTS}; expected the folder of a finished run.") from error
    except ValueError as error:
        raise ResultsError(f"{path} is not valid JSON ({error}); expected a file written by a recipe.") from error
    check_results(results, str(path))
    return results


def model_results(name: str, revision: str = "main") -> dict[str, Any] | None:
    """The results.json of a model in a folder or on the Hub; None if it has none, or one in another format.

    >>> model_results("runs/audio_cnn")["protocol"]["name"]
    'random'
    """
    from hf_ser.remote_code.preprocessing import file_beside  # here: it imports transformers, for models on the Hub

    path = file_beside(name, RESULTS, revision)
    try:
        results = _load(path) if path else None
    except ValueError:
        return None
    if not isinstance(results, dict) or "schema_version" not in results:
        return None
    check_results(results, f"{RESULTS} of {name}")
    return results


def _load(path: Path) -> Any:
    """Parse a file of reasonable size; every fault in it is a ValueError."""
    size = path.stat().st_size
    if size > _LARGEST:
        raise ValueError(f"it has {size:,} bytes, and at most {_LARGEST:,} are read")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_results(results: Any, name: str) -> None:
    """Raise `ResultsError`, which names the place, if the results do not follow `results.schema.json`."""
    import jsonschema  # here: not needed for models without results.json

    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(results))
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "the top"
        raise ResultsError(f"{name} does not follow its schema at {place}: {error.message[:300]}")


def clips_and_speakers(clips: int, speakers: int | None) -> str:
    """Both numbers as text.

    >>> clips_and_speakers(1439, 24), clips_and_speakers(454, None)
    ('1,439 clips of 24 speakers', '454 clips, speakers unknown')
    """
    of = ", speakers unknown" if speakers is None else f" of {speakers:,} speaker{'' if speakers == 1 else 's'}"
    return f"{clips:,} clip{'' if clips == 1 else 's'}{of}"


def number(value: float | None) -> str:
    """A score with three digits, or a dash if it is undefined."""
    return "-" if value is None else f"{value:.3f}"


def bounds(interval: Sequence[float | None] | None) -> str:
    """An interval, or a dash if there is none."""
    if interval is None or interval[0] is None:
        return "-"
    return f"{number(interval[0])} to {number(interval[1])}"
