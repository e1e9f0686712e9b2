"""What a request may contain and what the server answers: the models behind the checks and the OpenAPI page."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hf_ser.serving.serving_limits import RequestError

_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)]
_Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_EXPECTED = {
    "top_k": "an integer of at least 1, or null for all labels",
    "window_s": "seconds from 0.1 to 3600, or null",
    "stride_s": "seconds from 0.1 to 3600, or null",
    "return_timeline": "true or false",
    "abstain": "true, false or a threshold from 0 to 1",
    "function_to_apply": "softmax",
    "inputs": "base64-encoded audio or a list of it",
    "parameters": "an object with parameters",
}
_JSON_TYPES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
_JSON_TYPES |= {int: "a number", float: "a number"}
_EXAMPLE_INPUT = "UklGRiQAAABXQVZFZm10IBAAAAABAAEA..."
_EXAMPLE_SCORES = [{"label": "angry", "score": 0.91}, {"label": "happy", "score": 0.06}]


class Parameters(BaseModel):
    """Parameters of a prediction, as in `SpeechEmotionPipeline`."""

    model_config = ConfigDict(extra="forbid")

    top_k: _Count | None = Field(default=None, description="Number of labels to return. Default: all.")
    window_s: _Seconds | None = Field(
        default=None,
        description="Window length in seconds. Default: the whole clip, or several windows if it is long.",
    )
    stride_s: _Seconds | None = Field(default=None, description="Step between windows. Default: half a window.")
    return_timeline: bool = Field(default=False, description="Whether to return the scores of every window.")
    abstain: _Threshold | bool | None = Field(
        default=False,
        description="Whether to report that the top score is below a threshold: true for the threshold of the model, "
        "or a threshold from 0 to 1.",
    )
    function_to_apply: Literal["softmax"] = Field(
        default="softmax",
        description="Accepted for clients of the Hub's inference API. Scores are always probabilities.",
    )

    def options(self) -> dict[str, Any]:
        """The arguments of a call of the pipeline."""
        return self.model_dump(exclude={"function_to_apply"})


class PredictRequest(BaseModel):
    """The body of a JSON request, as in the Hub's inference API for audio classification."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"inputs": _EXAMPLE_INPUT, "parameters": {"top_k": 2}}]},
    )

    inputs: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="Base64-encoded content of an audio file, or a list of these. URLs are not downloaded."
    )
    parameters: Parameters | None = None


class Score(BaseModel):
    """A label and its probability."""

    label: str
    score: float = Field(ge=0, le=1)


class TimelineWindow(BaseModel):
    """The scores of one window of a clip."""

    start: float = Field(description="Start in seconds.")
    end: float = Field(description="End in seconds.")
    silent: bool
    scores: list[Score] | None = Field(description="Best first; null for a silent window.")


class DetailedAnswer(BaseModel):
    """The answer with `return_timeline` or `abstain`."""

    scores: list[Score] = Field(description="Best first.")
    timeline: list[TimelineWindow] | None = None
    abstained: bool | None = Field(default=None, description="Whether the top score is below the threshold.")
    threshold: float | None = None


class ClipError(BaseModel):
    """The entry of a clip that cannot be used, in the answer to a list of clips."""

    error: str = Field(description="One line: what was got, what was expected, what to do.")
    reason: str = Field(description="A short code, such as undecodable, silent, too_short or too_long.")


class ErrorAnswer(BaseModel):
    """The answer to a request that cannot be answered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": "inputs: got silence (peak 0.000000 of full scale); expected a peak above -60 dBFS. "
                    "Remove or replace the recording.",
                    "reason": "silent",
                }
            ]
        }
    )

    error: str = Field(description="One line: what was got, what was expected, what to do.")
    reason: str | None = Field(default=None, description="A short code, if the recording is the cause.")


class HealthAnswer(BaseModel):
    """Whether the server accepts requests, and its model."""

    status: Literal["ready", "not ready"]
    model: str
    labels: list[str]
    version: str = Field(description="Version of hf_ser.")


Scores = Annotated[list[Score], Field(examples=[_EXAMPLE_SCORES])]
Answer = Scores | DetailedAnswer
PredictAnswer = Answer | list[Answer | ClipError]


def parse_json(body: bytes) -> PredictRequest:
    """Parse the body of a JSON request.

    Raises:
        RequestError: 400 for a body that is not JSON, 422 for fields that are missing, unknown or invalid.

    >>> parse_json(b'{"inputs": "UklGRg==", "parameters": {"top_k": 3}}').parameters.top_k
    3
    """
    try:
        return PredictRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise _request_error(error, PredictRequest) from None  # the cause contains the body


def parse_query(query: dict[str, str]) -> Parameters:
    """Parse parameters from the address of a request.

    Raises:
        RequestError: 422 for an unknown parameter or an invalid value.

    >>> parse_query({"top_k": "3", "return_timeline": "true"}).return_timeline
    True
    """
    try:
        return Parameters.model_validate_strings(query)
    except ValidationError as error:
        raise _request_error(error, Parameters) from None


def _request_error(error: ValidationError, model: type[BaseModel]) -> RequestError:
    """The first error of a request as one line."""
    first = error.errors(include_url=False)[0]
    names = [str(part) for part in first["loc"]]
    if not names:  # of the body as a whole
        got = "not JSON" if first["type"] == "json_invalid" else "not a JSON object"
        status = 400 if first["type"] == "json_invalid" else 422
        return RequestError(status, f"the request body is {got}; expected an object with inputs. Correct the body.")
    field = next((name for name in reversed(names) if name in _EXPECTED), names[-1])
    if first["type"] == "extra_forbidden":
        known = (model if len(names) == 1 else Parameters).model_fields
        unknown = ascii(names[-1][:40]).strip("'")
        return RequestError(422, f"{unknown} is not a field; expected one of {', '.join(known)}. Remove it.")
    if first["type"] == "missing":
        return RequestError(422, f"{field} is missing; expected {_EXPECTED[field]}. Add it.")
    value = first["input"]
    if field in ("inputs", "parameters") and value != []:  # it may be a whole file
        got = _JSON_TYPES.get(type(value), "another type")
    else:
        got = json.dumps(value, default=str)[:60]
    return RequestError(422, f"{field}: got {got}; expected {_EXPECTED[field]}. Correct it or leave it out.")
