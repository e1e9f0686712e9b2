"""Recordings behind http and https addresses: bounded in size and time, without secrets in messages."""

import ipaddress
import os
import re
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from .audio_errors import AudioError

if TYPE_CHECKING:
    import requests

PRIVATE_REDIRECTS = "HF_SER_PRIVATE_REDIRECTS"  # set to 1 to follow redirects into private networks
_CONNECT_S = 30.0  # to connect, and between two packets
_TOTAL_S = 600.0
_REDIRECTS = 10
_CHUNK = 1 << 16


def is_address(source: str) -> bool:
    """Whether a name is an http or https address, in any case.

    >>> is_address("HTTP://example.org/voice.wav"), is_address("voice.wav")
    (True, False)
    """
    return re.match(r"https?://", source, re.IGNORECASE) is not None


def without_secrets(address: str) -> str:
    """The address without user, password, query and fragment, which may hold tokens.

    >>> without_secrets("https://example.org/voice.wav?key=value#part")
    'https://example.org/voice.wav'
    """
    return re.sub(r"(?i)^([a-z]+://)(?:[^/?#]*@)?([^?#]*).*$", r"\1\2", address, flags=re.DOTALL)


def download(address: str, check_size: Callable[[int], None], total_s: float = _TOTAL_S) -> bytes:
    """Return the bytes behind an address.

    Redirects are followed within the same host and to public hosts. A redirect into a private network is followed
    only where the environment variable `HF_SER_PRIVATE_REDIRECTS` is 1: a stranger's server could otherwise make this
    machine read from servers that only it can reach.

    Args:
        address: http or https.
        check_size: called with the number of bytes so far; raises if there are too many.
        total_s: seconds that the whole download may take.

    Raises:
        AudioError: no complete response in time, an error status, or a redirect that is not followed.
    """
    name, deadline = without_secrets(address), time.monotonic() + total_s
    try:  # here: exported graphs are used without these packages
        import requests
        from urllib3.exceptions import HTTPError
    except ImportError:
        got = "a URL, which cannot be read because the package requests is not installed"
        raise _failed(name, got, "a recording", "Install requests, or download the file first.") from None
    try:
        with requests.Session() as session:
            return _follow(session, address, name, check_size, deadline)
    except AudioError:
        raise
    except TimeoutError:
        got = f"no complete response within {total_s:.0f} s"
        raise _failed(name, got, "a recording", "Download the file first.") from None
    except (requests.RequestException, HTTPError, ValueError, OSError) as error:  # ValueError: impossible host names
        # Not chained: the cause prints the address with its secrets.
        got, expected = (
            f"no complete response ({type(error).__name__})",
            f"a recording; packets every {_CONNECT_S:.0f} s",
        )
        raise _failed(name, got, expected, "Check the address, or download the file first.") from None


def _follow(
    session: "requests.Session", address: str, name: str, check_size: Callable[[int], None], deadline: float
) -> bytes:
    for _ in range(_REDIRECTS + 1):
        left = min(_CONNECT_S, deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError
        with session.get(address, stream=True, timeout=left, allow_redirects=False) as answer:
            target = session.get_redirect_target(answer)
            if target is None:
                if not answer.ok:
                    raise _failed(name, f"HTTP status {answer.status_code}", "a recording", "Check the address.")
                return _body(answer, check_size, deadline)
        address = _redirected(address, target, name)
    raise _failed(name, f"more than {_REDIRECTS} redirects", "a recording", "Check the address.")


def _redirected(address: str, target: str, name: str) -> str:
    """The next address, if it may be followed."""
    following = urljoin(address, target)
    host = urlsplit(following).hostname or ""
    if not is_address(following) or (host != urlsplit(address).hostname and _is_private(host)):
        raise _failed(
            name,
            f"a redirect to {without_secrets(following)}",
            "one within the same host or to a public one",
            f"Pass that address itself, or set {PRIVATE_REDIRECTS}=1 if you trust the first host.",
        )
    return following


def _is_private(host: str) -> bool:
    """Whether a name leads to an address that is not public; a name that nothing resolves is left to the request."""
    if os.environ.get(PRIVATE_REDIRECTS) == "1":
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(not ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found)


def _body(answer: "requests.Response", check_size: Callable[[int], None], deadline: float) -> bytes:
    """Read what has arrived, however little, so that a server that sends single bytes meets the deadline."""
    raw: Any = answer.raw
    read = getattr(raw, "read1", raw.read)  # absent from urllib3 1
    content = bytearray()
    while part := read(_CHUNK, decode_content=True):
        content += part
        check_size(len(content))
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(content)


def _failed(name: str, got: str, expected: str, remedy: str) -> AudioError:
    return AudioError("not_found", name, got, expected, remedy)
