"""What an exported graph says about itself: the JSON under the key `hf_ser` of its metadata, and its checks."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hf_ser.errors import SerError
from hf_ser.remote_code.decoder import SAMPLING_RATE
from hf_ser.remote_code.dimensions import are_dimensions

KEY = "hf_ser"
SCHEMA_VERSION = 1
PRECISIONS = ("float32", "int8", "float16")
_EXPORT_AGAIN = "Export the model again."


class GraphError(SerError):
    """An ONNX file that cannot be used."""


@dataclass(frozen=True)
class GraphMetadata:
    """Metadata of an exported graph.

    Args:
        labels: names of the classes, or of arousal, valence and dominance, in the order of the output.
        sampling_rate: Hz, always 16000.
        model_type: of the configuration, such as ser-audio-cnn.
        needs_mask: whether the graph has the input attention_mask.
        any_length: whether a batch may contain clips of different lengths.
        min_samples: shorter clips are padded with zeros to this many samples.
        max_input_s: number of seconds at the start of a clip that the model uses; None if it uses whole clips.
        abstention_threshold: top probabilities below it count as "not sure"; None if the model has none.
        name: name of the model.
        source: folder or Hub id that it was exported from.
        revision: commit on the Hub.
        results_sha256: SHA-256 of the results.json of the model.
        licence: of the model.
        precision: float32, int8 or float16.
        synthetic: whether the model was trained on generated recordings.

    >>> from hf_ser.runtime import OnnxPipeline
    >>> OnnxPipeline("model.onnx").metadata.sampling_rate
    16000
    """

    labels: tuple[str, ...]
    sampling_rate: int
    model_type: str
    needs_mask: bool
    any_length: bool
    min_samples: int
    max_input_s: float | None
    abstention_threshold: float | None
    name: str
    source: str
    revision: str | None
    results_sha256: str | None
    licence: str | None
    precision: str
    synthetic: bool

    @property
    def output(self) -> str:
        """Name of the output of the graph, see `output_name`."""
        return output_name(self.labels)

    @classmethod
    def parse(cls, text: str | None, path: str) -> "GraphMetadata":
        """Parse and check the metadata of a graph.

        Args:
            text: value of the key `hf_ser`; None if the graph has no such key.
            path: path of the graph, for messages.

        Raises:
            GraphError: no metadata, metadata of a newer version, or a field that is missing or invalid.
        """
        if text is None:
            raise GraphError(
                f"{path}: got a graph without the metadata {KEY}; expected a graph that hf_ser exported. "
                f"{_EXPORT_AGAIN}"
            )
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GraphError(f"{path}: the metadata {KEY} is not valid JSON ({error}). {_EXPORT_AGAIN}") from None
        _check_version(content, path)
        values = {}
        for field in fields(cls):
            valid, expected = _CHECKS[field.name]
            value = content.get(field.name)
            if field.name not in content or not valid(value):
                got = repr(value)[:80] if field.name in content else "nothing"
                raise GraphError(f"{path}: metadata {field.name}: got {got}; expected {expected}. {_EXPORT_AGAIN}")
            values[field.name] = value
        return cls(**{**values, "labels": tuple(values["labels"])})


def output_name(labels: Sequence[str]) -> str:
    """Name of the output of a graph: probabilities of classes, or values of dimensions.

    Earlier versions of hf_ser take every output for probabilities, and reject a graph with another name.

    >>> output_name(["neutral", "happy"]), output_name(["arousal"])
    ('probabilities', 'values')
    """
    return "values" if are_dimensions(labels) else "probabilities"


def _check_version(content: Any, path: str) -> None:
    version = content.get("schema_version") if isinstance(content, Mapping) else None
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise GraphError(
            f"{path}: metadata schema_version: got {version!r}; expected {SCHEMA_VERSION}. {_EXPORT_AGAIN}"
        )
    if version > SCHEMA_VERSION:
        raise GraphError(
            f"{path}: got a graph of a newer version of hf_ser (schema_version {version}); expected at most "
            f"{SCHEMA_VERSION}. Update hf_ser, or export the model with this version."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_labels(value: Any) -> bool:
    if not isinstance(value, list) or not all(map(_is_text, value)) or len(set(value)) < len(value):
        return False
    return len(value) > 1 or are_dimensions(value)


_BOOLEAN: tuple[Callable[[Any], bool], str] = (lambda value: isinstance(value, bool), "true or false")
_TEXT: tuple[Callable[[Any], bool], str] = (_is_text, "a text")
_OPTIONAL_TEXT: tuple[Callable[[Any], bool], str] = (lambda value: value is None or _is_text(value), "a text or null")
# Field -> whether a value is valid, and what is expected.
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "labels": (_are_labels, "a list of at least two different names"),
    "sampling_rate": (lambda value: value == SAMPLING_RATE and type(value) is int, str(SAMPLING_RATE)),
    "model_type": _TEXT,
    "needs_mask": _BOOLEAN,
    "any_length": _BOOLEAN,
    "min_samples": (
        lambda value: type(value) is int and 1 <= value <= 60 * SAMPLING_RATE,
        f"an integer from 1 to {60 * SAMPLING_RATE}",
    ),
    "max_input_s": (
        lambda value: value is None or (_is_number(value) and 0.1 <= value <= 3600),
        "seconds from 0.1 to 3600, or null",
    ),
    "abstention_threshold": (
        lambda value: value is None or (_is_number(value) and 0 <= value < 1),
        "a number from 0 to below 1, or null",
    ),
    "name": _TEXT,
    "source": _TEXT,
    "revision": _OPTIONAL_TEXT,
    "results_sha256": _OPTIONAL_TEXT,
    "licence": _OPTIONAL_TEXT,
    "precision": (lambda value: value in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "synthetic": _BOOLEAN,
}
