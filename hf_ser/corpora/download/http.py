"""One file over HTTP: streamed, resumed, verified, and only then given its name.

No library here resumes a file on disk: pooch 1.9 starts anew after every cut connection, and huggingface_hub's
`http_get` works for the Hub's own answers and retries only while one call lasts.
"""

import errno
import hashlib
import logging
import os
import re
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from hf_ser.errors import SerError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
RETRIED_STATUSES = (408, 425, 429, 500, 502, 503, 504)
MAX_PAUSE_S = 60.0
HEADERS = {"User-Agent": f"hf-ser python-requests/{requests.__version__}", "Accept-Encoding": "identity"}
_REMEDIES = {
    401: "It asks for a login: fetch it in a browser",
    403: "Access is refused, by the site or by a proxy on the way: fetch it in a browser",
    404: "The file is not there (any more): check the address, or look for a newer record",
    410: "The file was withdrawn: look for a newer record",
}


class DownloadError(SerError):
    """A corpus or file could not be fetched; the message says what was got, what was expected and what to do."""


class _Interrupted(Exception):  # noqa: N818 - a signal to try again, never seen outside this module
    """This attempt ended early, and another one may succeed."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass(frozen=True)
class _Transfer:
    """What one call of `fetch` knows about the file."""

    url: str
    destination: Path
    size: int
    hashes: dict[str, str]
    timeout_s: tuple[float, float]
    progress: bool

    @property
    def part(self) -> Path:
        return self.destination.with_name(self.destination.name + ".part")

    @property
    def address(self) -> str:
        return scrub(self.url)

    @property
    def received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0


def fetch(
    url: str,
    destination: Path,
    *,
    size: int,
    sha256: str,
    md5: str | None = None,
    retries: int = 5,
    backoff_s: float = 1.0,
    timeout_s: tuple[float, float] = (10.0, 60.0),
    progress: bool = True,
) -> Path:
    """Fetch `url` into `destination`, which appears only once its size and checksums are verified.

    The bytes go to `destination.part`, from which a later call continues. A file already at `destination` that passes
    the checks is returned without a request.

    Args:
        url: where the file is; a query string or password in it is never shown in messages.
        destination: the file to write; missing folders are made.
        size: expected size in bytes.
        sha256: expected SHA-256, hexadecimal.
        md5: expected MD5, hexadecimal.
        retries: how often to try again after a cut connection or a busy server.
        backoff_s: seconds before the first retry, doubled each time.
        timeout_s: seconds to wait for the connection, and for the next bytes.
        progress: show a progress bar on a terminal.

    Returns:
        `destination`.

    Raises:
        DownloadError: when the file cannot be fetched, stored or verified. A wrong checksum removes the `.part`.
    """
    hashes = {"sha256": sha256} | ({"md5": md5} if md5 else {})
    transfer = _Transfer(url, Path(destination), size, hashes, timeout_s, progress)
    try:
        transfer.destination.parent.mkdir(parents=True, exist_ok=True)
        if transfer.destination.exists():
            problem = _mismatch(transfer.destination, transfer)
            if problem is None:
                return transfer.destination
            logger.warning("%s is replaced: %s", transfer.destination, problem)
        resumed = _receive(transfer, retries, backoff_s)
        problem = _mismatch(transfer.part, transfer)
        if problem is not None and resumed:  # its pieces may be of two versions of the file
            logger.warning("%s was resumed: %s; fetching it whole", transfer.part, problem)
            transfer.part.unlink()
            _receive(transfer, retries, backoff_s)
            problem = _mismatch(transfer.part, transfer)
        if problem is not None:
            transfer.part.unlink()
            raise DownloadError(
                f"{transfer.address}: {problem}. The file was removed. Run the command again; if the same values "
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


def _receive(transfer: _Transfer, retries: int, backoff_s: float) -> bool:
    """Bring the `.part` file to its full length; return whether it is of more than one answer."""
    if transfer.received > transfer.size:
        transfer.part.unlink()
    resumed = transfer.received > 0
    for attempt in range(retries + 1):
        if transfer.received == transfer.size:
            break
        try:
            resumed = _attempt(transfer)
            break
        except _Interrupted as interruption:
            if attempt == retries:
                raise DownloadError(_exhausted(transfer, attempt + 1, str(interruption))) from interruption
            pause_s = min(max(backoff_s * 2**attempt, interruption.pause_s), MAX_PAUSE_S)
            logger.warning(
                "%s: %s; %d bytes kept, trying again in %.0f s (retry %d of %d)",
                *(transfer.address, interruption, transfer.received, pause_s, attempt + 1, retries),
            )
            time.sleep(pause_s)
    return resumed


def _attempt(transfer: _Transfer) -> bool:
    """Request what is missing and append it to the `.part` file; return whether anything was there before."""
    offset = transfer.received
    headers = HEADERS | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        with requests.get(transfer.url, headers=headers, stream=True, timeout=transfer.timeout_s) as response:
            _refuse_status(transfer, response)
            if response.status_code == 200:
                offset = 0  # the server ignores Range: this answer is the whole file
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                transfer.part.unlink(missing_ok=True)
                raise _Interrupted("the server answered with another range than the one asked for")
            _append(transfer, response, offset)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _Interrupted(root_cause(error)) from error
    except requests.RequestException as error:
        raise DownloadError(f"{transfer.address} cannot be fetched: {root_cause(error)}") from error
    return offset > 0


def _append(transfer: _Transfer, response: requests.Response, offset: int) -> None:
    """Stream the answer's body to the `.part` file from `offset` on, never past the expected size."""
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and offset + int(length) != transfer.size:
        kind = response.headers.get("Content-Type", "unknown type")
        raise DownloadError(
            f"{transfer.address} offers {offset + int(length):,} bytes ({kind}); expected {transfer.size:,}. A login "
            "page or proxy may have answered in its place, or the file changed at its source: open the address in a "
            "browser to see which."
        )
    free, needed = shutil.disk_usage(transfer.part.parent).free, transfer.size - transfer.received
    if free < needed:
        raise DownloadError(
            f"{transfer.part.parent} has {free:,} bytes free; {needed:,} more are needed for "
            f"{transfer.destination.name}. Free some space or choose another output_dir."
        )
    bar = tqdm(
        total=transfer.size,
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
            if received > transfer.size:
                raise DownloadError(f"{transfer.address} sent more than the {transfer.size:,} bytes expected; stopped")
            file.write(chunk)
            bar.update(len(chunk))
    if received < transfer.size:
        raise _Interrupted(f"the connection ended after {received:,} of {transfer.size:,} bytes")


def _refuse_status(transfer: _Transfer, response: requests.Response) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    answer = f"{transfer.address} answered {status} {response.reason or ''}".rstrip()
    if status in RETRIED_STATUSES:
        wait = response.headers.get("Retry-After", "")
        raise _Interrupted(answer, float(wait) if wait.isdecimal() else 0.0)
    remedy = _REMEDIES.get(status, "Expected 200 or 206: try again later, or fetch it in a browser")
    raise DownloadError(f"{answer}. {remedy}; a file put at {transfer.destination} by hand is checked and used.")


def _exhausted(transfer: _Transfer, attempts: int, reason: str) -> str:
    received = transfer.received
    by_hand = (
        f"fetch {transfer.address} in a browser and put it at {transfer.destination}, where it is checked and used"
    )
    if not received:
        host = urlsplit(transfer.url).hostname
        return (
            f"nothing came from {host} in {attempts} attempts: {reason}. Check the network and the proxy "
            f"(HTTPS_PROXY), or {by_hand}."
        )
    return (
        f"{transfer.address}: got {received:,} of {transfer.size:,} bytes in {attempts} attempts; the last one: "
        f"{reason}. What came is in {transfer.part}: run the same command to continue from there, or {by_hand}."
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


def _mismatch(path: Path, transfer: _Transfer) -> str | None:
    """Return what is wrong with the file, or None."""
    actual = path.stat().st_size
    if actual != transfer.size:
        return f"got {actual:,} bytes; expected {transfer.size:,}"
    for name, value in file_digests(path, *transfer.hashes).items():
        if value != transfer.hashes[name].lower():
            return f"got {name} {value}; expected {transfer.hashes[name].lower()}"
    return None


def file_digests(path: Path, *algorithms: str) -> dict[str, str]:
    """Return the file's hexadecimal digests by algorithm name."""
    digests = {}
    for name in algorithms:
        with open(path, "rb") as file:
            digests[name] = hashlib.file_digest(file, partial(hashlib.new, name, usedforsecurity=False)).hexdigest()
    return digests


def _storage_error(path: Path, error: OSError) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(
            f"the disk is full: {path} cannot grow. Free some space and run the same command to continue from there, "
            "or choose another output_dir."
        )
    return DownloadError(
        f"{path} cannot be written: {error.strerror or error}. Choose an output_dir you may write to."
    )
