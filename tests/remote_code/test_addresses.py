"""Downloads from servers that are slow, hostile or broken, on the loopback interface."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hf_ser.remote_code import addresses
from hf_ser.remote_code.addresses import download, is_address, without_secrets
from hf_ser.remote_code.audio_errors import AudioError

CONTENT = b"RIFF" + bytes(3000)


class _Server(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.partition("?")[0].strip("/")
        if name == "drip":
            self._head(200, {"Content-Length": "1000000"})
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)
        elif name == "cut":
            self._head(200, {"Content-Length": str(2 * len(CONTENT))})
            self.wfile.write(CONTENT)
            self.close_connection = True
        elif name == "loop":
            self._head(302, {"Location": "/loop"})
        elif name == "same":
            self._head(302, {"Location": "/voice.wav?token=inner"})
        elif name == "private":
            self._head(302, {"Location": f"http://localhost:{self.server.server_port}/voice.wav?token=inner"})
        elif name == "file":
            self._head(302, {"Location": "file:///etc/passwd"})
        elif name == "missing":
            self._head(404, {})
        else:
            self._head(200, {"Content-Length": str(len(CONTENT))})
            self.wfile.write(CONTENT)

    def _head(self, status, headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://user:password@127.0.0.1:{server.server_port}"
    server.shutdown()


def _any_size(_):
    pass


@pytest.mark.parametrize("name", ["voice.wav", "same"])
def test_an_answer_and_a_redirect_within_the_host(server, name):
    assert download(f"{server}/{name}?token=secret", _any_size) == CONTENT


def test_a_server_that_sends_single_bytes_meets_the_time_limit(server):
    start = time.monotonic()
    with pytest.raises(AudioError, match="within 1 s"):
        download(f"{server}/drip", _any_size, total_s=1)
    assert time.monotonic() - start < 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("private", "a redirect to http://localhost:[0-9]+/voice.wav; expected one within the same host"),
        ("file", "a redirect to file:///etc/passwd"),
        ("loop", "more than 10 redirects"),
        ("missing", "HTTP status 404"),
        ("cut", "no complete response"),
    ],
)
def test_what_is_rejected_names_no_secret(server, name, message):
    with pytest.raises(AudioError, match=message) as caught:
        download(f"{server}/{name}?token=secret", _any_size)
    shown = f"{caught.value} {caught.value.__cause__}"
    assert not any(word in shown for word in ("user", "password", "secret", "inner"))


def test_a_private_redirect_is_followed_on_request(server, monkeypatch):
    monkeypatch.setenv(addresses.PRIVATE_REDIRECTS, "1")
    assert download(f"{server}/private", _any_size) == CONTENT


def test_a_refused_connection_names_no_secret():
    with pytest.raises(AudioError, match="127.0.0.1:9/voice.wav: got no complete response") as caught:
        download("http://user:password@127.0.0.1:9/voice.wav?token=secret", _any_size)
    assert "password" not in str(caught.value) and caught.value.__cause__ is None


def test_the_scheme_in_any_case():
    assert is_address("HTTPS://example.org/a.wav") and not is_address("ftp://example.org") and not is_address("a.wav")


@pytest.mark.parametrize("address", ["http://u:p@h/a?b=c#d", "HTTP://u:p@h/a?b", "http://u:p@x@h/a#t"])
def test_secrets_are_removed(address):
    assert without_secrets(address).lower() == "http://h/a"
