"""The files of onnxruntime-web: from a folder, or fetched with npm; checked against pinned hashes.

Only two files are used: the JavaScript for WebAssembly, and the smallest WebAssembly build, which runs on CPU and has
all standard operators. Nothing is unpacked to the disk.
"""

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from hf_ser.system_errors import system_trouble
from hf_ser.web.web_error import WebError

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
# As npm reports it: npm view onnxruntime-web@1.30.0 dist.integrity
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
SCRIPT = "dist/ort.wasm.bundle.min.mjs"
WASM = "dist/ort-wasm-simd-threaded.wasm"
SHA256 = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_MAX_BYTES = 64 * 2**20  # of a file in the archive
_TIMEOUT_S = 900


def runtime_files(folder: str | Path | None = None) -> dict[str, bytes]:
    """Return the files of onnxruntime-web that the page needs, by their name on the page.

    The WebAssembly is compressed, since many servers do not compress it: 3.7 instead of 14.2 MB.

    Args:
        folder: the unpacked package; None to fetch it with npm.

    Raises:
        WebError: the folder is not the package in the pinned version, npm is not installed or fails, or a hash
            differs.
        SystemTroubleError: a file cannot be read.
    """
    files = _fetched() if folder is None else _read(Path(folder))
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise WebError(f"{name} is not that of {PACKAGE} {VERSION}: its hash differs. {_instead()}")
    # Script files named .mjs are sent with a wrong type by some servers.
    return {"ort.js": files[SCRIPT], "ort.wasm.gz": gzip.compress(files[WASM], 9, mtime=0)}


def _read(folder: Path) -> dict[str, bytes]:
    nested = folder / "node_modules" / PACKAGE  # where npm install puts it
    folder = nested if nested.is_dir() else folder
    try:
        package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        got = f"{package['name']} {package['version']}"
    except (OSError, ValueError, KeyError, TypeError):
        raise WebError(
            f"--onnxruntime_web {folder} is not an npm package; expected the unpacked package {PACKAGE} {VERSION}. "
            f"{_instead()}"
        ) from None
    if got != f"{PACKAGE} {VERSION}":
        raise WebError(f"--onnxruntime_web {folder} holds {got}; expected {PACKAGE} {VERSION}. {_instead()}")
    try:
        return {name: (folder / name).read_bytes() for name in SHA256}
    except OSError as error:
        raise system_trouble(error) or error from error


def _fetched() -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise WebError(f"npm is not installed; it is needed to fetch {PACKAGE} {VERSION}. {_instead()}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--prefer-offline"]
        try:
            done = subprocess.run(
                [*command, "--pack-destination", folder],
                cwd=folder,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise WebError(
                f"npm did not fetch {PACKAGE} {VERSION} within {_TIMEOUT_S // 60} minutes. {_instead()}"
            ) from None
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            # The rest of npm's output may contain addresses and credentials of a private registry.
            code = re.search(rb"(?:error|ERR!) code (\w+)", done.stderr)
            shown = code[1].decode() if code else f"exit code {done.returncode}"
            raise WebError(f"npm could not fetch {PACKAGE} {VERSION} ({shown}). Check the network. {_instead()}")
        return unpacked(archives[0].read_bytes())


def unpacked(archive: bytes) -> dict[str, bytes]:
    """Return the needed files of the package's archive. Nothing is written, so no path in it can do harm.

    Raises:
        WebError: the archive is not the pinned one, or lacks a file.
    """
    if base64.b64encode(hashlib.sha512(archive).digest()).decode() != INTEGRITY.partition("-")[2]:
        raise WebError(f"the archive of {PACKAGE} {VERSION} is not the expected one: its hash differs. {_instead()}")
    files = {}
    with tempfile.TemporaryFile() as file:
        file.write(archive)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as members:
            for member in members:
                name = member.name.removeprefix("package/")
                if name in SHA256 and member.isfile() and member.size <= _MAX_BYTES:
                    files[name] = members.extractfile(member).read()  # type: ignore[union-attr]
    missing = SHA256.keys() - files.keys()
    if missing:
        raise WebError(f"the archive of {PACKAGE} {VERSION} has no {', '.join(sorted(missing))}. {_instead()}")
    return files


def _instead() -> str:
    return (
        f"Install npm, or run `npm pack {PACKAGE}@{VERSION}` elsewhere, unpack the archive and pass its folder with "
        "--onnxruntime_web."
    )
