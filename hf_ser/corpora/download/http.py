"""One file over HTTP: streamed, resumed, verified, and only then given its name."""

import errno
import hashlib
import logging
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from hf_ser.errors import SerError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
RETRIED_STATUSES = (408, 425, 429, 500, 502, 503, 504)
MAX_PAUSE_S = 60.0
USER_AGENT = f"hf-ser python-requests/{requests.__version__}"


class DownloadError(SerError):
    """A corpus or file could not be fetched; the message says what was got, what was expected and what to do."""


class _Interrupted(Exception):  # noqa: N818 - a signal to try again, never seen outside this module
    """This attempt ended early, and another one may succeed."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass
class _Transfer:
    """What one call of `fetch` knows about the file it is fetching."""

    url: str
    destination: Path
    size: int | None
    timeout_s: tuple[float, float]
    progress: bool
    vouched: bool  # a checksum will tell whether pieces of different answers fit together
    validator: str | None = None  # ETag or Last-Modified of the version that the .part file holds
    pieced: bool = False  # the .part file was put together from more than one answer

    @property
    def part(self) -> Path:
        return self.destination.with_name(self.destination.name + ".part")

    @property
    def received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def start_over(self) -> None:
        self.part.unlink(missing_ok=True)
        self.validator, self.pieced = None, False


def fetch(
    url: str,
    destination: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
    retries: int = 5,
    backoff_s: float = 1.0,
    timeout_s: tuple[float, float] = (10.0, 60.0),
    progress: bool = True,
) -> Path:
    """Fetch `url` into `destination`, which appears only once everything that was asked for is verified.

    The bytes go to `destination.part`. A `.part` that an earlier call left is continued if a checksum is given to
    vouch for the result. A file already at `destination` that passes the checks is returned without a request.

    Args:
        url: where the file is; a query string or password in it is never shown in messages.
        destination: the file to write; missing folders are made.
        size: expected size in bytes.
        md5: expected MD5, hexadecimal.
        sha256: expected SHA-256, hexadecimal.
        retries: how often to try again after a cut connection or a busy server.
        backoff_s: seconds before the first retry, doubled each time.
        timeout_s: seconds to wait for the connection, and for the next bytes.
        progress: show a progress bar on a terminal.

    Returns:
        `destination`.

    Raises:
        DownloadError: when the file cannot be fetched, stored or verified. A wrong checksum removes the `.part`.
    """
    transfer = _Transfer(url, Path(destination), size, timeout_s, progress, vouched=bool(md5 or sha256))
    try:
        transfer.destination.parent.mkdir(parents=True, exist_ok=True)
        if transfer.destination.exists() and (size is not None or md5 or sha256):
            problem = _mismatch(transfer.destination, size, md5, sha256)
            if problem is None:
                return transfer.destination
            logger.warning("%s is replaced: %s", transfer.destination, problem)
        if not transfer.vouched:
            transfer.start_over()  # nothing could show that an old .part and today's file belong together
        transfer.pieced = transfer.received > 0
        _receive(transfer, retries, backoff_s)
        problem = _mismatch(transfer.part, size, md5, sha256)
        if problem is not None and transfer.pieced:
            logger.warning("%s, put together from several answers: %s; fetching it whole", transfer.part, problem)
            transfer.start_over()
            _receive(transfer, retries, backoff_s)
            problem = _mismatch(transfer.part, size, md5, sha256)
        if problem is not None:
            transfer.part.unlink()
            raise DownloadError(
                f"{scrub(url)}: {problem}. The file was removed. Run the command again; if the same values "
                "come back, the file changed at its source and this version of hf_ser does not know it."
            )
        os.replace(transfer.part, transfer.destination)
    except OSError as error:
        raise _storage_error(transfer.part, error) from error
    return transfer.destination


def scrub(text: str) -> str:
    """Return the text without the passwords and query strings of the addresses in it (they may hold tokens)."""
    text = re.sub(r"(?<=//)[^/@\s'\"]+@", "", text)
    return re.sub(r"(?<=[\w/])\?[^\s'\")>]+", "", text)


def _receive(transfer: _Transfer, retries: int, backoff_s: float) -> None:
    """Bring the `.part` file to its full length, in as many attempts as `retries` allows."""
    for attempt in range(retries + 1):
        if transfer.size is not None and transfer.received > transfer.size:
            transfer.start_over()
        if transfer.size is not None and transfer.received == transfer.size and transfer.part.exists():
            return
        try:
            _attempt(transfer)
            return
        except _Interrupted as interruption:
            if attempt == retries:
                raise DownloadError(_exhausted(transfer, attempt + 1, str(interruption))) from interruption
            pause_s = min(max(backoff_s * 2**attempt, interruption.pause_s), MAX_PAUSE_S)
            logger.warning(
                "%s: %s; %d bytes kept, trying again in %.0f s (retry %d of %d)",
                *(scrub(transfer.url), interruption, transfer.received, pause_s, attempt + 1, retries),
            )
            time.sleep(pause_s)


def _attempt(transfer: _Transfer) -> None:
    """Send one request for what is missing and append the answer to the `.part` file."""
    if not (transfer.vouched or transfer.validator):
        transfer.start_over()
    offset = transfer.received
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if transfer.validator:
            headers["If-Range"] = transfer.validator
    try:
        with requests.get(transfer.url, headers=headers, stream=True, timeout=transfer.timeout_s) as response:
            _refuse_status(transfer, response)
            if response.status_code == 416:
                return _after_416(transfer, response, offset)
            if response.status_code == 206:
                if _content_range(response)[0] != offset:
                    transfer.start_over()
                    raise _Interrupted("the server answered with another range than the one asked for")
            else:
                offset = 0  # the server ignores Range, or the file changed: this answer is the whole file
            total = _announced_total(transfer, response, offset)
            transfer.validator, transfer.pieced = _validator(response), offset > 0
            _append(transfer, response, offset, total)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _Interrupted(root_cause(error)) from error
    except requests.RequestException as error:
        raise DownloadError(f"{scrub(transfer.url)} cannot be fetched: {root_cause(error)}") from error


def _append(transfer: _Transfer, response: requests.Response, offset: int, total: int | None) -> None:
    """Stream the answer's body to the `.part` file from `offset` on, never past `total` bytes."""
    if total is not None:
        free, needed = shutil.disk_usage(transfer.part.parent).free, total - transfer.received
        if free < needed:
            raise DownloadError(
                f"{transfer.part.parent} has {free:,} bytes free; {needed:,} more are needed for "
                f"{transfer.destination.name}. Free some space or choose another output_dir."
            )
    bar = tqdm(
        total=total,
        initial=offset,
        unit="B",
        unit_scale=True,
        desc=transfer.destination.name,
        disable=None if transfer.progress else True,  # None: shown on a terminal only
    )
    received = offset
    with bar, open(transfer.part, "ab" if offset else "wb") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            received += len(chunk)
            if total is not None and received > total:
                raise DownloadError(f"{scrub(transfer.url)} sent more than the {total:,} bytes expected; stopped")
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and received < total:
        raise _Interrupted(f"the connection ended after {received:,} of {total:,} bytes")


def _announced_total(transfer: _Transfer, response: requests.Response, offset: int) -> int | None:
    """Return the whole file's size in bytes as far as it is known; refuse an answer of the wrong size unread."""
    total = _content_range(response)[1] if response.status_code == 206 else None
    length = response.headers.get("Content-Length", "")
    if total is None and length.isdecimal() and "Content-Encoding" not in response.headers:
        total = offset + int(length)
    if None not in (total, transfer.size) and total != transfer.size:
        kind = response.headers.get("Content-Type", "unknown type")
        raise DownloadError(
            f"{scrub(transfer.url)} offers {total:,} bytes ({kind}); expected {transfer.size:,}. "
            "A login page or proxy may have answered in its place, or the file changed at its source: open the "
            "address in a browser to see which."
        )
    return total if transfer.size is None else transfer.size


def _after_416(transfer: _Transfer, response: requests.Response, offset: int) -> None:
    """Settle "range not satisfiable": the `.part` file is already whole, or it is of no use."""
    if offset and _content_range(response)[1] == offset:
        return
    transfer.start_over()
    raise _Interrupted("the server has nothing beyond what was received before; starting from zero")


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """Return (start, total) of a Content-Range header, None for what it does not say."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    start, total = match.groups()
    return int(start) if start else None, int(total) if total.isdecimal() else None


def _validator(response: requests.Response) -> str | None:
    etag = response.headers.get("ETag", "")
    # RFC 9110, 13.1.5: If-Range takes strong tags only
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _refuse_status(transfer: _Transfer, response: requests.Response) -> None:
    status, address = response.status_code, scrub(transfer.url)
    if status in (200, 206, 416):
        return
    answer = f"{address} answered {status} {response.reason or ''}".rstrip()
    if status in RETRIED_STATUSES:
        wait = response.headers.get("Retry-After", "")
        raise _Interrupted(answer, float(wait) if wait.isdecimal() else 0.0)
    remedies = {
        401: "It asks for a login: fetch it in a browser",
        403: "Access is refused, by the site or by a proxy on the way: fetch it in a browser",
        404: "The file is not there (any more): check the address, or look for a newer record",
        410: "The file was withdrawn: look for a newer record",
    }
    remedy = remedies.get(status, "Expected 200 or 206: try again later, or fetch it in a browser")
    raise DownloadError(f"{answer}. {remedy}; a file put at {transfer.destination} by hand is checked and used.")


def _exhausted(transfer: _Transfer, attempts: int, reason: str) -> str:
    received, address = transfer.received, scrub(transfer.url)
    by_hand = f"fetch {address} in a browser and put it at {transfer.destination}, where it is checked and used"
    if not received:
        host = urlsplit(transfer.url).hostname
        return (
            f"nothing came from {host} in {attempts} attempts: {reason}. Check the network and the proxy "
            f"(HTTPS_PROXY), or {by_hand}."
        )
    expected = f" of {transfer.size:,}" if transfer.size is not None else ""
    again = "to go on from there" if transfer.vouched else "to start over"  # see `fetch`: no checksum, no resuming
    return (
        f"{address}: got {received:,}{expected} bytes in {attempts} attempts; the last one: {reason}. What came is "
        f"in {transfer.part}: run the same command {again}, or {by_hand}."
    )


def root_cause(error: BaseException) -> str:
    """Return the innermost cause that requests and urllib3 wrapped, as one scrubbed line."""
    cause: BaseException = error
    while True:
        inner = getattr(cause, "reason", None) or next((a for a in cause.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    text = re.sub(r"^<?[\w.]+ object at 0x\w+>?: |^\w+\(.*?\): ", "", str(cause)) or type(cause).__name__
    return scrub(" ".join(text.split()))


def _mismatch(path: Path, size: int | None, md5: str | None, sha256: str | None) -> str | None:
    """Return what is wrong with the file, or None."""
    actual = path.stat().st_size
    if size is not None and actual != size:
        return f"got {actual:,} bytes; expected {size:,}"
    expected = {name: value for name, value in (("md5", md5), ("sha256", sha256)) if value}
    for name, value in file_digests(path, *expected).items():
        if value != expected[name].lower():
            return f"got {name} {value}; expected {expected[name].lower()}"
    return None


def file_digests(path: Path, *algorithms: str) -> dict[str, str]:
    """Return the file's hexadecimal digests by algorithm name, read once in pieces."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with open(path, "rb") as file:
        while hashes and (chunk := file.read(1024 * 1024)):
            for digest in hashes.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in hashes.items()}


def _storage_error(path: Path, error: OSError) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(
            f"the disk is full: {path} cannot grow. Free some space and run the same command to go on from there, "
            "or choose another output_dir."
        )
    return DownloadError(
        f"{path} cannot be written: {error.strerror or error}. Choose an output_dir you may write to."
    )
