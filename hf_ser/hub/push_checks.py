"""Which files are pushed, and checks of their contents: no pickles, secrets or local paths."""

import hashlib
import io
import json
import os
import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from hf_ser.data.prepare import SUMMARY
from hf_ser.errors import SerError
from hf_ser.hybrids.hybrid_arguments import OUT_OF_FOLD
from hf_ser.inference import CheckpointError, label_names, load_classifier
from hf_ser.results_file import PRETRAINING_RESULTS, RESULTS
from hf_ser.scoring import read_results
from hf_ser.web.static_page import page_files

MODEL_FILES = (
    "README.md",
    "config.json",
    "model.safetensors",
    "model-?????-of-?????.safetensors",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "*.py",
    "requirements.txt",
    "results.json",
    "recipe.yaml",
    ".eval_results/*.yaml",
    "report.md",
    "robustness.json",
    "training_history.json",
    "predictions_*.parquet",
    "splits.csv",
    "booster.txt",
    "importances.csv",
    "figures/*.png",
    "figures/*.svg",
)
DATASET_FILES = ("README.md", "data/*.parquet", "counts.csv", "quarantine.csv", SUMMARY)
SPACE_FILES = ("README.md", "app.py", "requirements.txt", "examples/*.flac", "hf_ser/*", "hf_ser/*/*", "hf_ser/*/*/*")
PAGE_FILES = ("README.md", "LICENSE-*.txt", "*.css", "*.gz", "*.html", "*.js", "*.json", "*.svg", "*.webmanifest")
# By layout: a Space holds the demo or a static page.
PATTERNS = {"model": MODEL_FILES, "dataset": DATASET_FILES, "space": SPACE_FILES, "page": PAGE_FILES}

_PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
_SECRET_FILES = (".env", ".env.*", ".netrc", "_netrc", ".git-credentials", "id_rsa", "id_ed25519", "*.pem", "*.key")
_SECRETS = {
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}\b",
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "an AWS key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|aws_secret_access_key\s*[=:]\s*['\"]?[A-Za-z0-9/+]{40}",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "an API key": rb"\bsk-[A-Za-z0-9_-]{32,}|\bAIza[0-9A-Za-z_-]{35}\b",
    "a Slack token": rb"\bxox[abprs]-[0-9A-Za-z-]{20,}",
    "a password in an address": rb"\bhttps?://[^/\s:@\"']+:[^/\s@\"']+@",
}
# Top-level folders for personal files and data. Anything below them counts as a local path.
_ROOTS = "home|root|Users|tmp|mnt|media|scratch|workspace|content|data\\d*|work|private|var|opt|srv|nfs|kaggle"
_LOCAL_PATH = re.compile(
    rb"(?<![\w.:/~-])(?:/(?:"
    + _ROOTS.encode()
    + rb")/[\w.@+-][\w.@+/ -]*|~/[\w.][\w./-]*|[A-Za-z]:\\{1,2}[\w.-]+\\[^\s\"]*)"
    rb"|\bfile://[^\s\"')]+"
)
_PICKLE_STEPS = 20
_SCANNED_BYTES = 64 * 2**20  # larger files are weights or audio; only their header is scanned


class FolderError(SerError):
    """A folder that must not be pushed."""


@dataclass(frozen=True)
class Outgoing:
    """One file of a push: its path in the repository, and its content or the local file."""

    path: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def read(self, limit: int | None = None) -> bytes:
        """The content, or its first `limit` bytes."""
        if isinstance(self.source, bytes):
            return self.source[:limit]
        with open(self.source, "rb") as file:
            return file.read(-1 if limit is None else limit)

    def has(self, remote: str | None) -> bool:
        """Whether the content has this hash: SHA-256, as the Hub keeps large files, or git's SHA-1 for others."""
        if remote is None:
            return False
        if len(remote) == 40:
            content = self.read()
            blob = b"blob %d\0" % len(content) + content
            return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == remote
        with io.BytesIO(self.source) if isinstance(self.source, bytes) else open(self.source, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == remote


def find_kind(folder: Path) -> str:
    """Whether a folder holds a model, a dataset or a static page.

    Raises:
        FolderError: there is no such folder, or it holds none or several of them.
    """
    if not folder.is_dir():
        raise FolderError(f"--folder {folder}: no such folder; expected one written by a recipe.")
    found = [kind for kind, name in (("model", "config.json"), ("dataset", SUMMARY)) if (folder / name).is_file()]
    found += ["page"] if page_files(folder) else []
    if len(found) == 1:
        return found[0]
    got = f"both a {' and a '.join(found)}" if found else "neither a model (config.json) nor a prepared dataset"
    if not found and (folder / RESULTS).is_file():
        got = "results without a model (config.json), like the folders of baselines, evaluations and some stacks"
    raise FolderError(f"--folder {folder} holds {got}; expected the folder of one run of a recipe.")


def goes(path: str, layout: str) -> bool:
    """Whether a file with this path is pushed."""
    return any(path.count("/") == pattern.count("/") and fnmatch(path, pattern) for pattern in PATTERNS[layout])


def sort_files(folder: Path, kind: str) -> tuple[list[Outgoing], list[str]]:
    """The files that are pushed, and the paths of those that are not (a folder is named once).

    Raises:
        FolderError: the folder or a subfolder other than a Trainer's checkpoint holds a pickle or a file of secrets.
    """
    files, left = [], set()
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        top = place.partition("/")[0]
        # Checkpoints of the Trainer have optimizer states, which are pickles; nested runs of a stack have checkpoints.
        if top.startswith("checkpoint-") or top == OUT_OF_FOLD:
            left.add(f"{top}/")
        elif not path.is_file():
            continue
        elif any(fnmatch(path.name, pattern) for pattern in _SECRET_FILES):
            raise FolderError(
                f"{path} usually holds secrets; expected no such file in a folder to push. Move it away."
            )
        elif path.suffix.lower() in _PICKLES or _is_pickle(path):
            raise FolderError(
                f"{path} is a pickle, which runs code when it is loaded; expected none in a folder to push. Remove "
                "it; weights belong in model.safetensors."
            )
        elif goes(place, kind):
            files.append(Outgoing(place, path))
        else:
            left.add(place if "/" not in place else f"{top}/")
    return files, sorted(left)


def _is_pickle(path: Path) -> bool:
    """Whether a file's bytes are a pickle, plain or in the archive that torch.save writes, whatever its name."""
    with open(path, "rb") as file:
        head = file.read(4)
        if head[:2] == b"PK" and zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                return any(name.endswith((".pkl", ".pickle")) for name in archive.namelist())
        if len(head) < 2 or head[0] != 0x80 or not 2 <= head[1] <= 5:
            return False
        file.seek(0)
        try:  # safetensors files may begin with the same two bytes
            for number, _ in enumerate(pickletools.genops(file)):
                if number == _PICKLE_STEPS:
                    break
        except ValueError:
            return False
        return True


def check_model(folder: Path, found: Iterable[str]) -> dict[str, Any]:
    """Check that a folder is a complete trained model with its results -> the contents of results.json.

    Raises:
        SerError: a file is missing, results.json breaks its schema or is from another kind of run, or weights are
            missing or do not match.
    """
    found = set(found)
    if (folder / PRETRAINING_RESULTS).is_file():
        raise FolderError(
            f"--folder {folder} holds an encoder pretrained without labels; expected a classifier with its results. "
            f"Fine-tune it with recipes/finetune.py and push that, or upload it with hf upload OWNER/NAME {folder} "
            "--exclude 'checkpoint-*/*'."
        )
    results = read_results(folder)
    scored = results.get("dimensions") or results["splits"]
    if results["kind"] != "training" or not results["training"] or not scored:
        raise FolderError(
            f"{folder}/results.json is of kind {results['kind']} with {len(scored)} scored splits; "
            "expected a training with at least one. Push the folder that the training wrote."
        )
    for name in ("config.json", "preprocessor_config.json"):
        if name not in found:
            raise FolderError(f"{folder} has no {name}; expected a complete model folder, as written by a recipe.")
    if not any(fnmatch(name, "model*.safetensors") for name in found):
        raise FolderError(f"{folder} has no model.safetensors; expected the model's weights. Train the model again.")
    try:
        model, _ = load_classifier(str(folder), dimensions=True)
    except CheckpointError as error:
        raise FolderError(str(error).replace("--model ", "--folder ")) from error
    outputs = {name for split in scored.values() for name in split.get("labels") or split["per_dimension"]}
    strange = sorted(outputs - set(label_names(model.config)))
    if strange:
        raise FolderError(
            f"{folder}/results.json has scores of {', '.join(strange)}, which are not labels in config.json; expected "
            "the results of this model."
        )
    _check_code(folder, found)
    return results


def _check_code(folder: Path, found: set[str]) -> None:
    """Check that the folder has the code that config.json names and its sibling imports."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    pipelines = (config.get("custom_pipelines") or {}).values()
    classes = [pipeline["impl"] for pipeline in pipelines if pipeline.get("impl")]
    for value in (config.get("auto_map") or {}).values():
        classes += [name for name in (value if isinstance(value, list) else [value]) if name]
    named = {f"{name.rpartition('--')[2].partition('.')[0]}.py": "config.json" for name in classes}
    for path in sorted(name for name in found if name.endswith(".py")):
        code = (folder / path).read_text(encoding="utf-8")
        named |= {f"{name}.py": path for name in re.findall(r"^\s*from \.(\w+) import", code, re.MULTILINE)}
    for name, where in named.items():
        if name not in found:
            raise FolderError(
                f"{folder} has no {name}, which {where} refers to; expected the code in the same folder."
            )


def check_dataset(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Check that a prepared dataset is complete -> the contents of preparation.json, and the corpora of its clips.

    The corpora are read from the clips, since preparation.json may be older or edited.

    Raises:
        FolderError: a file is missing or has changed.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        written = dict(summary["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FolderError(
            f"{folder}/{SUMMARY} is missing or invalid; expected the file that recipes/prepare.py writes."
        ) from error
    sizes = {path.name: path.stat().st_size for path in (folder / "data").glob("*.parquet")}
    odd = sorted(name for name in written.keys() | sizes.keys() if written.get(name) != sizes.get(name))
    if odd or not written:
        raise FolderError(
            f"{folder}/data has changed since preparation (missing, new or of another size: "
            f"{', '.join(odd[:3]) or 'all files'}); expected the files as written. Run recipes/prepare.py again."
        )
    if not (folder / "README.md").is_file():
        raise FolderError(f"{folder} has no README.md; expected the card that recipes/prepare.py writes.")
    corpora: set[str] = set()
    for name in written:
        try:
            corpora |= set(pq.read_table(folder / "data" / name, columns=["corpus"])["corpus"].to_pylist())
        except (OSError, ValueError, KeyError) as error:
            raise FolderError(
                f"{folder}/data/{name} cannot be read ({error}); run recipes/prepare.py again."
            ) from error
    return summary, sorted(corpora)


def without_audio(file: Outgoing) -> bytes:
    """A table of a prepared dataset without its audio, with a column for the split under every protocol.

    The splits are in the file's name: "ravdess.speaker_disjoint=train.random=test.parquet".
    """
    assert isinstance(file.source, Path)
    schema = pq.read_schema(file.source)
    names = [name for name in schema.names if name != "audio"]
    table = pq.read_table(file.source, columns=names)
    features = json.loads((schema.metadata or {}).get(b"huggingface", b'{"info": {"features": {}}}'))
    features["info"]["features"].pop("audio", None)
    for protocol, split in re.findall(r"\.(\w+)=(train|validation|test)", file.path):
        table = table.append_column(f"split_{protocol}", [[split] * len(table)])
        features["info"]["features"][f"split_{protocol}"] = {"dtype": "string", "_type": "Value"}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), buffer)
    return buffer.getvalue()


def check_contents(files: Sequence[Outgoing], own: Mapping[str, str] | None = None) -> None:
    """Reject files that hold secrets or local paths.

    Args:
        files: those to push.
        own: other text that must not occur, such as the person's token: name -> text. It is never printed.

    Raises:
        FolderError: naming the file and what was found; the message shows paths but no secrets.
    """
    exact = {name: text.encode() for name, text in (own or {}).items() if text}
    here = [str(Path.home()), str(Path.cwd())]
    local = [text.encode() for text in here if text.count(os.sep) > 1]
    for file in files:
        for content in _scanned(file):
            kinds = [kind for kind, pattern in _SECRETS.items() if re.search(pattern, content)]
            kinds += [kind for kind, text in exact.items() if text in content]
            if kinds:
                raise FolderError(
                    f"{file.path} contains {kinds[0]}; expected no secret in a file to push. Remove it, and revoke it "
                    "if anybody else may have seen it."
                )
            shown = _local_path(content, local)
            if shown:
                raise FolderError(
                    f"{file.path} contains the local path {shown}; expected no local path in a file to push. Replace "
                    "it with a name or a Hub id."
                )


def _local_path(content: bytes, local: Sequence[bytes]) -> str | None:
    found = _LOCAL_PATH.search(content)
    if found:
        return found[0].decode(errors="replace")[:200]
    return next((text.decode() for text in local if text in content), None)


def _scanned(file: Outgoing) -> Iterator[bytes]:
    """The text in a file: of weights the header, of tables the header and the text columns."""
    if file.path.endswith(".safetensors"):
        yield _header(file)
    elif file.path.endswith(".parquet"):
        yield from _table_text(file)
    elif file.path.endswith(".png"):
        # Compressed pixels may match by chance; only its text chunks are scanned.
        yield b"\n".join(re.findall(rb"(?:tEXt|iTXt)([ -~\0]{4,})", file.read(_SCANNED_BYTES)))
    else:
        yield file.read()


def _header(file: Outgoing) -> bytes:
    try:
        with safe_open(str(file.source), "np") as weights:
            return json.dumps(weights.metadata() or {}).encode()
    except (SafetensorError, OSError) as error:
        raise FolderError(f"{file.path} cannot be read as safetensors ({error}); train the model again.") from error


def _table_text(file: Outgoing) -> Iterator[bytes]:
    source = io.BytesIO(file.source) if isinstance(file.source, bytes) else str(file.source)
    table = pq.ParquetFile(source)
    yield b"\n".join(value for value in (table.schema_arrow.metadata or {}).values())
    words = [field.name for field in table.schema_arrow if str(field.type) in ("string", "large_string")]
    if words:
        columns = table.read(columns=words)
        for name in words:
            yield "\n".join(str(value) for value in columns[name].to_pylist() if value).encode()
