"""What the Hub to test against keeps: tokens, repositories, and their commits."""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import PurePosixPath

import yaml

LFS_SUFFIXES = frozenset((".bin", ".flac", ".npz", ".parquet", ".pt", ".safetensors", ".wav"))
LFS_THRESHOLD = 10 * 2**20  # bytes from which any file goes to LFS; those of LFS_SUFFIXES always do
GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in sorted(LFS_SUFFIXES)).encode()
SPACE_SDKS = ("gradio", "docker", "static")
SPACE_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
URL_PREFIXES = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}


class HubError(Exception):
    """An answer that the client turns into an exception; `code` is what it tells one 404 from another by."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class Token:
    user: str
    role: str  # read or write


@dataclass(frozen=True)
class Blob:
    content: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {self.size}", "")
        return "\n".join(lines).encode()

    @cached_property
    def git_oid(self) -> str:
        stored = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_oid

    @property
    def size(self) -> int:
        return len(self.content)


@dataclass(frozen=True)
class Commit:
    sha: str
    parent: str | None
    files: Mapping[str, Blob]
    title: str
    message: str
    author: str
    date: str

    def folders(self) -> list[str]:
        found = {str(parent) for path in self.files for parent in PurePosixPath(path).parents}
        return sorted(found - {"."})

    def card(self) -> dict:
        readme = self.files.get("README.md")
        try:
            return parse_card(readme.content.decode()) if readme else {}
        except ValueError:
            return {}


def parse_card(text: str) -> dict:
    """The YAML at the head of a README.md; empty where it has none.

    Raises:
        ValueError: there is one that is not YAML, or not a mapping.
    """
    if not text.startswith("---\n") or "\n---" not in text[3:]:
        return {}
    try:
        card = yaml.safe_load(text[4:].split("\n---")[0])
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(card, dict | None):
        raise ValueError(f"metadata is a {type(card).__name__}; expected a mapping")
    return card or {}


def card_faults(card: dict, kind: str) -> list[str]:
    """What the Hub refuses in a card's metadata beyond broken YAML."""
    if kind != "spaces":
        return []
    faults = [f'"{key}" must be one of {SPACE_COLOURS}' for key in ("colorFrom", "colorTo")]
    faults = [fault for fault in faults if card.get(fault.split('"')[1], "red") not in SPACE_COLOURS]
    if card.get("sdk") not in SPACE_SDKS:
        faults.append(f'"sdk" must be one of {SPACE_SDKS}')
    if not isinstance(card.get("sdk_version", ""), str) or not isinstance(card.get("python_version", ""), str):
        faults.append('"sdk_version" and "python_version" must be strings')
    if len(card.get("short_description", "")) > 60:
        faults.append('"short_description" length must be less than or equal to 60 characters long')
    return faults


class Repo:
    """One repository. Commits are never changed or lost, so that every revision ever seen can be had again."""

    def __init__(self, kind: str, name: str, private: bool, author: str, sdk: str | None = None) -> None:
        self.kind, self.name, self.private = kind, name, private
        self.objects: dict[str, bytes] = {}  # LFS content by SHA-256, whether a commit names it or not
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        files = {".gitattributes": Blob(GITATTRIBUTES)}
        if sdk is not None:  # a new Space has a card, which says how it runs
            files["README.md"] = Blob(f"---\ntitle: {name}\nsdk: {sdk}\n---\n".encode())
        self.add_commit("main", files, "initial commit", author=author)

    @property
    def head(self) -> Commit:
        return self.commits[self.branches["main"]]

    def resolve(self, revision: str) -> Commit:
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]

    def history(self, revision: str) -> list[Commit]:
        """Commits from this revision back to the first."""
        commits = [self.resolve(revision)]
        while commits[-1].parent:
            commits.append(self.commits[commits[-1].parent])
        return commits

    def add_commit(self, branch: str, files: Mapping[str, Blob], title: str, message: str = "", *, author: str) -> str:
        parent = self.branches.get(branch)
        # Dates count commits, and hashes follow from content and place: two runs of a test see the same ones.
        date = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=len(self.commits))).isoformat()
        lines = [f"{path} {files[path].git_oid}" for path in sorted(files)]
        parts = [self.kind, self.name, str(parent), branch, title, message, author, date, *lines]
        sha = hashlib.sha1("\n".join(parts).encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, dict(files), title, message, author, date.replace("+00:00", ".000Z"))
        self.branches[branch] = sha
        return sha


@dataclass
class Grant:
    """Leave to read or write one object at the storage, as a signed address gives it to whoever has the address."""

    repo: Repo
    action: str  # read or write
    oid: str
    size: int


class HubState:
    """Everything behind the two addresses."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.tokens: dict[str, Token] = {}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.grants: dict[str, Grant] = {}
        self.endpoint = self.storage = ""  # addresses, once they are known

    def user(self, authorization: str | None) -> Token | None:
        if authorization is None:
            return None
        token = self.tokens.get(authorization.removeprefix("Bearer "))
        if token is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return token

    def repo(self, user: Token | None, kind: str | None, name: str) -> Repo:
        """The repository, where this user may see it; a private one is to others as if it were not there."""
        repo = self.repos.get((kind or "models", name))
        if repo and (not repo.private or (user and user.user == name.split("/")[0])):
            return repo
        # To nobody in particular the real one says 401 for both, so that private names do not leak.
        raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")

    def check_write(self, user: Token | None, namespace: str) -> Token:
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if user.role != "write":
            raise HubError(403, "You must use a write token to change a repository")
        if user.user != namespace:
            raise HubError(403, f"You don't have the rights to change a repository of {namespace}")
        return user

    def writable(self, user: Token | None, kind: str | None, name: str) -> Repo:
        repo = self.repo(user, kind, name)
        self.check_write(user, name.split("/")[0])
        return repo

    def grant(self, repo: Repo, action: str, oid: str, size: int) -> str:
        """Return the key of a new grant; the address it opens is `storage_url(key)`."""
        key = f"{len(self.grants):08x}"
        self.grants[key] = Grant(repo, action, oid, size)
        return key

    def storage_url(self, key: str) -> str:
        return f"{self.storage}/storage/{self.grants[key].oid}?signature={key}"
