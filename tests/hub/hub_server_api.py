"""The Hub's API to test against: repositories, revisions, lists and commits."""

import base64
import json
from dataclasses import dataclass, field

from hub_server_state import (
    LFS_SUFFIXES,
    LFS_THRESHOLD,
    SPACE_SDKS,
    URL_PREFIXES,
    Blob,
    Commit,
    HubError,
    HubState,
    Repo,
    Token,
    card_faults,
    parse_card,
)


@dataclass(frozen=True)
class Call:
    """One request, as the functions behind the routes see it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    body: bytes
    user: Token | None

    def json(self) -> dict:
        return json.loads(self.body or b"{}")

    def flag(self, name: str) -> bool:
        return self.query.get(name, ["false"])[0].lower() in ("true", "1")


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def as_json(data: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(json.dumps(data).encode(), status, {"Content-Type": "application/json", **(headers or {})})


def create_repo(state: HubState, call: Call) -> Answer:
    payload = call.json()
    namespace = payload.get("organization") or (call.user.user if call.user else "")
    kind, name = f"{payload.get('type') or 'model'}s", f"{namespace}/{payload['name']}"
    user = state.check_write(call.user, namespace)
    url = f"{state.endpoint}/{URL_PREFIXES[kind]}{name}"
    if (kind, name) in state.repos:
        # The address stands beside the error, since a client with exist_ok reads it from there.
        return as_json({"error": "You already created this repo", "url": url}, 409)
    private = payload.get("private", False) or payload.get("visibility") == "private"
    sdk = payload.get("sdk") if kind == "spaces" else None
    if kind == "spaces" and sdk not in SPACE_SDKS:
        raise HubError(400, f'"sdk" must be one of {SPACE_SDKS}; got {sdk}')
    state.repos[kind, name] = Repo(kind, name, private, user.user, sdk)
    return as_json({"url": url, "name": name, "id": name})


def validate_yaml(state: HubState, call: Call) -> Answer:
    payload = call.json()
    try:
        card = parse_card(payload["content"])
    except ValueError as error:
        return as_json({"errors": [{"message": str(error)}], "warnings": []}, 400)
    faults = card_faults(card, f"{payload.get('repoType') or 'model'}s")
    if faults:
        return as_json({"errors": [{"message": fault} for fault in faults], "warnings": []}, 400)
    warnings = [] if card else [{"message": "empty or missing yaml metadata in repo card"}]
    return as_json({"errors": [], "warnings": warnings})


def info(state: HubState, call: Call, kind: str, name: str, revision: str = "main") -> Answer:
    repo = state.repo(call.user, kind, name)
    commit = repo.resolve(revision)
    card = commit.card()
    tags = card.get("tags") or []
    about = {
        "_id": repo.name,
        "id": repo.name,
        "author": repo.name.split("/")[0],
        "sha": commit.sha,
        "lastModified": commit.date,
        "createdAt": repo.history("main")[-1].date,
        "private": repo.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [*tags, f"license:{card['license']}"] if "license" in card else tags,
        "cardData": card,
        "siblings": [_sibling(path, commit.files[path], call.flag("blobs")) for path in sorted(commit.files)],
    }
    if kind == "models":
        about |= {"modelId": repo.name, "pipeline_tag": card.get("pipeline_tag")}
        about |= {"library_name": card.get("library_name")}
    if kind == "spaces":
        about |= {"sdk": card.get("sdk"), "models": card.get("models", []), "subdomain": repo.name.replace("/", "-")}
    expand = call.query.get("expand", [])
    return as_json({key: about.get(key) for key in ("_id", "id", *expand)} if expand else about)


def _sibling(path: str, blob: Blob, with_size: bool) -> dict:
    entry: dict = {"rfilename": path}
    if with_size:
        entry |= {"size": blob.size, "blobId": blob.git_oid}
        if blob.lfs:
            entry["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    return entry


def refs(state: HubState, call: Call, kind: str, name: str) -> Answer:
    repo = state.repo(call.user, kind, name)

    def listed(revisions: dict[str, str], folder: str) -> list[dict]:
        return [{"name": n, "ref": f"refs/{folder}/{n}", "targetCommit": sha} for n, sha in sorted(revisions.items())]

    branches, tags = listed(repo.branches, "heads"), listed(repo.tags, "tags")
    return as_json({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})


def create_tag(state: HubState, call: Call, kind: str, name: str, revision: str) -> Answer:
    repo, tag = state.writable(call.user, kind, name), call.json()["tag"]
    if tag in repo.tags:
        raise HubError(409, f"Reference already exists: {tag}")
    repo.tags[tag] = repo.resolve(revision).sha
    return Answer(status=201)


def _entry(commit: Commit, path: str) -> dict:
    """A file or a folder as lists show it."""
    blob = commit.files.get(path)
    if blob is None:
        return {"type": "directory", "path": path, "oid": Blob(path.encode()).git_oid, "size": 0}
    entry = {"type": "file", "path": path, "oid": blob.git_oid, "size": blob.size}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    return entry


def tree(state: HubState, call: Call, kind: str, name: str, revision: str, path: str | None = None) -> Answer:
    commit = state.repo(call.user, kind, name).resolve(revision)
    prefix = f"{path}/" if path else ""
    inside = [known for known in (*commit.folders(), *commit.files) if known.startswith(prefix)]
    if not inside:
        raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound")
    if not call.flag("recursive"):
        inside = [known for known in inside if "/" not in known[len(prefix) :]]
    return as_json([_entry(commit, known) for known in sorted(inside)])


def preupload(state: HubState, call: Call, kind: str, name: str, revision: str) -> Answer:
    """Tell which files go to LFS and what the branch has at their places. A .gitignore is not looked at."""
    repo = state.writable(call.user, kind, name)
    present = repo.resolve(revision).files
    files = []
    for asked in call.json()["files"]:
        path = asked["path"]
        large = asked["size"] >= LFS_THRESHOLD or f".{path.rpartition('.')[2]}" in LFS_SUFFIXES
        file = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        files.append(file | ({"oid": present[path].etag} if path in present else {}))
    return as_json({"files": files})


def commit(state: HubState, call: Call, kind: str, name: str, revision: str) -> Answer:
    """Do all that the lines ask for in one commit, or nothing."""
    repo = state.writable(call.user, kind, name)
    header, *operations = [json.loads(line) for line in call.body.splitlines()]
    title, message = header["value"]["summary"], header["value"].get("description", "")
    parent = header["value"].get("parentCommit")
    if parent not in (None, repo.branches[revision]):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(repo.resolve(revision).files)
    for operation in operations:
        _apply(repo, files, operation["key"], operation["value"])
    sha = repo.add_commit(revision, files, title, message, author=call.user.user)
    url = f"{state.endpoint}/{URL_PREFIXES[kind]}{name}/commit/{sha}"
    return as_json({"success": True, "commitOid": sha, "commitUrl": url, "pullRequestUrl": None, "hookOutput": ""})


def _apply(repo: Repo, files: dict[str, Blob], key: str, value: dict) -> None:
    path = value["path"].rstrip("/")
    if key == "file":
        files[path] = Blob(base64.b64decode(value["content"], validate=True))
    elif key == "lfsFile":
        if value["oid"] not in repo.objects:
            raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path}")
        files[path] = Blob(repo.objects[value["oid"]], lfs=True)
    elif key in ("deletedFile", "deletedFolder"):
        gone = [known for known in files if known == path or (key == "deletedFolder" and known.startswith(f"{path}/"))]
        if not gone:
            raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        for known in gone:
            del files[known]
    else:
        raise HubError(400, f"Invalid operation {key}")
    if path == "README.md" and key == "file":
        try:
            faults = card_faults(parse_card(files[path].content.decode()), repo.kind)
        except ValueError as error:
            faults = [str(error)]
        if faults:
            raise HubError(400, f"Invalid metadata in README.md: {'; '.join(faults)}")
