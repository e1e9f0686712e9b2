"""Writing the static page: a folder that any web server, and a Space with `sdk: static`, can serve."""

import gzip
import hashlib
import inspect
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import yaml
from huggingface_hub import SpaceCardData

import hf_ser
from hf_ser.live import StreamingRecognizer
from hf_ser.live.voice_gate import FRAME_S
from hf_ser.page_words import LIMITS, SENTENCE, SPACE_LOOK, SYNTHETIC, TITLE
from hf_ser.remote_code.windows import MIN_DURATION_S, SILENCE_DBFS, WindowPlan
from hf_ser.reporting.palette import class_colour
from hf_ser.system_errors import check_output, system_trouble
from hf_ser.web.exported_graph import read_graph
from hf_ser.web.onnxruntime_web import PACKAGE, VERSION, runtime_files
from hf_ser.web.web_error import WebError

PAGE = "page.json"  # what the scripts read; it marks a folder as a page, and lists the page's files
FORMAT = 1
_SOURCES = resources.files("hf_ser.web") / "page_files"
_WORKER = "service-worker.js"
# Decoding keeps all samples in memory, and phones end pages that use much of it.
_MAX_DURATION_S, _MAX_FILE_BYTES, _MAX_UNKNOWN_BYTES = 600, 100 * 10**6, 10 * 10**6
_PRIVACY = "Recordings stay in this browser: the page sends them nowhere."
_MANIFEST = {
    "name": TITLE,
    "short_name": "Voice emotion",
    "description": SENTENCE,
    "start_url": "./",
    "scope": "./",
    "display": "standalone",
    "background_color": "#ffffff",
    "theme_color": "#332288",
    "icons": [{"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"}],
}


def write_page(
    graph: str | Path,
    folder: str | Path,
    onnxruntime_web: str | Path | None = None,
    about: Sequence[str] = (),
    *,
    flag: str = "--output",
) -> Path:
    """Write a page that classifies recordings in the browser.

    The folder appears complete or not at all. An earlier page in it is replaced.

    Args:
        graph: ONNX file of an exported model.
        folder: of the page; a new one, an empty one, or one with an earlier page and nothing else.
        onnxruntime_web: folder of the unpacked npm package; None to fetch it with npm.
        about: text about the model: first a sentence for the top of the page, then more for its details.
        flag: the argument that `folder` comes from, for messages.

    Returns:
        The folder.

    Raises:
        WebError: the graph or the package cannot be used, or the folder holds other files.
        SystemTroubleError: a file cannot be read or written.
        MissingExtraError: onnxruntime is not installed.

    >>> write_page("model.onnx", "runs/page", onnxruntime_web="node_modules/onnxruntime-web")  # doctest: +SKIP
    PosixPath('runs/page')
    """
    target = Path(folder).resolve()
    check_output(target, flag)
    _check_replaceable(target, flag)
    content, metadata = read_graph(graph)
    files = _contents(content, runtime_files(onnxruntime_web), metadata, about)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that renaming cannot fail because of another disk.
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            page = draft / "page"
            page.mkdir()
            for name, data in files.items():
                (page / name).write_bytes(data)
            if target.exists():
                os.rename(target, draft / "earlier")
            os.rename(page, target)
        finally:
            if not target.exists() and (draft / "earlier").exists():
                os.rename(draft / "earlier", target)
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise system_trouble(error) or error from error
    return Path(folder)


def describe_page(folder: str | Path) -> str:
    """List the files of a page with their sizes, as they are and with gzip, as most servers send text.

    >>> Path("page").mkdir()
    >>> _ = Path("page/model.onnx.gz").write_bytes(bytes(5_230_000))
    >>> print(describe_page("page"))
     5.230 MB ( 0.005 MB with gzip)  model.onnx.gz
     5.230 MB ( 0.005 MB with gzip)  in all
    """
    sizes = {}
    for path in sorted(Path(folder).iterdir(), key=lambda path: -path.stat().st_size):
        content = path.read_bytes()
        sizes[path.name] = len(content), len(gzip.compress(content))
    sizes["in all"] = sum(raw for raw, _ in sizes.values()), sum(small for _, small in sizes.values())
    lines = [f"{raw / 1e6:6.3f} MB ({small / 1e6:6.3f} MB with gzip)  {name}" for name, (raw, small) in sizes.items()]
    return "\n".join(lines)


def page_files(folder: str | Path) -> tuple[dict[str, Any], list[str]] | None:
    """Read the settings of a page and the names of its files; None if the folder holds no page.

    >>> page_files(".") is None
    True
    """
    try:
        settings = json.loads((Path(folder) / PAGE).read_text(encoding="utf-8"))
        names = settings["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (settings, names) if settings.get("hf_ser_page") == FORMAT else None


def _check_replaceable(folder: Path, flag: str) -> None:
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()}
    page = page_files(folder)
    others = sorted(names - set(page[1] if page else ()))
    if others:
        raise WebError(
            f"{flag} {folder} contains {others[0]}, which is no file of a page; expected a new folder, or one with an "
            "earlier page only. Choose another folder, or move the file away."
        )


def _contents(
    graph: bytes, runtime: Mapping[str, bytes], metadata: Mapping[str, Any], about: Sequence[str]
) -> dict[str, bytes]:
    """All files of the page by name."""
    sources = {path.name: path.read_bytes() for path in _SOURCES.iterdir() if path.is_file()}
    worker = sources.pop(_WORKER).decode()
    words = {"title": TITLE, "sentence": SENTENCE, "privacy": _PRIVACY}
    words = {name: escape(text) for name, text in words.items()}
    words["limits"] = "".join(f"<li>{_emphasised(text)}</li>" for text in LIMITS)
    # Compressed here, since many servers do not compress it: graphs have large tables that repeat themselves.
    files = {**sources, **runtime, "model.onnx.gz": gzip.compress(graph, 9, mtime=0)}
    files["index.html"] = Template(sources["index.html"].decode()).substitute(words).encode()
    files["manifest.webmanifest"] = _json(_MANIFEST)
    kept = sorted([*files, PAGE])  # by the browser
    files["README.md"] = _card(metadata, about).encode()
    files[PAGE] = _json({**_settings(metadata, about), "files": sorted([*files, PAGE, _WORKER])})
    digest = hashlib.sha256(b"".join(hashlib.sha256(files[name]).digest() for name in kept)).hexdigest()
    worker = worker.replace("__FILES__", json.dumps(kept)).replace("__VERSION__", digest[:16])
    return {**files, _WORKER: worker.encode()}


def _emphasised(markdown: str) -> str:
    return re.sub(r"[*]{2}(.+?)[*]{2}", r"<strong>\1</strong>", escape(markdown))


def _settings(metadata: Mapping[str, Any], about: Sequence[str]) -> dict[str, Any]:
    """What the scripts of the page need to know."""
    plan = WindowPlan.for_model(metadata["max_input_s"])
    rate, labels = metadata["sampling_rate"], metadata["labels"]
    return {
        "hf_ser_page": FORMAT,
        "hf_ser": hf_ser.__version__,
        PACKAGE: VERSION,
        "model": metadata,
        "about": list(about),
        "warning": SYNTHETIC if metadata["synthetic"] else "",
        "colours": [class_colour(label, labels) for label in labels],
        # In samples, so that both sides round in the same way.
        "windows": {
            "whole": plan.whole_s * rate,
            "size": round(plan.window_s * rate),
            "step": round(plan.stride_s * rate),
        },
        "live": {**_live_defaults(), "frame": round(FRAME_S * rate)},
        "limits": {
            "max_duration_s": _MAX_DURATION_S,
            "max_file_bytes": _MAX_FILE_BYTES,
            "max_unknown_bytes": _MAX_UNKNOWN_BYTES,
            "min_duration_s": MIN_DURATION_S,
            "silence_dbfs": SILENCE_DBFS,
            "silence": 10 ** (SILENCE_DBFS / 20),
        },
    }


def _live_defaults() -> dict[str, Any]:
    """The defaults of live speech in Python; the page abstains if the model has a threshold."""
    parameters = inspect.signature(StreamingRecognizer).parameters
    return {name: each.default for name, each in parameters.items() if name not in ("model", "abstain")}


def _card(metadata: Mapping[str, Any], about: Sequence[str]) -> str:
    """README.md, whose first lines make the folder a static Space."""
    name = metadata.get("name") or "Speech emotion recognition"
    data = SpaceCardData(
        title=name,
        sdk="static",
        license=metadata.get("licence") or "unknown",
        tags=["speech-emotion-recognition", "audio-classification", "onnx"],
        **SPACE_LOOK,
        short_description="Which emotion a voice expresses, in the browser",
    ).to_dict()
    parts = [
        f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---",
        f"# {name}",
        f"{TITLE} {SENTENCE} The model runs in the browser, with ONNX Runtime Web {VERSION} (MIT licence). {_PRIVACY}",
        *([SYNTHETIC] if metadata["synthetic"] else []),
        *about,
        f"Classes: {', '.join(metadata['labels'])}.",
        "## Limits",
        "\n".join(f"- {limit}" for limit in LIMITS),
        f"Written by hf_ser {hf_ser.__version__}. Any web server can serve this folder. At https addresses and on "
        "localhost, the page has the microphone and works offline after the first visit.",
    ]
    return "\n\n".join(parts) + "\n"


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
