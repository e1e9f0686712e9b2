"""Read the body of a request into clips: JSON, multipart or the audio itself, within limits and in memory only."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from dataclasses import dataclass

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from hf_ser.remote_code.handler import base64_audio
from hf_ser.serving.request_schemas import Parameters, parse_json, parse_query
from hf_ser.serving.serving_limits import HeldBytes, RequestError, ServingLimits

JSON, MULTIPART = "application/json", "multipart/form-data"
_ALSO_AUDIO = ("application/ogg", "application/octet-stream", "video/mp4", "video/ogg", "video/webm")
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Clip:
    """The content of an audio file, and its name in messages."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Content:
    """What a request asks for.

    Args:
        clips: to classify.
        parameters: of the prediction.
        is_list: whether the answer is a list, with an entry per clip.
    """

    clips: list[Clip]
    parameters: Parameters
    is_list: bool


class _InMemoryParser(MultiPartParser):
    """Starlette's parser, which by default writes files of more than 1 MB to disk."""

    spool_max_size = 1 << 40  # the size of the body is limited


async def read_content(request: Request, limits: ServingLimits, held: HeldBytes, workers: Executor) -> Content:
    """Read and parse the body of a request.

    Args:
        request: its body has not been read.
        limits: of size, time and number of clips.
        held: counts the bytes of the body.
        workers: parse JSON, which can take a while.

    Raises:
        RequestError: the request is too large, too slow, incomplete or invalid.
    """
    # The client of huggingface_hub sends bytes without a content type.
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind not in (JSON, MULTIPART, *_ALSO_AUDIO) and not kind.startswith("audio/"):
        raise RequestError(
            415,
            f"got the content type {ascii(kind[:60])}; expected {JSON}, {MULTIPART} or audio/*, such as audio/wav. "
            "Set the header Content-Type.",
        )
    if kind == JSON and request.query_params:
        raise RequestError(422, "got parameters in the address; expected them in the JSON body. Move them there.")
    query = parse_query(dict(request.query_params))
    try:
        async with asyncio.timeout(limits.upload_timeout_s):
            if kind == MULTIPART:
                clips = await _multipart_clips(request.headers, _chunks(request, limits, held), limits)
                return Content(clips, query, is_list=len(clips) > 1)
            body = b"".join([chunk async for chunk in _chunks(request, limits, held)])
    except TimeoutError:
        raise RequestError(
            408,
            f"the upload was not complete after {limits.upload_timeout_s:g} s; expected a faster one. Send a smaller "
            "file, or use a faster connection.",
        ) from None
    except ClientDisconnect:
        raise RequestError(400, "the client disconnected; expected a complete upload. Send it again.") from None
    if kind != JSON:
        return Content([Clip("the request body", body)], query, is_list=False)
    return await asyncio.get_running_loop().run_in_executor(workers, _json_content, body, limits)


async def _chunks(request: Request, limits: ServingLimits, held: HeldBytes) -> AsyncGenerator[bytes, None]:
    """The parts of a body as they arrive; ends with an error as soon as there are too many bytes."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limits.max_body_bytes:
        raise _too_large(limits)
    async for chunk in request.stream():
        if held.size + len(chunk) > limits.max_body_bytes:
            raise _too_large(limits)
        held.add(len(chunk))
        yield chunk


def _too_large(limits: ServingLimits) -> RequestError:
    return RequestError(
        413,
        f"got a request body of more than {limits.max_body_mb:g} MB; expected at most that. Send fewer or shorter "
        "clips, or compress them, for example to FLAC.",
    )


def _too_many(limits: ServingLimits) -> RequestError:
    return RequestError(
        413,
        f"got more than {limits.max_clips} clips; expected at most {limits.max_clips} per request. Send several "
        "requests.",
    )


def _json_content(body: bytes, limits: ServingLimits) -> Content:
    parsed = parse_json(body)
    is_list = isinstance(parsed.inputs, list)
    texts = parsed.inputs if isinstance(parsed.inputs, list) else [parsed.inputs]
    if len(texts) > limits.max_clips:
        raise _too_many(limits)
    names = [f"inputs[{index}]" for index in range(len(texts))] if is_list else ["inputs"]
    try:
        clips = [Clip(name, base64_audio(text, name)) for name, text in zip(names, texts, strict=True)]
    except ValueError as error:
        raise RequestError(422, str(error)) from None
    return Content(clips, parsed.parameters or Parameters(), is_list)


async def _multipart_clips(headers: Headers, chunks: AsyncGenerator[bytes, None], limits: ServingLimits) -> list[Clip]:
    try:
        # A field that is not a file could be a parameter, which belongs into the address.
        parser = _InMemoryParser(headers, chunks, max_files=limits.max_clips, max_fields=0)
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(limits) from None
        if error.message.startswith("Too many fields"):
            got = "a form field that is not a file"
            raise RequestError(422, f"got {got}; expected files only. Put parameters into the address.") from None
        got = f"a multipart body that cannot be parsed ({error.message.rstrip('.')[:100]})"
        raise RequestError(400, f"got {got}; expected one or more files. Check the client.") from None
    try:
        uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not uploads:
            raise RequestError(422, "got a multipart body without a file; expected at least one. Add a file.")
        return [
            Clip(_shown(upload.filename) or f"file {number}", await upload.read())
            for number, upload in enumerate(uploads, 1)
        ]
    finally:
        await form.close()


def _shown(name: str | None) -> str:
    """The last part of a file's name, as it can be printed."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return "".join(each if each.isprintable() else "?" for each in last)[:_LONGEST_NAME]
