"""A Hub to test against: on the loopback address, it speaks the Hugging Face Hub's protocol to its real clients.

It has two addresses, as the real one has: the Hub itself, and the storage where large files lie. A client goes to the
storage with a signed address and no token; a request with a token is refused there. Xet is not spoken: clients need
HF_HUB_DISABLE_XET=1, since one that has Xet uploads by it without asking the Hub.
"""

import os
import re
import socketserver
import tempfile
import threading
import traceback
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import hub_server_api as api
import hub_server_files as files
from hub_server_api import Answer, Call, as_json
from hub_server_state import HubError, HubState, Repo, Token

_REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
_FILES = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+?)"
_REVISION = r"(?P<revision>[^/]+)"
HUB_ROUTES = [
    ("POST", "/api/repos/create", api.create_repo),
    ("POST", "/api/validate-yaml", api.validate_yaml),
    ("GET", _REPO, api.info),
    ("GET", f"{_REPO}/revision/{_REVISION}", api.info),
    ("GET", f"{_REPO}/refs", api.refs),
    ("POST", f"{_REPO}/tag/{_REVISION}", api.create_tag),
    ("GET", f"{_REPO}/tree/{_REVISION}(?:/(?P<path>.+))?", api.tree),
    ("POST", f"{_REPO}/preupload/{_REVISION}", api.preupload),
    ("POST", f"{_REPO}/commit/{_REVISION}", api.commit),
    ("POST", rf"{_FILES}\.git/info/lfs/objects/batch", files.lfs_batch),
    ("POST", rf"{_FILES}\.git/info/lfs/verify", files.lfs_verify),
    ("GET|HEAD", f"{_FILES}/resolve/{_REVISION}/(?P<path>.+)", files.resolve),
]
STORAGE_ROUTES = [
    ("PUT", "/storage/(?P<oid>[0-9a-f]{64})", files.put_object),
    ("GET|HEAD", "/storage/(?P<oid>[0-9a-f]{64})", files.get_object),
]


@dataclass
class Fault:
    """What goes wrong, at which requests and how often.

    Args:
        pattern: regular expression that is searched for in "METHOD /path?query", such as "PUT /storage/".
        times: the next so many requests that match; None for all.
        status: answer with this status instead of doing anything.
        cut_after: close the connection after so many bytes of the request's body where it has one, else of the
            answer's; nothing is done with half a body.
        lose_answer: do what was asked and close the connection without a word.
        hits: requests that it struck so far.
    """

    pattern: str
    times: int | None = 1
    status: int | None = None
    cut_after: int | None = None
    lose_answer: bool = False
    hits: int = 0

    def matches(self, line: str) -> bool:
        return (self.times is None or self.hits < self.times) and re.search(self.pattern, line) is not None


NO_FAULT = Fault("")


@dataclass
class Request:
    """What arrived, whether or not it was answered."""

    server: str  # hub or storage
    method: str
    path: str  # unquoted, with the query
    headers: dict[str, str]  # names in lower case
    status: int | None = None  # None where the connection was cut before an answer

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


class HubServer(HubState):
    """The Hub, running between `start` and `stop`.

    `tokens` starts with hf_owner and hf_reader of the user owner, and hf_stranger of the user stranger; hf_reader
    may only read. `requests` is everything that arrived, and `errors` the tracebacks of this server's own mistakes.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.tokens |= {"hf_owner": Token("owner", "write"), "hf_reader": Token("owner", "read")}
        self.tokens["hf_stranger"] = Token("stranger", "write")
        self.faults: list[Fault] = []  # of several that match a request the first one strikes
        self.requests: list[Request] = []
        self.errors: list[str] = []
        self._listeners = [_Listener(self, "hub", HUB_ROUTES), _Listener(self, "storage", STORAGE_ROUTES)]
        self.endpoint, self.storage = (listener.address for listener in self._listeners)

    def start(self) -> None:
        for listener in self._listeners:
            threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        for listener in self._listeners:
            listener.shutdown()
            listener.server_close()

    def fail(self, pattern: str, **effect) -> Fault:
        """Let something go wrong at the next request that matches (see `Fault`); `hits` of the result counts."""
        self.faults.append(Fault(pattern, **effect))
        return self.faults[-1]

    def strike(self, line: str) -> Fault:
        """The fault of this request, counted as having struck."""
        with self.lock:
            fault = next((fault for fault in self.faults if fault.matches(line)), NO_FAULT)
            fault.hits += 1
        return fault

    def seen(self, pattern: str) -> list[Request]:
        """The requests so far whose "METHOD /path?query" the pattern is found in."""
        return [request for request in list(self.requests) if re.search(pattern, request.line)]

    def stored(self, name: str, kind: str = "models") -> Repo:
        """The repository as the server keeps it, to look into or to tamper with."""
        return self.repos[kind, name]

    def api(self, token: str | bool = False):
        """Return an HfApi that talks to this Hub, by default as nobody."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=token)

    def environment(self, token: str | None = None) -> dict[str, str]:
        """Return the variables of a fresh process that talks to this Hub, with a new and empty HF_HOME."""
        own = ("HF_", "HUGGING", "TRANSFORMERS_", "DATASETS_")
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(own)}
        kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
        home = tempfile.mkdtemp(prefix="home_", dir=self.folder)
        switches = ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS")
        kept |= dict.fromkeys((*switches, "OMP_NUM_THREADS"), "1")
        kept |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": home, "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
        # Whatever is asked of another address fails at once, with a network or without: nothing listens there.
        kept |= {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
        return kept | ({"HF_TOKEN": token} if token else {})


class _Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One address. Not http.server's own class, which asks the network for this machine's name."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: HubServer, name: str, routes: list) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.name, self.routes = hub, name, routes
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        """Stay silent: a client that hangs up is no news, and mistakes in answers are kept in `errors`."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as the clients expect
    disable_nagle_algorithm = True
    timeout = 60

    server: _Listener

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: `requests` has it all."""

    def _serve(self) -> None:
        hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.server.name, self.command, unquote(self.path), headers)
        hub.requests.append(request)
        fault = hub.strike(request.line)
        try:
            body = self._read_body(headers, fault)
            answer = self._answer(headers, body, fault)
            if fault.lose_answer:
                raise ConnectionAbortedError
            request.status = answer.status
            self._write(answer, fault, has_body=bool(body))
        except ConnectionError:  # cut by a fault, or by the client
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

    def _answer(self, headers: dict[str, str], body: bytes, fault: Fault) -> Answer:
        if fault.status is not None:
            return as_json({"error": f"Injected fault {fault.status}"}, fault.status)
        hub = self.server.hub
        url = urlsplit(self.path)
        try:
            with hub.lock:
                user = hub.user(headers.get("authorization")) if self.server.name == "hub" else None
                call = Call(self.command, url.path, parse_qs(url.query), headers, body, user)
                return self._route(call)
        except HubError as error:
            code = {"X-Error-Code": error.code} if error.code else {}
            return as_json({"error": error.message}, error.status, {"X-Error-Message": error.message, **code})
        except Exception:
            hub.errors.append(traceback.format_exc())
            return as_json({"error": "a mistake in the Hub to test against"}, 500)

    def _route(self, call: Call) -> Answer:
        for methods, pattern, function in self.server.routes:
            found = re.fullmatch(pattern, call.path)
            if found and call.method in methods.split("|"):
                groups = {name: unquote(value) for name, value in found.groupdict().items() if value is not None}
                return function(self.server.hub, call, **groups)
        raise HubError(404, f"Nothing at {call.method} {call.path}")

    def _read_body(self, headers: dict[str, str], fault: Fault) -> bytes:
        size = int(headers.get("content-length", 0))
        if fault.cut_after is not None and size:
            self.rfile.read(min(size, fault.cut_after))
            raise ConnectionAbortedError
        body = self.rfile.read(size)
        if len(body) < size:  # the client hung up: what came is not to be taken for the whole
            raise ConnectionAbortedError
        return body

    def _write(self, answer: Answer, fault: Fault, has_body: bool) -> None:
        body = b"" if self.command == "HEAD" else answer.body
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if fault.cut_after is not None and not has_body:  # else the fault struck at the request's body already
            self.wfile.write(body[: fault.cut_after])
            raise ConnectionAbortedError
        self.wfile.write(body)
