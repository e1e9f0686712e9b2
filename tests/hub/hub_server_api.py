"""The Hub's API to test against: repositories, revisions, lists and commits."""

import base64
import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode

from hub_server_state import (
    LFS_SUFFIXES,
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
        try:
            return json.loads(self.body or b"{}")
        except ValueError as error:
            raise HubError(400, f"Invalid JSON: {error}") from error

    def flag(self, name: str) -> bool:
        return self.query.get(name, ["false"])[0].lower() in ("true", "1")


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def as_json(data: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(json.dumps(data).encode(), status, {"Content-Type": "application/json", **(headers or {})})


def page(state: HubState, call: Call, entries: list) -> Answer:
    """Entries from the cursor on, and where the next ones are."""
    start = int(call.query.get("cursor", ["0"])[0])
    end = start + state.page_size
    headers = {}
    if end < len(entries):
        query = urlencode({**call.query, "cursor": [end]}, doseq=True)
        headers["Link"] = f'<{state.endpoint}{call.path}?{query}>; rel="next"'
    return as_json(entries[start:end], headers=headers)


def _kind(payload: dict) -> str:
    kind = f"{payload.get('type') or 'model'}s"
    if kind not in URL_PREFIXES:
        raise HubError(400, f"Invalid type {payload['type']}")
    return kind


def create_repo(state: HubState, call: Call) -> Answer:
    payload = call.json()
    namespace = payload.get("organization") or (call.user.user if call.user else "")
    kind, name = _kind(payload), f"{namespace}/{payload['name']}"
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


def delete_repo(state: HubState, call: Call) -> Answer:
    payload = call.json()
    namespace = payload.get("organization") or (call.user.user if call.user else "")
    repo = state.writable(call.user, _kind(payload), f"{namespace}/{payload['name']}")
    del state.repos[repo.kind, repo.name]
    return Answer()


def update_settings(state: HubState, call: Call, kind: str, name: str) -> Answer:
    repo, payload = state.writable(call.user, kind, name), call.json()
    if "visibility" in payload or "private" in payload:
        repo.private = payload.get("visibility") == "private" or payload.get("private", False)
    return as_json({"private": repo.private})


def whoami(state: HubState, call: Call) -> Answer:
    if call.user is None:
        raise HubError(401, "Invalid username or password.")
    access = {"displayName": "test", "role": call.user.role}
    user = {"type": "user", "id": call.user.user, "name": call.user.user, "fullname": call.user.user, "orgs": []}
    return as_json({**user, "auth": {"type": "access_token", "accessToken": access}})


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


def check_access(state: HubState, call: Call, kind: str, name: str) -> Answer:
    (state.writable if call.path.endswith("/write") else state.repo)(call.user, kind, name)
    return as_json({})


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


def change_ref(state: HubState, call: Call, kind: str, name: str, what: str, revision: str) -> Answer:
    """Make or delete a tag or a branch; the address names the new branch, but what a new tag stands on."""
    repo, payload = state.writable(call.user, kind, name), call.json()
    known = repo.tags if what == "tag" else repo.branches
    if call.method == "DELETE":
        if known.pop(revision, None) is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return Answer()
    new, start = (payload["tag"], revision) if what == "tag" else (revision, payload.get("startingPoint", "main"))
    if new in known:
        raise HubError(409, f"Reference already exists: {new}")
    known[new] = repo.resolve(start).sha
    return Answer(status=201)


def commits(state: HubState, call: Call, kind: str, name: str, revision: str) -> Answer:
    history = state.repo(call.user, kind, name).history(revision)
    entries = [
        {"id": c.sha, "title": c.title, "message": c.message, "authors": [{"user": c.author}], "date": c.date}
        for c in history
    ]
    return page(state, call, entries)


def _entry(repo: Repo, commit: Commit, path: str, expand: bool) -> dict | None:
    """A file or a folder as lists show it; None where there is neither."""
    blob = commit.files.get(path)
    if blob is None:
        if path not in commit.folders():
            return None
        return {"type": "directory", "path": path, "oid": Blob(path.encode()).git_oid, "size": 0}
    entry = {"type": "file", "path": path, "oid": blob.git_oid, "size": blob.size}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    if expand:
        changed = repo.last_change(commit.sha, path)
        entry["lastCommit"] = {"id": changed.sha, "title": changed.title, "date": changed.date}
    return entry


def tree(state: HubState, call: Call, kind: str, name: str, revision: str, path: str | None = None) -> Answer:
    repo = state.repo(call.user, kind, name)
    commit = repo.resolve(revision)
    prefix = f"{path}/" if path else ""
    inside = [known for known in (*commit.folders(), *commit.files) if known.startswith(prefix)]
    if not inside:
        raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound")
    if not call.flag("recursive"):
        inside = [known for known in inside if "/" not in known[len(prefix) :]]
    return page(state, call, [_entry(repo, commit, known, call.flag("expand")) for known in sorted(inside)])


def paths_info(state: HubState, call: Call, kind: str, name: str, revision: str) -> Answer:
    repo = state.repo(call.user, kind, name)
    commit = repo.resolve(revision)
    if "json" in call.headers.get("content-type", ""):
        paths, expand = call.json()["paths"], bool(call.json().get("expand"))
    else:
        form = parse_qs(call.body.decode())
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
    entries = [_entry(repo, commit, path, expand) for path in paths]
    return as_json([entry for entry in entries if entry])


def preupload(state: HubState, call: Call, kind: str, name: str, revision: str) -> Answer:
    """Tell which files go to LFS and what the branch has at their places. A .gitignore is not looked at."""
    repo = state.writable(call.user, kind, name)
    present = repo.resolve(revision).files
    files = []
    for asked in call.json()["files"]:
        path = asked["path"]
        large = asked["size"] >= state.lfs_threshold or f".{path.rpartition('.')[2]}" in LFS_SUFFIXES
        file = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        files.append(file | ({"oid": present[path].etag} if path in present else {}))
    return as_json({"files": files})


def commit(state: HubState, call: Call, kind: str, name: str, revision: str) -> Answer:
    """Do all that the lines ask for in one commit, or nothing."""
    repo = state.writable(call.user, kind, name)
    if call.flag("create_pr"):
        raise HubError(400, "pull requests are not part of this Hub")
    if revision not in repo.branches:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    try:
        header, *operations = [json.loads(line) for line in call.body.splitlines()]
        title, message = header["value"]["summary"], header["value"].get("description", "")
    except (ValueError, KeyError) as error:
        raise HubError(400, f"Invalid commit: {error!r}") from error
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
