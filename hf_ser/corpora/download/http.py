"""Download one file over HTTP: streamed, resumed, verified, and renamed to its final name when it is complete.

No existing dependency resumes a partial file on disk: pooch 1.9 restarts after a dropped connection, and `http_get` of
huggingface_hub supports responses of the Hub only and retries only within one call.
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
    401: "The site requires a login: download the file in a browser",
    403: "The site or a proxy denied access: download the file in a browser",
    404: "The file does not exist at this address: check the address, or look for a newer record",
    410: "The file was withdrawn: look for a newer record",
}


class DownloadError(SerError):
    """A corpus or file cannot be downloaded; the message contains the cause and the remedy."""


class _Interrupted(Exception):  # noqa: N818 - internal signal to retry
    """An attempt failed, but a retry may succeed."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass(frozen=True)
class _Transfer:
    """The file of one call of `fetch`."""

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
    """Download `url` to `destination`, which appears only after its size and checksums are verified.

    The bytes are written to `destination.part`, from which a later call continues. If `destination` already exists and
    passes the checks, no request is made.

    Args:
        url: URL of the file; its query string and password are never shown in messages.
        destination: the file to write; missing folders are created.
        size: expected size in bytes.
        sha256: expected SHA-256, hexadecimal.
        md5: expected MD5, hexadecimal.
        retries: maximum number of retries after a dropped connection or a server error.
        backoff_s: seconds before the first retry, doubled for each retry.
        timeout_s: seconds to wait for the connection, and for the next bytes.
        progress: whether to show a progress bar on a terminal.

    Returns:
        `destination`.

    Raises:
        DownloadError: if the file cannot be downloaded, written or verified. After a wrong checksum, the `.part` file
            is removed.
    """
    hashes = {"sha256": sha256} | ({"md5": md5} if md5 else {})
    transfer = _Transfer(url, Path(destination), size, hashes, timeout_s, progress)
    try:
        transfer.destination.parent.mkdir(parents=True, exist_ok=True)
        if transfer.destination.exists():
            problem = _mismatch(transfer.destination, transfer)
            if problem is None:
                return transfer.destination
            logger.warning("Replacing %s: %s", transfer.destination, problem)
        resumed = _receive(transfer, retries, backoff_s)
        problem = _mismatch(transfer.part, transfer)
        if problem is not None and resumed:  # its parts may come from two versions of the file
            logger.warning("%s was resumed and is wrong (%s); downloading it again", transfer.part, problem)
            transfer.part.unlink()
            _receive(transfer, retries, backoff_s)
            problem = _mismatch(transfer.part, transfer)
        if problem is not None:
            transfer.part.unlink()
            raise DownloadError(
                f"{transfer.address}: {problem}. The file was removed. Run the command again. If the values are the "
                "same, the file has changed at its source, and this version of hf_ser does not support it."
            )
        os.replace(transfer.part, transfer.destination)
    except OSError as error:
        raise _storage_error(transfer.part, error) from error
    return transfer.destination


def scrub(text: str) -> str:
    """Remove the passwords and query strings of URLs from a text, since they may contain tokens."""
    text = re.sub(r"(?<=//)[^/@\s'\"]+@", "", text)
    return re.sub(r"(?<=[\w/])\?[^\s'\")>]+", "", text)


def _receive(transfer: _Transfer, retries: int, backoff_s: float) -> bool:
    """Complete the `.part` file; return whether it consists of more than one response."""
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
                "%s: %s; %d bytes kept, retrying in %.0f s (retry %d of %d)",
                *(transfer.address, interruption, transfer.received, pause_s, attempt + 1, retries),
            )
            time.sleep(pause_s)
    return resumed


def _attempt(transfer: _Transfer) -> bool:
    """Request the missing bytes and append them to the `.part` file; return whether the file existed before."""
    offset = transfer.received
    headers = HEADERS | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        with requests.get(transfer.url, headers=headers, stream=True, timeout=transfer.timeout_s) as response:
            _refuse_status(transfer, response)
            if response.status_code == 200:
                offset = 0  # the server ignores Range: this response is the whole file
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                transfer.part.unlink(missing_ok=True)
                raise _Interrupted("the server sent a different range than requested")
            _append(transfer, response, offset)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _Interrupted(root_cause(error)) from error
    except requests.RequestException as error:
        raise DownloadError(f"{transfer.address} cannot be downloaded: {root_cause(error)}") from error
    return offset > 0


def _append(transfer: _Transfer, response: requests.Response, offset: int) -> None:
    """Stream the body of the response to the `.part` file from `offset`, up to the expected size."""
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and offset + int(length) != transfer.size:
        kind = response.headers.get("Content-Type", "unknown type")
        raise DownloadError(
            f"{transfer.address} has {offset + int(length):,} bytes ({kind}); expected {transfer.size:,}. The "
            "response may come from a login page or proxy, or the file has changed: open the address in a browser."
        )
    free, needed = shutil.disk_usage(transfer.part.parent).free, transfer.size - transfer.received
    if free < needed:
        raise DownloadError(
            f"{transfer.part.parent} has {free:,} bytes free; {transfer.destination.name} needs {needed:,} more. "
            "Free some space or choose another output_dir."
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
                raise DownloadError(f"{transfer.address} sent more than the expected {transfer.size:,} bytes.")
            file.write(chunk)
            bar.update(len(chunk))
    if received < transfer.size:
        raise _Interrupted(f"the connection ended after {received:,} of {transfer.size:,} bytes")


def _refuse_status(transfer: _Transfer, response: requests.Response) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    answer = f"{transfer.address} returned {status} {response.reason or ''}".rstrip()
    if status in RETRIED_STATUSES:
        wait = response.headers.get("Retry-After", "")
        raise _Interrupted(answer, float(wait) if wait.isdecimal() else 0.0)
    remedy = _REMEDIES.get(status, "Expected 200 or 206: try again later, or download the file in a browser")
    raise DownloadError(f"{answer}. {remedy}. A file saved as {transfer.destination} is verified and used.")


def _exhausted(transfer: _Transfer, attempts: int, reason: str) -> str:
    received = transfer.received
    by_hand = f"download {transfer.address} in a browser and save it as {transfer.destination} (it will be verified)"
    if not received:
        host = urlsplit(transfer.url).hostname
        return (
            f"no data received from {host} in {attempts} attempts: {reason}. Check the network and the proxy "
            f"(HTTPS_PROXY), or {by_hand}."
        )
    return (
        f"{transfer.address}: got {received:,} of {transfer.size:,} bytes in {attempts} attempts; last error: "
        f"{reason}. The partial file is {transfer.part}. Run the same command to continue, or {by_hand}."
    )


def root_cause(error: BaseException) -> str:
    """Return the innermost cause of an error of requests or urllib3, as one line without secrets."""
    cause: BaseException = error
    while True:
        inner = getattr(cause, "reason", None) or next((a for a in cause.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    text = re.sub(r"^<?[\w.]+ object at 0x\w+>?: |^\w+\(.*?\): ", "", str(cause)) or type(cause).__name__
    return scrub(" ".join(text.split()))


def _mismatch(path: Path, transfer: _Transfer) -> str | None:
    """Return the first difference from the expected size and checksums, or None."""
    actual = path.stat().st_size
    if actual != transfer.size:
        return f"got {actual:,} bytes; expected {transfer.size:,}"
    for name, value in file_digests(path, *transfer.hashes).items():
        if value != transfer.hashes[name].lower():
            return f"got {name} {value}; expected {transfer.hashes[name].lower()}"
    return None


def file_digests(path: Path, *algorithms: str) -> dict[str, str]:
    """Return the hexadecimal digests of a file by algorithm name."""
    digests = {}
    for name in algorithms:
        with open(path, "rb") as file:
            digests[name] = hashlib.file_digest(file, partial(hashlib.new, name, usedforsecurity=False)).hexdigest()
    return digests


def _storage_error(path: Path, error: OSError) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(
            f"the disk is full while writing {path}. Free some space and run the same command to continue, or choose "
            "another output_dir."
        )
    return DownloadError(
        f"{path} cannot be written: {error.strerror or error}. Choose an output_dir with write permission."
    )
