"""Limits of the size of requests to the demo, which would otherwise be read into memory as a whole."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.responses import PlainTextResponse

MAX_FILE_BYTES = 100 * 1000**2
_MAX_UPLOAD_BYTES = MAX_FILE_BYTES + 1000**2  # with the headers of its parts
_MAX_OTHER_BYTES = 1000**2  # a call names an uploaded file
_TOO_LARGE = "The request exceeds the maximum allowed size of {:,} bytes."


class RequestLimits:
    """ASGI middleware that rejects requests with large bodies, and ends uploads whose client has gone."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 413 to a request that declares a large body; count the bytes of a body of undeclared size."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_upload = scope["path"].endswith("/upload")
        limit = _MAX_UPLOAD_BYTES if is_upload else _MAX_OTHER_BYTES
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await PlainTextResponse(_TOO_LARGE.format(limit), 413)(scope, receive, send)
            return
        read, whole = 0, False

        async def limited() -> Any:
            nonlocal read, whole
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                whole = not message.get("more_body", False)
            if read > limit:
                raise _error(_TOO_LARGE.format(limit), is_upload)
            if message["type"] == "http.disconnect" and is_upload and not whole:
                raise _error("The client disconnected.", is_upload)
            return message

        await self.app(scope, limited, send)


def _error(text: str, is_upload: bool) -> Exception:
    """An error that is answered with its text. Gradio deletes the files of an upload after this one only."""
    return MultiPartException(text) if is_upload else HTTPException(413, text)
