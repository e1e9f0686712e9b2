"""The HTTP interface: addresses, errors as JSON, and the OpenAPI description."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import hf_ser
from hf_ser.serving.prediction_service import Answered, PredictionService
from hf_ser.serving.request_content import JSON, MULTIPART
from hf_ser.serving.request_schemas import ErrorAnswer, HealthAnswer, Parameters, PredictAnswer, PredictRequest
from hf_ser.serving.serving_limits import RETRY_AFTER_S, RequestError

LOGGER = logging.getLogger("hf_ser.serving")
_DISCARD_BYTES, _DISCARD_S = 2**20, 1.0
_ERRORS = {
    400: "The recording or the body cannot be used.",
    408: "The upload took too long.",
    413: "The body, the number of clips or a clip is too large.",
    415: "The content type is not supported.",
    422: "A field or parameter is unknown or invalid.",
    500: "The model failed.",
    503: "The server is busy; the header Retry-After has the seconds to wait.",
}
_DESCRIPTION = (
    "Predicts the emotion that a voice expresses. The request follows the Hugging Face Hub's inference API for audio "
    "classification."
)
_PREDICT = (
    "Classify one or more recordings. One recording gives a list of labels and scores, best first, or with "
    "`return_timeline` or `abstain` an object. A list in JSON and several files give a list of them. In a list, "
    "clips that cannot be used have an entry with `error` and `reason`. With JSON, parameters are in the body; "
    "otherwise they are in the address."
)
_BINARY = {"type": "string", "format": "binary"}


def make_app(service: PredictionService, name: str) -> FastAPI:
    """Make the application.

    Args:
        service: started with the application, and closed with it.
        name: of the model, as clients see it.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(title="hf-ser serve", version=hf_ser.__version__, description=_DESCRIPTION, lifespan=lifespan)
    app.add_exception_handler(HTTPException, _http_error)
    documented: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": text} for status, text in _ERRORS.items()
    }
    documented[200] = {"model": PredictAnswer, "description": "The scores."}

    @app.post("/predict", responses=documented, openapi_extra=_request_schema(), description=_PREDICT)
    async def predict(request: Request) -> Response:
        return await _logged(service, request)

    health_schema: dict[int | str, dict[str, Any]] = {200: {"model": HealthAnswer}, 503: {"model": HealthAnswer}}

    @app.get("/health", responses=health_schema, description="Whether the server accepts requests.")
    async def health() -> Response:
        ready = service.worker.is_alive
        content = {"status": "ready" if ready else "not ready", "model": name, "labels": service.model.labels}
        return JSONResponse(content | {"version": hf_ser.__version__}, 200 if ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse, description="Metrics in the format of Prometheus.")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=PlainTextResponse, include_in_schema=False)
    async def start() -> Response:
        return PlainTextResponse(_start_text(service, name))

    return app


async def _logged(service: PredictionService, request: Request) -> Response:
    """Answer a request, count it and log one line, which has no content, file name or address of the client."""
    started_s = time.monotonic()
    clips, cause = 0, ""
    try:
        answered: Answered = await service.answer(request)
        clips = answered.clips
        response: Response = JSONResponse(answered.content)
    except RequestError as error:
        await _discard_rest(request)
        response = _error(error.status, str(error), **error.details)
    except Exception as error:
        cause = f" ({_place(error)})"
        response = _error(500, "the server failed to classify the recording; expected scores. Try another recording.")
    duration_s = time.monotonic() - started_s
    service.metrics.count_request(response.status_code, duration_s)
    LOGGER.info("POST /predict %d, clips: %d, %.3f s%s", response.status_code, clips, duration_s, cause)
    return response


async def _discard_rest(request: Request) -> None:
    """Read what is left of a small upload: a connection that is closed with unread data can lose the answer."""
    if "expect" in request.headers:  # the client waits for permission to send it
        return
    size = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):  # RuntimeError: it was read to its end
        async with asyncio.timeout(_DISCARD_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _DISCARD_BYTES:
                    return


def _error(status: int, text: str, **details: Any) -> Response:
    # The rest of an upload is not read: the connection is of no further use.
    headers = {"Connection": "close"} if status in (408, 413, 415, 503) else {}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse({"error": text, **details}, status, headers)


def _place(error: Exception) -> str:
    """The kind of an error and where it was raised; its message may hold content."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f", {trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{where}"


async def _http_error(_: Request, error: Exception) -> Response:
    """Errors of the router, such as an unknown address, in the format of all others."""
    assert isinstance(error, HTTPException)
    expected = "expected POST /predict, GET /health, GET /metrics or GET /docs. Check the address and the method."
    return JSONResponse({"error": f"{error.detail}; {expected}"}, error.status_code, dict(error.headers or {}))


def _start_text(service: PredictionService, name: str) -> str:
    limits = service.limits
    lines = [
        f"hf-ser {hf_ser.__version__}: {name} ({', '.join(service.model.labels)})",
        *([f"Warning: {service.model.warning}"] if service.model.warning else []),
        "",
        "POST /predict  classify recordings",
        "GET  /health   whether the server is ready",
        "GET  /metrics  metrics for Prometheus",
        "GET  /docs     description of the interface (OpenAPI: /openapi.json)",
        "",
        f"Limits: {limits.max_body_mb:g} MB and {limits.max_clips} clips per request, {limits.max_duration_s:g} s per "
        "clip.",
        "Example: curl --data-binary @recording.wav -H 'Content-Type: audio/wav' 'ADDRESS/predict?top_k=3'",
    ]
    return "\n".join(lines) + "\n"


def _request_schema() -> dict[str, Any]:
    """The parts of the OpenAPI description that follow from the content type of a request."""
    body = PredictRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    parameters = body.pop("$defs")["Parameters"]
    body["properties"]["parameters"] = {"anyOf": [parameters, {"type": "null"}]}
    files = {"files": {"type": "array", "items": _BINARY, "description": "One or more files, of any field name."}}
    return {
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": body},
                MULTIPART: {"schema": {"type": "object", "properties": files, "required": ["files"]}},
                "audio/*": {"schema": _BINARY},
                "application/octet-stream": {"schema": _BINARY},
            },
        },
        "parameters": [
            {
                "name": field,
                "in": "query",
                "required": False,
                "description": f"{schema.get('description', '')} With JSON: in the body.".strip(),
                "schema": {key: value for key, value in schema.items() if key not in ("title", "description")},
            }
            for field, schema in Parameters.model_json_schema()["properties"].items()
        ],
    }
