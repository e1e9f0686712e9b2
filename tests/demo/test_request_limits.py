"""Requests to the demo with bodies that are too large."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from starlette.applications import Starlette
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hf_ser.demo import request_limits
from hf_ser.demo.request_limits import RequestLimits


async def _length(request):
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr(request_limits, "_MAX_OTHER_BYTES", 1000)
    app = Starlette(routes=[Route("/call", _length, methods=["POST"])], middleware=[Middleware(RequestLimits)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://demo")


async def _parts(count):
    for _ in range(count):
        yield bytes(100)


def _answer(coroutine):
    """Run it in a thread of its own, because the browser of other tests keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def test_bodies_up_to_the_limit_are_answered(client):
    assert _answer(client.post("/call", content=bytes(1000))).text == "1000"
    assert _answer(client.post("/call", content=_parts(10))).text == "1000"


@pytest.mark.parametrize("content", [bytes(1001), _parts(11)], ids=["declared", "chunked"])
def test_larger_bodies_are_rejected(client, content):
    answer = _answer(client.post("/call", content=content))
    assert answer.status_code == 413
    assert answer.text == "The request exceeds the maximum allowed size of 1,000 bytes."


def test_an_upload_whose_client_has_gone_ends_in_the_error_after_which_gradio_deletes_its_files():
    async def upload(scope, receive, send):
        while (await receive())["more_body"]:
            pass

    messages = iter([{"type": "http.request", "body": b"RIFF", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    scope = {"type": "http", "path": "/gradio_api/upload", "headers": []}
    with pytest.raises(MultiPartException, match="disconnected"):
        _answer(RequestLimits(upload)(scope, receive, None))
